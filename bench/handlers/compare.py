"""`pausebench compare`: measure two builds in turns and judge B against A."""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial

from bench.commands.compare import DEFAULT_SCENARIOS
from bench.inputs.chosen import (
    check_labels,
    chosen_scenarios,
    command_line,
    require_host,
    seed_of,
    thresholds_of,
)
from bench.inputs.stored import RUNS_LOST, exit_code, stored
from bench.measurement.budgets import (
    budgets_ns,
    check_measured,
    missed_lines,
    with_own_budgets,
)
from bench.measurement.progress import SessionProgress
from bench.measurement.scenarios import on_common_machine
from bench.measurement.session import open_session
from bench.studies.ab_blocks import BOOTS_PER_BLOCK, Pair, Plan, measure_pair, remember_aa, sides
from reports.formats.comparison_json import comparison_document
from reports.formats.session_json import run_entry
from reports.terminal.comparison import comparison_table
from reports.terminal.session import failures, summary_table
from reports.terminal.style import look_for, say, write
from reports.wording import ms, rollbacks_text
from results.claims.catalogue import PROVOKED
from results.comparison.compare import Comparison, blocks_by_boot, compare
from results.comparison.compatibility import differences
from results.comparison.host_noise import known_nights, noise_floors
from results.comparison.noise_floor import LEAST_NIGHTS, aa_floor, false_alarms
from results.comparison.plan import COMPARE_BOOTS, planned_boots, planned_self_check
from results.comparison.verdict import BISECT_SKIP, REGRESSED, SAME, bisect_code
from results.errors import UsageError
from results.records.harm import exit_status, harm_of
from results.records.run import Run
from results.records.scenario import Build, Session
from results.store.store import Store, open_store
from results.store.tables.columns import columns_of
from results.summary.caveats import doubts_of_sides
from results.summary.cells import summarise
from results.summary.failures.failed_runs import failed_runs
from results.summary.failures.rollbacks import rollbacks, slower_to_fail
from results.summary.selection import latest_measured, resolve_session
from runners.builds.catalogue import resolve_build


@dataclass(frozen=True, slots=True)
class PairRuns:
    """A comparison, with the runs of both sides and those of upgrades.

    `damage` is the exit status for damage to any guest of the session, or 0.
    """

    comparison: Comparison
    runs_a: Sequence[Run]
    runs_b: Sequence[Run]
    upgrades: Sequence[Run] = ()
    damage: int = 0

    def status(self, *, bisect: bool = False) -> int:
        """The exit status: that of the comparison, and 3 if an update between A and B lost a guest.

        With `bisect` that for `git bisect run`. Updates between builds are compared with nothing,
        and one that QEMU refuses is a result.
        """
        compared, between = self.comparison.exit_code, self._lost_between
        if bisect:
            code = bisect_code(self.comparison.cells, compared)
            return REGRESSED if code == SAME and between else code
        if self.damage or compared == REGRESSED:
            return self.damage or compared
        return between or compared

    @property
    def _lost_between(self) -> int:
        return exit_status(map(harm_of, self.upgrades), "loss")


def run(args: argparse.Namespace) -> int:
    _check(args)
    if args.stored:
        with stored(args.store) as store:
            found = _stored(args, store)
        lost = BISECT_SKIP if args.bisect else RUNS_LOST
        return _show(args, found, exit_code(store, found.status(bisect=args.bisect), lost))
    require_host()
    with open_store(args.store) as store:
        found = _measured(args, store)
        status = _show(args, found, found.status(bisect=args.bisect))
        if args.aa and not args.json:
            _print_aa(store)
    return status


def _check(args: argparse.Namespace) -> None:
    if args.aa:
        # With --aa there is no B: the word in its place is the first scenario.
        args.scenario = [*([args.b] if args.b else []), *args.scenario]
        args.b = None
    elif args.repeat > 1:
        raise UsageError("--repeat needs --aa")
    elif args.b is None:
        raise UsageError("compare needs two builds, A and B (or --aa and one)")
    thresholds_of(args)
    if args.precision is not None and not 0 <= args.precision < 1e6:
        raise UsageError(f"--precision {args.precision:g}: expected a number from 0")
    if args.boots is not None and args.limit < args.boots:
        raise UsageError(f"--limit {args.limit} is below --boots {args.boots}")


