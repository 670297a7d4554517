"""The observer on RAM in which the test itself writes beats, with its own timestamps."""

from __future__ import annotations

import itertools
import os
import threading
import time

import numpy as np
import pytest

from results.errors import HostUnfit
from runners.observer import process
from runners.observer.process import THRESHOLD_NS, Observer, build_observer
from runners.payload import layout as at

PAUSE_NS = 30_000_000
# A preempted observer or test thread is late; a missed pause would be off by more.
NOISE_NS = 20_000_000


@pytest.fixture(scope="module")
def program(tmp_path_factory):
    try:
        return build_observer(tmp_path_factory.mktemp("observer"))
    except HostUnfit as error:
        pytest.skip(str(error))


class Beater(threading.Thread):
    """Beats for all vCPUs except `silent`; `back` is the time of that one's next beat."""

    def __init__(self, vcpus):
        super().__init__(daemon=True)
        self.fd = os.memfd_create("ram")
        os.truncate(self.fd, 16 << 20)
        self.words = np.memmap(f"/proc/self/fd/{self.fd}", dtype=np.uint32, mode="r+")
        self.places = [(at.SLOTS + (v << at.SLOT_SHIFT) + at.S_TICK) // 4 for v in range(vcpus)]
        self.silent, self.ending, self.back = None, False, 0

    def run(self):
        was, tick = None, 0
        while not self.ending:
            tick += 1
            silent = self.silent
            if silent is None and was is not None:
                self.back = time.monotonic_ns()
            for vcpu, place in enumerate(self.places):
                if vcpu != silent:
                    self.words[place] = tick
            was = silent
            time.sleep(20e-6)


@pytest.fixture
def beater():
    beater = Beater(3)
    beater.start()
    yield beater
    beater.ending = True
    beater.join()
    os.close(beater.fd)


def test_a_pause_is_seen_on_the_right_vcpu_with_its_bounds(program, beater):
    with Observer(program, f"/proc/self/fd/{beater.fd}", 3) as observer:
        time.sleep(0.05)
        beater.silent = 1
        time.sleep(PAUSE_NS / 1e9)
        beater.silent = None
        time.sleep(0.05)
    longest = {
        v: max((g for g in observer.gaps() if g.vcpu == v), key=lambda g: g.length_ns, default=None)
        for v in range(3)
    }
    seen = longest[1]
    assert seen is not None
    assert PAUSE_NS - seen.last_reach_ns <= seen.length_ns < PAUSE_NS + NOISE_NS
    # The true bounds are within the stated reach, by the test's own timestamps.
    assert seen.first_ns >= beater.back
    assert seen.first_ns - seen.first_reach_ns <= beater.back + NOISE_NS
    for other in (0, 2):
        assert longest[other] is None or longest[other].length_ns < seen.length_ns


def test_a_stopped_observer_reports_a_long_reach(program, beater):
    """Stopped by a signal it sees no beats: the gap that it logs has an equally long reach."""
    with Observer(program, f"/proc/self/fd/{beater.fd}", 1) as observer:
        os.kill(observer.pid, 19)
        time.sleep(PAUSE_NS / 1e9)
        os.kill(observer.pid, 18)
        time.sleep(0.05)
    seen = max(observer.gaps(), key=lambda g: g.length_ns)
    assert seen.length_ns >= PAUSE_NS / 2
    assert seen.reach_ns >= PAUSE_NS / 2, "a pause of the observer's own must not look certain"


def test_logs_gaps_from_the_threshold_on_and_keeps_the_last_ones(program, beater):
    with Observer(program, f"/proc/self/fd/{beater.fd}", 1, threshold_ns=1) as observer:
        time.sleep(0.2)
    gaps = observer.gaps()
    assert len(gaps) == 32
    starts = [gap.last_ns for gap in gaps]
    assert starts == sorted(starts)
    assert all(a.first_ns == b.last_ns for a, b in itertools.pairwise(gaps))
    assert min(gap.length_ns for gap in gaps) < THRESHOLD_NS


@pytest.mark.parametrize(
    ("number", "words"),
    [(9, "observer ended by SIGKILL"), (19, "observer does not answer (state T)")],
)
def test_an_observer_that_does_not_last_is_reported(program, beater, number, words):
    with Observer(program, f"/proc/self/fd/{beater.fd}", 1) as observer:
        os.kill(observer.pid, number)
        time.sleep(0.1)
    assert observer.lost() == words


def test_exits_when_closed(program, beater):
    observer = Observer(program, f"/proc/self/fd/{beater.fd}", 1)
    rounds = observer.rounds()
    observer.close()
    assert observer.rounds() >= rounds
    assert not os.path.exists(f"/proc/{observer.pid}")  # noqa: PTH110
    assert observer.lost() == ""
    observer.close()


def test_a_program_that_exits_is_reported(beater, tmp_path):
    with pytest.raises(HostUnfit, match="did not start"):
        Observer("/bin/false", f"/proc/self/fd/{beater.fd}", 1)


def test_another_architecture_is_refused(monkeypatch, tmp_path):
    monkeypatch.setattr(process.platform, "machine", lambda: "riscv64")
    with pytest.raises(HostUnfit, match="x86-64"):
        build_observer(tmp_path)
