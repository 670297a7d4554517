"""What every report says in the same words."""

from __future__ import annotations

from dataclasses import replace

import pytest

from reports.formats.markdown import markdown, say
from reports.html.page import html_report
from reports.terminal.session import summary_table
from reports.terminal.style import Look
from reports.wording import device_text

DEVICE = "device: 120 DMA operations, none lost or repeated, longest gap 158 ms"


@pytest.mark.parametrize(
    ("figures", "text"),
    [
        ({}, ""),
        ({"device_operations": 10, "device_gap_ns": 158_000_000},
         "device: 10 DMA operations, none lost or repeated, longest gap 158 ms"),
        ({"device_operations": 10, "device_troubles": 2},
         "device: 10 DMA operations, in trouble in 2 runs"),
        ({"device_troubles": 1, "device_gap_ns": 40_000},
         "device: 0 DMA operations, in trouble in 1 runs, longest gap 0.040 ms"),
    ],
)  # fmt: skip
def test_a_device_in_one_line(summaries, figures, text):
    assert device_text(replace(summaries[0], **figures)) == text


def test_a_device_stands_in_every_report_for_people(driven):
    summaries = [cell.summary for cell in driven.cells]
    assert summary_table(summaries, Look(140)).plain.count(DEVICE) == 4
    for cell in driven.cells:
        assert f'<p class="sub">{DEVICE} on {cell.builds}</p>' in html_report(driven)
        line = f"- {say(f'{cell.summary.scenario} on {cell.builds}, {DEVICE}')}"
        assert line in markdown(driven).splitlines()


def test_no_device_is_no_line(material):
    assert "DMA" not in html_report(material)
    assert "DMA" not in markdown(material)
