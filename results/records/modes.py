"""The modes of an update: what each promises, so that a run can be held to it.

To add a mode, add its row here and a module of its name to runners/transfer.

Sources: QEMU's docs/devel/migration/CPR.rst, postcopy.rst and mapped-ram.rst, and what real runs of
QEMU 10.0 to 11.1 did.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from .scenario import Mode

Ram = Literal["stays", "streamed", "filed"]


@dataclass(frozen=True, slots=True)
class Promise:
    """The contract of one mode.

    `needs` is the migration mode that a build must support, empty if every build does. `ram`: it
    stays in place, is streamed from old to new QEMU, or goes through a file. `held`: both QEMUs are
    up and their vCPU threads known before the guest stops. `one_process`: old QEMU becomes new by
    execve. `descriptors` are passed over the cpr channel. `depends` is what the pause grows with.
    """

    about: str
    needs: str
    ram: Ram
    held: bool
    one_process: bool
    descriptors: bool
    depends: str


PROMISES: dict[Mode, Promise] = {
    "cpr-transfer": Promise(
        "new QEMU receives RAM and descriptors from old by SCM_RIGHTS",
        "cpr-transfer", "stays", True, False, True,
        "device state; hardly on RAM, which stays in place",
    ),
    "precopy": Promise(
        "RAM is copied over a unix socket while the guest runs",
        "", "streamed", True, False, False,
        "how fast the guest writes: what is left when it stops (downtime-limit bounds it)",
    ),
    "precopy-multifd": Promise(
        "like precopy, over four parallel channels",
        "", "streamed", True, False, False,
        "how fast the guest writes: what is left when it stops (downtime-limit bounds it)",
    ),
    "postcopy": Promise(
        "the guest moves first, and fetches each page when it accesses it",
        "", "streamed", True, False, False,
        "device state; RAM costs time later, by page faults of the running guest",
    ),
    "cpr-reboot": Promise(
        "old QEMU saves to a file and exits, then new QEMU starts and loads it",
        "cpr-reboot", "filed", False, False, False,
        "RAM that is in use, written and read back, and the start of a QEMU",
    ),
    "cpr-exec": Promise(
        "QEMU replaces itself by execve; descriptors stay open",
        "cpr-exec", "stays", False, True, False,
        "device state and the start of a QEMU; hardly on RAM, which stays in place",
    ),
    "snapshot": Promise(
        "stop, save to a file, quit; a new QEMU restores it: possible without CPR",
        "", "filed", False, False, False,
        "RAM that is in use, written and read back, and the start of a QEMU",
    ),
}  # fmt: skip

MODES: tuple[Mode, ...] = tuple(PROMISES)
