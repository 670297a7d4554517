"""The claims about assigned devices, tested in the lab VM if it has been made."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import replace

from bench.studies import lab
from results.errors import PausebenchError
from results.records.scenario import Build
from results.store.store import Store
from runners.lab.root import current_root

from .vfio_devices import DeviceFindings, untested

# The payload drives the first. Both have a reset, without which new QEMU cannot use them.
DEVICES = ("edu", "nvme")
_LIMIT_S = 300


def in_the_lab(
    store: Store,
    builds: Sequence[Build],
    command: Sequence[str],
    limit_s: int,
    note: Callable[[str], None],
) -> DeviceFindings:
    """The findings of `pausebench claims` run in the lab, in at most `limit_s`.

    Only the QEMU of the suite that the lab is made of can be tested; the other builds are not
    testable.
    """
    root = current_root()
    if root is None:
        return DeviceFindings(untested(builds, "there is no lab: run `make lab`"))
    version = release(root.qemu)
    same = [build for build in builds if build.version.split()[0] == version]
    others = [build for build in builds if build not in same]
    findings = untested(others, f"the lab only has QEMU {version}")
    if not same:
        return DeviceFindings(
            findings, "", [f"the lab has QEMU {version}, not one of these builds"]
        )
    note(f"in the lab: transfers with an assigned device, QEMU {version}")
    try:
        session, document = lab.claims(root, DEVICES, min(limit_s, _LIMIT_S), store, command)
    except PausebenchError as error:
        return DeviceFindings([*findings, *untested(same, f"in the lab: {error}")])
    label = same[0].label
    brought = [
        replace(found, build=label, test=f"{found.test}, in the lab") for found in document.findings
    ]
    notes = [f"in the lab: {text}" for text in document.notes]
    return DeviceFindings([*findings, *brought], session.id, notes)


def release(package: str) -> str:
    """The upstream part of a package's version: `11.1.3` of `1:11.1.3+ds-1~bpo13+1`."""
    match = re.match(r"(?:\d+:)?(\d+(?:\.\d+)*)", package)
    return match[1] if match else package
