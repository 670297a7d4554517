"""The catalogue of QEMU builds: suites unpacked into a cache, and paths known under a label.

Each entry is a directory of the cache, made elsewhere in it and renamed into place: build.json,
and with an unpacked suite its tree. The cache is $PAUSEBENCH_CACHE, or /var/cache/pausebench/builds.
"""

from __future__ import annotations

import difflib
import fcntl
import json
import os
import shutil
import signal
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, fields, replace
from datetime import UTC, datetime
from pathlib import Path

from results.errors import BuildUnfit, HostUnfit, PausebenchError, RecordInvalid, UsageError
from results.records import Build

from .builds import default_build, discover, parse_build_option
from .suites import Suite, parse_suite, unpack

# Schema of build.json.
#   1  first version
SCHEMA = 1
SYSTEM = "system"
_VARIABLE = "PAUSEBENCH_CACHE"
_DEFAULT = Path("/var/cache/pausebench/builds")
_RECORD = "build.json"
_TREE = "tree"
_PACKAGES = ".packages"
_PASSING = (".new-*", ".old-*")  # in the making, or on the way out

Tell = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Entry:
    """One build of the catalogue as it was when it was added."""

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
        """Whether the catalogue holds the build itself."""
        return bool(self.package_version)


def cache_directory() -> Path:
    """$PAUSEBENCH_CACHE, or /var/cache/pausebench/builds."""
    chosen = os.environ.get(_VARIABLE)
    return Path(chosen).expanduser().absolute() if chosen else _DEFAULT


def tell(text: str) -> None:
    """Say on standard error what is being done."""
    print(f"build: {text}", file=sys.stderr, flush=True)


# --- resolving ------------------------------------------------------------------------------


def resolve_build(text: str, progress: Tell = tell) -> Build:
    """The build that `text` names, looked into and fit for a cpr-transfer.

    `system`; a label of the catalogue; `debian:SUITE[=VERSION]`, added when it is not there yet;
    a path; or LABEL= before any of these, which only names it. A label goes before a path of the
    same name (write ./NAME for that). Raises UsageError, BuildUnfit, HostUnfit.
    """
    if parse_suite(text) is not None:
        known = next((entry for entry in list_builds() if entry.spec == text), None)
        return look_into(known or add(text, progress=progress))
    label, equals, rest = text.partition("=")
    if equals and "/" not in label:
        if not rest:
            raise UsageError(f"`{text}`: write it LABEL=BUILD, like next=/opt/qemu/build")
        label = _fit(label)
        if "/" in rest or Path(rest).exists():
            return discover(Path(rest).expanduser(), label)
        return replace(resolve_build(rest, progress), label=label)
    if text == SYSTEM:
        return default_build()
    entries = {entry.label: entry for entry in list_builds()}
    if text in entries:
        return look_into(entries[text])
    path = Path(text).expanduser()
    if "/" in text or path.exists():
        return discover(path)
    raise UsageError(f"there is no build `{text}`{_nearest(text, [SYSTEM, *entries])}")


def look_into(entry: Entry) -> Build:
    """The build behind an entry, as it is now.

    Raises BuildUnfit when it is gone or unfit, or when an unpacked one is not what was unpacked.
    """
    build = discover(entry.path, entry.label)
    if entry.unpacked and build.sha256 != entry.sha256:
        raise BuildUnfit(
            f"{entry.label}: its QEMU was changed since it was unpacked; "
            f"`pausebench build remove {entry.label}` and add {entry.spec} again"
        )
    return build


def _nearest(text: str, labels: list[str]) -> str:
    near = difflib.get_close_matches(text, labels, 1)
    if near:
        return f"; did you mean `{near[0]}`?"
    return f": {', '.join(labels)} are known; name one, debian:SUITE, or a path"


# --- the catalogue --------------------------------------------------------------------------


def list_builds() -> tuple[Entry, ...]:
    """All entries by label. Raises RecordInvalid for one that cannot be read."""
    try:
        names = sorted(path.parent.name for path in cache_directory().glob(f"*/{_RECORD}"))
    except OSError as error:
        raise _unusable(error) from error
    return tuple(_read(name) for name in names if not name.startswith("."))


def find(label: str) -> Entry:
    """The entry called `label`. Raises UsageError when there is none, RecordInvalid."""
    if _is_there(label):
        return _read(label)
    labels = [entry.label for entry in list_builds()]
    if not labels:
        raise UsageError(
            f"there is no build `{label}`; none was added yet (`pausebench build add`)"
        )
    raise UsageError(f"there is no build `{label}`{_nearest(label, labels)}")


