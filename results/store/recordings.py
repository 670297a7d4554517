"""Raw recordings on disk: names that are safe as paths, files that are complete or absent.

Whatever is read back is untrusted: ids are matched before they become a path, decompression is
bounded, and everything that does not fit the records is rejected with the file's name.
"""

from __future__ import annotations

import gzip
import os
import re
import secrets
import time
import zlib
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

import msgspec

from results.errors import RecordInvalid, UsageError
from results.files import read_regular, write_atomically
from results.records.limits import broken_limit
from results.records.recording import Recording
from results.records.run import SCHEMA, Run
from results.records.scenario import Session

# The raw evidence of one transfer is some 100 KiB of JSON; a reader holds this much at most.
MAX_BYTES = 64 << 20

SESSION_PATTERN = r"\d{8}-\d{6}-[0-9a-f]{4}"
# Of scenarios, builds and phases. It may contain dots, but no slash, and the file of a run has a
# fixed suffix, so no id names another directory. 80 keeps it below the 255 bytes of a file name.
NAME_PATTERN = r"[A-Za-z0-9][A-Za-z0-9_.+@-]{0,79}"
_SESSION_ID = re.compile(SESSION_PATTERN)
_RUN_ID = re.compile(rf"({SESSION_PATTERN})\.{NAME_PATTERN}\.b\d{{1,9}}\.u\d{{1,9}}")
_NAME = re.compile(NAME_PATTERN)

_SUFFIX = ".json.gz"
_MOST_QUOTED = 80

T = TypeVar("T", Run, Recording, Session)


