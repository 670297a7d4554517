"""What that is recorded of two nights differs where the level of a line changed."""

from __future__ import annotations

from results.records.scenario import Build
from results.stats.announcements import Announcement
from results.summary.environment import fact_changes

from .lines import Line

# A step is located to a few nights, and a fact may have changed in any of them.
_NEAR = 3
_CUT = 80


def explain(line: Line, change: Announcement) -> tuple[str, ...]:
    """What changed with a step, or between the first and the last night of a drift.

    Where nothing did, what changed up to three nights before or after a step, with the night's
    distance. Empty where nothing that is recorded changed.
    """
    last = len(line.points) - 1
    if change.kind == "drift":
        return _differences(line, change.at - 1, min(change.until, last))
    for distance in range(_NEAR + 1):
        nights = dict.fromkeys((change.at - distance, change.at + distance))
        found = tuple(
            fact + _distance(night - change.at)
            for night in nights
            if 0 < night <= last
            for fact in _differences(line, night - 1, night)
        )
        if found:
            return found
    return ()


def _distance(nights: int) -> str:
    if not nights:
        return ""
    return (
        f" ({abs(nights)} night{'' if abs(nights) == 1 else 's'} "
        f"{'earlier' if nights < 0 else 'later'})"
    )


def _differences(line: Line, first: int, second: int) -> tuple[str, ...]:
    """Builds first, then facts of the host; those known to move pauses before the others."""
    before, after = line.points[first], line.points[second]
    if line.key.old_build == line.key.new_build:
        builds = _builds("QEMU", before.new, after.new)
    else:
        builds = (
            *_builds("old QEMU", before.old, after.old),
            *_builds("new QEMU", before.new, after.new),
        )
    return (*builds, *map(_short, fact_changes(before.record, after.record)))


def _builds(name: str, before: Build | None, after: Build | None) -> tuple[str, ...]:
    if before is None or after is None or same_files(before, after):
        return ()
    facts = (
        (name, before.version, after.version),
        ("build id", before.build_id[:12], after.build_id[:12]),
    )
    found = tuple(f"{what} {old} → {new}" for what, old, new in facts if old != new)
    # Libraries and firmware of an unpacked tree, or a binary without a build id.
    return found or (f"files of {name} {before.identity[:12]} → {after.identity[:12]}",)


def same_files(before: Build, after: Build) -> bool:
    """Whether both are the same build, by the most that is recorded of both.

    Earlier versions recorded no hash of a tree, and some records no hash at all: then the binary's
    hash or build id stand for it. Another version of a package has other libraries or firmware.
    """
    if before.tree_sha256 and after.tree_sha256:
        return before.tree_sha256 == after.tree_sha256
    hashed = before.sha256 and after.sha256
    old, new = (
        (build.sha256 if hashed else build.build_id, build.version) for build in (before, after)
    )
    return old == new


def _short(fact: str) -> str:
    """A fact with long values cut around where they begin to differ, such as kernel parameters."""
    key, _, values = fact.partition(": ")
    old, arrow, new = values.partition(" → ")
    if len(values) <= _CUT or not arrow:
        return fact
    was, now = old.split(), new.split()
    gone = [f"-{word}" for word in was if word not in now]
    come = [f"+{word}" for word in now if word not in was]
    words = " ".join([*gone, *come]) or "in another order"
    return f"{key}: {words if len(words) <= _CUT else words[:_CUT] + '…'}"
