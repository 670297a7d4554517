"""Load of the host: what other processes used during an update."""

import os
import subprocess
import sys
import time

from results.records.observations import HostState
from runners.host.load import LoadSnapshot, host_state, load_snapshot


def test_host_state_is_the_difference():
    before = LoadSnapshot(10, 100, 1, 5, 9.0, ns=1_000, own_s=3.0, waiting_us=40)
    after = LoadSnapshot(11, 104, 1.5, 25, 0.5, ns=4_000, own_s=3.25, waiting_us=90)
    assert host_state(before, after) == HostState(
        load1=0.5,
        cpu_percent=25.0,
        steal_ns=500_000_000,
        context_switches=20,
        window_ns=3_000,
        foreign_ns=250_000_000,  # of 1 s of busy CPU time 0.5 s was stolen, 0.25 s our own
        waiting_ns=50_000,
        cpus=os.cpu_count(),
    )
    assert host_state(before, before).cpu_percent == 0.0


def test_a_live_snapshot_shows_a_busy_cpu():
    before = load_snapshot()
    end = time.process_time() + 0.3
    while time.process_time() < end:
        pass
    state = host_state(before, load_snapshot())
    # One of the CPUs was busy with this; psutil counts in ticks of 10 ms.
    assert state.cpu_percent > 0.5 * 100 / (os.cpu_count() or 1)
    assert state.context_switches > 0
    assert state.steal_ns >= 0


def burn(seconds):
    return [sys.executable, "-c", f"import time\nwhile time.process_time() < {seconds}: pass"]


def test_the_load_of_other_processes_is_separated_from_our_own():
    """A reaped child and a running one that is given count as ours; one not given does not."""
    with subprocess.Popen(burn(60)) as living:
        try:
            time.sleep(0.3)
            before = load_snapshot((living.pid,))
            subprocess.run(burn(0.4), check=True)
            ours = host_state(before, load_snapshot((living.pid,)))
            theirs = host_state(load_snapshot(), (time.sleep(0.5), load_snapshot())[1])
        finally:
            living.kill()
    assert theirs.foreign_ns > 0.1e9
    # Both children used 0.4 s each: what remains was used by other processes meanwhile.
    spent = ours.cpu_percent / 100 * ours.window_ns * ours.cpus
    assert ours.foreign_ns < spent - 0.4e9
