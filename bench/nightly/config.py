"""The configuration of a nightly job, a TOML file: checked completely before anything starts."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated

import msgspec

from bench.arguments import EVERY, parse_budget
from bench.measurement.budgets import limit_of
from reports.formats.registry import find_format
from results.comparison.plan import (
    NIGHTLY_BOOTS,
    NIGHTLY_COMPARISONS,
    NIGHTLY_UPDATES,
    planned_boots,
    planned_self_check,
)
from results.comparison.verdict import Thresholds
from results.errors import UsageError
from results.summary.report_cells import Limit
from results.summary.report_data import ReportOptions

_NAME = re.compile(r"[a-z0-9][a-z0-9.-]{0,39}")
_DURATION = re.compile(r"([0-9]{1,6})([smh])")
_SECONDS = {"s": 1, "m": 60, "h": 3600}

Count = Annotated[int, msgspec.Meta(ge=1, le=1_000_000)]
Percent = Annotated[float, msgspec.Meta(ge=0, le=100)]


class Builds(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`system`, a path, `debian:SUITE` (fetched once a day), or `newest:DIRECTORY`."""

    baseline: str
    candidate: str


class Measure(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Scenarios, boots of each build (as many as the table of rates says), updates of each boot."""

    scenarios: Annotated[list[str], msgspec.Meta(min_length=1)]
    boots: Count | None = None
    updates: Count = NIGHTLY_UPDATES
    scenario_file: str = ""


class SelfCheck(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Scenarios in which the baseline is compared with itself, for the noise floor."""

    scenarios: tuple[str, ...] = ()
    boots: Count | None = None


class Judge(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The smallest change that counts, and whether undecided is a failure."""

    relative_percent: Percent = Thresholds().relative * 100.0
    absolute_ms: Annotated[float, msgspec.Meta(ge=0, le=1e6)] = Thresholds().absolute_ns / 1e6
    strict: bool = False


class Quiet(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """At most `busy_percent` of the host's CPUs may be busy; wait for that at most `wait`."""

    busy_percent: Percent = 15.0
    wait: str = "30m"


class Retention(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Days after which raw recordings and reports are deleted; results stay. 0 keeps all."""

    raw_days: Annotated[int, msgspec.Meta(ge=0)] = 30
    report_days: Annotated[int, msgspec.Meta(ge=0)] = 365


class Outputs(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where the reports of a night are written (a directory per night), in which formats."""

    directory: str = ""
    formats: tuple[str, ...] = ("html", "markdown", "junit", "json")


class Mail(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Addresses of the mail, which is written but not sent: `sendmail -t < mail.eml`."""

    sender: str = "pausebench@localhost"
    to: str = "root@localhost"


class NightlyConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One nightly job. Paths are relative to the file."""

    name: str
    builds: Builds
    measure: Measure
    store: str = "out"
    # A session that each night is also compared with; empty: the first with 6 boots.
    anchor: str = ""
    self_check: SelfCheck = SelfCheck()
    budgets: dict[str, str] = {}
    judge: Judge = Judge()
    quiet: Quiet = Quiet()
    retention: Retention = Retention()
    outputs: Outputs = Outputs()
    mail: Mail = Mail()

    def report_options(self) -> ReportOptions:
        """Budgets and thresholds to judge the night by."""
        limits = dict(_limit(name, text) for name, text in self.budgets.items())
        judge = self.judge
        thresholds = Thresholds(judge.relative_percent / 100.0, round(judge.absolute_ms * 1e6))
        return ReportOptions(limits, thresholds, judge.strict)

    @property
    def boots(self) -> int:
        """Boots of each build and scenario. Raises UsageError for too few to call any change."""
        cells = len(dict.fromkeys(self.measure.scenarios))
        return planned_boots(self.measure.boots, NIGHTLY_BOOTS, cells, NIGHTLY_COMPARISONS)

    @property
    def self_check_boots(self) -> int:
        """Boots of each side of the self-check. Raises UsageError for too few to be used."""
        return planned_self_check(self.self_check.boots)

    @property
    def wait_seconds(self) -> int:
        match = _DURATION.fullmatch(self.quiet.wait)
        return int(match[1]) * _SECONDS[match[2]] if match else 0


def load_config(path: Path) -> NightlyConfig:
    """Read a configuration. Raises UsageError that names the file and the key."""
    try:
        config = msgspec.toml.decode(path.read_bytes(), type=NightlyConfig)
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror or error}") from error
    except (msgspec.MsgspecError, UnicodeDecodeError, ValueError) as error:
        raise UsageError(f"{path}: {error}") from error
    except RecursionError:
        raise UsageError(f"{path}: it is nested too deeply") from None
    _check(path, config)
    return config


def _limit(scenario: str, text: str) -> tuple[str, Limit]:
    budget = parse_budget(f"{scenario}={text}" if scenario != EVERY else text)
    return budget.scenario, limit_of(budget)


def _check(path: Path, config: NightlyConfig) -> None:
    """Check what the types do not."""
    if not _NAME.fullmatch(config.name):
        raise UsageError(f"{path}: name: use lower-case letters, digits, dots and dashes only")
    if not _DURATION.fullmatch(config.quiet.wait):
        raise UsageError(f"{path}: quiet.wait: expected a number of s, m or h, e.g. 30m")
    for key, planned in (("measure", "boots"), ("self_check", "self_check_boots")):
        try:
            getattr(config, planned)
        except UsageError as error:
            raise UsageError(f"{path}: {key}.boots: {error}") from None
    for name in config.outputs.formats:
        try:
            find_format(name)
        except UsageError as error:
            raise UsageError(f"{path}: outputs.formats: {error}") from None
    for scenario, text in config.budgets.items():
        if scenario not in (EVERY, *config.measure.scenarios):
            named = ", ".join(config.measure.scenarios)
            raise UsageError(f"{path}: budgets.{scenario}: not measured, only {named}")
        try:
            _limit(scenario, text)
        except UsageError:
            raise UsageError(
                f"{path}: budgets.{scenario}: invalid budget `{text}`: expected TIME[:PERCENT], "
                "e.g. 8ms or 50:99"
            ) from None
    for key, text in (
        ("store", config.store),
        ("measure.scenario_file", config.measure.scenario_file),
        ("outputs.directory", config.outputs.directory),
    ):
        if not text.isprintable() or (key == "store" and not text):
            raise UsageError(f"{path}: {key}: {text!r} is not a path")
    if any("\n" in word or "\r" in word for word in (config.mail.sender, config.mail.to)):
        raise UsageError(f"{path}: mail: an address must be one line")
