"""Which sessions ended early, and what they have of what they were to do."""

from __future__ import annotations

from dataclasses import replace

import pytest

from results.records.scenario import Session
from results.store.store import SessionEnd
from results.summary.failures.unfinished import unfinished, updates_text

SESSION = Session("20261123-221500-3f2a", 1, (), (), {}, planned_updates=40)


@pytest.mark.parametrize(
    ("code", "valid", "failed", "text", "status"),
    [
        (130, 21, 0, "interrupted: 21 of 40 updates", 130),
        (130, 20, 1, "interrupted: 21 of 40 updates", 130),
        (130, 40, 0, "interrupted: 40 updates", 130),
        (130, 1, 0, "interrupted: 1 of 40 updates", 130),
        (3, 21, 0, "ended early: 21 of 40 updates", 3),
        (4, 20, 1, "ended early: 21 of 40 updates", 4),
        (70, 0, 0, "ended early: 0 of 40 updates", 70),
        (None, 21, 0, "not finished, or killed: 21 of 40 updates", 3),
        (3, 21, 1, None, None),  # a boot in which an update failed has fewer
        (3, 40, 0, None, None),
        (0, 40, 0, None, None),
        (1, 30, 0, None, None),
    ],
)
def test_the_end_tells_what_was_done(code, valid, failed, text, status):
    end = SessionEnd(None if code is None else 2, code)
    found = unfinished([SESSION], end, valid, failed)
    assert (found and found.text, found and found.exit_code) == (text, status)


def test_without_a_plan_only_an_interrupt_is_known():
    old = replace(SESSION, planned_updates=None)
    assert unfinished([old], SessionEnd(None, None), 21, 0) is None
    assert unfinished([old], SessionEnd(2, 130), 21, 0).text == "interrupted: 21 updates"
    assert unfinished([SESSION, SESSION], SessionEnd(2, 0), 21, 0) is None


def test_more_than_the_plan():
    assert updates_text(61, 40) == "61 updates"
