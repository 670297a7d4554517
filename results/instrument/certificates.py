"""Certificates of calibration: one JSON file per host, kernel and build in the store's directory.

Files that are read back are untrusted, as recordings are: one that is not exactly a certificate is
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
from results.store.documents import Documents, read_document, write_document

from .calibration import Calibration
from .constant_offset import widest
from .overhead import ObserverEffect

# Schema of a certificate.
#   1  first version
SCHEMA = 1
_DIRECTORY = "certificates"
_MAX_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class Certificate:
    """What is known of the instrument for one build on one host with one kernel.

    `calibration` was made at `made_unix_ns` in `session`; `effect`, what the probes cost, at
    `watched_unix_ns` in `watched_session`. Either may be missing.
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
    identity: str = ""  # of the build; empty in certificates that were named by its build id

    @property
    def calibrated(self) -> Calibration | None:
        """The calibration, unless it measured nothing: earlier versions stored such ones too."""
        return self.calibration if self.calibration and self.calibration.levels else None

    @property
    def lines(self) -> tuple[str, ...]:
        """For reports: one line each for calibration and overhead, with date and figures."""
        found = []
        if self.calibrated is not None:
            found.append(_calibration_line(self.calibrated, self.made_unix_ns))
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
        f"largest median error {found.worst_error_ns / 1e3:+.0f} µs ({cells}); "
        f"a constant offset cancels out in it{_bounds_text(found)}"
    )


def _bounds_text(found: Calibration) -> str:
    if not found.constant:
        return ""
    low, high = (_bound_text(ns) for ns in widest(found.constant))
    return f": other witnesses bound it to {low} (guest's gap) … {high} (QEMU's functions)"


def _bound_text(ns: int | None) -> str:
    return "unknown" if ns is None else f"{ns / 1e6:+.3f} ms".replace("-", "−")


def _effect_line(found: ObserverEffect, unix_ns: int) -> str:
    parts = []
    for cost in found.costs:
        if cost.tier != "default" or cost.percent is None:
            continue
        reach = ""
        if cost.low_percent is not None and cost.high_percent is not None:
            reach = f" [{cost.low_percent:+.1f}, {cost.high_percent:+.1f}]"
        parts.append(f"{cost.percent:+.1f} %{reach} on {cost.cell}")
    return f"probes, measured {_day(unix_ns)}, lengthen the guest's gap by " + (
        "; ".join(parts) or "an unknown amount"
    )


def certificate_path(directory: Path, host: str, kernel: str, identity: str) -> Path:
    """Where a certificate lies below the store's directory; the name is a hash, safe as a path.

    `identity` is the build's (`Build.identity`).
    """
    key = hashlib.sha256("\0".join((host, kernel, identity)).encode()).hexdigest()[:20]
    return directory / _DIRECTORY / f"{key}.json"


def write_certificate(directory: Path, certificate: Certificate) -> Path:
    """Keep a certificate in place of an older one of the same host, kernel and build.

    Raises UsageError when it cannot be written.
    """
    path = certificate_path(directory, certificate.host, certificate.kernel, certificate.identity)
    return write_document(path, certificate)


def read_certificate(directory: Path, host: str, kernel: str, build: Build) -> Certificate | None:
    """The certificate of a build on a host; None if there is none. Raises RecordInvalid."""
    found = _read(directory, host, kernel, build.identity)
    if found is not None:
        if found.identity != build.identity:
            raise _foreign(directory, host, kernel, build.identity)
        return found
    # Before certificates had an identity they were named by the build id, which some builds lack.
    former = _read(directory, host, kernel, build.build_id) if build.build_id else None
    if former is None:
        return None
    if former.build_id != build.build_id:
        raise _foreign(directory, host, kernel, build.build_id)
    # Another version of one binary's package has other libraries or firmware.
    return former if former.qemu_version == build.version else None


def _read(directory: Path, host: str, kernel: str, name: str) -> Certificate | None:
    path = certificate_path(directory, host, kernel, name)
    found = _read_file(path)
    if found is not None and (found.host, found.kernel) != (host, kernel):
        raise _foreign(directory, host, kernel, name)
    return found


def _read_file(path: Path) -> Certificate | None:
    found = read_document(path, Certificate, "certificate", _MAX_BYTES)
    if found is not None and found.schema != SCHEMA:
        raise RecordInvalid(str(path), f"has schema {found.schema}; this pausebench reads {SCHEMA}")
    return found


def _foreign(directory: Path, host: str, kernel: str, name: str) -> RecordInvalid:
    path = certificate_path(directory, host, kernel, name)
    return RecordInvalid(str(path), "belongs to another host or build")


# -- merging stores -------------------------------------------------------------------------------


def _read_named(path: Path) -> Certificate | None:
    """A certificate of any build, as long as its file has the right name."""
    found = _read_file(path)
    if found is not None:
        key = (path.parent.parent, found.host, found.kernel)
        # By the build id before certificates had an identity.
        if path not in [certificate_path(*key, n) for n in (found.identity, found.build_id)]:
            raise RecordInvalid(str(path), "belongs to another host or build")
    return found


def newest(one: Certificate, other: Certificate) -> Certificate:
    """The later calibration and the later overhead of two certificates of one build."""
    calibrated = max(other, one, key=lambda each: each.made_unix_ns)
    watched = max(other, one, key=lambda each: each.watched_unix_ns)
    return replace(
        calibrated,
        watched_unix_ns=watched.watched_unix_ns,
        watched_session=watched.watched_session,
        effect=watched.effect,
    )


DOCUMENTS = Documents(_DIRECTORY, _read_named, newest)


def known_so_far(directory: Path, session: Session, build: Build) -> Certificate:
    """The certificate of a build on a session's host, an empty one if there is none."""
    host, kernel = (session.environment.get(key, "") for key in ("host", "kernel"))
    found = read_certificate(directory, host, kernel, build)
    return replace(
        found or Certificate(SCHEMA, host, kernel, "", "", ""),
        build=build.label,
        build_id=build.build_id,
        qemu_version=build.version,
        identity=build.identity,
    )


def certificate_lines(directory: Path, session: Session, builds: Iterable[Build]) -> list[str]:
    """For every build of a session, what is known of the instrument, or that nothing is."""
    lines: list[str] = []
    known = tuple(builds)
    for build in known:
        name = f"QEMU {build.label}: " if len(known) > 1 else ""
        try:
            found = known_so_far(directory, session, build)
        except RecordInvalid as error:
            lines.append(f"{name}{error}")
            continue
        if found.calibrated is None:
            lines.append(f"{name}not calibrated here: `pausebench calibrate`")
        lines += [name + line for line in found.lines]
    return lines
