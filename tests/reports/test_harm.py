"""Guests that were damaged or lost: red in every format, whatever the blackouts say."""

from __future__ import annotations

import json
from dataclasses import replace
from email import message_from_bytes
from email.policy import default
from xml.etree import ElementTree as ET

import jsonschema
import pytest

from reports.formats.junit import junit
from reports.formats.mail import Letter, night_mail
from reports.formats.markdown import markdown
from reports.formats.openmetrics import openmetrics
from reports.formats.report_json import report_document, schema_text
from reports.harm_wording import harm_lines, harmed_text
from reports.headline import headline, night_headline
from reports.html.page import html_report
from reports.html.tiles import tiles
from reports.terminal.comparison import comparison_table
from reports.terminal.session import summary_table
from reports.terminal.style import Look
from results.comparison.compare import compare
from results.store.tables.columns import lean_runs

RAM = "1 of 9 checked pages of guest RAM changed, first 0x1"
DEAD = "QEMU said no; the guest was lost: old QEMU in state gone, new QEMU in state gone"
REFUSED = "old QEMU refused migrate"
LETTER = Letter("qemu", "a@b", "c@d", 0.0, "pausebench nightly night.toml")


def same_speed(data):
    """The same guests, but B is not slower: all that is left is what happened to them."""
    cells = tuple(
        replace(cell, verdict="same", phases=()) if cell.verdict == "regressed" else cell
        for cell in data.comparisons[0].cells
    )
    codes = 3 if any(c.damaged for c in cells) else int(any(c.more_failures for c in cells))
    comparison = replace(data.comparisons[0], cells=cells, exit_code=codes)
    return replace(data, comparisons=(comparison,))


def subject(data):
    mail = message_from_bytes(night_mail(data, (), LETTER), policy=default)
    return mail["Subject"], mail.get_content()


@pytest.mark.parametrize("build", ["old", "new"])
def test_damage_on_either_side_is_the_headline(harmed_of, build):
    data = same_speed(harmed_of(RAM, build))
    top = headline(data)
    assert (top.word, top.code, top.exit_code) == ("damaged", "guest-damaged", 3)
    assert top.sentence == f"anon on {build}: guest damaged in 3 of 6 boots"
    assert top.figures["damaged_boots"] == 3
    heading, text = subject(data)
    assert heading == f"[pausebench qemu] damaged: anon on {build} in 3 of 6 boots"
    assert "anon on new: same, guest damaged" in text
    assert f"guest damaged: A {3 * (build == 'old')} of 6 boots, B {3 * (build == 'new')}" in text
    assert "exit status 3" in text


def test_damage_is_red_in_every_format(harmed_of):
    data = same_speed(harmed_of(RAM, "new"))
    assert tiles(data)[0].tone == "bad"
    assert (tiles(data)[0].name, tiles(data)[0].figure) == ("guests damaged", "3 of 24 boots")
    page = html_report(data)
    assert '<header class="bad">' in page
    assert "<small>guest damaged in 3 of 6 boots</small>" in page
    assert '<span class="word ">same</span> <span class="word regressed">damaged</span>' in page
    assert '<span class="word regressed">same, guest damaged</span>' in page
    assert markdown(data).startswith("## 🔴 pausebench, Comparison of builds: damaged\n")
    assert "- 🔴 anon on new: guest damaged in 3 of 6 boots" in markdown(data)
    case = ET.fromstring(junit(data)).find(".//testcase[@name='anon on new']")
    assert case.find("failure").get("message").startswith("guest damaged in 3 of 6 boots")
    document = report_document(data)
    jsonschema.validate(document, json.loads(schema_text()))
    (cell,) = [c for c in document["cells"] if (c["scenario"], c["new_build"]) == ("anon", "new")]
    assert (cell["harmed_runs"], cell["harmed_boots"]) == ({"damage": 3}, {"damage": 3})
    assert document["comparisons"][0]["cells"][0]["damaged"] is True
    assert 'pausebench_harmed_boots{scenario="anon",old="new",new="new"' in openmetrics(data)


def test_a_damaged_cell_without_a_valid_run_is_a_failure_in_junit(harmed_of):
    """Not an error, which CI takes for trouble of its own."""
    data = harmed_of(RAM, "new")
    (cell,) = [c for c in data.cells if c.summary.scenario == "anon" and c.builds == "new"]
    none = replace(cell, summary=replace(cell.summary, valid=0))
    case = ET.fromstring(junit(replace(data, cells=(none,)))).find(".//testcase")
    assert case.find("error") is None
    assert "no valid run" in case.find("failure").get("message")


