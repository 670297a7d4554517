"""Every kind of session says what it is and shows its own result first, in every report."""

from __future__ import annotations

import json
import re
from dataclasses import replace

import jsonschema
import pytest

from reports.formats.markdown import markdown
from reports.formats.report_json import report_document, schema_text
from reports.headline import headline
from reports.html.history_page import history_chart
from reports.html.page import html_report
from reports.terminal.session import summary_table
from reports.terminal.style import Look
from results.history.kept import read_history
from results.instrument.calibration import calibrate
from results.instrument.certificates import SCHEMA, Certificate
from results.instrument.overhead import TierBoot, observer_effect
from results.instrument.shots import Shot
from results.store.store import open_store

SESSION = "20261123-221500-3f2a"
SWEEP = [
    (f"anon.ram-{gib:g}{end}", "system", "system", base + slope * gib)
    for end, base, slope in (("", 2.4, 0.0), (".precopy", 2.4, 100.0))
    for gib in (1.0, 0.25, 0.5)
]
PAIRS = [("anon", "old", "old", 4.0), ("anon", "old", "new", 6.0), ("anon", "new", "old", None)]


def text_of(page):
    return re.sub(r"\s+", " ", re.sub(r"<style>.*?</style>|<svg.*?</svg>|<[^>]+>", " ", page,
                                      flags=re.DOTALL))  # fmt: skip


def check_document(report_data):
    document = report_document(report_data)
    jsonschema.validate(document, json.loads(schema_text()))
    return document


# -- sweeps ------------------------------------------------------------------------------------


@pytest.fixture
def sweep(session_of):
    return session_of("sweep ram", SWEEP, boots=4, purpose="sweep")


def test_a_sweep_is_headlined_by_its_slope(sweep):
    top = headline(sweep)
    assert top.code == "growth-measured"
    assert top.sentence.startswith("Sweep of guest RAM on system: the blackout of anon")
    assert "with precopy +100 [" in top.sentence
    assert top.figures["mode"] == "cpr-transfer"
    assert (top.word, top.exit_code) == ("measured", 0)


def test_the_page_of_a_sweep_begins_with_its_charts_and_slopes(sweep):
    page = html_report(sweep)
    text = text_of(page)
    parts = ("Sweep", "Growth with guest RAM", "Slopes, per GiB", "Runs behind it", "Charts of")
    places = [text.index(part) for part in parts]
    assert places == sorted(places)
    result = page[page.index('id="result"') : page.index('id="cells"')]
    assert result.count("<svg") == 2
    # By size, whatever the order of the session.
    assert re.findall(r"anon\.ram-([\d.]+)</th>", page) == ["0.25", "0.5", "1"]
    assert "### Slopes, per GiB" in markdown(sweep)


def test_the_document_of_a_sweep_has_its_growth(sweep):
    document = check_document(sweep)
    assert document["kind"] == "sweep"
    growth = document["growth"]
    assert (growth["unit"], len(growth["points"])) == ("GiB", 6)
    (slope,) = [s for s in growth["slopes"] if (s["mode"], s["name"]) == ("precopy", "blackout")]
    assert slope["low_ns"] <= 100_000_000 <= slope["high_ns"]


def test_a_failed_run_of_a_sweep_is_in_its_headline(session_of):
    found = session_of("sweep ram", [*SWEEP, ("anon.ram-2", "system", "system", None)], boots=4)
    top = headline(found)
    assert (top.word, top.exit_code) == ("failed", 3)
    assert top.sentence.endswith("; 4 runs failed")


# -- matrices ----------------------------------------------------------------------------------


@pytest.fixture
def matrix(session_of):
    return session_of("matrix old new", PAIRS, ("old", "new"))


def test_a_matrix_is_headlined_by_its_pairs(matrix):
    top = headline(matrix)
    assert (top.word, top.code, top.exit_code) == ("failed", "pairs-failed", 3)
    assert top.sentence.startswith("Matrix of 2 builds: 1 of 4 pairs failed, the first new → old:")
    assert top.figures == {"builds": 2, "pairs": 4, "failed_pairs": 1}


