"""The findings of one session on the claims, stored as one JSON file next to the store."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from results.errors import RecordInvalid
from results.records.harm import INVALID
from results.store.documents import Documents, equal, read_document, write_document
from results.store.recordings import cut, is_session_id

from .catalogue import Finding, Row, refuted, rows

# Schema of the document.
#   1  first version
SCHEMA = 1
_DIRECTORY = "claims"
_MAX_BYTES = 16 << 20


@dataclass(frozen=True, slots=True)
class ClaimsDocument:
    """The findings of a session on `builds` (label → QEMU version) and upgrades between them.

    `columns` are the builds and upgrades in the order of the table; `notes` say what was skipped
    and why; `lab` is the session in the lab, empty if there was none.
    """

    schema: int
    session: str
    made_unix_ns: int
    took_s: int
    builds: dict[str, str]
    columns: tuple[str, ...]
    findings: tuple[Finding, ...]
    claims: tuple[int, ...] = ()  # requested; empty: all
    lab: str = ""
    notes: tuple[str, ...] = ()
    damaged: tuple[str, ...] = ()  # runs that damaged their guest, though no test provokes it

    @property
    def rows(self) -> tuple[Row, ...]:
        """The verdict on every requested claim, for every column."""
        found = rows(self.findings, self.columns)
        return tuple(row for row in found if not self.claims or row.claim.number in self.claims)

    @property
    def exit_code(self) -> int:
        """3 when a claim is refuted or a guest was damaged."""
        return INVALID if refuted(self.rows) or self.damaged else 0

    def others(self, topics: Sequence[str]) -> tuple[Finding, ...]:
        """Findings of these topics."""
        return tuple(f for f in self.findings if f.topic in topics)


def claims_path(directory: Path, session: str) -> Path:
    """The file with the claims of a session, in the store's directory."""
    return directory / _DIRECTORY / f"{session}.json"


def write_claims(directory: Path, document: ClaimsDocument) -> Path:
    """Store a session's claims. Raises UsageError when they cannot be written."""
    return write_document(claims_path(directory, document.session), document)


def read_claims(directory: Path, session: str) -> ClaimsDocument | None:
    """The claims of a session, None if it tested none. Raises RecordInvalid."""
    if not is_session_id(session):
        return None
    return _read(claims_path(directory, session))


def _read(path: Path) -> ClaimsDocument | None:
    found = read_document(path, ClaimsDocument, "document of claims", _MAX_BYTES)
    if found is None:
        return None
    if found.schema != SCHEMA:
        raise RecordInvalid(str(path), f"has schema {found.schema}; this pausebench reads {SCHEMA}")
    for session in (found.session, *filter(None, [found.lab])):
        if not is_session_id(session):
            raise RecordInvalid(str(path), f"malformed session id {cut(session)}")
    if found.session != path.stem:
        raise RecordInvalid(str(path), f"belongs to session {found.session}")
    return found


# How stores are merged; a session's claims never change.
DOCUMENTS = Documents(_DIRECTORY, _read, equal)


def latest_claims(directory: Path) -> str | None:
    """The latest session that tested claims, None if there is none."""
    names = sorted(path.stem for path in (directory / _DIRECTORY).glob("*.json"))
    return next(filter(is_session_id, reversed(names)), None)


def as_json(document: ClaimsDocument) -> dict[str, Any]:
    """The document of `pausebench claims --json`; its first key is the verdicts alone."""
    return {
        "claims": [
            {
                "claim": row.claim.number,
                "title": row.claim.title,
                "how": row.claim.how,
                "build": row.build,
                "verdict": row.verdict,
                "detail": row.detail,
                "evidence": list(row.evidence),
            }
            for row in document.rows
        ],
        "findings": [
            {
                "topic": f.topic,
                "claim": f.claim,
                "build": f.build,
                "test": f.test,
                "found": f.found,
                "detail": f.detail,
                "quote": f.quote,
                "fix": f.fix,
                "evidence": list(f.evidence),
            }
            for f in document.findings
        ],
        "builds": document.builds,
        "session": document.session,
        "lab_session": document.lab,
        "notes": list(document.notes),
        "damaged": list(document.damaged),
        "took_s": document.took_s,
        "exit_code": document.exit_code,
    }