def test_a_broken_proof_keeps_its_own_headline_and_is_damage(harmed_of):
    text = "proof broken: pins: VmPin of the holder is 0 KiB at `end`, 4 KiB were pinned"
    top = headline(harmed_of(text, "new", proof="broken"))
    assert (top.word, top.exit_code) == ("broken", 3)


@pytest.mark.parametrize(
    ("reason", "deed", "state"),
    [(DEAD, "lost its guest", "guest lost"),
     (REFUSED, "failed to update its guest", "guest not updated")],
)  # fmt: skip
def test_more_losses_or_failed_updates_in_b_are_a_regression(harmed_of, reason, deed, state):
    data = same_speed(harmed_of(reason, "new"))
    top = headline(data)
    assert (top.word, top.code, top.exit_code) == ("regressed", "fails-more-often", 1)
    assert top.sentence == f"anon on new: {deed} in 3 of 6 boots, old in 0 of 6"
    assert subject(data)[0].endswith(
        f"regressed: anon on new {deed} in 3 of 6 boots, old in 0 of 6"
    )
    table = comparison_table(data.comparisons[0], Look(120, colour=False, unicode=True)).plain
    assert f"{state}: A 0 of 6 boots, B 3 of 6" in table
    assert f"anon: B {deed} in 3 of 6 boots, A in 0 of 6" in table


def test_a_loss_in_a_alone_is_noted(harmed_of):
    data = same_speed(harmed_of(DEAD, "old"))
    top = headline(data)
    assert (top.word, top.exit_code) == ("same", 0)
    assert any("anon on old" in note and "lost in 3 of 6" in note for note in data.notes)
    (line,) = harm_lines(data.comparisons[0].cells[0])
    assert (line.text, line.tone) == ("guest lost: A 3 of 6 boots, B 0 of 6", "doubt")
    table = comparison_table(data.comparisons[0], Look(120, colour=False, unicode=True)).plain
    assert line.text in table


def test_the_table_of_a_session_counts_harmed_boots(harmed_of):
    summaries = [cell.summary for cell in harmed_of(RAM, "new").cells]
    table = summary_table(summaries, Look(120, colour=False, unicode=True)).plain
    assert table.count("guest damaged in 3 of 6 boots") == 1
    both = replace(summaries[0], boots=8, harmed_boots={"damage": 2, "loss": 1, "measurement": 1})
    assert harmed_text(both) == "guest damaged in 2 of 8 boots, guest lost in 1 of 8"
    assert harmed_text(replace(both, harmed_boots={"measurement": 3})) == ""


def test_damage_in_a_self_check_is_the_nights(harmed_of, report_data):
    """The baseline against itself is in no other part of a night's report."""
    columns = harmed_of(RAM, "old").columns
    check = compare(*(lean_runs(columns.where(columns.is_text("old_build", label)))
                      for label in ("old", "new")))  # fmt: skip
    top = night_headline(report_data, [check])
    assert (top.word, top.exit_code) == ("damaged", 3)
    assert top.sentence == "anon on old: guest damaged in 3 of 12 boots of the self-check"
    letter = replace(LETTER, self_checks=(check,))
    mail = message_from_bytes(night_mail(report_data, (), letter), policy=default)
    assert mail["Subject"] == "[pausebench qemu] damaged: anon on old in 3 of 12 boots"


@pytest.mark.parametrize("command", ["sweep ram", "matrix old new", "lab run", "run anon"])
def test_damage_outweighs_the_result_of_every_kind_of_session(harmed_of, command):
    data = harmed_of(RAM, "new")
    session = replace(data.session, command=("pausebench", *command.split()), environment={})
    plain = replace(data, sessions=(session,), comparisons=())
    assert (headline(plain).word, headline(plain).exit_code) == ("damaged", 3)


def test_a_lost_guest_of_a_matrix_is_invalid_and_a_refused_update_is_not(harmed_of):
    def status(reason, build):
        data = same_speed(harmed_of(reason, build))
        session = replace(data.session, command=("pausebench", "matrix", "old", "new"))
        (comparison,) = data.comparisons
        cells = tuple(replace(cell, more_failures=False) for cell in comparison.cells)
        comparison = replace(comparison, exit_code=0, cells=cells)
        return headline(replace(data, sessions=(session,), comparisons=(comparison,))).exit_code

    assert status(DEAD, "new") == 3
    assert status(REFUSED, "old") == 0
