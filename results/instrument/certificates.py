"""Certificates of calibration: one JSON file for each host, kernel and build, beside the store.

What is read back is untrusted, as with recordings: a file that is not exactly a certificate is
refused with its name.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from results.errors import RecordInvalid
from results.records.scenario import Build, Session
from results.store.documents import Documents, read_beside, write_beside

from .calibration import Calibration
from .overhead import ObserverEffect

# Schema of a certificate.
#   1  first version
SCHEMA = 1
_DIRECTORY = "certificates"
_MAX_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class Certificate:
    """What is known of the instrument for one build on one host with one kernel.

    `calibration` is of `made_unix_ns` and `session`; `effect`, what watching costs, of
    `watched_unix_ns` and `watched_session`. Either may be missing.
    """

    schema: int
    host: str
    kernel: str
    build: str  # label
    build_id: str
    qemu_version: str
    made_unix_ns: int = 0
    session: str = ""
    calibration: Calibration | None = None
    watched_unix_ns: int = 0
    watched_session: str = ""
    effect: ObserverEffect | None = None

    @property
    def lines(self) -> tuple[str, ...]:
        """For reports: date, verdict and the figures behind it, one line each."""
        found = []
        if self.calibration is not None:
            found.append(_calibration_line(self.calibration, self.made_unix_ns))
        if self.effect is not None:
            found.append(_effect_line(self.effect, self.watched_unix_ns))
        return tuple(found)


def _day(unix_ns: int) -> str:
    return time.strftime("%Y-%m-%d", time.gmtime(unix_ns // 1_000_000_000))


def _calibration_line(found: Calibration, unix_ns: int) -> str:
    cells = ", ".join(dict.fromkeys(level.cell for level in found.levels))
    return (
        f"calibration of {_day(unix_ns)} {'passed' if found.passed else 'FAILED'}: pauses of known "
        f"length recovered with slope {found.slope:.4f}, offset {found.offset_ns / 1e3:+.0f} µs, "
        f"largest median error {found.worst_error_ns / 1e3:+.0f} µs ({cells})"
    )


def _effect_line(found: ObserverEffect, unix_ns: int) -> str:
    parts = []
    for cost in found.costs:
        if cost.tier != "default" or cost.percent is None:
            continue
        reach = ""
        if cost.low_percent is not None and cost.high_percent is not None:
            reach = f" [{cost.low_percent:+.1f}, {cost.high_percent:+.1f}]"
        parts.append(f"{cost.percent:+.1f} %{reach} on {cost.cell}")
    return f"watching, measured {_day(unix_ns)}, lengthens the guest's gap by " + (
        "; ".join(parts) or "an amount that could not be told"
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
    return write_beside(path, certificate)


def read_certificate(directory: Path, host: str, kernel: str, build_id: str) -> Certificate | None:
    """The certificate of a build on a host; None where there is none. Raises RecordInvalid."""
    return _read(certificate_path(directory, host, kernel, build_id))


def _read(path: Path) -> Certificate | None:
    found = read_beside(path, Certificate, "certificate", _MAX_BYTES)
    if found is None:
        return None
    if found.schema != SCHEMA:
        raise RecordInvalid(str(path), f"has schema {found.schema}; this pausebench reads {SCHEMA}")
    own = certificate_path(path.parent.parent, found.host, found.kernel, found.build_id)
    if own.name != path.name:
        raise RecordInvalid(str(path), "belongs to another host or build")
    return found


def newest(one: Certificate, other: Certificate) -> Certificate:
    """What is known last of each kind, of two certificates of one host, kernel and build."""
    calibrated = max(other, one, key=lambda each: each.made_unix_ns)
    watched = max(other, one, key=lambda each: each.watched_unix_ns)
    return replace(
        calibrated,
        watched_unix_ns=watched.watched_unix_ns,
        watched_session=watched.watched_session,
        effect=watched.effect,
    )


DOCUMENTS = Documents(_DIRECTORY, _read, newest)  # how stores are merged


def known_so_far(directory: Path, session: Session, build: Build) -> Certificate:
    """The certificate of a build on a session's host, an empty one where there is none."""
    host, kernel = (session.environment.get(key, "") for key in ("host", "kernel"))
    found = read_certificate(directory, host, kernel, build.build_id)
    if found is not None:
        return replace(found, build=build.label, qemu_version=build.version)
    return Certificate(SCHEMA, host, kernel, build.label, build.build_id, build.version)


def certificate_lines(directory: Path, session: Session, builds: Iterable[Build]) -> list[str]:
    """For every build of a session what is known of the instrument, or that nothing is."""
    lines: list[str] = []
    known = tuple(builds)
    for build in known:
        name = f"QEMU {build.label}: " if len(known) > 1 else ""
        try:
            found = known_so_far(directory, session, build)
        except RecordInvalid as error:
            lines.append(f"{name}{error}")
            continue
        if found.calibration is None:
            lines.append(f"{name}not calibrated here: `pausebench calibrate`")
        lines += [name + line for line in found.lines]
    return lines