def test_a_matrix_of_pairs_that_all_transfer(session_of):
    pairs = [*PAIRS[:2], ("anon", "new", "old", 5.0), ("anon", "new", "new", 4.5)]
    top = headline(session_of("matrix old new", pairs, ("old", "new"), boots=2))
    assert (top.word, top.code) == ("measured", "pairs-measured")
    assert "4 of 4 pairs transferred, the slowest old → new" in top.sentence


def test_the_page_of_a_matrix_begins_with_its_grid(matrix):
    page = html_report(matrix)
    grid = page[page.index('id="result"') : page.index('id="cells"')]
    text = text_of(grid)
    assert "4.00 ms [4.00, 4.01] 6 boots" in text
    assert "6.00 ms [6.00, 6.01] 6 boots" in text
    assert "loses guest [1]" in text
    assert "– not measured" in text
    assert "vCPU 1 does not run in new QEMU" in text
    assert "| new | loses guest (1), 6 of 6 runs | –, not measured |" in markdown(matrix)


def test_only_the_baseline_is_called_one(session_of):
    pairs = [*PAIRS, ("anon", "new", "new", 4.5)]
    page = html_report(session_of("matrix old new", pairs, ("old", "new")))
    rows = re.findall(r'data-label="QEMU">(.*?)</td>.*?data-label="verdict">(.*?)</td>', page,
                      re.DOTALL)  # fmt: skip
    words = {builds: text_of(verdict).split()[0] for builds, verdict in rows}
    assert words["old"] == "baseline"
    assert words["old → new"] == words["new → old"] == "upgrade"


def test_a_pair_without_data_is_in_no_chart(matrix):
    page = html_report(matrix)
    charts = page[page.index("Distribution of blackouts") : page.index('id="worst"')]
    for figure in re.findall(r"<figure.*?</figure>", charts, re.DOTALL):
        assert "old → new" in figure
        assert "new → old" not in figure


def test_the_document_of_a_matrix_has_its_pairs(matrix):
    pairs = check_document(matrix)["pairs"]
    assert [(p["old"], p["new"], p["boots"]) for p in pairs] == [
        ("old", "old", 6), ("old", "new", 6), ("new", "old", 0), ("new", "new", 0),
    ]  # fmt: skip
    assert (pairs[0]["low_ns"], pairs[0]["high_ns"]) == (4_001_000, 4_006_000)


# -- claims ------------------------------------------------------------------------------------


def test_a_page_of_claims_has_no_figure_of_qemus_downtime(report_data, claims_document, finding):
    claims = claims_document(finding("shown", "old", "x"), finding("refuted", "new", "y"))
    silent = replace(report_data.cells[0].summary, qemu_median_ns=0, qemu_error_percent=-100.0)
    cells = (replace(report_data.cells[0], summary=silent), *report_data.cells[1:])
    page = html_report(replace(report_data, claims=claims, cells=cells, comparisons=()))
    top = page[: page.index('id="result"')]
    assert "−100 %" not in top
    assert "downtime" not in top
    assert ">refuted<" in top
    places = [page.index(part) for part in ("Claims made for cpr-transfer", "Runs behind it")]
    assert places == sorted(places)
    assert "| claim | A | B |" in markdown(replace(report_data, claims=claims))


# -- calibrations and overheads ----------------------------------------------------------------


def shots(slope=1.0):
    return [
        Shot(f"r{n}", "anon on kvm", "new", asked, asked, round(80_000 + slope * asked),
             4_000_000 + asked, 4_200_000 + asked, 3_900_000 + asked)
        for asked in (0, 5_000_000)
        for n in range(20)
    ]  # fmt: skip


@pytest.fixture
def calibrated(session_of):
    def make(slope=1.0, made_by=SESSION):
        certificate = Certificate(
            SCHEMA, "h1", "6.12.0", "system", "ab12", "10.0.13", session=made_by, identity="cd34",
            calibration=calibrate(shots(slope)),
        )  # fmt: skip
        cells = [("anon.kvm.new-5ms", "system", "system", 9.0)]
        return session_of("calibrate", cells, certificate=certificate, purpose="calibration")

    return make


