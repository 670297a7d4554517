"""Timeouts, scaled up in the lab, where the CPU is emulated."""

from __future__ import annotations

import os

LAB_VARIABLE = "PAUSEBENCH_LAB"  # set in the lab: describes the machine and QEMU it runs on
_LAB_FACTOR = 5.0


def scaled_timeout(seconds: float) -> float:
    """`seconds`, scaled for this machine. A timeout only ends what hangs: it affects no result."""
    return seconds * (_LAB_FACTOR if os.environ.get(LAB_VARIABLE) else 1.0)
