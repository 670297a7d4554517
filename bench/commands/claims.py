"""`pausebench claims`: the twelve claims of cpr-transfer, each shown or refuted on this host."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING

from bench.arguments import positive

from .options import add_session_options

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bench.claims.campaign import Pair
    from bench.claims.vfio_devices import Tested
    from bench.measurement.progress import SessionProgress
    from results.claims.document import ClaimsDocument
    from results.records.scenario import Build
    from results.store.store import Store

_INTERRUPTED = "interrupted: what was not tried yet is missing"
_EPILOG = """\
Builds: the system's and all of the catalogue (`pausebench build list`; `pausebench build add
debian:trixie-backports` brings a newer one), and every upgrade from an older to a newer of them.
Claims about assigned devices are tried on this host with --device, which names PCI devices that are
taken from it meanwhile, else in the lab when it has been made (`make lab`).

verdicts: shown, refuted, not testable here (and why). Each names the runs that it rests on:
`pausebench show RUN`. What was tried to be refused, or to go wrong, is stored as failed and is in
no statistic.

exit status: 0 nothing refuted, 2 usage, 3 a claim is refuted, 4 host unfit, 130 interrupted

examples:
  pausebench claims                           all of it, in at most 15 minutes
  pausebench claims --claim 6 --claim 7       some of it, on the system's build alone:
                     --build system
  pausebench claims --json > claims.json
  pausebench claims --device 0000:01:00.0 --device 0000:02:00.0
  pausebench claims --stored last             the table once more, without measuring
  pausebench report                           the same as a part of the HTML report"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.epilog = _EPILOG
    parser.description = (
        "Puts the claims that are made for cpr-transfer to the test on real guests: every claim, "
        "how it was tested, the verdict and the runs it rests on, for every QEMU build."
    )
    parser.add_argument("--list", action="store_true", help="the claims, and how each is tested")
    parser.add_argument(
        "--claim", type=positive, action="append", default=[], metavar="N", help="only claim N"
    )
    parser.add_argument(
        "--build",
        action="append",
        metavar="BUILD",
        help="system, LABEL=PATH, or one of `build list`; repeat for several (default: all)",
    )
    parser.add_argument(
        "--no-upgrades",
        dest="upgrades",
        action="store_false",
        help="each build with itself, not from older to newer ones",
    )
    parser.add_argument(
        "--no-lab", dest="lab", action="store_false", help="leave assigned devices out"
    )
    parser.add_argument(
        "--device",
        action="append",
        default=[],
        metavar="ADDRESS",
        help="PCI devices to assign (as for `run`), two of them to plug and unplug; no lab then",
    )
    parser.add_argument(
        "--assigned-only", action="store_true", help="only what is to be tried with --device"
    )
    parser.add_argument("--boots", type=positive, default=3, help="per cell (default 3)")
    parser.add_argument("--updates", type=positive, default=2, help="per boot (default 2)")
    parser.add_argument(
        "--limit", type=positive, default=860, metavar="S", help="seconds it may take (860)"
    )
    parser.add_argument(
        "--stored", metavar="SESSION", help="show what a session found; `last` for the latest"
    )
    add_session_options(parser)


def run(args: argparse.Namespace) -> int:
    from results.claims.catalogue import CLAIMS
    from results.errors import UsageError
    from results.store.store import open_store

    if args.assigned_only and (args.claim or not args.device):
        raise UsageError(
            "--assigned-only needs devices (--device 0000:01:00.0) and decides what they decide: "
            "leave --claim out"
        )
    unknown = [n for n in args.claim if n > len(CLAIMS)]
    if unknown:
        raise UsageError(
            f"--claim {unknown[0]}: there are {len(CLAIMS)} claims (pausebench claims --list)"
        )
    if args.list:
        for claim in CLAIMS:
            print(f"{claim.number:2}  {claim.title}\n    tested by: {claim.how}")
        return 0
    if args.stored:
        with open_store(args.store, create=False) as store:
            document = _stored(store, args.stored)
    else:
        from .options import need_root

        need_root()
        with open_store(args.store) as store:
            document = _measured(args, store)
    _show(args, document)
    return document.exit_code


def _stored(store: Store, session: str) -> ClaimsDocument:
    from results.claims.document import latest_claims, read_claims
    from results.errors import UsageError

    named = latest_claims(store.path) if session == "last" else store.resolve_session(session)
    found = read_claims(store.path, named) if named else None
    if found is None:
        raise UsageError(
            f"no claims are stored of session {session} in {store.path}: run `pausebench claims`"
        )
    return found


def _measured(args: argparse.Namespace, store: Store) -> ClaimsDocument:
    import asyncio
    import time

    from bench.claims.campaign import Attempt, Tried, steps_for, try_all
    from bench.claims.vfio_devices import DECIDES
    from bench.measurement.progress import SessionProgress
    from bench.measurement.scenarios import BUILTIN, find_scenario, on_common_machine, resolve
    from bench.measurement.session import open_session
    from results.claims.document import SCHEMA, ClaimsDocument, write_claims
    from results.errors import HostUnfit

    from .options import seed_of

    began = time.monotonic()
    deadline = began + args.limit
    builds = _builds(args.build)
    base = [resolve(find_scenario("anon", BUILTIN))]
    (scenario,), machine = on_common_machine(base, builds, None)
    pairs = _pairs(builds, upgrades=args.upgrades and not args.assigned_only)
    seed = seed_of(args)
    command = ["pausebench", *sys.argv[1:]]
    extra = {"seed": str(seed), "machine": machine, "purpose": "claims"}

    def kept(session: str, tried: Tried, lab: str, *, complete: bool) -> ClaimsDocument:
        document = ClaimsDocument(
            schema=SCHEMA,
            session=session,
            made_unix_ns=time.time_ns(),
            took_s=round(time.monotonic() - began),
            builds={build.label: build.version for build in builds},
            columns=tuple(pair.name for pair in pairs),
            findings=tuple(tried.findings),
            claims=DECIDES if args.assigned_only else tuple(args.claim),
            lab=lab,
            notes=(*tried.notes, *(() if complete else (_INTERRUPTED,))),
        )
        write_claims(store.path, document)
        return document

    with SessionProgress(None, tell_boots=False) as progress:
        assigned = _assigned(args, store, builds, progress, command, extra, deadline)
        tried = Tried(assigned.findings, assigned.notes)
        if args.assigned_only:
            if not assigned.session:
                raise HostUnfit("; ".join(f.detail for f in tried.findings[:1]))
            return kept(assigned.session, tried, "", complete=True)
        with open_session([scenario], builds, store, progress, command, extra) as live:
            attempt = Attempt(live.experiment, scenario, args.boots, args.updates, seed)
            complete = False
            try:
                steps = steps_for(args.claim)
                asyncio.run(try_all(attempt, pairs, steps, deadline, tried, progress.note))
                complete = True
            finally:  # after an interrupt too: what was found is kept
                document = kept(live.session.id, tried, assigned.session, complete=complete)
            live.status = document.exit_code
    return document


def _assigned(
    args: argparse.Namespace,
    store: Store,
    builds: Sequence[Build],
    progress: SessionProgress,
    command: Sequence[str],
    extra: dict[str, str],
    deadline: float,
) -> Tested:
    """What assigned devices decide: on this host, in the lab, or not at all."""
    from bench.claims.lab import in_the_lab
    from bench.claims.vfio_devices import DECIDES, Tested, on_this_host
    from runners.host.vfio_pci import chosen_addresses

    if args.claim and not set(DECIDES) & set(args.claim):
        return Tested()
    if args.device:
        addresses = [address for text in args.device for address in chosen_addresses(text)]
        once = list(dict.fromkeys(addresses))
        return on_this_host(store, builds, once, progress, command, extra, deadline)
    return in_the_lab(store, builds, command, args.limit, progress.note) if args.lab else Tested()


def _builds(named: Sequence[str] | None) -> list[Build]:
    """The builds that were asked for, or all that this host has, from old to new."""
    from runners.builds.catalogue import list_builds, resolve_build

    from .options import labelled

    names = named or ["system", *(entry.label for entry in list_builds())]
    return sorted(labelled([resolve_build(name) for name in names]), key=_version)


def _version(build: Build) -> tuple[int, ...]:
    import re

    return tuple(map(int, re.findall(r"\d+", build.version.split()[0])[:3]))


def _pairs(builds: Sequence[Build], *, upgrades: bool) -> list[Pair]:
    """Each build with itself, then every upgrade."""
    from itertools import combinations

    from bench.claims.campaign import Pair

    pairs = [Pair(build, build) for build in builds]
    return pairs + [Pair(old, new) for old, new in combinations(builds, 2) if upgrades]


def _show(args: argparse.Namespace, document: ClaimsDocument) -> None:
    if args.json:
        import json

        from results.claims.document import as_json

        print(json.dumps(as_json(document)))
        return
    import os

    from reports.terminal.claims import claims_page
    from reports.terminal.session import closing_lines, look_for, write

    look = look_for(sys.stdout, os.environ)
    write(claims_page(document, look), sys.stdout, look)
    write(closing_lines(args.store, document.session, look), sys.stdout, look)
