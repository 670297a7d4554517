"""The claims about assigned devices, put to the test in the lab where it has been made."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import replace

from bench.studies import lab
from results.errors import PausebenchError
from results.records.scenario import Build
from results.store.store import Store
from runners.lab.root import current_root

from .vfio_devices import Tested, untested

# The first is driven by the payload; both have a reset, without which new QEMU cannot take them.
DEVICES = ("edu", "nvme")
_LIMIT_S = 300


def in_the_lab(
    store: Store,
    builds: Sequence[Build],
    command: Sequence[str],
    limit_s: int,
    note: Callable[[str], None],
) -> Tested:
    """What the lab's own `pausebench claims` finds; it takes `limit_s` at the most.

    A build that the lab does not have is told of as not testable: QEMU in the lab is that of the
    suite the lab is made of.
    """
    root = current_root()
    if root is None:
        return Tested(untested(builds, "no lab has been made here: make lab"))
    version = release(root.qemu)
    meant = [build for build in builds if build.version.split()[0] == version]
    others = [build for build in builds if build not in meant]
    findings = untested(others, f"the lab has QEMU {version} alone")
    if not meant:
        return Tested(findings, "", [f"the lab has QEMU {version}, which is none of these builds"])
    note(f"the lab: transfers with an assigned device, QEMU {version}")
    try:
        session, document = lab.claims(root, DEVICES, min(limit_s, _LIMIT_S), store, command)
    except PausebenchError as error:
        return Tested([*findings, *untested(meant, f"the lab: {error}")])
    label = meant[0].label
    brought = [
        replace(found, build=label, test=f"{found.test}, in the lab") for found in document.findings
    ]
    notes = [f"in the lab: {words}" for words in document.notes]
    return Tested([*findings, *brought], session.id, notes)


def release(package: str) -> str:
    """`11.1.3` of a package's version like `1:11.1.3+ds-1~bpo13+1`, with or without the epoch."""
    match = re.match(r"(?:\d+:)?(\d+(?:\.\d+)*)", package)
    return match[1] if match else package
