"""Which class transfers a guest in which mode."""

from __future__ import annotations

from importlib import import_module

from results.records.modes import MODES
from results.records.scenario import Mode

from .base import Transfer


def transfer_class(mode: Mode) -> type[Transfer]:
    """The `TRANSFER` of the module that is named like the mode: cpr_transfer for cpr-transfer."""
    module = import_module(f".{mode.replace('-', '_')}", __package__)
    found: type[Transfer] = module.TRANSFER
    return found


TRANSFERS: dict[Mode, type[Transfer]] = {mode: transfer_class(mode) for mode in MODES}
