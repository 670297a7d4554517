"""Certificates of calibration: one JSON file for each host, kernel and build, beside the store.

What is read back is untrusted, as with recordings: a file that is not exactly a certificate is
refused with its name.
"""

from __future__ import annotations

import hashlib
import os
import secrets
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import msgspec

from .calibration import Calibration
from .errors import RecordInvalid, UsageError
from .records import Build, Session

# Schema of a certificate.
#   1  first version
SCHEMA = 1
_DIRECTORY = "certificates"
_MAX_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class Certificate:
    """What calibration said of one build on one host with one kernel."""

    schema: int
    made_unix_ns: int
    host: str
    kernel: str
    build: str  # label
    build_id: str
    qemu_version: str
    probe_tier: str
    session: str
    calibration: Calibration

    @property
    def line(self) -> str:
        """One line for reports: date, verdict and the figures behind it."""
        day = time.strftime("%Y-%m-%d", time.gmtime(self.made_unix_ns // 1_000_000_000))
        found = self.calibration
        cells = ", ".join(dict.fromkeys(level.cell for level in found.levels))
        return (
            f"calibration of {day} {'passed' if found.passed else 'FAILED'}: pauses of known "
            f"length recovered with slope {found.slope:.4f}, offset {found.offset_ns / 1e3:+.0f} "
            f"µs, largest median error {found.worst_error_ns / 1e3:+.0f} µs ({cells})"
        )


def certificate_path(directory: Path, host: str, kernel: str, build_id: str) -> Path:
    """Where a certificate lies below the store's directory; the name is a hash, safe as a path."""
    key = hashlib.sha256("\0".join((host, kernel, build_id)).encode()).hexdigest()[:20]
    return directory / _DIRECTORY / f"{key}.json"


def write_certificate(directory: Path, certificate: Certificate) -> Path:
    """Keep a certificate in place of an older one of the same host, kernel and build.

    Raises UsageError when it cannot be written.
    """
    path = certificate_path(directory, certificate.host, certificate.kernel, certificate.build_id)
    part = path.with_name(f".{secrets.token_hex(8)}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with part.open("xb") as file:
                file.write(msgspec.json.format(msgspec.json.encode(certificate), indent=1))
                file.flush()
                os.fsync(file.fileno())
            part.replace(path)
        finally:
            part.unlink(missing_ok=True)
    except OSError as error:
        raise UsageError(f"cannot write {path}: {error.strerror or error}") from error
    return path


def read_certificate(directory: Path, host: str, kernel: str, build_id: str) -> Certificate | None:
    """The certificate of a build on a host; None where there is none. Raises RecordInvalid."""
    path = certificate_path(directory, host, kernel, build_id)
    try:
        with path.open("rb") as file:
            payload = file.read(_MAX_BYTES + 1)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise RecordInvalid(str(path), f"cannot be read: {error.strerror or error}") from error
    try:
        found = msgspec.json.decode(payload, type=Certificate)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise RecordInvalid(str(path), f"is no certificate: {error}") from error
    if found.schema != SCHEMA:
        raise RecordInvalid(str(path), f"has schema {found.schema}; this pausebench reads {SCHEMA}")
    if (found.host, found.kernel, found.build_id) != (host, kernel, build_id):
        raise RecordInvalid(str(path), "belongs to another host or build")
    return found


def certificate_lines(directory: Path, session: Session, builds: Iterable[Build]) -> list[str]:
    """For every build of a session what its calibration on that host says, or that it has none."""
    environment = session.environment
    host, kernel = environment.get("host", ""), environment.get("kernel", "")
    lines = []
    known = tuple(builds)
    for build in known:
        name = f"QEMU {build.label}: " if len(known) > 1 else ""
        try:
            found = read_certificate(directory, host, kernel, build.build_id)
        except RecordInvalid as error:
            lines.append(f"{name}{error}")
            continue
        lines.append(
            name + (found.line if found else "not calibrated here: `pausebench calibrate`")
        )
    return lines
