"""`pausebench doctor`: check what this host can measure, and how to fix what it cannot."""

from __future__ import annotations

import argparse
import json
import os
import sys
from contextlib import AbstractContextManager, nullcontext

from probes.support import probe_support
from reports.terminal.doctor import doctor_page, to_json
from reports.terminal.style import look_for, write
from results.errors import BuildUnfit, HostUnfit
from results.records.scenario import Build
from runners.builds.discover import default_build, discover, parse_build_option
from runners.doctor.requirements import check_host, measurable
from runners.host.lock import host_lock

_NOTHING_MEASURABLE = 4


def run(args: argparse.Namespace) -> int:
    """Print every requirement. Returns 0, or 4 if nothing can be measured on this host."""
    builds, refused = _builds(args)
    with _alone(share=args.share):
        needs = check_host(probe_support(builds), builds, refused, tidied=args.tidy)
    code = 0 if measurable(needs) else _NOTHING_MEASURABLE
    if args.json:
        document = {"needs": to_json(needs), "measurable": code == 0, "exit_code": code}
        print(json.dumps(document))
        return code
    look = look_for(sys.stdout, os.environ)
    write(doctor_page(needs, look), sys.stdout, look)
    return code


def _alone(*, share: bool) -> AbstractContextManager[None]:
    """Its trials would disturb a session that measures. Only root's can."""
    return host_lock(_note, share=share) if os.geteuid() == 0 else nullcontext()


def _note(text: str) -> None:
    print(f"doctor: {text}", file=sys.stderr, flush=True)


def _builds(args: argparse.Namespace) -> tuple[list[Build], list[tuple[str, str]]]:
    """The usable builds, and (label, reason) of the others."""
    builds, refused = [], []
    if not args.build:
        try:
            return [default_build()], []
        except HostUnfit as error:
            return [], [("system", str(error))]
    for label, path in map(parse_build_option, args.build):
        try:
            builds.append(discover(path, label))
        except (BuildUnfit, HostUnfit) as error:
            refused.append((label, str(error)))
    return builds, refused
