"""Figures and names that every report writes the same way."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest

from reports.formats.junit import junit
from reports.formats.markdown import markdown
from reports.formats.markdown_tables import escaped
from reports.headline import headline
from reports.html.page import html_report
from reports.terminal.comparison import comparison_table
from reports.terminal.session import summary_table
from reports.terminal.style import Look
from reports.wording import device_text, phase_text, shift_text
from results.comparison.compare import Comparison
from results.comparison.verdict import Cell

DEVICE = "device: 120 DMA operations, none lost or repeated, longest gap 158 ms"


@pytest.mark.parametrize(
    ("figures", "text"),
    [
        ({}, ""),
        ({"device_operations": 10, "device_gap_ns": 158_000_000},
         "device: 10 DMA operations, none lost or repeated, longest gap 158 ms"),
        ({"device_operations": 10, "device_troubles": 2},
         "device: 10 DMA operations, errors in 2 runs"),
        ({"device_troubles": 1, "device_gap_ns": 40_000},
         "device: 0 DMA operations, errors in 1 run, longest gap 0.040 ms"),
    ],
)  # fmt: skip
def test_a_device_in_one_line(summaries, figures, text):
    assert device_text(replace(summaries[0], **figures)) == text


def test_a_device_is_in_every_report_for_people(driven):
    summaries = [cell.summary for cell in driven.cells]
    assert summary_table(summaries, Look(140)).plain.count(DEVICE) == 4
    for cell in driven.cells:
        assert f'<p class="sub">{DEVICE} on {cell.builds}</p>' in html_report(driven)
        line = f"- {escaped(f'{cell.summary.scenario} on {cell.builds}, {DEVICE}')}"
        assert line in markdown(driven).splitlines()


def test_without_a_device_nothing_is_printed(report_data):
    assert "DMA" not in html_report(report_data)
    assert "DMA" not in markdown(report_data)


# --- phases that did not occur in every boot ------------------------------------------------


def test_a_phase_of_some_boots_says_in_how_many(summaries):
    boots = dict.fromkeys(summaries[0].phases, 6) | {"quiesce": 4, "hang_up": 1}
    summary = replace(summaries[0], phase_boots=boots, valid_boots=6)
    assert phase_text(summary, "state_load") == "1.19 ms"
    assert phase_text(summary, "quiesce") == "1.20 ms (in 4 of 6 boots)"
    assert phase_text(summary, "hang_up") == "0 ms (in 1 of 6 boots)"
    table = summary_table([summary], Look(200)).plain
    assert "quiesce 1.20 ms (in 4 of 6 boots), state load 1.19 ms, state save" in table


def test_a_rare_phase_is_in_the_table_of_phases(report_data):
    """It has a mean share; its median is 0, and the boots that had it are given."""
    first, *others = report_data.cells
    summary = replace(
        first.summary, phases={k: v for k, v in first.summary.phases.items() if k != "activation"},
        phase_boots=first.summary.phase_boots | {"activation": 1},
    )  # fmt: skip
    page = html_report(replace(report_data, cells=(replace(first, summary=summary), *others)))
    row = page[page.index("<td>activation</td>") :].partition("</tr>")[0]
    assert "<td>0 ms (in 1 of 6 boots)</td>" in row


# --- figures that stand next to each other agree --------------------------------------------


def test_a_median_of_ratios_is_called_one(report_data):
    """1.00 ms is 38 % less than 1.62 ms: a reader who divides must know that -30 % is no quotient.

    Every percentage of QEMU's downtime is the same figure, the only one that compares each run with
    itself.
    """
    first, *others = report_data.cells
    summary = replace(
        first.summary, median_ns=1_620_000, low_ns=None, high_ns=None, qemu_median_ns=1_000_000,
        qemu_error_percent=-30.0,
    )  # fmt: skip
    shown = replace(report_data, cells=(replace(first, summary=summary), *others))
    pages = (
        html_report(shown),
        markdown(shown),
        summary_table([summary], Look(140, unicode=True)).plain,
    )
    for text in pages:
        assert "−30 %" in text
        assert "−38 %" not in text
        assert re.search("median (of ratios|ratio)", text[: text.index("−30 %")])


def disagreeing(method="blocks"):
    """Medians over all boots fall by 0.01 ms, the shift between boots of one block is +0.26 ms."""
    return Cell(
        "anon", "blackout", "regressed", median_a_ns=1_820_000, median_b_ns=1_810_000,
        shift_ns=260_000, low_ns=100_000, high_ns=400_000, shift_percent=14.3, n_a=6, n_b=6,
        p=0.01, p_adjusted=0.01, threshold_ns=90_000, method=method,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("method", "why"),
    [("blocks", "boots of the same blocks"), ("pooled", "all pairs of boots")],
)
def test_where_medians_and_shift_disagree_it_says_why(method, why):
    cell = disagreeing(method)
    text = shift_text(cell)
    assert text.startswith("+0.260 [+0.100, +0.400] ms (+14 %)")
    assert why in text
    assert "1.82 → 1.81" not in text
    agreeing = replace(cell, median_b_ns=2_080_000)
    assert shift_text(agreeing) == "1.82 → 2.08 ms, +0.260 [+0.100, +0.400] ms (+14 %)"


def test_a_shift_that_no_interval_bounds_disagrees_by_its_sign():
    cell = replace(disagreeing("pooled"), low_ns=None, high_ns=None)
    assert "all pairs of boots" in shift_text(cell)
    assert "all pairs" not in shift_text(replace(cell, median_b_ns=1_850_000))


def test_every_report_for_people_says_why_they_disagree(report_data):
    comparison = replace(report_data.comparisons[0], cells=(disagreeing(),))
    shown = replace(report_data, comparisons=(comparison,))
    table = comparison_table(Comparison("old", "new", (disagreeing(),), 1), Look(100)).plain
    pages = (html_report(shown), markdown(shown), junit(shown), headline(shown).sentence, table)
    for text in pages:
        assert "boots of the same blocks" in " ".join(text.split())


def test_one_page_has_one_median_of_the_blackout(report_data):
    """Of the cell's median over boots and the median over all runs only the first is shown."""
    first, *others = report_data.cells
    summary = replace(first.summary, median_ns=3_050_000, low_ns=None, high_ns=None)
    text = html_report(replace(report_data, cells=(replace(first, summary=summary), *others)))
    row = text[text.index("KVM_RUN bracket") :].partition("</tr>")[0]
    assert "<td>3.05 ms</td>" in row
    (over_boots,) = {t.median_ns for t in others[0].testimonies if t.witness == "kvm"}
    assert f"<td>{over_boots / 1e6:.2f} ms</td>" in row
