"""The text of a session and of a run, character by character.

The golden files are rewritten by `GOLDEN=write`; read the difference before it is committed.
"""

from __future__ import annotations

import io
import os
import re
from dataclasses import MISSING, fields, replace
from pathlib import Path

import pytest
from rich.cells import cell_len

from reports.terminal.session import closing_lines, failures, session_page, summary_table
from reports.terminal.style import Look, look_for, write
from reports.terminal.waterfall import waterfall
from reports.wording import figure, mib, ms, percent
from results.records.evidence import Check, Control, Proof
from results.records.run import CarriedFd, RamMap, Run, Span, Witnesses, blackout_window

GOLDEN = Path(__file__).parents[1] / "golden"
LOOKS = {
    "80": Look(80),
    "140": Look(140, colour=False, unicode=True),
}


def compare(name: str, text: str) -> None:
    path = GOLDEN / name
    if os.environ.get("GOLDEN") == "write":
        path.parent.mkdir(exist_ok=True)
        path.write_text(text + "\n", encoding="utf-8")
    assert text + "\n" == path.read_text(encoding="utf-8")


def shown(text, look: Look) -> str:
    stream = io.StringIO()
    write(text, stream, look)
    return stream.getvalue()


# Golden files


@pytest.mark.parametrize("width", LOOKS)
def test_summary(summaries, width):
    compare(f"summary-{width}.txt", summary_table(summaries, LOOKS[width]).plain)


@pytest.mark.parametrize("width", LOOKS)
def test_waterfall(good_run, width):
    compare(f"waterfall-{width}.txt", waterfall(good_run, LOOKS[width]).plain)


@pytest.mark.parametrize("width", LOOKS)
def test_failed_waterfall(failed_run, width):
    compare(f"failed-{width}.txt", waterfall(failed_run, LOOKS[width]).plain)


def test_end_of_a_session(good_run, failed_run, summaries):
    other = replace(
        failed_run,
        id=failed_run.id.replace("b02", "b03").replace("anon", "memfd"),
        scenario="memfd",
        reason=failed_run.reason.replace("3 of", "11 of"),
    )
    lost = replace(failed_run, id=failed_run.id + "1", reason="2 probe records were lost")
    look = Look(80)
    runs = [lost, good_run, failed_run, other]
    page = session_page(summaries, runs, Path("out"), good_run.session, look)
    compare("end-80.txt", page.plain)


def test_a_session_without_failures_has_no_list_of_them(good_run, summaries):
    page = session_page(summaries, [good_run], Path("out"), good_run.session, Look())
    assert "failed," not in page.plain
    assert "\n\n\n" not in page.plain
    assert page.plain.endswith("next: pausebench show worst")


# Every width, every terminal


@pytest.mark.parametrize("width", [80, 100, 119, 120, 140, 200])
@pytest.mark.parametrize("unicode", [True, False])
def test_no_line_is_wider_than_the_terminal(summaries, good_run, failed_run, width, unicode):
    look = Look(width, colour=True, unicode=unicode)
    builds = (replace(summaries[0], new_build="trixie-backports-11.1.3"), summaries[1])
    pages = [
        summary_table(summaries, look),
        summary_table(builds, look),
        failures([failed_run], look),
        waterfall(good_run, look),
        waterfall(failed_run, look),
    ]
    for page in pages:
        for line in page.plain.splitlines():
            assert cell_len(line) <= width, line


def test_the_phases_are_on_the_same_line_where_they_fit(summaries):
    rows = summary_table(summaries, Look(140)).plain.splitlines()
    assert any("4.42 ms" in row and "quiesce" in row for row in rows)
    rows = summary_table(summaries, Look(80)).plain.splitlines()
    assert not any("4.42 ms" in row and "quiesce" in row for row in rows)


def test_a_pipe_gets_plain_ascii(summaries, good_run, failed_run):
    class Pipe(io.StringIO):
        encoding = "utf-8"

    look = look_for(Pipe(), {})
    assert (look.colour, look.unicode) == (False, False)
    for page in (summary_table(summaries, look), waterfall(good_run, look)):
        text = shown(page, look)
        assert text.isascii()
        assert "\x1b" not in text


@pytest.mark.parametrize(
    ("environ", "colour"),
    [({}, True), ({"NO_COLOR": "1"}, False), ({"NO_COLOR": ""}, True), ({"TERM": "dumb"}, False)],
)
def test_a_terminal_gets_colour_unless_no_color_is_set(summaries, environ, colour):
    class Terminal(io.StringIO):
        encoding = "UTF-8"

        def isatty(self):
            return True

    look = look_for(Terminal(), environ)
    assert (look.colour, look.unicode) == (colour, colour)
    assert ("\x1b[" in shown(summary_table(summaries, look), look)) == colour


