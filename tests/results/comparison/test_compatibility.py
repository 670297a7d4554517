"""What must not be compared is named; what may be, is not."""

from __future__ import annotations

from dataclasses import replace

import pytest

from results.comparison.compatibility import differences, doubts

HOST = {"host": "n1", "cpu": "Xeon 8375C", "cpus": "8", "kernel": "6.12.1", "thp": "always"}


@pytest.fixture
def session(make_session):
    return replace(make_session(), environment=HOST)


def other(session, tier=None, **facts):
    return replace(
        session, environment=HOST | facts, probe_tier=tier or session.probe_tier, id="other"
    )


def test_the_same_host_and_dimensions(session, make_run):
    runs = [make_run(boot=i) for i in (1, 2)]
    assert differences(session, other(session), runs, runs) == ()
    assert differences(session, session, [], []) == ()
    assert doubts(session, other(session)) == ()


@pytest.mark.parametrize(
    ("facts", "named"),
    [
        ({"host": "n2"}, "host: n1 in A, n2 in B"),
        ({"cpu": "EPYC 7763"}, "CPU: Xeon 8375C in A, EPYC 7763 in B"),
        ({"cpus": "16"}, "number of CPUs: 8 in A, 16 in B"),
        ({"kernel": "6.1.0"}, "kernel: 6.12.1 in A, 6.1.0 in B"),
        ({"hypervisor": "yes"}, "runs under a hypervisor: not recorded in A, yes in B"),
        ({"lab": "q35"}, "lab or metal: metal in A, lab in B"),
    ],
)
def test_another_host(session, facts, named):
    assert differences(session, other(session, **facts), [], []) == (named,)


def test_two_labs(session):
    labs = other(session, lab="q35"), other(session, lab="microvm")
    assert differences(*labs, [], []) == ("lab: q35 in A, microvm in B",)
    assert differences(labs[0], labs[0], [], []) == ()
    assert differences(session, other(session, lab=""), [], []) == ()


def test_other_probes(session):
    assert differences(session, other(session, tier="none"), [], []) == (
        "probes: uprobe in A, none in B",
    )


def test_other_dimensions(session, make_run):
    a = [make_run(dimensions="id=anon ram_bytes=1 vcpus=2"), make_run(scenario="memfd")]
    b = [make_run(dimensions="id=anon ram_bytes=2 vcpus=2 pinned=True"), make_run(scenario="shm")]
    assert differences(session, session, a, b) == (
        "anon: ram_bytes: 1 in A, 2 in B",
        "anon: pinned: not recorded in A, True in B",
    )


def test_a_mixture_on_both_sides_is_no_match(session, make_run):
    runs = [make_run(dimensions=f"id=anon vcpus={n}") for n in (2, 4)]
    assert differences(session, session, runs, runs) == ("anon: vcpus: 2 and 4 in A, 2 and 4 in B",)


def test_everything_at_once_is_all_named(session, make_run):
    far = other(session, tier="none", host="n2", lab="q35")
    found = differences(session, far, [make_run()], [make_run(dimensions="vcpus=4")])
    assert [text.split(":")[0] for text in found] == ["lab or metal", "host", "probes", "anon"]


def test_settings_are_doubts_and_no_refusal(session):
    changed = other(session, thp="never", governor="performance")
    assert differences(session, changed, [], []) == ()
    assert doubts(session, changed) == (
        "governor: not recorded in A, performance in B",
        "thp: always in A, never in B",
    )
