"""How each mode other than cpr-transfer drives an update."""

from __future__ import annotations

from results.records.scenario import Mode
from runners.transfer.cpr_exec import CprExec
from runners.transfer.file_based import CprReboot, Snapshot
from runners.transfer.precopy import Postcopy, Precopy, PrecopyMultifd

from .base import (
    Drive,
)

DRIVES: dict[Mode, type[Drive]] = {
    "cpr-transfer": Drive,
    "precopy": Precopy,
    "precopy-multifd": PrecopyMultifd,
    "postcopy": Postcopy,
    "cpr-reboot": CprReboot,
    "cpr-exec": CprExec,
    "snapshot": Snapshot,
}
