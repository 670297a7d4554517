"""How long to wait for others: longer in the lab, where a processor is emulated."""

from __future__ import annotations

import os

LAB_VARIABLE = "PAUSEBENCH_LAB"  # set in the lab: the machine and the QEMU that it runs on
_LAB_FACTOR = 5.0


def patient(seconds: float) -> float:
    """A bound for this machine. Bounds only end what hangs, so a longer one changes no result."""
    return seconds * (_LAB_FACTOR if os.environ.get(LAB_VARIABLE) else 1.0)
