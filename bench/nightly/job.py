"""The nightly job: fetch builds, wait for a quiet host, measure resumably, report, write a mail."""

from __future__ import annotations

import asyncio
import re
import shlex
import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from platform import node

from bench.measurement.progress import SessionProgress
from bench.measurement.scenarios import on_common_machine
from bench.measurement.session import open_session
from bench.studies.ab_blocks import BOOTS_PER_BLOCK, Pair, remember_aa
from reports.formats.mail import Letter, night_mail, noisy_mail
from reports.formats.registry import find_format, write_report
from reports.headline import Headline, night_headline
from reports.request import Request
from results.comparison.compare import Comparison, blocks_by_boot, compare
from results.errors import HostUnfit
from results.files import make_directory, write_atomically
from results.history.anchors import with_anchors
from results.history.kept import keep_history, read_history
from results.records.scenario import Scenario
from results.store.recordings import SESSION_PATTERN
from results.store.store import Store
from results.summary.report_data import ReportData, read_report_data
from runners.builds.nightly import resolve_nightly_build
from runners.host.idle import wait_until_idle

from .checkpoint import (
    Night,
    WorkUnit,
    boot_id,
    digest,
    identity,
    save,
    start_or_resume,
    trials,
    units,
)
from .config import NightlyConfig

Log = Callable[[str], None]
SELF_CHECK_LABEL = "baseline-again"
MAIL_NAME = "mail.eml"


@dataclass(frozen=True, slots=True)
class JobPaths:
    """Where a job reads and writes."""

    config_path: Path
    store: Path
    reports: Path
    state: Path

    @staticmethod
    def of(config: NightlyConfig, path: Path) -> JobPaths:
        base = path.resolve().parent
        store = (base / config.store).resolve()
        outputs = config.outputs.directory
        reports = (base / outputs).resolve() if outputs else store / "nights"
        return JobPaths(path, store, reports, store / "nightly" / f"{config.name}.json")


@dataclass(frozen=True, slots=True)
class NightResult:
    """The verdict of a night; `directory` holds its reports and its mail."""

    top: Headline
    directory: Path
    sessions: tuple[str, ...]


class Noisy(HostUnfit):
    """The host did not become quiet."""


def run_night(
    config: NightlyConfig, place: JobPaths, store: Store, scenarios: Sequence[Scenario], log: Log
) -> NightResult:
    """Measure what remains of the night and report it. Raises Noisy, HostUnfit, UsageError.

    The caller holds the host's lock. A night that was interrupted resumes where it stopped, in a
    new session; its report shows all of its sessions as one.
    """
    started = time.time_ns()
    if config.anchor:
        store.resolve_session(config.anchor)  # before hours of measuring
    pair = _pair(config, place, log)
    chosen, machine = on_common_machine(scenarios, (pair.a, pair.b), None)
    plan = digest(
        [place.config_path.read_text("utf-8"), identity(pair.a), identity(pair.b), boot_id()]
    )
    night, resumed = start_or_resume(place.state, config.name, plan, started)
    if resumed:
        log(f"resuming the night of {_stamp(night)}: {len(night.done)} units are done")
    left = _remaining(config, chosen, night)
    if left:
        _require_quiet_host(config, place, log)
        for part in dict.fromkeys(unit.part for unit in left):
            night = _measure(config, place, store, pair, night,
                             [u for u in left if u.part == part], machine)  # fmt: skip
    done = _report(config, place, store, pair, night, chosen)
    save(place.state, replace(night, finished=True))
    _expire(config, place, store, log)
    return done


def _pair(config: NightlyConfig, place: JobPaths, log: Log) -> Pair:
    base = place.config_path.resolve().parent
    day = time.strftime("%Y%m%d", time.gmtime())
    a, b = (
        resolve_nightly_build(spec, label, day, base, log)
        for label, spec in (
            ("baseline", config.builds.baseline),
            ("candidate", config.builds.candidate),
        )
    )
    return Pair(a, b)


def _remaining(config: NightlyConfig, chosen: Sequence[Scenario], night: Night) -> list[WorkUnit]:
    """The units of the night that are not done, those of the comparison first."""
    aa = [scenario for scenario in chosen if scenario.id in config.self_check.scenarios]
    main = [scenario for scenario in chosen if scenario.id in config.measure.scenarios]
    planned = units("main", main, _blocks(config.boots), night.seed)
    planned += units("self-check", aa, _blocks(config.self_check_boots), night.seed)
    return [unit for unit in planned if unit.name not in night.done]


