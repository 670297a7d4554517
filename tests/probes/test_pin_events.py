"""Pin paths: traceable ones are counted, and the absence of others is reported."""

from pathlib import Path

import pytest

from probes.pin_events import PATHS, PinProbe

pytestmark = pytest.mark.bpf
KPROBES = Path("/sys/kernel/tracing/kprobe_events").exists()


@pytest.fixture(scope="module")
def probe():
    with PinProbe() as probe:
        yield probe


def test_the_tier_states_what_is_traced(probe):
    assert ("kprobes" in probe.tier) == KPROBES
    iommu = Path("/sys/kernel/tracing/events/iommu/unmap").is_dir()
    assert ("iommu_unmap" in probe.totals()) == iommu
    assert set(probe.totals()) <= set(PATHS)


def test_counts_are_differences(probe):
    before = probe.totals()
    events = probe.since(before)
    assert events.tier == probe.tier
    assert set(events.counts) == set(before)
    assert not any(events.counts.values())


@pytest.mark.skipif(not KPROBES, reason="this kernel has no kprobes")
def test_an_unpin_of_a_watched_process_is_counted(probe, tmp_path):
    from runners.pins.holder import PinHolder

    file = tmp_path / "ram"
    file.write_bytes(bytes(1 << 20))
    with PinHolder(file, 1 << 20) as holder:
        probe.watch(holder.pid)
        before = probe.totals()
        holder.release()
        assert sum(probe.since(before).counts.values()) > 0
        probe.forget(holder.pid)


def test_a_kernel_without_traceable_paths_is_reported(probe, monkeypatch):
    monkeypatch.setattr(probe, "_watched_paths", ())
    assert "CONFIG_KPROBES" in probe.since({}).missing