@pytest.mark.parametrize(
    ("slope", "word", "status"), [(1.0, "calibrated", 0), (1.2, "not calibrated", 3)]
)
def test_a_calibration_is_headlined_by_its_verdict(calibrated, slope, word, status):
    found = calibrated(slope)
    top = headline(found)
    assert (top.word, top.exit_code) == (word, status)
    assert top.sentence.startswith("Calibration of the probes on system")
    assert "median blackout" not in top.sentence
    page = text_of(html_report(found))
    assert "Injected pauses and what was recovered" in page
    assert "These blackouts contain injected pauses" in page
    document = check_document(found)
    assert (document["kind"], document["calibration"]["passed"]) == ("calibration", status == 0)


def test_a_calibration_without_a_stored_result_says_so(calibrated):
    top = headline(calibrated(made_by="20261124-221500-3f2a"))
    assert (top.word, top.code) == ("undecided", "no-result")
    assert "no result is stored" in top.sentence


def test_an_overhead_is_headlined_by_its_cost(session_of):
    boots = [
        TierBoot("anon on kvm", tier, number, 4_000_000 + extra + number, 90_000_000)
        for number in range(1, 13)
        for tier, extra in (("none", 0), ("default", 40_000))
    ]
    certificate = Certificate(
        SCHEMA, "h1", "6.12.0", "system", "ab12", "10.0.13", watched_session=SESSION,
        identity="cd34", effect=observer_effect(boots),
    )  # fmt: skip
    cells = [("anon.kvm.watched-none", "system", "system", 4.0)]
    found = session_of("overhead", cells, certificate=certificate, purpose="overhead")
    top = headline(found)
    assert (top.word, top.code, top.exit_code) == ("measured", "overhead-measured", 0)
    assert "by +1.0 % [+1.0 %, +1.0 %], anon on kvm" in top.sentence
    assert "Cost of the probes" in text_of(html_report(found))
    assert check_document(found)["overhead"]["lost"] == 0


def test_a_self_check_says_that_it_compares_a_build_with_itself(session_of):
    labels = ("system", "system-again")
    cells = [("anon", label, label, 4.0) for label in labels]
    top = headline(session_of("compare --aa system", cells, labels))
    assert top.sentence.startswith("Self-check (A/A): anon on system-again:")


@pytest.mark.parametrize(
    ("command", "title"),
    [("run anon", "Measurement"), ("lab run", "Measurement in the lab VM"),
     ("nightly night.toml", "Nightly job"), ("compare a b", "Comparison of builds")],
)  # fmt: skip
def test_every_page_names_its_kind(session_of, command, title):
    found = session_of(command, [("anon", "system", "system", 4.0)])
    assert f"pausebench {title}" in text_of(html_report(found))
    assert f"pausebench, {title}:" in markdown(found)


# -- fewer than four boots ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("command", "new"), [("run anon", "system"), ("matrix a b", "next"), ("sweep ram", "system")]
)
def test_two_boots_have_no_interval_in_any_report(session_of, command, new):
    """130 ms [0, 14804863590384] was a headline, and a history had an axis up to 800,000 ms."""
    scenario = "anon.ram-1" if command == "sweep ram" else "anon"
    found = session_of(command, [(scenario, "system", new, (1.0, 260.0))], ("system", "next"), 2)
    (cell,) = found.cells
    assert (cell.summary.low_ns, cell.summary.high_ns, cell.summary.interval) == (
        None,
        None,
        "none",
    )
    page = html_report(found)
    table = summary_table([cell.summary], Look(140)).plain
    for text in (text_of(page), markdown(found), table, headline(found).sentence):
        assert not re.search(r"ms \\?\[", text)
        assert max(map(float, re.findall(r"([\d.]+) ms", text))) < 1_000
    labels = map(float, re.findall(r">(\d+)</text>", page))
    assert max(labels) <= 300


def test_two_boots_have_no_interval_in_a_history(session_of, tmp_path):
    session_of("run anon", [("anon", "system", "system", (1.0, 260.0))], boots=2)
    with open_store(tmp_path / "store0", create=False) as store:
        lines = read_history(store)
    assert [(p.low_ns, p.high_ns) for line in lines for p in line.points] == [(None, None)]
    chart = history_chart(lines[0], "h")
    labels = [float(label) for label in re.findall(r">(\d+)</text>", chart.svg)]
    assert max(labels) <= 300
