"""Series that have one problem each, and one that has none."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest

from results.records.observations import HostState, Stream
from results.records.reasons import because
from results.records.run import Witnesses
from results.summary.caveats import doubts_of

QUIET = HostState(window_ns=100_000_000, foreign_ns=1_000_000, cpus=2)


@pytest.fixture
def series(make_run):
    """Runs with a blackout by boot and update, on a quiet host unless given otherwise."""

    def make(blackout, boots=8, updates=5, **fields):
        runs = []
        for boot in range(1, boots + 1):
            for update in range(1, updates + 1):
                ns = round(blackout(boot, update))
                run = make_run(
                    boot,
                    update,
                    blackout_ns=ns,
                    host=QUIET,
                    guest_gap_ns=ns + 200_000,
                    guest_clock="runs",
                    witnesses=Witnesses(kvm=ns, uprobe=ns - 200_000, qmp=ns - 500_000),
                )
                runs.append(replace(run, **fields))
        return runs

    return make


def noise(seed=1, size=60_000):
    chance = random.Random(seed)
    return lambda boot, update: 4_000_000 + chance.gauss(0, size)


def kinds(runs):
    return [doubt.kind for doubt in doubts_of(runs)]


def test_a_sound_series_raises_no_doubt(series):
    assert doubts_of(series(noise())) == ()
    assert doubts_of([]) == ()


def test_runs_under_tcg(series):
    (doubt,) = doubts_of(series(noise(), dimensions="accel=tcg id=anon"))
    assert doubt.kind == "tcg"
    assert "TCG" in doubt.text


def test_failed_runs(series):
    runs = series(noise())
    runs[3] = replace(runs[3], outcome="failed", reason="gone")
    (doubt,) = doubts_of(runs)
    assert "1 of 40 runs failed" in doubt.text
    assert doubt.figures == {"failed": 1, "runs": 40}


@pytest.mark.parametrize("boots", [1, 3, 5])
def test_few_boots(series, boots):
    found = [d for d in doubts_of(series(noise(), boots=boots)) if d.kind == "few-boots"]
    assert len(found) == 1
    assert "--boots 6" in found[0].settle
    assert ("too few for an interval" in found[0].text) == (boots < 4)
    assert found[0].figures == {"boots": boots, "boots_needed": 6}


def test_wide_interval_and_the_boots_that_would_do(series):
    def spread(boot, update):
        return 4_000_000 * (1 + 0.5 * (boot % 3))

    (doubt,) = [d for d in doubts_of(series(spread)) if d.kind == "wide"]
    assert f"± {doubt.figures['reach_percent']:.0f} %" in doubt.text
    assert doubt.settle == "about --boots 89 would do for 10 %"
    assert (doubt.figures["boots_needed"], doubt.figures["wanted_percent"]) == (89, 10.0)


def test_a_precision_that_no_number_of_boots_reaches(series):
    """`about --boots 1000 would do` was advice for a night per cell."""

    def spread(boot, update):
        return 4_000_000 * (1 + 1.5 * (boot % 3))

    (doubt,) = [d for d in doubts_of(series(spread)) if d.kind == "wide"]
    assert doubt.settle == "10 % cannot be resolved on this host as it is"


def test_drift(series):
    flat = noise()
    (doubt,) = doubts_of(series(lambda b, u: flat(b, u) + 60_000 * b))
    assert doubt.kind == "drift"
    assert f"drifted by {doubt.figures['drift_percent']:+.0f} %" in doubt.text
    assert doubt.figures["drift_percent"] == pytest.approx(10, abs=2)
    assert "drift" not in kinds(series(lambda b, u: flat(b, u) + 60_000 * (b % 2)))
    # as steady, but too small to matter
    assert "drift" not in kinds(series(lambda b, u: 4_000_000 + 3_000 * b + u))


def test_two_kinds_of_update(series):
    flat = noise()
    (doubt,) = doubts_of(series(lambda b, u: flat(b, u) + 2_000_000 * (u % 2)))
    assert doubt.kind == "two-kinds"
    assert f"p {doubt.figures['p']:.2g})" in doubt.text
    assert "two-kinds" not in kinds(series(lambda b, u: flat(b, u) + 2_000_000 * (u % 2), boots=3))


@pytest.mark.parametrize(
    ("host", "word", "figures"),
    [
        (replace(QUIET, foreign_ns=40_000_000), "other processes used 20 %",
         {"foreign_percent": 20.0, "stolen_percent": 0.0}),
        (replace(QUIET, steal_ns=10_000_000), "stole 5.0 %",
         {"foreign_percent": 0.5, "stolen_percent": 5.0}),
    ],
)  # fmt: skip
def test_noisy_host(series, host, word, figures):
    (doubt,) = doubts_of(series(noise(), host=host))
    assert doubt.kind == "noisy-host"
    assert word in doubt.text
    assert doubt.figures == pytest.approx(figures)


@pytest.mark.parametrize(
    ("host", "kind", "text", "settle"),
    [
        (replace(QUIET, others=("pid 12 (pausebench run anon)",)), "shared-host",
         "in 40 of 40 runs another session measured on this host: pid 12 (pausebench run anon)",
         "without --share"),
        (replace(QUIET, strangers=(12, 13)), "probed-strangers",
         "in 40 of 40 runs other processes ran the probed binary (pid 12, 13)", "copy=PATH"),
        (replace(QUIET, strangers=tuple(range(9))), "probed-strangers",
         "(pid 0, 1, 2, 3, 4 and 4 more)", "copy=PATH"),
    ],
)  # fmt: skip
def test_others_on_the_host_are_named(series, host, kind, text, settle):
    (doubt,) = doubts_of(series(noise(), host=host))
    assert doubt.kind == kind
    assert text in doubt.text
    assert settle in doubt.settle


def test_a_host_without_load_figures_is_not_called_noisy(series):
    assert kinds(series(noise(), host=HostState(steal_ns=10**12))) == []


@pytest.mark.parametrize(
    "change",
    [
        lambda run: {"witnesses": Witnesses(uprobe=run.blackout_ns + 60_000)},
        lambda run: {"witnesses": Witnesses(qmp=run.blackout_ns + 60_000)},
        lambda run: {"guest_gap_ns": run.blackout_ns - 60_000},
    ],
)
def test_witnesses_that_barely_agree(series, change):
    runs = [replace(run, **change(run)) for run in series(noise())]
    (doubt,) = doubts_of(runs)
    assert doubt.kind == "close-witnesses"
    assert "40 of 40" in doubt.text
    assert doubt.figures == {"close": 40, "runs": 40, "tolerance_ns": 100_000}


def test_a_frozen_clock_has_a_wider_tolerance(series):
    runs = series(noise(), guest_clock="freezes")
    runs = [replace(run, guest_gap_ns=run.blackout_ns - 200_000) for run in runs]
    assert kinds(runs) == []


def warned(run, warning):
    return replace(run, warnings=(warning,))


SKIPPED = because("probes-skipped", calls=1_000_000).text
FORMERLY = (
    "the kernel left 7 probe calls out, of whatever process; a guest entry or exit among them "
    "would show against the guest's own gap"
)


def silenced(run):
    return replace(run, guest_gap_ns=None)


def test_a_guest_that_never_testifies(series):
    runs = [silenced(run) for run in series(noise())]
    (doubt,) = doubts_of(runs)
    assert doubt.kind == "guest-silent"
    assert doubt.text == (
        "in 40 of 40 runs the guest did not testify: nothing checks their blackouts from inside"
    )
    assert doubt.figures == {"silent": 40, "runs": 40}


def test_a_guest_that_was_silent_now_and_then(series):
    runs = series(noise())
    assert kinds([*map(silenced, runs[:4]), *runs[4:]]) == []
    assert kinds([*map(silenced, runs[:5]), *runs[5:]]) == ["guest-silent"]


def test_streams_testify_instead_of_the_payload(series):
    stream = Stream("net", 1, 99, 0, 0, 50, 4_200_000, 1_000)
    assert kinds([replace(silenced(run), streams=(stream,)) for run in series(noise())]) == []


@pytest.mark.parametrize(("warning", "calls"), [(SKIPPED, "1,000,000"), (FORMERLY, "7")])
def test_probe_calls_that_the_kernel_skipped(series, warning, calls):
    (doubt,) = doubts_of([warned(run, warning) for run in series(noise())])
    assert doubt.kind == "probes-skipped"
    assert doubt.text.startswith(
        f"in 40 of 40 runs the kernel skipped probe calls, up to {calls} in one"
    )
    assert doubt.figures == {"skipped": 40, "runs": 40, "most_calls": int(calls.replace(",", ""))}
    runs = series(noise())
    assert kinds([warned(run, warning) if run.boot == 1 and run.update < 4 else run
                  for run in runs]) == []  # fmt: skip


def test_first_progress_far_above_that_of_the_other_runs(series):
    runs = [replace(run, first_progress_ns=200_000 + run.update) for run in series(noise())]
    assert kinds(runs) == []
    runs[7] = replace(runs[7], first_progress_ns=100_200_000)
    (doubt,) = doubts_of(runs)
    assert doubt.kind == "slow-start"
    assert "in 1 of 40 runs" in doubt.text
    assert "100.20 ms" in doubt.text
    assert doubt.figures == {
        "slow": 1,
        "runs": 40,
        "longest_ns": 100_200_000,
        "usual_ns": 200_004,
    }


@pytest.mark.parametrize(
    ("progress_ns", "others_ns", "slow"),
    [
        (2_100_000, 200_000, True),
        (1_900_000, 200_000, False),  # less than ten times as long
        (900_000, 20_000, False),  # too short to matter
        (9_000_000, 2_000_000, False),
        (12_000_000, 2_000_000, True),  # longer than the blackout
    ],
)
def test_first_progress_is_compared_within_its_boot(series, progress_ns, others_ns, slow):
    """The other boots are quicker: only the runs of the same boot say what is usual in it."""
    runs = [
        replace(run, first_progress_ns=others_ns if run.boot == 3 else 10_000)
        for run in series(noise())
    ]
    runs[12] = replace(runs[12], first_progress_ns=progress_ns)
    assert runs[12].boot == 3
    assert kinds(runs) == (["slow-start"] if slow else [])


def test_first_progress_of_single_updates_is_compared_over_boots(series):
    runs = [replace(run, first_progress_ns=200_000) for run in series(noise(), updates=1)]
    assert kinds(runs) == []
    runs[2] = replace(runs[2], first_progress_ns=2_500_000)
    assert kinds(runs) == ["slow-start"]
    assert kinds([replace(run, first_progress_ns=None) for run in runs]) == []