def test_colour_changes_no_character(good_run, monkeypatch):
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.delenv("NO_COLOR", raising=False)
    look = Look(100, colour=True, unicode=True)
    page = waterfall(good_run, look)
    coloured = shown(page, look)
    assert "\x1b[" in coloured
    assert re.sub(r"\x1b\[[0-9;]*m", "", coloured) == page.plain + "\n"


def test_control_characters_of_a_record_are_not_printed(failed_run):
    evil = "\x1b]0;owned\x07\r\n\u202e[bold]x[/bold]"
    run = replace(
        failed_run,
        id=evil,
        scenario=evil,
        reason=evil,
        log_tail=evil,
        old_build=evil,
        warnings=(evil,),
        spans=(Span(evil, evil, 1, 5, 2, {evil: 3}),),
        fds=(CarriedFd(evil, 0),),
        ram_maps=(RamMap(evil, 0, 0, 0, 0),),
        perf={evil: {evil: 1}},
        guest_clock=evil,
        stop_position=evil,
    )
    for unicode in (True, False):
        look = Look(80, unicode=unicode)
        for text in (waterfall(run, look).plain, failures([run], look).plain):
            assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u202e]", text)
            assert "[bold]x[/bold]" in text


# The numbers


@pytest.mark.parametrize(
    ("ns", "text"),
    [
        (4_420_000, "4.42 ms"),
        (31_000, "0.031 ms"),
        (118_400_000, "118 ms"),
        (12_345_678, "12.3 ms"),
        (9_994_999, "9.99 ms"),
        (9_995_000, "10.0 ms"),
        (999_499, "0.999 ms"),
        (999_500, "1.00 ms"),
        (99_949_999, "99.9 ms"),
        (99_950_000, "100 ms"),
        (12_300_000_000, "12300 ms"),
        (1_000, "0.001 ms"),
        (400, "0.0004 ms"),
        (1, "0.000001 ms"),
        (0, "0 ms"),
        (-240_000, "-0.240 ms"),
        (None, "–"),
    ],
)
def test_durations_have_three_digits(ns, text):
    assert ms(ns) == text
    if ns is not None:
        assert figure(ns) + " ms" == text


@pytest.mark.parametrize(
    ("value", "text"),
    [(-52.4, "−52 %"), (5.56, "+5.6 %"), (0.0, "+0.0 %"), (-9.96, "−10 %"), (None, "–")],
)
def test_percent(value, text):
    assert percent(value) == text


def test_sizes():
    assert [mib(n) for n in (5, 4096, 3 << 19, 1 << 32)] == ["5 B", "4 KiB", "1.5 MiB", "4 GiB"]


# Records with holes


def test_missing_figures_are_not_shown_as_zero(summaries):
    empty = replace(
        summaries[0],
        valid=0,
        failed=3,
        median_ns=None,
        low_ns=None,
        high_ns=None,
        max_ns=None,
        interval="none",
        qemu_median_ns=None,
        qemu_error_percent=None,
        phases={},
    )
    text = summary_table([empty], Look(80)).plain
    row = next(line for line in text.splitlines() if line.startswith("anon"))
    assert re.fullmatch(r"anon\s+6 x 10\s+-\s+-\s+-\s+0/3", row)
    assert "boots the interval" not in text
    assert "nothing was measured" in summary_table([], Look(80)).plain


def test_one_boot_has_no_interval_and_says_so(summaries):
    one = replace(summaries[0], boots=1, low_ns=None, high_ns=None, interval="none")
    text = summary_table([one], Look(80)).plain
    assert "4.42 ms  " in text
    assert "fewer than 4 boots have no interval, 6 have an exact one" in text


def test_different_builds_are_named_in_the_row(summaries):
    mixed = (summaries[0], replace(summaries[1], new_build="11.1.3"))
    text = summary_table(mixed, Look(140)).plain
    assert "anon system -> system" in text
    assert "hugetlb-2m system -> 11.1.3" in text


def test_without_a_failed_run_nothing_is_printed(good_run):
    assert failures([good_run], Look()).plain == ""


def test_another_store_is_named_in_the_command(failed_run):
    store = Path("my runs")
    assert "--store 'my runs'" in failures([failed_run], Look(), store).plain
    assert closing_lines(store, "s").plain.endswith("show worst --store 'my runs'")
    assert "--store" not in closing_lines(Path("out"), "s").plain


