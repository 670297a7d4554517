"""Phases in charts: each has its own position and colour."""

from __future__ import annotations

import re
from importlib import resources
from itertools import pairwise

from reports.html.phase_chart import RESIDUAL_COLOUR, UNKNOWN_COLOUR, in_order, phase_colour
from reports.html.svg import PHASES
from reports.terminal.waterfall import _GLYPHS, _STYLES
from results.timeline.marks import PHASE_NAMES, PHASE_SIDES, SHARING_PHASES

ORDER = [
    "cpr_save", "cpr_load", "target_init", "hold", "hang_up", "main_connect", "vcpu_stop",
    "quiesce", "save_start", "ram_setup", "state_save", "source_quit", "target_start",
    "state_load", "vfio_remap", "activation", "vm_start", "first_entry", "vfio_handover",
    "source_end",
]  # fmt: skip


def test_every_phase_has_its_own_position():
    assert in_order(sorted(PHASE_NAMES)) == ORDER
    assert in_order(["gone", *reversed(PHASE_NAMES)]) == [*ORDER, "gone"]


def test_every_phase_has_its_own_colour():
    colours = [phase_colour(name) for name in SHARING_PHASES]
    assert len(set(colours)) == len(colours)
    assert not {RESIDUAL_COLOUR, UNKNOWN_COLOUR} & set(colours)
    assert (phase_colour("residual"), phase_colour("gone")) == (RESIDUAL_COLOUR, UNKNOWN_COLOUR)


def test_every_colour_is_defined_in_the_page():
    css = resources.files("reports").joinpath("templates/report.css").read_text("utf-8")
    light = dict(re.findall(r"--phase-(\d+):(#\w{6})", css.partition("@media")[0]))
    assert list(map(int, light)) == list(range(len(PHASES)))
    assert len(set(light.values())) == len(light)
    assert all(a != b for a, b in pairwise(light.values()))


def test_every_side_is_drawn_in_a_terminal():
    assert set(PHASE_SIDES) == set(_STYLES) == set(_GLYPHS)
