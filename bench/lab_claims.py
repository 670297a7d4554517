"""The claims about assigned devices, put to the test in the lab where it has been made."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence

from results.claim_checks import VFIO_IDS, VFIO_PINS, TimelineCheck, decide
from results.claims import Finding
from results.errors import PausebenchError
from results.records import Build, Run
from results.store import Store
from runners.lab.modules import has_iommufd
from runners.lab.root import current_root

from . import lab
from .scenarios import BUILTIN, find_scenario

SCENARIOS = ("vfio-type1", "vfio-iommufd")
_LIMIT_S = 200
_CHECKS: tuple[TimelineCheck, ...] = (VFIO_PINS, VFIO_IDS)


def in_the_lab(
    store: Store,
    builds: Sequence[Build],
    command: Sequence[str],
    limit_s: int,
    note: Callable[[str], None],
) -> tuple[list[Finding], str, list[str]]:
    """Findings, the lab's session, and what was left out and why; it takes `limit_s` at the most.

    A build that the lab does not have is told of as not testable: QEMU in the lab is that of the
    suite the lab is made of.
    """
    root = current_root()
    if root is None:
        return _untested(builds, "no lab has been made here: make lab"), "", []
    version = release(root.qemu)
    meant = [build for build in builds if build.version.split()[0] == version]
    others = [build for build in builds if build not in meant]
    findings = _untested(others, f"the lab has QEMU {version} alone")
    if not meant:
        return findings, "", [f"the lab has QEMU {version}, which is none of these builds"]
    note(f"the lab: transfers with an assigned device, QEMU {version}")
    wishes = lab.Wishes(("edu",), 1, 2, None, None, None, min(limit_s, _LIMIT_S))
    scenarios = [
        find_scenario(name, BUILTIN)
        for name in SCENARIOS
        if name != "vfio-iommufd" or has_iommufd(root)
    ]
    try:
        session, runs = lab.measure(scenarios, wishes, store, command)
    except PausebenchError as error:
        return [*findings, *_untested(meant, f"the lab: {error}")], "", []
    return [*findings, *judged(runs, store, meant[0].label)], session.id, []


def judged(runs: Iterable[Run], store: Store, build: str) -> list[Finding]:
    """What transfers with assigned devices say, by the way in which they were assigned."""
    found = []
    recordings = [store.recording(run.id) for run in runs]
    for vfio in dict.fromkeys(r.scenario.vfio for r in recordings):
        mine = [r for r in recordings if r.scenario.vfio == vfio]
        found += [
            decide(check, build, mine, f"{check.test} ({vfio}, in the lab)") for check in _CHECKS
        ]
    return found


def _untested(builds: Sequence[Build], why: str) -> list[Finding]:
    return [
        Finding("claim", check.claim, build.label, check.test, "not testable", why)
        for build in builds
        for check in _CHECKS
    ]


def release(package: str) -> str:
    """`11.1.3` of a package's version like `1:11.1.3+ds-1~bpo13+1`, with or without the epoch."""
    match = re.match(r"(?:\d+:)?(\d+(?:\.\d+)*)", package)
    return match[1] if match else package
