"""The document of claims next to the store: written atomically, refused when malformed."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from results.claims.catalogue import Finding
from results.claims.document import (
    SCHEMA,
    ClaimsDocument,
    as_json,
    claims_path,
    latest_claims,
    read_claims,
    write_claims,
)
from results.errors import RecordInvalid, UsageError

SESSION = "20261127-105547-d544"


@pytest.fixture
def document() -> ClaimsDocument:
    found = Finding("claim", 6, "a", "no share", "shown", "refused", ("run",), "not compatible")
    return ClaimsDocument(
        schema=SCHEMA,
        session=SESSION,
        made_unix_ns=1,
        took_s=2,
        builds={"a": "10.0.2"},
        columns=("a",),
        findings=(found,),
    )


def test_a_document_is_read_back(document: ClaimsDocument, tmp_path: Path) -> None:
    write_claims(tmp_path, document)
    assert read_claims(tmp_path, SESSION) == document
    assert latest_claims(tmp_path) == SESSION
    later = replace(document, session="20261128-105547-d544")
    write_claims(tmp_path, later)
    assert latest_claims(tmp_path) == later.session


def test_damage_that_no_test_provokes_fails_the_session(
    document: ClaimsDocument, tmp_path: Path
) -> None:
    assert document.exit_code == 0
    damaged = replace(document, damaged=("run",))
    write_claims(tmp_path, damaged)
    found = read_claims(tmp_path, SESSION)
    assert found == damaged
    assert (found.exit_code, as_json(found)["damaged"]) == (3, ["run"])


def test_sessions_without_claims(tmp_path: Path) -> None:
    assert read_claims(tmp_path, SESSION) is None
    assert read_claims(tmp_path, "../../etc/passwd") is None
    assert latest_claims(tmp_path) is None


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"schema": 99}, "has schema 99"),
        ({"session": "20261128-105547-d544"}, "belongs to session"),
        ({"session": "../../x"}, "malformed session id '../../x'"),
        ({"lab": "\x1b[2J"}, r"malformed session id '\\x1b"),
        ({"findings": "none"}, "is not a valid document of claims"),
        ({"findings": [{"topic": "gossip"}]}, "is not a valid document of claims"),
    ],
)
def test_a_malformed_document_is_refused(
    document: ClaimsDocument, tmp_path: Path, change: dict[str, object], words: str
) -> None:
    path = write_claims(tmp_path, document)
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(RecordInvalid, match=words):
        read_claims(tmp_path, SESSION)


@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir])
def test_only_a_regular_file_is_read(tmp_path: Path, make: Callable[[Path], None]) -> None:
    path = claims_path(tmp_path, SESSION)
    path.parent.mkdir()
    make(path)  # opening a pipe would block
    with pytest.raises(RecordInvalid, match=r"cannot be read: (it is not a regular|Is a dir)"):
        read_claims(tmp_path, SESSION)
    path.rename(tmp_path / "elsewhere")
    path.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(RecordInvalid, match="cannot be read"):
        read_claims(tmp_path, SESSION)


def test_a_failed_write_is_reported(document: ClaimsDocument, tmp_path: Path) -> None:
    (tmp_path / "claims").write_text("in the way")
    with pytest.raises(UsageError, match="cannot write"):
        write_claims(tmp_path, document)
    assert not list(tmp_path.glob(".*"))


def test_a_file_above_the_size_limit_is_refused(document: ClaimsDocument, tmp_path: Path) -> None:
    path = claims_path(tmp_path, SESSION)
    path.parent.mkdir()
    with path.open("wb") as file:
        file.truncate((16 << 20) + 1)
    with pytest.raises(RecordInvalid, match="is too large for a document of claims"):
        read_claims(tmp_path, SESSION)


def test_json_has_the_documented_keys(document: ClaimsDocument) -> None:
    found = as_json(document)
    assert len(found["claims"]) == 12
    row = found["claims"][5]
    assert {"claim", "build", "verdict", "evidence"} <= row.keys()
    assert (row["claim"], row["build"], row["verdict"]) == (6, "a", "shown")
    assert row["evidence"] == ["run"]
    assert found["claims"][0]["verdict"] == "not testable here: it was not tested"
    assert found["exit_code"] == 0
    assert json.loads(json.dumps(found)) == found