def new_session_id(started_unix_ns: int) -> str:
    """Sortable by start (UTC, to the second); four random hex digits separate simultaneous ones.

    Example: `20261123-221500-3f2a`.
    """
    stamp = time.strftime("%Y%m%d-%H%M%S", time.gmtime(started_unix_ns // 1_000_000_000))
    return f"{stamp}-{secrets.token_hex(2)}"


def new_run_id(session: str, scenario: str, boot: int, update: int) -> str:
    """Readable and sortable within its session: `20261123-221500-3f2a.anon.b01.u03`.

    Raises UsageError when the scenario's name cannot be part of a file name.
    """
    run_id = f"{session}.{scenario}.b{boot:02d}.u{update:02d}"
    if _RUN_ID.fullmatch(run_id) is None:
        raise UsageError(
            f"{cut(run_id)} cannot name a run: scenario ids are letters, digits and _ . + @ - "
            "(80 at most, a letter or digit first)"
        )
    return run_id


def check_session_id(session: str) -> str:
    """`session` itself; UsageError unless it has the format of a session id."""
    if not is_session_id(session):
        raise UsageError(f"malformed session id {cut(session)} (YYYYMMDD-HHMMSS-xxxx)")
    return session


def session_of(run_id: str) -> str:
    """The session part of a run id; UsageError unless it has the format of one."""
    match = _RUN_ID.fullmatch(run_id)
    if match is None:
        raise UsageError(f"malformed run id {cut(run_id)} (SESSION.SCENARIO.bNN.uNN)")
    return match.group(1)


def is_session_id(text: str) -> bool:
    """Whether `text` has the format of a session id."""
    return _SESSION_ID.fullmatch(text) is not None


def is_run_id(text: str) -> bool:
    """Whether `text` has the format of a run id."""
    return _RUN_ID.fullmatch(text) is not None


def check_names(what: str, names: Iterable[str], where: str) -> None:
    """Raises RecordInvalid unless all are names as scenarios, builds and phases have them.

    They become parts of file names, of pages and of what other programs read.
    """
    for name in names:
        if _NAME.fullmatch(name) is None:
            raise RecordInvalid(
                where, f"malformed {what} {cut(name)} (letters, digits and _ . + @ -, 80 at most)"
            )


def _check_record(record: Run | Recording | Session, where: str) -> None:
    if isinstance(record, Session):
        check_names("build label", (build.label for build in record.builds), where)
        return
    if isinstance(record, Run):
        check_names("scenario name", [record.scenario], where)
        check_names("phase name", (span.name for span in record.spans), where)
    else:
        check_names("scenario name", [record.scenario.id], where)
    check_names("build label", (record.old_build, record.new_build), where)


def cut(text: str) -> str:
    """A text of unknown origin as it may be printed: quoted, escaped, 80 characters at most."""
    return repr(text if len(text) <= _MOST_QUOTED else f"{text[: _MOST_QUOTED - 1]}…")


def raw_name(run_id: str) -> str:
    """Path of the recording of `run_id` relative to the store's directory."""
    return f"raw/{session_of(run_id)}/{run_id}{_SUFFIX}"


def raw_path(directory: Path, run_id: str) -> Path:
    """Path of the recording of `run_id` in the store in `directory`."""
    return directory / raw_name(run_id)


def raw_ids(directory: Path, session: str) -> set[str]:
    """Ids of the runs of a session whose recordings are there; none for a malformed session id."""
    if not is_session_id(session):
        return set()
    found = (directory / "raw" / session).glob(f"*{_SUFFIX}")
    return {name for path in found if is_run_id(name := path.name.removesuffix(_SUFFIX))}


def encode(record: T, where: str) -> bytes:
    """JSON of a record, checked to be readable; raises RecordInvalid otherwise."""
    try:
        payload = msgspec.json.encode(record)
    except (UnicodeEncodeError, OverflowError, ValueError, TypeError) as error:
        raise RecordInvalid(where, f"cannot be stored: {error}") from error
    if len(payload) > MAX_BYTES:
        raise RecordInvalid(where, f"{len(payload)} bytes exceed the limit of a record")
    decode(payload, type(record), where)
    return payload


def decode(payload: bytes | str, kind: type[T], where: str) -> T:
    """A record from JSON; raises RecordInvalid for anything that is not exactly such a record."""
    try:
        record = msgspec.json.decode(payload, type=kind)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        _refuse_other_schema(payload, where)
        raise RecordInvalid(where, f"is not a valid {kind.__name__}: {error}") from error
    if not isinstance(record, Session) and record.schema != SCHEMA:
        raise _other_schema(record.schema, where)
    if isinstance(record, Recording) and (what := broken_limit(record)):
        raise RecordInvalid(where, f"cannot be judged: {what}")
    _check_record(record, where)
    return record


class _Versioned(msgspec.Struct):
    schema: int


def _refuse_other_schema(payload: bytes | str, where: str) -> None:
    """A record of another schema fails at some field first; the schema is the better reason."""
    try:
        found = msgspec.json.decode(payload, type=_Versioned).schema
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return
    if found != SCHEMA:
        raise _other_schema(found, where)


def _other_schema(found: int, where: str) -> RecordInvalid:
    if found > SCHEMA:
        return RecordInvalid(where, f"has schema {found}, newer than {SCHEMA}: upgrade pausebench")
    return RecordInvalid(where, f"has schema {found}; this pausebench reads {SCHEMA} only")


def write_recording(directory: Path, recording: Recording) -> Path:
    """Write the raw evidence atomically. Returns the path.

    It survives a crash of this process at once, and a power cut after `sync`.
    """
    path = raw_path(directory, recording.id)
    # Level 1: a transfer lasts some 100 ms, and level 9 halves the file again at 10 x the time.
    payload = gzip.compress(encode(recording, str(path)), compresslevel=1, mtime=0)
    return write_atomically(path, payload, parents=True)


def sync(path: Path) -> None:
    """Flush a written file to the disk; one that was removed meanwhile is skipped."""
    with suppress(OSError):
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)


def read_recording(directory: Path, run_id: str) -> Recording:
    """The raw evidence of one run.

    Raises UsageError for a malformed id, RecordInvalid for a file that is missing, truncated, too
    large, not a recording, or that of another run.
    """
    path = raw_path(directory, run_id)
    recording = decode(_inflate(_read_file(path), path), Recording, str(path))
    if recording.id != run_id:
        raise RecordInvalid(str(path), f"is the recording of {cut(recording.id)}")
    return recording


def _read_file(path: Path) -> bytes:
    try:
        data = read_regular(path, MAX_BYTES + 1)
    except OSError as error:
        raise RecordInvalid(
            str(path), f"the raw recording cannot be read: {error.strerror or error}"
        ) from error
    if len(data) > MAX_BYTES:
        raise RecordInvalid(str(path), f"is larger than {MAX_BYTES >> 20} MiB")
    return data


def _inflate(data: bytes, path: Path) -> bytes:
    """Bounded gunzip of exactly one member, as `write_recording` makes it."""
    inflater = zlib.decompressobj(wbits=31)
    try:
        payload = inflater.decompress(data, MAX_BYTES)
    except zlib.error as error:
        raise RecordInvalid(str(path), f"is not a valid gzip file: {error}") from error
    if inflater.unconsumed_tail:
        raise RecordInvalid(str(path), f"unpacks to more than {MAX_BYTES >> 20} MiB")
    if not inflater.eof:
        raise RecordInvalid(str(path), "is truncated")
    if inflater.unused_data:
        raise RecordInvalid(str(path), "has data after its end")
    return payload
