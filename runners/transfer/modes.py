"""The class that implements each mode of transfer."""

from __future__ import annotations

from results.records.scenario import Mode

from .base import Transfer
from .cpr_exec import CprExec
from .cpr_reboot import CprReboot
from .cpr_transfer import CprTransfer
from .postcopy import Postcopy
from .precopy import Precopy
from .precopy_multifd import PrecopyMultifd
from .snapshot import Snapshot

TRANSFERS: dict[Mode, type[Transfer]] = {
    "cpr-transfer": CprTransfer,
    "precopy": Precopy,
    "precopy-multifd": PrecopyMultifd,
    "postcopy": Postcopy,
    "cpr-reboot": CprReboot,
    "cpr-exec": CprExec,
    "snapshot": Snapshot,
}
