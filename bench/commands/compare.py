"""`pausebench compare`: is build B worse than build A, by how much, how sure, which phase moved."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING

from bench.arguments import positive

from .options import add_mode_option, add_scenario_options, add_session_options

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bench.studies.ab_blocks import Pair
    from results.comparison.compare import Comparison, Thresholds
    from results.records.run import Run
    from results.records.scenario import Build, Session
    from results.store.store import Store

DEFAULT_SCENARIOS = ("anon", "hugetlb-2m")
_BISECT_SKIP = 125


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.description = (
        "Measures both builds in turns (blocks of A B B A, one boot the unit) and says per "
        "scenario whether B regressed, improved, stayed the same, or that this cannot be told yet."
    )
    parser.epilog = (
        "exit status: 0 same or improved, 1 regressed or more failures, 2 usage, 3 nothing valid, "
        "4 host unfit, 5 undecided with --strict; with --bisect 0 good, 1 bad, 125 skip.\n\n"
        "examples:\n"
        "  pausebench compare system next=/src/qemu/build\n"
        "  pausebench compare system debian:trixie-backports anon --boots 12 --upgrade\n"
        "  pausebench compare system next=/src/qemu/build anon --mode cpr-transfer --mode precopy\n"
        "  pausebench compare --aa system            how far is a build from itself here?\n"
        "  pausebench compare --stored 20261123-221500-3f2a last"
    )
    parser.add_argument(
        "a", metavar="A", help="a build: system, LABEL=PATH, or one of `build list`"
    )
    parser.add_argument("b", metavar="B", nargs="?", help="the other build (not with --aa)")
    parser.add_argument("scenario", nargs="*", help="default: anon hugetlb-2m")
    parser.add_argument("--aa", action="store_true", help="compare A with itself: the noise floor")
    parser.add_argument(
        "--repeat", type=positive, default=1, metavar="N",
        help="with --aa: N comparisons in one session, to see how often the verdict is wrong",
    )  # fmt: skip
    parser.add_argument(
        "--stored", action="store_true", help="A and B are sessions of the store (SESSION[:LABEL])"
    )
    parser.add_argument("--force", action="store_true", help="compare although the sessions differ")
    parser.add_argument(
        "--boots", type=positive, help="boots of each side at the least (default 24; 8 with --aa)"
    )
    parser.add_argument("--updates", type=positive, default=4, help="transfers a boot (default 4)")
    parser.add_argument(
        "--precision", type=float, metavar="PERCENT",
        help="go on until every interval is about ± PERCENT of the median wide",
    )  # fmt: skip
    parser.add_argument(
        "--limit", type=positive, default=80, help="boots of each side at the most (default 80)"
    )
    parser.add_argument("--upgrade", action="store_true", help="measure A → B as well")
    parser.add_argument("--backward", action="store_true", help="measure B → A as well")
    parser.add_argument(
        "--relative", type=float, default=3.0, metavar="PERCENT",
        help="a smaller change does not count (default 3)",
    )  # fmt: skip
    parser.add_argument(
        "--absolute", type=float, default=0.05, metavar="MS",
        help="a smaller change does not count (default 0.05 ms)",
    )  # fmt: skip
    parser.add_argument(
        "--budget", type=float, action="append", default=[], metavar="MS",
        help="say how many blackouts stay under MS; may be repeated",
    )  # fmt: skip
    parser.add_argument("--strict", action="store_true", help="exit 5 when undecided")
    parser.add_argument("--bisect", action="store_true", help="exit status for `git bisect run`")
    add_mode_option(parser)
    add_scenario_options(parser)
    add_session_options(parser)


def run(args: argparse.Namespace) -> int:
    from results.store.store import open_store

    _check(args)
    if args.stored:
        with open_store(args.store, create=False) as store:
            comparison = _stored(args, store)
        return _finish(args, comparison, [])
    from .options import need_root

    need_root()
    with open_store(args.store) as store:
        comparison, upgrades = _measured(args, store)
        status = _finish(args, comparison, upgrades)
        if args.aa and not args.json:
            _tell_aa(store)
    return status


def _check(args: argparse.Namespace) -> None:
    from results.errors import UsageError

    if args.aa:
        # With --aa there is no B: what stands in its place is the first scenario.
        args.scenario = [*([args.b] if args.b else []), *args.scenario]
        args.b = None
    elif args.repeat > 1:
        raise UsageError("--repeat goes with --aa")
    elif args.b is None:
        raise UsageError("compare takes two builds, A and B (or --aa and one)")
    for name in ("relative", "absolute", "precision"):
        value = getattr(args, name)
        if value is not None and not 0 <= value < 1e6:
            raise UsageError(f"--{name} {value:g}: must be a number from 0")
    if args.boots is not None and args.limit < args.boots:
        raise UsageError(f"--limit {args.limit} is below --boots {args.boots}")


def _thresholds(args: argparse.Namespace) -> Thresholds:
    from results.comparison.compare import Thresholds

    return Thresholds(relative=args.relative / 100.0, absolute_ns=round(args.absolute * 1e6))


def _judge(
    args: argparse.Namespace,
    runs_a: Sequence[Run],
    runs_b: Sequence[Run],
    store: Store,
    session: Session,
    forced: Sequence[str] = (),
    *,
    in_blocks: bool,
) -> Comparison:
    from bench.studies.ab_blocks import BOOTS_PER_BLOCK
    from results.comparison.compare import blocks_by_boot, compare
    from results.comparison.host_noise import noise_floors

    return compare(
        runs_a,
        runs_b,
        _thresholds(args),
        block_of=blocks_by_boot(BOOTS_PER_BLOCK) if in_blocks else None,
        # A build is not compared against its own noise when that is what is being measured.
        noise={} if args.aa else noise_floors(store, session, runs_a),
        budgets_ns=[round(ms * 1e6) for ms in args.budget],
        strict=args.strict or args.bisect,
        forced=forced,
    )


def _measured(args: argparse.Namespace, store: Store) -> tuple[Comparison, list[Run]]:
    import asyncio
    import random

    from bench.measurement.progress import SessionProgress
    from bench.measurement.scenarios import on_common_machine
    from bench.measurement.session import open_session
    from bench.studies.ab_blocks import (
        BOOTS_PER_BLOCK,
        Pair,
        measure_blocks,
        narrow,
        plan_block,
        sides,
    )

    from .options import chosen_scenarios, seed_of

    pair = _pair(args, Pair)
    scenarios, machine = on_common_machine(
        chosen_scenarios(args, args.scenario or DEFAULT_SCENARIOS), (pair.a, pair.b), args.machine
    )
    boots = _boots(args, len(scenarios))
    seed = seed_of(args)
    order = random.Random(seed)  # noqa: S311 - a schedule, stored to be repeated
    least = -(-boots // BOOTS_PER_BLOCK)
    most = max(least, args.limit // BOOTS_PER_BLOCK) if args.precision is not None else least
    extra = {"seed": str(seed), "machine": machine, "order": "blocks of A B B A or B A A B"}
    per_block = sum(t.updates for t in plan_block(scenarios, pair, 0, args.updates, order))
    order.seed(seed)

    def judge(runs: Sequence[Run], session: Session) -> Comparison:
        runs_a, runs_b, _ = sides(runs, pair)
        return _judge(args, runs_a, runs_b, store, session, in_blocks=True)

    def enough(runs: list[Run]) -> bool:
        return args.precision is None or narrow(*sides(runs, pair)[:2], args.precision)

    with (
        SessionProgress(least * per_block * args.repeat) as progress,
        open_session(
            scenarios, [pair.a, pair.b], store, progress, ["pausebench", *sys.argv[1:]], extra
        ) as live,
    ):
        host = live.session.environment.get("host", "")
        for number in range(args.repeat):
            first = number * most  # of this comparison's blocks: boots keep their own numbers
            measured = measure_blocks(
                live.experiment,
                lambda block, first=first: plan_block(  # type: ignore[misc]
                    scenarios, pair, first + block, args.updates, order
                ),
                least,
                most,
                enough,
            )
            runs = asyncio.run(measured)
            comparison = judge(runs, live.session)
            if args.aa:
                _remember(store, live.session.id, host, comparison, runs)
        live.status = comparison.exit_code
    return comparison, sides(runs, pair)[2]


def _boots(args: argparse.Namespace, scenarios: int) -> int:
    """Boots of each side. Raises UsageError when those asked for could call no change."""
    from results.comparison.plan import COMPARE_BOOTS, planned_boots, planned_self_check

    if args.aa:
        return planned_self_check(args.boots)
    return planned_boots(args.boots, COMPARE_BOOTS, scenarios)


def _pair(args: argparse.Namespace, pair: type[Pair]) -> Pair:
    from dataclasses import replace

    from runners.builds.catalogue import resolve_build

    from .options import labelled

    a = resolve_build(args.a)
    b = replace(a, label=f"{a.label}-again") if args.aa else resolve_build(args.b)
    labelled([a, b])
    upgrades: list[tuple[Build, Build]] = []
    if args.upgrade:
        upgrades.append((a, b))
    if args.backward:
        upgrades.append((b, a))
    return pair(a, b, tuple(upgrades))


def _remember(
    store: Store, session: str, host: str, comparison: Comparison, runs: Sequence[Run]
) -> None:
    """Keep the shift and verdict of every cell of an A/A."""
    from results.store.store import AaEntry

    dimensions = {run.scenario: run.dimensions for run in runs}
    for cell in comparison.cells:
        if cell.shift_ns is not None:
            boots = min(cell.n_a, cell.n_b)
            entry = AaEntry(host, dimensions[cell.scenario], boots, cell.shift_ns, cell.verdict)
            store.add_aa(session, entry)


def _tell_aa(store: Store) -> None:
    """What all stored A/A comparisons on this host say, those of this kernel of its noise."""
    from results.comparison.host_noise import known_nights
    from results.comparison.noise_floor import LEAST_NIGHTS, aa_floor, false_alarms
    from results.comparison.plan import COMPARE_BOOTS

    session = store.session(store.latest_session_id())
    entries = store.aa(session.environment.get("host", ""))
    wrong, total = false_alarms(entry.verdict for entry in entries)  # type: ignore[misc]
    print(f"\nA/A on this host so far: {wrong} of {total} verdicts claimed a change")
    for dimensions in dict.fromkeys(entry.dimensions for entry in entries):
        nights = known_nights(store, session, dimensions)
        floor = aa_floor(nights.values())
        name = next((w[3:] for w in dimensions.split() if w.startswith("id=")), dimensions)
        if floor is None:
            print(f"  {name}: no noise floor from {len(nights)} nights, it takes {LEAST_NIGHTS}")
        else:
            size = floor.at(COMPARE_BOOTS) / 1e6
            print(f"  {name}: noise floor {size:.3f} ms at {COMPARE_BOOTS} boots, "
                  f"from {floor.nights} nights")  # fmt: skip


def _stored(args: argparse.Namespace, store: Store) -> Comparison:
    from results.comparison.compatibility import differences
    from results.errors import UsageError

    (session_a, runs_a), (session_b, runs_b) = (_side(store, text) for text in (args.a, args.b))
    found = differences(session_a, session_b, runs_a, runs_b)
    if found and not args.force:
        raise UsageError(
            f"{args.a} and {args.b} cannot be compared: {'; '.join(found)} "
            "(--force does it all the same and says so)"
        )
    together = session_a.id == session_b.id
    return _judge(args, runs_a, runs_b, store, session_b, found, in_blocks=together)


def _side(store: Store, text: str) -> tuple[Session, list[Run]]:
    """`SESSION` or `SESSION:LABEL` → the session and its runs of a build handed to itself."""
    from results.errors import UsageError

    name, _, label = text.partition(":")
    session = store.session(store.resolve_session(name))
    runs = [run for run in store.runs(session=session.id) if run.old_build == run.new_build]
    labels = sorted({run.new_build for run in runs})
    if label:
        runs = [run for run in runs if run.new_build == label]
    if not runs:
        raise UsageError(f"{text}: no runs; session {session.id} has builds {', '.join(labels)}")
    if not label and len(labels) > 1:
        raise UsageError(f"{text}: has several builds, name one: {session.id}:{labels[0]}")
    return session, runs


def _finish(args: argparse.Namespace, comparison: Comparison, upgrades: Sequence[Run]) -> int:
    status = comparison.exit_code
    if args.bisect and status not in (0, 1):
        status = _BISECT_SKIP
    if args.json:
        import json

        from reports.formats.comparison_json import comparison_document
        from reports.formats.session_json import run_entry

        document = comparison_document(comparison)
        document["upgrades"] = [run_entry(run) for run in upgrades]
        print(json.dumps(document | {"exit_code": status}))
        return status
    import os

    from reports.terminal.comparison import comparison_table
    from reports.terminal.session import failures, look_for, summary_table, write
    from results.stats.intervals import summarise

    look = look_for(sys.stdout, os.environ)
    write(comparison_table(comparison, look), sys.stdout, look)
    if upgrades:
        print()
        write(summary_table(summarise(upgrades), look), sys.stdout, look)
        failed = failures(upgrades, look, args.store)
        if failed:
            write(failed, sys.stdout, look)
    return status
