"""Values of the command line, from text: sizes, times, counts and budgets."""

from __future__ import annotations

import argparse
import math
import re
from typing import TYPE_CHECKING

from results.errors import UsageError
from results.records.scenario import GIB, MIB

if TYPE_CHECKING:
    from results.summary.report_data import Limit


def parse_budget(text: str) -> tuple[str, Limit]:
    """`50`, `50:99`, `anon=50:99` → the scenario (`*` for all) and its limit."""
    from results.summary.report_data import Limit

    scenario, sign, value = text.rpartition("=")
    limit, colon, share = value.partition(":")
    try:
        ms, percent = float(limit), float(share) if colon else 95.0
    except ValueError:
        ms = percent = math.nan
    if not (0 < ms < 1e9 and 0 < percent <= 100) or (sign and not scenario):
        raise UsageError(f"--budget {text}: takes [SCENARIO=]MS[:PERCENT], like 50 or anon=8:99")
    return scenario or "*", Limit(round(ms * 1e6), percent / 100.0)


_UNITS_NS = {"us": 1_000, "µs": 1_000, "ms": 1_000_000, "s": 1_000_000_000}


def positive(text: str) -> int:
    """A whole number from 1, for argparse."""
    try:
        number = int(text)
    except ValueError:
        number = 0
    if not 1 <= number <= 1_000_000:
        raise argparse.ArgumentTypeError(f"`{text}` is no whole number from 1")
    return number


def duration(text: str) -> int:
    """A time like `10ms`, `500us` or `1.5s` in ns, for argparse."""
    match = re.fullmatch(r"(\d{1,9}(?:\.\d{1,9})?)\s*(us|µs|ms|s)", text)
    ns = round(float(match[1]) * _UNITS_NS[match[2]]) if match else 0
    if ns <= 0:
        raise argparse.ArgumentTypeError(f"`{text}` is no time like 10ms, 500us or 1s")
    return ns


_UNITS = {"": 1, "K": 1 << 10, "M": MIB, "G": GIB, "T": 1 << 40}


def parse_size(text: str) -> int:
    """`256M`, `1G`, `1.5G` or plain bytes → bytes. Raises UsageError."""
    # 18 digits: more is no memory, and float() of much more is infinite.
    match = re.fullmatch(r"(\d{1,18}(?:\.\d+)?)\s*([KMGT]?)(?:i?B)?", text.strip(), re.IGNORECASE)
    if match is None:
        raise UsageError(f"`{text}` is no size: write it like 256M or 1G")
    return int(float(match[1]) * _UNITS[match[2].upper()])
