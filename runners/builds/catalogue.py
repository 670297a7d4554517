"""The catalogue of QEMU builds: suites unpacked into a cache, and labelled paths.

Every command that takes a build accepts `system`, a label, `debian:SUITE` or a path.
"""

from __future__ import annotations

import difflib
import shutil
import sys
import tempfile
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from results.errors import BuildUnfit, UsageError
from results.printable import printable
from results.records.scenario import Build
from runners.debian.suites import Suite, parse_suite, unpack

from .cache import (
    PACKAGES,
    SYSTEM,
    TREE,
    Entry,
    ReportProgress,
    cache_directory,
    check_label,
    entry_of,
    has_entry,
    list_builds,
    locked,
    publish,
    read_entry,
)
from .discover import default_build, discover

__all__ = [
    "Entry",
    "add",
    "cache_directory",
    "discover_entry",
    "find",
    "list_builds",
    "remove",
    "resolve_build",
]


def print_progress(text: str) -> None:
    """Print progress on standard error."""
    print(f"build: {printable(text)}", file=sys.stderr, flush=True)


# --- resolving ------------------------------------------------------------------------------


def resolve_build(text: str, progress: ReportProgress = print_progress) -> Build:
    """The build named by `text`, examined and capable of cpr-transfer.

    `text` is `system`; a label of the catalogue; `debian:SUITE[=VERSION]`, which is added when it
    is missing; a path; or any of these after LABEL=, which sets the label. A label takes precedence
    over a path of the same name (write ./NAME for the path). Raises UsageError, BuildUnfit,
    HostUnfit.
    """
    if parse_suite(text) is not None:
        known = next((entry for entry in list_builds() if entry.spec == text), None)
        return discover_entry(known or add(text, progress=progress))
    label, equals, rest = text.partition("=")
    if equals and "/" not in label:
        if not rest:
            raise UsageError(f"`{text}`: expected LABEL=BUILD, e.g. next=/opt/qemu/build")
        return replace(resolve_build(rest, progress), label=check_label(label))
    if text == SYSTEM:
        return default_build()
    entries = {entry.label: entry for entry in list_builds()}
    if text in entries:
        return discover_entry(entries[text])
    path = Path(text).expanduser()
    if "/" in text or path.exists():
        return discover(path)
    raise UsageError(f"unknown build `{text}`{_nearest(text, [SYSTEM, *entries])}")


def discover_entry(entry: Entry) -> Build:
    """The build of an entry, examined again.

    Raises BuildUnfit when it is gone or unfit, or when an unpacked one was modified.
    """
    build = discover(entry.path, entry.label)
    if entry.unpacked and build.sha256 != entry.sha256:
        raise BuildUnfit(
            f"{entry.label}: its QEMU was modified after unpacking; run `pausebench build remove "
            f"{entry.label}` and `pausebench build add {entry.spec}`"
        )
    return build


def _nearest(text: str, labels: list[str]) -> str:
    near = difflib.get_close_matches(text, labels, 1)
    if near:
        return f"; did you mean `{near[0]}`?"
    return f": expected one of {', '.join(labels)}, debian:SUITE, or a path"


# --- the catalogue --------------------------------------------------------------------------


def find(label: str) -> Entry:
    """The entry `label`. Raises UsageError when there is none, RecordInvalid."""
    if has_entry(label):
        return read_entry(label)
    labels = [entry.label for entry in list_builds()]
    if not labels:
        raise UsageError(f"unknown build `{label}`; none was added yet (`pausebench build add`)")
    raise UsageError(f"unknown build `{label}`{_nearest(label, labels)}")


def add(spec: str, label: str | None = None, progress: ReportProgress = print_progress) -> Entry:
    """Add a suite's QEMU by unpacking it, or a path by reference; keep an existing suite.

    The label defaults to the suite's name or qemu-VERSION. Adding is atomic; packages downloaded
    before a failure are kept until a later attempt succeeds. Raises UsageError, BuildUnfit,
    HostUnfit; an interrupt or SIGTERM unwinds through here.
    """
    suite = parse_suite(spec)
    if label is not None:
        check_label(label)
    if suite is None:
        spec = str(Path(spec).expanduser().absolute())
        build = discover(spec)  # before anything is created
    label = check_label(label or (build.label if suite is None else suite.label))
    with locked(progress) as cache:
        if has_entry(label):
            entry = read_entry(label)
            if entry.spec != spec:
                raise UsageError(
                    f"`{label}` is already in use for {entry.spec}: choose another --label, or "
                    f"run `pausebench build remove {label}` first"
                )
            if suite is not None:
                progress(
                    f"{label} already exists: QEMU {entry.version}, added {entry.added[:10]} (to "
                    f"fetch it again, run `pausebench build remove {label}` first)"
                )
                return entry
        work = Path(tempfile.mkdtemp(prefix=".new-", dir=cache))
        try:
            work.chmod(0o755)  # for apt, which downloads as a user of its own
            if suite is not None:
                entry = _unpacked(suite, spec, label, work, progress)
            else:
                entry = entry_of(replace(build, label=label), spec, spec, "")
            publish(entry, work / label, cache / label)
        finally:
            shutil.rmtree(work, ignore_errors=True)
        shutil.rmtree(cache / PACKAGES, ignore_errors=True)
    progress(f"added {label}: QEMU {entry.version}")
    return entry


def remove(label: str) -> None:
    """Remove an entry, but not a build that it refers to by path. Raises UsageError, HostUnfit."""
    if not has_entry(label):
        find(label)  # raises with the existing labels
    with locked(print_progress) as cache:
        work = Path(tempfile.mkdtemp(prefix=".old-", dir=cache))
        try:
            with suppress(FileNotFoundError):  # removed by another process meanwhile
                (cache / label).rename(work / label)
        finally:
            shutil.rmtree(work)


def _unpacked(suite: Suite, spec: str, label: str, work: Path, progress: ReportProgress) -> Entry:
    directory = work / label
    directory.mkdir(mode=0o700)  # no access for others until set-uid bits are cleared
    tree = directory / TREE
    version = unpack(suite, tree, work / "apt", cache_directory() / PACKAGES, progress)
    progress("examining the build")
    try:
        build = discover(tree, label)
    except BuildUnfit as error:
        shutil.rmtree(cache_directory() / PACKAGES, ignore_errors=True)  # of no further use
        raise BuildUnfit(str(error).replace(str(tree), spec)) from error
    return entry_of(build, spec, str(cache_directory() / label / TREE), version)