def add(spec: str, label: str | None = None, progress: Tell = tell) -> Entry:
    """Add a suite's QEMU, unpacked, or a path, by reference; what is there already stays.

    The label defaults to the suite's name or qemu-VERSION. Either the whole entry is there
    afterwards or nothing of it. Raises UsageError, BuildUnfit, HostUnfit; an interrupt or SIGTERM
    unwinds through here.
    """
    suite = parse_suite(spec)
    label = _fit(label) if label is not None else None
    if suite is None:
        spec = str(Path(spec).expanduser().absolute())
        build = discover(spec)  # before anything is made
        label = label or build.label
    else:
        label = label or _fit(suite.label)
    with _locked(progress) as cache:
        if _is_there(label):
            entry = _read(label)
            if entry.spec != spec:
                raise UsageError(
                    f"`{label}` is {entry.spec} already: choose another --label, or "
                    f"`pausebench build remove {label}`"
                )
            if suite is not None:
                progress(
                    f"{label} is there already: QEMU {entry.version}, of {entry.added[:10]} "
                    f"(`pausebench build remove {label}` first, to fetch it anew)"
                )
                return entry
        work = Path(tempfile.mkdtemp(prefix=".new-", dir=cache))
        try:
            if suite is not None:
                entry = _unpacked(suite, spec, label, work, progress)
            else:
                entry = _entry(replace(build, label=label), spec, spec, "")
            _publish(entry, work / label, cache / label)
        finally:
            shutil.rmtree(work, ignore_errors=True)
        shutil.rmtree(cache / _PACKAGES, ignore_errors=True)
    progress(f"added {label}: QEMU {entry.version}")
    return entry


def remove(label: str) -> None:
    """Take an entry away; a build kept elsewhere stays there. Raises UsageError, HostUnfit."""
    if not _is_there(label):
        find(label)  # says what there is
    with _locked(tell) as cache:
        work = Path(tempfile.mkdtemp(prefix=".old-", dir=cache))
        try:
            with suppress(FileNotFoundError):  # another was quicker
                (cache / label).rename(work / label)
        finally:
            shutil.rmtree(work)


def _unpacked(suite: Suite, spec: str, label: str, work: Path, progress: Tell) -> Entry:
    made = work / label
    made.mkdir(mode=0o700)  # nobody else looks in before set-uid bits are gone
    tree = made / _TREE
    version = unpack(suite, tree, work / "apt", cache_directory() / _PACKAGES, progress)
    progress("looking into it")
    try:
        build = discover(tree, label)
    except BuildUnfit as error:
        raise BuildUnfit(str(error).replace(str(tree), spec)) from error
    return _entry(build, spec, str(cache_directory() / label / _TREE), version)


def _entry(build: Build, spec: str, path: str, package_version: str) -> Entry:
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


def _publish(entry: Entry, made: Path, place: Path) -> None:
    made.mkdir(exist_ok=True)
    record = {"schema": SCHEMA, **asdict(entry)}
    if entry.unpacked:
        del record["path"]  # it goes with the cache
    (made / _RECORD).write_text(json.dumps(record, indent=2) + "\n")
    made.chmod(0o755)
    if place.exists():  # a path added again, or what a crash left
        place.rename(made.parent / "before")
    made.rename(place)


# --- files ----------------------------------------------------------------------------------


def _is_there(label: str) -> bool:
    with suppress(UsageError):
        return (cache_directory() / _fit(label) / _RECORD).is_file()
    return False


def _read(label: str) -> Entry:
    directory = cache_directory() / label
    where = str(directory / _RECORD)
    hint = f"`pausebench build remove {label}` takes it away"
    try:
        record = json.loads((directory / _RECORD).read_text(encoding="utf-8"))
        if record.pop("schema") != SCHEMA:
            raise RecordInvalid(where, f"is of another version of pausebench; {hint}")
        record.setdefault("path", str(directory / _TREE))
        record["missing_marks"] = tuple(record["missing_marks"])
        texts = {field.name for field in fields(Entry)} - {"missing_marks"}
        if record["label"] != label or not all(isinstance(record[name], str) for name in texts):
            raise ValueError("a field is not what it should be")
        return Entry(**record)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise RecordInvalid(where, f"cannot be read ({error}); {hint}") from error


def _fit(label: str) -> str:
    """`label` when it can be one. Raises UsageError."""
    with suppress(UsageError):
        if label != SYSTEM and parse_build_option(f"{label}=.")[0] == label:
            return label
    what = "letters, digits, dots and dashes (32 at most)"
    raise UsageError(f"`{label}` cannot be a label: {what}, and not `{SYSTEM}`")


@contextmanager
def _locked(progress: Tell) -> Iterator[Path]:
    """The cache, ours alone; what killed ones left in it is cleared away."""
    cache = cache_directory()
    try:
        cache.mkdir(parents=True, exist_ok=True)
        with (cache / ".lock").open("w") as lock, _terminate_as_interrupt():
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                progress(f"another one is at work in {cache}; waiting for it")
                fcntl.flock(lock, fcntl.LOCK_EX)
            for left in (path for pattern in _PASSING for path in cache.glob(pattern)):
                shutil.rmtree(left, ignore_errors=True)
            yield cache
    except OSError as error:
        raise _unusable(error) from error


def _unusable(error: OSError) -> PausebenchError:
    return HostUnfit(
        f"{cache_directory()}: cannot be used as the cache of builds "
        f"({error.strerror or error}): run as root, or choose another with {_VARIABLE}"
    )


@contextmanager
def _terminate_as_interrupt() -> Iterator[None]:
    """Make SIGTERM unwind like Ctrl-C, so that nothing half-made stays."""

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