# -- judging --------------------------------------------------------------------------------------


def _judge(
    args: argparse.Namespace,
    store: Store,
    session: Session,
    runs_a: Sequence[Run],
    runs_b: Sequence[Run],
    forced: Sequence[str] = (),
    *,
    in_blocks: bool,
) -> Comparison:
    comparison = compare(
        runs_a,
        runs_b,
        thresholds_of(args),
        block_of=blocks_by_boot(BOOTS_PER_BLOCK) if in_blocks else None,
        # An A/A measures that noise, so it is not judged by it.
        noise={} if args.aa else noise_floors(store, session, runs_a),
        budgets_ns=budgets_ns(args.budget),
        strict=args.strict or args.bisect,
        forced=forced,
    )
    return with_own_budgets(comparison, args.budget)


# -- measured now ---------------------------------------------------------------------------------


def _measured(args: argparse.Namespace, store: Store) -> PairRuns:
    pair = _pair(args)
    chosen = chosen_scenarios(args, args.scenario or DEFAULT_SCENARIOS, falls_back=False)
    check_measured(args.budget, [scenario.id for scenario in chosen])
    scenarios, machine = on_common_machine(chosen, (pair.a, pair.b), args.machine)
    seed = seed_of(args)
    boots = _boots(args, len(scenarios))
    plan = Plan(scenarios, pair, boots, args.updates, seed, args.precision, args.limit)
    extra = {"seed": str(seed), "machine": machine, "order": "blocks of A B B A or B A A B"}
    builds = [pair.a, pair.b]
    with (
        SessionProgress(plan.least_updates * args.repeat) as progress,
        open_session(
            scenarios, builds, store, progress, command_line(), extra, share=args.share
        ) as live,
    ):
        host = live.session.environment.get("host", "")

        def compared(comparison: Comparison, runs: Sequence[Run]) -> None:
            if args.aa:
                remember_aa(store, live.session.id, host, comparison, runs)

        judge = partial(_judge, args, store, live.session, in_blocks=True)
        measured = measure_pair(live.experiment, plan, judge, args.repeat, compared)
        comparison, runs = asyncio.run(measured)
        # Of all repetitions, and of updates between the builds.
        damage = exit_status(map(harm_of, failed_runs(store, live.session.id)), "damage")
        found = PairRuns(comparison, *sides(runs, pair), damage)
        live.status = found.status()
    return found


def _boots(args: argparse.Namespace, scenarios: int) -> int:
    """Boots of each side. Raises UsageError when those asked for could call no change."""
    if args.aa:
        return planned_self_check(args.boots)
    return planned_boots(args.boots, COMPARE_BOOTS, scenarios)


def _pair(args: argparse.Namespace) -> Pair:
    a = resolve_build(args.a)
    b = replace(a, label=f"{a.label}-again") if args.aa else resolve_build(args.b)
    check_labels([a, b])
    upgrades: list[tuple[Build, Build]] = []
    if args.upgrade:
        upgrades.append((a, b))
    if args.backward:
        upgrades.append((b, a))
    return Pair(a, b, tuple(upgrades))


def _print_aa(store: Store) -> None:
    """Summarise all stored A/A comparisons on this host, and the noise floor of this kernel."""
    session = store.session(latest_measured(store))
    entries = store.aa(session.environment.get("host", ""))
    wrong, total = false_alarms(entry.verdict for entry in entries)  # type: ignore[misc]
    print(f"\nA/A on this host so far: {wrong} of {total} verdicts claimed a change")
    for dimensions in dict.fromkeys(entry.dimensions for entry in entries):
        nights = known_nights(store, session, dimensions)
        floor = aa_floor(nights.values())
        name = next((w[3:] for w in dimensions.split() if w.startswith("id=")), dimensions)
        if floor is None:
            say(f"  {name}: no noise floor from {len(nights)} nights, it takes {LEAST_NIGHTS}")
            continue
        size = floor.at(COMPARE_BOOTS) / 1e6
        say(
            f"  {name}: noise floor {size:.3f} ms at {COMPARE_BOOTS} boots, "
            f"from {floor.nights} nights"
        )


