"""What is named as what may have changed a level."""

from __future__ import annotations

from dataclasses import replace

import pytest

from results.history.explanation import explain, same_files
from results.history.kept import read_history
from results.stats.announcements import Announcement

from .conftest import build

CMDLINE = "root=/dev/vda1 ro quiet console=ttyS0,115200 crashkernel=512M "


def explained(nights, before, after, moved_at=8):
    """Fourteen nights with another level from the ninth on; facts are others from `moved_at` on."""
    for night in range(14):
        nights.add(
            night, 4.0 + 0.007 * (night % 3) + (2.0 if night >= 8 else 0.0),
            **(after if night >= moved_at else before),
        )  # fmt: skip
    (line,) = read_history(nights.store)
    (change,) = line.confirmed
    assert change.at == 8
    return explain(line, change)


@pytest.mark.parametrize(
    ("before", "after", "named"),
    [
        ({}, {}, ()),
        (
            {"builds": (build("next", "11.1.2", build_id="id0"),)},
            {"builds": (build("next", "11.1.3", build_id="id1"),)},
            ("QEMU 11.1.2 → 11.1.3", "build id id0 → id1"),
        ),
        (
            {"builds": (build("next", build_id="", sha256="aaa"),)},
            {"builds": (build("next", build_id="", sha256="bbb"),)},
            ("files of QEMU aaa → bbb",),
        ),
        (
            {"builds": (build("next", tree_sha256="t1"),)},
            {"builds": (build("next", tree_sha256="t2"),)},
            ("files of QEMU t1 → t2",),
        ),
        ({"microcode": "0x1"}, {"microcode": "0x2"}, ("microcode: 0x1 → 0x2",)),
        (
            {"governor": "powersave", "cmdline": "quiet"},
            {"governor": "performance", "cmdline": "quiet nosmt"},
            ("cmdline: quiet → quiet nosmt", "governor: powersave → performance"),
        ),
        (
            {"cmdline": CMDLINE + "mitigations=auto"},
            {"cmdline": CMDLINE + "mitigations=off"},
            ("cmdline: -mitigations=auto +mitigations=off",),
        ),
        ({"kernel": "6.12"}, {"kernel": "6.13"}, ("kernel: 6.12 → 6.13",)),
        ({"seed": "1", "order": "x"}, {"seed": "2", "order": "y"}, ()),
    ],
)
def test_each_recorded_difference_is_named(nights, before, after, named):
    """'Nothing that is recorded changed' is said of nights that differ in nothing recorded."""
    assert explained(nights, before, after) == named


@pytest.mark.parametrize(("moved_at", "text"), [(7, "1 night earlier"), (10, "2 nights later")])
def test_what_changed_a_few_nights_off_is_named_with_its_distance(nights, moved_at, text):
    found = explained(nights, {}, {"microcode": "0x2"}, moved_at)
    assert found == (f"microcode: 0x1 → 0x2 ({text})",)


def test_what_changed_long_before_is_not_named(nights):
    assert explained(nights, {}, {"microcode": "0x2"}, 3) == ()


def test_both_builds_of_an_upgrade_are_named(nights):
    for night in range(14):
        nights.add(night, 4.0 + 0.007 * (night % 3) + (2.0 if night >= 8 else 0.0))
    (line,) = read_history(nights.store)
    points = [
        replace(p, old=build("a", "10.0.2"), new=build("b", f"11.{i // 8}"))
        for i, p in enumerate(line.points)
    ]
    upgrade = replace(
        line, points=tuple(points), key=replace(line.key, old_build="a", new_build="b")
    )
    assert explain(upgrade, line.confirmed[0]) == ("new QEMU 11.0 → 11.1",)


def test_a_drift_is_explained_by_its_ends(nights):
    nights.add_level(0, 14, 4.0)
    (line,) = read_history(nights.store)
    points = tuple(
        replace(p, record=replace(p.record, environment={"ksm": str(i >= 6)}))
        for i, p in enumerate(line.points)
    )
    drift = Announcement("drift", 4, 13, 4.0, 4.4, 13, confirmed_on=13)
    assert explain(replace(line, points=points), drift) == ("ksm: False → True",)


@pytest.mark.parametrize(
    ("old", "new", "same"),
    [
        # An older version of pausebench recorded no hash of the tree: nothing changed with it.
        (build("x"), build("x", tree_sha256="t"), True),
        (build("x", sha256=""), build("x", tree_sha256="t"), True),
        (build("x", sha256="a"), build("x", sha256="b", tree_sha256="t"), False),
        (build("x", tree_sha256="t"), build("x", tree_sha256="u"), False),
        (build("x", build_id="", sha256="a"), build("x", build_id="", sha256="b"), False),
        (build("x", "11.1.2", sha256=""), build("x", "11.1.3", sha256=""), False),
        # Another version of one binary's package has other libraries or firmware.
        (build("x", "11.1.2-1"), build("x", "11.1.2-2"), False),
    ],
)
def test_a_build_is_the_same_by_the_most_that_is_recorded_of_both(old, new, same):
    assert same_files(old, new) is same
