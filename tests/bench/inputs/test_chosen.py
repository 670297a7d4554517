"""What shared options select."""

from __future__ import annotations

from dataclasses import replace

import pytest

from bench.inputs.chosen import check_labels
from results.errors import UsageError
from results.records.scenario import Build


def test_labels_must_differ() -> None:
    one = Build("one", "/x", "10.0.2", "id", "sha", ("/x",))
    assert check_labels([one, replace(one, label="two")])
    with pytest.raises(UsageError, match="two builds have the label `one`"):
        check_labels([one, one])
