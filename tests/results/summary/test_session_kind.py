"""What kind of session a command makes, by the records that real commands left."""

from __future__ import annotations

from dataclasses import replace

import pytest

from results.records.scenario import Build
from results.summary.session_kind import has_measured, kind_of


def builds(*labels):
    return tuple(Build(label, label, "10.0.13", label, "", (label,)) for label in labels)


@pytest.fixture
def session_of(make_session):
    def make(command, labels=("system",), **environment):
        words = ("pausebench", *command.split())
        return replace(
            make_session(), command=words, builds=builds(*labels), environment=environment
        )

    return make


@pytest.mark.parametrize(
    ("command", "labels", "environment", "kind", "measured"),
    [
        ("run anon", ("system",), {}, "run", True),
        ("compare a b", ("a", "b"), {}, "compare", True),
        ("compare --aa a", ("a", "a-again"), {}, "self-check", True),
        ("sweep ram", ("system",), {"purpose": "sweep"}, "sweep", True),
        ("matrix a b", ("a", "b"), {}, "matrix", True),
        ("lab run vfio-type1", ("system",), {}, "lab", True),
        ("nightly n.toml", ("baseline", "candidate"), {"night": "n"}, "nightly", True),
        ("nightly n.toml", ("baseline", "baseline-again"), {"night": "n"}, "self-check", False),
        ("calibrate anon", ("system",), {"purpose": "calibration"}, "calibration", False),
        ("overhead anon", ("system",), {"purpose": "overhead"}, "overhead", False),
        ("claims", ("system", "next"), {"purpose": "claims"}, "claims", False),
        # The lab's claims come home under the command that started the lab.
        ("lab run", ("system",), {"purpose": "claims"}, "claims", False),
    ],
)
def test_kinds(session_of, command, labels, environment, kind, measured):
    session = session_of(command, labels, **environment)
    assert (kind_of(session), has_measured(session)) == (kind, measured)


@pytest.mark.parametrize("command", [(), ("pytest", "bench"), ("pausebench",)])
def test_another_program_is_a_run(make_session, command):
    assert kind_of(replace(make_session(), command=command)) == "run"