def test_a_run_without_any_evidence_is_drawn(good_run):
    needed = [f.name for f in fields(Run) if f.default is MISSING and f.default_factory is MISSING]
    bare = Run(**{name: getattr(good_run, name) for name in needed})
    text = waterfall(replace(bare, outcome="failed", reason="GuestLost"), Look(80)).plain
    assert "reason: GuestLost" in text
    assert "QEMU's log is empty" in text
    assert "the handover" not in text
    assert "RAM check  not done" in text


def test_many_descriptors_and_vcpus_are_cut_or_wrapped(good_run):
    many = replace(
        good_run,
        fds=tuple(CarriedFd(f"virtio-net-{i}", i, 1, 2) for i in range(540)),
        vcpu_blackouts_ns=(4_420_000,) * 64,
        witnesses=Witnesses(),
    )
    text = waterfall(many, Look(80)).plain
    assert "540 sent, 540 received" in text
    assert "and 516 more" in text
    assert max(map(len, text.splitlines())) <= 80


# The window of the blackout


def test_the_window_is_that_of_the_blackout(good_run):
    entry = next(s for s in good_run.spans if s.name == "first_entry")
    assert blackout_window(good_run) == (entry.end_ns - 4_420_000, entry.end_ns)


@pytest.mark.parametrize("field", ["blackout_ns", "blackout_start_ns"])
def test_without_a_blackout_there_is_no_window(good_run, field):
    run = replace(good_run, **{field: None})
    assert blackout_window(run) is None
    assert "magnified" not in waterfall(run, Look(80)).plain


@pytest.mark.parametrize("at", [0, 500_000, 1_000_000])
def test_an_empty_span_is_one_character(good_run, at):
    spans = (
        Span("target_init", "new", 1_000, 1_001_000, 0),
        Span("cpr_save", "old", 1_000 + at, 1_000 + at, 0),
    )
    for width in range(80, 90):
        text = waterfall(replace(good_run, blackout_ns=None, spans=spans), Look(width)).plain
        line = next(row for row in text.splitlines() if row.startswith("old  cpr save"))
        bar = line[line.index("|") + 1 : line.rindex("|")]
        assert bar.count("#") == 1
        assert abs(bar.index("#") - at * len(bar) // 1_000_000) <= 1


def test_bars_are_at_their_times(good_run):
    """Two phases of a quarter of the blackout each, one after the other."""
    start = 1_000_000_000
    run = replace(
        good_run,
        blackout_ns=4_000_000,
        blackout_start_ns=start,
        spans=(
            Span("quiesce", "old", start, start + 1_000_000, 1_000_000),
            Span("state_load", "new", start + 1_000_000, start + 2_000_000, 1_000_000),
            Span("first_entry", "new", start + 3_999_000, start + 4_000_000, 1_000),
        ),
    )
    text = waterfall(run, Look(120)).plain
    zoom = text[text.index("magnified") :].splitlines()
    bars = {line[5:16].strip(): line[line.index("|") + 1 : line.rindex("|")] for line in zoom[2:5]}
    width = len(bars["quiesce"])
    quarter = width // 4
    assert abs(bars["quiesce"].count("#") - quarter) <= 1
    assert bars["quiesce"].startswith("#")
    assert abs(bars["state load"].index("=") - quarter) <= 1
    assert abs(bars["state load"].rindex("=") - 2 * quarter) <= 1
    assert bars["first entry"] == " " * (width - 1) + "="


def test_the_proof_has_a_column_where_a_run_has_one(summaries):
    first, *others = summaries
    text = summary_table(
        [
            replace(first, proofs={"held": 60}),
            *(replace(s, proofs={"broken": 1, "held": 9}) for s in others),
        ],
        Look(120),
    ).plain
    assert "proof" in text
    assert re.search(r"59/1 +held", text)
    assert "broken 1, held 9" in text


def test_the_verdict_and_its_evidence_are_shown(good_run):
    proof = Proof(
        "broken",
        "descriptors: another open file",
        (Check("descriptors", "broken", "another open file: ram0 id 0"),
         Check("RAM in place", "held", "all 16384 pages")),
        (Control("private copy", True, "RAM in place"), Control("pins let go", False, "blind")),
    )  # fmt: skip
    text = waterfall(replace(good_run, proof=proof), Look(100)).plain
    assert re.search(r"proof +broken", text)
    assert re.search(r"broken +descriptors: another open file: ram0 id 0", text)
    assert re.search(r"held +RAM in place", text)
    assert "detected when broken on purpose: private copy" in text
    assert "not detected: pins let go (blind)" in text
