"""Sessions of one store in another: whole, once, and unchanged."""

from __future__ import annotations

from pathlib import Path

import pytest

from results.errors import UsageError
from results.store.merge import merge
from results.store.store import open_store


def test_sessions_come_over_with_their_runs_and_evidence(
    tmp_path: Path, make_session, make_run, make_recording
) -> None:
    session, runs = make_session(), [make_run(update=n) for n in (1, 2)]
    with open_store(tmp_path / "lab") as source, open_store(tmp_path / "out") as target:
        source.add_session(session)
        for run in runs:
            source.add_run(run, make_recording(run))
        source.finish_session(session.id, 7, 3)
        [(taken, found)] = merge(source, target, ["pausebench", "lab", "run"])
        assert found == runs
        assert taken.command == ("pausebench", "lab", "run")
        assert target.runs(session=session.id) == runs
        assert target.recording(runs[0].id) == make_recording(runs[0])
        end = target.session_end(session.id)
        assert (end.ended_unix_ns, end.exit_code) == (7, 3)
        with pytest.raises(UsageError, match=session.id):
            merge(source, target)
        assert target.runs(session=session.id) == runs


def test_an_empty_store_is_said(tmp_path: Path) -> None:
    with open_store(tmp_path / "lab") as source, open_store(tmp_path / "out") as target:
        with pytest.raises(UsageError, match="no session"):
            merge(source, target)
