"""`pausebench claims`: test the twelve claims made for cpr-transfer on this host."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Sequence

from bench.claims.campaign import Campaign, oldest_first, run_campaign
from bench.inputs.chosen import check_labels, command_line, require_host, seed_of
from bench.inputs.stored import exit_code, stored
from reports.terminal.claims import claims_page
from reports.terminal.session import closing_lines
from reports.terminal.style import look_for, write
from results.claims.catalogue import CLAIMS
from results.claims.document import ClaimsDocument, as_json, latest_claims, read_claims
from results.errors import UsageError
from results.records.scenario import Build
from results.store.store import Store, open_store
from runners.builds.catalogue import list_builds, resolve_build
from runners.host.vfio_pci import chosen_addresses


def run(args: argparse.Namespace) -> int:
    _check(args)
    if args.list:
        for claim in CLAIMS:
            print(f"{claim.number:2}  {claim.title}\n    tested by: {claim.how}")
        return 0
    if args.stored:
        with stored(args.store) as store:
            document = _stored(store, args.stored)
            status = exit_code(store, document.exit_code)
    else:
        require_host()
        with open_store(args.store) as store:
            document = run_campaign(_campaign(args), store, command_line())
            status = document.exit_code
    _show(args, document)
    return status


def _check(args: argparse.Namespace) -> None:
    if args.assigned_only and (args.claim or not args.device):
        raise UsageError(
            "--assigned-only needs devices (--device 0000:01:00.0), and tests every claim about "
            "them: leave out --claim"
        )
    unknown = [n for n in args.claim if n > len(CLAIMS)]
    if unknown:
        raise UsageError(
            f"--claim {unknown[0]}: there are {len(CLAIMS)} claims (pausebench claims --list)"
        )


def _stored(store: Store, session: str) -> ClaimsDocument:
    named = latest_claims(store.path) if session == "last" else store.resolve_session(session)
    found = read_claims(store.path, named) if named else None
    if found is None:
        raise UsageError(
            f"session {session} in {store.path} tested no claims: run `pausebench claims`"
        )
    return found


def _campaign(args: argparse.Namespace) -> Campaign:
    addresses = [address for text in args.device for address in chosen_addresses(text)]
    return Campaign(
        builds=_builds(args.build),
        boots=args.boots,
        updates=args.updates,
        seed=seed_of(args),
        limit_s=args.limit,
        claims=tuple(args.claim),
        upgrades=args.upgrades,
        devices=tuple(dict.fromkeys(addresses)),
        lab=args.lab,
        assigned_only=args.assigned_only,
        share=args.share,
    )


def _builds(named: Sequence[str] | None) -> list[Build]:
    """The builds of `--build`, or all of this host, from old to new."""
    names = named or ["system", *(entry.label for entry in list_builds())]
    return oldest_first(check_labels([resolve_build(name) for name in names]))


def _show(args: argparse.Namespace, document: ClaimsDocument) -> None:
    if args.json:
        print(json.dumps(as_json(document)))
        return
    look = look_for(sys.stdout, os.environ)
    write(claims_page(document, look), sys.stdout, look)
    closing = closing_lines(args.store, document.session, look, f"report {document.session}")
    write(closing, sys.stdout, look)