def _blocks(boots: int) -> int:
    return -(-boots // BOOTS_PER_BLOCK)


def _require_quiet_host(config: NightlyConfig, place: JobPaths, log: Log) -> None:
    busy = wait_until_idle(config.quiet.busy_percent, config.wait_seconds, log)
    if busy is None:
        return
    directory = _directory(place, time.strftime("%Y%m%d-%H%M%S-noisy", time.gmtime()))
    mail = noisy_mail(busy.describe(), config.quiet.wait, _letter(config, place), node())
    write_atomically(directory / MAIL_NAME, mail)
    raise Noisy(
        f"noisy: {busy.describe()} after waiting {config.quiet.wait}; nothing was measured, see "
        f"{directory / MAIL_NAME}"
    )


def _measure(
    config: NightlyConfig,
    place: JobPaths,
    store: Store,
    pair: Pair,
    night: Night,
    left: Sequence[WorkUnit],
    machine: str,
) -> Night:
    """Measure the remaining units of one part in one session; save the state after each."""
    self_check = left[0].part == "self-check"
    if self_check:
        pair = Pair(pair.a, replace(pair.a, label=SELF_CHECK_LABEL))
    updates = config.measure.updates
    extra = {
        "seed": str(night.seed),
        "machine": machine,
        "order": "blocks of A B B A or B A A B",
        "night": config.name,
    }
    if config.anchor:
        extra["anchor"] = store.resolve_session(config.anchor)
    scenarios = list({unit.scenario.id: unit.scenario for unit in left}.values())
    total = sum(t.updates for unit in left for t in trials(unit, pair, updates, night.seed))
    command = _command(place)
    with (
        SessionProgress(total) as progress,
        open_session(scenarios, [pair.a, pair.b], store, progress, command, extra) as live,
    ):
        night = night.with_session(live.session.id, self_check=self_check)
        save(place.state, night)
        failed = False
        for unit in left:
            runs = asyncio.run(live.experiment.run(trials(unit, pair, updates, night.seed)))
            failed |= any(run.outcome == "failed" for run in runs)
            night = replace(night, done=(*night.done, unit.name))
            save(place.state, night)
        live.status = 3 if failed else 0
    return night


def _report(
    config: NightlyConfig,
    place: JobPaths,
    store: Store,
    pair: Pair,
    night: Night,
    chosen: Sequence[Scenario],
) -> NightResult:
    options = config.report_options()
    checks = _self_checks(store, night)
    data = read_report_data(store, night.sessions, options)
    lines = read_history(store, until_unix_ns=data.session.started_unix_ns)
    keep_history(store, lines)
    data = with_anchors(store, data, lines, options.thresholds)
    directory = _directory(place, night.sessions[0])
    files = [_write_format(kind, data, store, directory, config) for kind in config.outputs.formats]
    letter = replace(
        _letter(config, place),
        files=tuple(map(str, files)),
        resumed=len(night.sessions) - 1,
        self_checks=checks,
    )
    mail = night_mail(data, lines, letter, strict=options.strict)
    write_atomically(directory / MAIL_NAME, mail)
    top = night_headline(data, checks, strict=options.strict)
    for session in (*night.sessions, *night.self_check_sessions):
        if store.session_end(session).ended_unix_ns is not None:
            store.finish_session(session, time.time_ns(), top.exit_code)
    return NightResult(top, directory, night.sessions)


def _write_format(
    kind: str, data: ReportData, store: Store, directory: Path, config: NightlyConfig
) -> Path:
    path = directory / f"report{find_format(kind).suffix}"
    write_report(kind, Request(data, store, config.judge.strict), path)
    return path


def _self_checks(store: Store, night: Night) -> tuple[Comparison, ...]:
    """The A/A of the night, stored for the noise floor the first time it is judged."""
    runs = [run for session in night.self_check_sessions for run in store.runs(session=session)]
    if not runs:
        return ()
    baseline = [run for run in runs if run.new_build == "baseline"]
    again = [run for run in runs if run.new_build == SELF_CHECK_LABEL]
    comparison = compare(baseline, again, block_of=blocks_by_boot(BOOTS_PER_BLOCK))
    session = night.self_check_sessions[-1]
    host = store.session(session).environment.get("host", "")
    if not store.aa_of(session):
        remember_aa(store, session, host, comparison, runs)
    return (comparison,)


def _letter(config: NightlyConfig, place: JobPaths) -> Letter:
    return Letter(
        job=config.name,
        sender=config.mail.sender,
        to=config.mail.to,
        written_unix_s=time.time(),
        repeat=shlex.join(_command(place)),
    )


def _command(place: JobPaths) -> list[str]:
    return ["pausebench", "nightly", str(place.config_path)]


def _directory(place: JobPaths, name: str) -> Path:
    return make_directory(place.reports / name)


def _stamp(night: Night) -> str:
    return time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(night.started_unix_ns // 10**9))


def _expire(config: NightlyConfig, place: JobPaths, store: Store, log: Log) -> None:
    """Delete raw recordings and reports that are older than configured; results stay."""
    now = time.time_ns()
    keeps = config.retention
    deleted = 0
    if keeps.raw_days:
        for session in store.sessions():
            old = now - session.started_unix_ns > keeps.raw_days * 86_400 * 10**9
            raw = store.path / "raw" / session.id
            if old and session.environment.get("night") == config.name and raw.is_dir():
                shutil.rmtree(raw, ignore_errors=True)
                deleted += 1
    if keeps.report_days and place.reports.is_dir():
        for directory in place.reports.iterdir():
            if not re.fullmatch(rf"(?:{SESSION_PATTERN}|\d{{8}}-\d{{6}}-noisy)", directory.name):
                continue
            age = time.time() - directory.stat(follow_symlinks=False).st_mtime
            if age > keeps.report_days * 86_400 and not directory.is_symlink():
                shutil.rmtree(directory, ignore_errors=True)
                deleted += 1
    if deleted:
        log(f"deleted {deleted} directories that were older than the retention time")
