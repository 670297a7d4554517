"""The cache of QEMU builds: one directory per entry, and a lock for writers.

An entry holds build.json and, for an unpacked suite, its tree. It is created in a temporary
directory of the cache and renamed into place. The cache is $PAUSEBENCH_CACHE, or
/var/cache/pausebench/builds.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import shutil
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, fields
from datetime import UTC, datetime
from pathlib import Path

from results.errors import HostUnfit, RecordInvalid, UsageError
from results.files import refuse_links_of_others
from results.records.scenario import Build
from runners.debian.private_apt import CACHE_VARIABLE, DISK_FULL

from .discover import parse_build_option

# Schema of build.json.
#   1  first version
SCHEMA = 1
SYSTEM = "system"
_DEFAULT = Path("/var/cache/pausebench/builds")
_RECORD = "build.json"
TREE = "tree"
PACKAGES = ".packages"
_TRANSIENT = (".new-*", ".old-*")  # being created or being removed

ReportProgress = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Entry:
    """One build of the catalogue, as it was when it was added."""

    label: str
    spec: str  # debian:SUITE[=VERSION], or the absolute path of a build kept elsewhere
    path: str  # what `discover` takes: the unpacked tree, or that path
    version: str
    package_version: str  # empty for a path
    build_id: str
    sha256: str  # of the QEMU binary
    added: str  # ISO 8601, UTC
    missing_marks: tuple[str, ...] = ()

    @property
    def unpacked(self) -> bool:
        """Whether the build itself is in the cache."""
        return bool(self.package_version)


def cache_directory() -> Path:
    """$PAUSEBENCH_CACHE, or /var/cache/pausebench/builds."""
    chosen = os.environ.get(CACHE_VARIABLE)
    return Path(chosen).expanduser().absolute() if chosen else _DEFAULT


def list_builds() -> tuple[Entry, ...]:
    """All entries, sorted by label. Raises RecordInvalid for one that cannot be read."""
    try:
        names = sorted(path.parent.name for path in cache_directory().glob(f"*/{_RECORD}"))
    except OSError as error:
        raise _unusable(error) from error
    return tuple(read_entry(name) for name in names if not name.startswith("."))


def has_entry(label: str) -> bool:
    """Whether there is an entry `label`, readable or not."""
    with suppress(UsageError):
        return (cache_directory() / check_label(label) / _RECORD).is_file()
    return False


def read_entry(label: str) -> Entry:
    """The entry `label`. Raises RecordInvalid."""
    directory = cache_directory() / label
    where = str(directory / _RECORD)
    hint = f"remove it with `pausebench build remove {label}`"
    try:
        record = json.loads((directory / _RECORD).read_text(encoding="utf-8"))
        if record.pop("schema") != SCHEMA:
            raise RecordInvalid(where, f"was written by another version of pausebench; {hint}")
        record.setdefault("path", str(directory / TREE))
        record["missing_marks"] = tuple(record["missing_marks"])
        texts = {field.name for field in fields(Entry)} - {"missing_marks"}
        if record["label"] != label or not all(isinstance(record[name], str) for name in texts):
            raise ValueError("a field has a wrong value")
        return Entry(**record)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise RecordInvalid(where, f"cannot be read ({error}); {hint}") from error


def check_label(label: str) -> str:
    """Return `label` when it is valid, else raise UsageError."""
    with suppress(UsageError):
        if label != SYSTEM and parse_build_option(f"{label}=.")[0] == label:
            return label
    expected = "up to 32 letters, digits, dots, dashes and underscores"
    raise UsageError(f"invalid label `{label}`: expected {expected}, and not `{SYSTEM}`")


@contextmanager
def locked(progress: ReportProgress) -> Iterator[Path]:
    """The cache directory, locked; leftovers of killed processes are removed."""
    cache = cache_directory()
    try:
        refuse_links_of_others(cache)
        cache.mkdir(parents=True, exist_ok=True)
        with (cache / ".lock").open("w") as lock, _terminate_as_interrupt():
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                progress(f"another process is using {cache}; waiting for it")
                fcntl.flock(lock, fcntl.LOCK_EX)
            for leftover in (path for pattern in _TRANSIENT for path in cache.glob(pattern)):
                shutil.rmtree(leftover, ignore_errors=True)
            yield cache
    except OSError as error:
        raise _unusable(error) from error


def _unusable(error: OSError) -> HostUnfit:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return HostUnfit(f"{cache_directory()}: {DISK_FULL}")
    return HostUnfit(
        f"{cache_directory()}: cannot be used as the cache of builds "
        f"({error.strerror or error}): set {CACHE_VARIABLE} to another directory"
    )


@contextmanager
def _terminate_as_interrupt() -> Iterator[None]:
    """Make SIGTERM unwind like Ctrl-C, so that no incomplete entry stays."""

    def interrupt(number: int, frame: object) -> None:
        raise KeyboardInterrupt

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def entry_of(build: Build, spec: str, path: str, package_version: str) -> Entry:
    """The entry for `build`, added now."""
    return Entry(
        label=build.label,
        spec=spec,
        path=path,
        version=build.version,
        package_version=package_version,
        build_id=build.build_id,
        sha256=build.sha256,
        added=datetime.now(UTC).isoformat(timespec="seconds"),
        missing_marks=build.missing_marks,
    )


def publish(entry: Entry, source: Path, target: Path) -> None:
    """Write the record into the directory `source` and rename it to `target`."""
    source.mkdir(exist_ok=True)
    record = {"schema": SCHEMA, **asdict(entry)}
    if entry.unpacked:
        del record["path"]  # relative to the cache, which may move
    (source / _RECORD).write_text(json.dumps(record, indent=2) + "\n")
    source.chmod(0o755)
    if target.exists():  # a path added again, or left by a crash
        target.rename(source.parent / "before")
    source.rename(target)
