"""Values on the command line: sizes, times, counts and budgets from text."""

from __future__ import annotations

import argparse
import math
import re
from pathlib import Path
from typing import NamedTuple

from results.errors import UsageError

BUDGET = "[SCENARIO=]TIME[:PERCENT]"  # how a budget is written, for help texts
EVERY = "*"  # in place of a scenario
_UNITS_NS = {"us": 1_000, "µs": 1_000, "ms": 1_000_000, "s": 1_000_000_000}
_MOST_COUNT = 1_000_000
_MOST_DIGITS = 18
_UNITS_BYTES = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}


class TimeBudget(NamedTuple):
    """The time that `share` of a scenario's runs must stay under.

    `scenario` is EVERY for all scenarios without a budget of their own; `share` is None if none was
    given.
    """

    scenario: str
    limit_ns: int
    share: float | None = None


def parse_budget(text: str) -> TimeBudget:
    """`10ms`, `50:99`, `anon=500us` → the budget; a plain number is in ms. Raises UsageError."""
    scenario, sign, value = text.rpartition("=")
    limit, colon, percent = value.partition(":")
    limit_ns, share = _time_ns(limit), _number(percent) / 100.0 if colon else None
    if limit_ns is None or (sign and not scenario) or not (share is None or 0 < share <= 1):
        raise UsageError(f"invalid budget `{text}`: expected {BUDGET}, e.g. 10ms or anon=500us:99")
    return TimeBudget(scenario or EVERY, limit_ns, share)


def budget(text: str) -> TimeBudget:
    """`parse_budget` for argparse."""
    try:
        return parse_budget(text)
    except UsageError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _time_ns(text: str) -> int | None:
    """A time like `10ms`, `500us` or `1.5s`, or a plain number of ms; None for anything else."""
    match = re.fullmatch(r"(\d{1,9}(?:\.\d{1,9})?)\s*(us|µs|ms|s)", text)
    if match is not None:
        return round(float(match[1]) * _UNITS_NS[match[2]]) or None
    ms = _number(text)
    return round(ms * 1e6) if 0 < ms < 1e9 else None


def _number(text: str) -> float:
    """NaN, which is within no bounds, for a malformed number."""
    try:
        return float(text)
    except ValueError:
        return math.nan


def path(text: str) -> Path:
    """A path, for argparse. An empty one, as of an unset variable, would mean the directory."""
    if not text:
        raise argparse.ArgumentTypeError("the path is empty")
    return Path(text)


def positive(text: str) -> int:
    """An integer from 1, for argparse."""
    if not re.fullmatch(r"\s*\+?[0-9_]+\s*", text) or not text.strip(" \t0+_"):
        raise argparse.ArgumentTypeError(f"`{text}` is not an integer from 1")
    # int() refuses very many digits, and all of these are too many.
    if len(text) > _MOST_DIGITS or int(text) > _MOST_COUNT:
        raise argparse.ArgumentTypeError(f"`{text}` is larger than {_MOST_COUNT}")
    return int(text)


def seed(text: str) -> int:
    """The seed of a random order, for argparse."""
    if not re.fullmatch(r"-?[0-9]+", text):
        raise argparse.ArgumentTypeError(f"`{text}` is not an integer")
    if len(text) > _MOST_DIGITS:
        raise argparse.ArgumentTypeError(f"`{text}` is too large: expected up to 18 digits")
    return int(text)


def parse_size(text: str) -> int:
    """`256M`, `1G`, `1.5G` or plain bytes → bytes. Raises UsageError."""
    # 18 digits: no memory is larger, and float() of many more digits is infinite.
    match = re.fullmatch(r"(\d{1,18}(?:\.\d+)?)\s*([KMGT]?)(?:i?B)?", text.strip(), re.IGNORECASE)
    if match is None:
        raise UsageError(f"invalid size `{text}`: expected e.g. 256M or 1G")
    return int(float(match[1]) * _UNITS_BYTES[match[2].upper()])
