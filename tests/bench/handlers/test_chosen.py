"""What shared options ask for."""

from __future__ import annotations

from dataclasses import replace

import pytest

from bench.handlers.chosen import labelled
from results.errors import UsageError
from results.records.scenario import Build


def test_a_label_is_given_once() -> None:
    one = Build("one", "/x", "10.0.2", "id", "sha", ("/x",))
    assert labelled([one, replace(one, label="two")])
    with pytest.raises(UsageError, match="two builds are called `one`"):
        labelled([one, one])