# -- stored ---------------------------------------------------------------------------------------


def _stored(args: argparse.Namespace, store: Store) -> PairRuns:
    (session_a, runs_a), (session_b, runs_b) = (_side(store, text) for text in (args.a, args.b))
    together = session_a.id == session_b.id
    if together and {run.id for run in runs_a} & {run.id for run in runs_b}:
        raise UsageError(
            f"{args.a} and {args.b} are the same runs: name two sessions, or two builds of one, "
            f"e.g. {session_a.id}:LABEL"
        )
    check_measured(args.budget, {run.scenario for run in (*runs_a, *runs_b)})
    found = differences(session_a, session_b, runs_a, runs_b)
    if found and not args.force:
        raise UsageError(
            f"{args.a} and {args.b} cannot be compared: {'; '.join(found)} "
            "(--force compares them nevertheless, and the report notes it)"
        )
    comparison = _judge(args, store, session_b, runs_a, runs_b, found, in_blocks=together)
    return PairRuns(comparison, runs_a, runs_b)


def _side(store: Store, text: str) -> tuple[Session, list[Run]]:
    """`SESSION` or `SESSION:LABEL` → the session and its runs of one build updated to itself."""
    name, _, label = text.partition(":")
    session = store.session(resolve_session(store, name))
    runs = [
        run
        for run in store.iter_runs(session=session.id)
        if run.old_build == run.new_build and not run.scenario.startswith(PROVOKED)
    ]
    labels = sorted({run.new_build for run in runs})
    if label:
        runs = [run for run in runs if run.new_build == label]
    if not runs:
        raise UsageError(f"{text}: no runs; builds of {session.id}: {', '.join(labels)}")
    if not label and len(labels) > 1:
        raise UsageError(f"{text}: several builds; name one, e.g. {session.id}:{labels[0]}")
    return session, runs


# -- shown ----------------------------------------------------------------------------------------


def _show(args: argparse.Namespace, found: PairRuns, status: int) -> int:
    """Print the comparison and return `status`."""
    comparison, upgrades = found.comparison, found.upgrades
    doubts = doubts_of_sides(found.runs_a, found.runs_b)
    if args.json:
        document = comparison_document(comparison, doubts)
        document["rollbacks"] = _rollbacks(found)
        document["upgrades"] = [run_entry(run) for run in upgrades]
        print(json.dumps(document | {"exit_code": status}))
        return status
    look = look_for(sys.stdout, os.environ)
    write(comparison_table(comparison, look, doubts), sys.stdout, look)
    for line in (*missed_lines(comparison, args.budget), *_rollback_lines(found)):
        say(line)
    failed = failures([*found.runs_a, *found.runs_b], look, args.store)
    if failed:
        print()
        write(failed, sys.stdout, look)
    if upgrades:
        print()
        write(summary_table(summarise(columns_of(upgrades)), look), sys.stdout, look)
        failed = failures(upgrades, look, args.store)
        if failed:
            write(failed, sys.stdout, look)
    return status


def _rollbacks(found: PairRuns) -> dict[str, object]:
    """What failed updates cost their guests, on both sides, and how much longer B took."""
    sides = {"a": rollbacks(found.runs_a), "b": rollbacks(found.runs_b)}
    shift = slower_to_fail(found.runs_a, found.runs_b)
    return {name: asdict(side) if side else None for name, side in sides.items()} | {
        "pause_shift": asdict(shift)
    }


def _rollback_lines(found: PairRuns) -> list[str]:
    sides = (("A", rollbacks(found.runs_a)), ("B", rollbacks(found.runs_b)))
    lines = [f"{name}: {rollbacks_text(side)}" for name, side in sides if side]
    shift = slower_to_fail(found.runs_a, found.runs_b)
    if shift.clear and shift.shift_ns is not None:
        word = "slower" if shift.shift_ns > 0 else "faster"
        lines.append(f"B fails {word} than A, by {ms(abs(shift.shift_ns))}")
    return lines
