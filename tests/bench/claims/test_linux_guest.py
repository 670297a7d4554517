"""Linux with devices under load, really transferred; and wrong blocks found by the host."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Iterator
from pathlib import Path

import pytest

from bench.claims.linux_guest import NETWORKS, try_linux, wrong_blocks
from bench.measurement.session import open_session
from results.errors import HostUnfit
from results.records.run import Run
from results.records.scenario import Scenario
from results.store.store import open_store
from runners.builds.discover import default_build
from runners.linux.initrd import BLOCKS
from runners.linux.kernel import guest_kernel


class Silent:
    def doing(self, what: str) -> None: ...
    def note(self, text: str) -> None: ...
    def finished(self, run: Run) -> None: ...
    def skipped(self, updates: int) -> None: ...

    planned = None


@pytest.fixture
def kernel() -> Iterator[Path]:
    try:
        yield guest_kernel(lambda text: None).image
    except HostUnfit as error:
        pytest.skip(str(error))


@pytest.mark.slow
@pytest.mark.qemu
@pytest.mark.bpf
def test_its_streams_continue_and_a_shared_header_loses_frames(
    tmp_path: Path, kernel: Path
) -> None:
    build = default_build()
    scenario = Scenario("device", "anon", accel="tcg")
    with (
        open_store(tmp_path) as store,
        open_session([scenario], [build], store, Silent(), ["test"], {}) as live,
    ):
        found = asyncio.run(try_linux(live.experiment, build, build, build.label))
        runs = [store.run(finding.evidence[0]) for finding in found]
    for network, finding, run in zip(NETWORKS, found, runs, strict=True):
        streams = {stream.name: stream for stream in run.streams}
        assert set(streams) == {"virtio-serial", "virtio-blk", "virtio-net"}
        assert run.blackout_ns is not None, finding
        for stream in streams.values():
            assert stream.after > 0, finding
            assert stream.repeated == 0, finding
        assert not streams["virtio-serial"].troubles, finding
        assert not streams["virtio-blk"].troubles, finding
        if network.shared and network.vnet_header:
            # New QEMU sets the header's length back while old QEMU still sends.
            assert streams["virtio-net"].lost > 0, finding
            assert finding.found == "refuted"
            assert "of the numbers" in finding.detail
        else:
            assert finding.found == "shown", finding


def image(numbers: range) -> bytearray:
    made = bytearray(BLOCKS * 4096)
    for number in numbers:
        at = number % BLOCKS * 4096
        struct.pack_into("<I", made, at, number)
        struct.pack_into("<I", made, at + 4092, number)
    return made


def test_blocks_in_place_are_right() -> None:
    assert wrong_blocks(bytes(image(range(1, 500))), 499) == 0
    assert wrong_blocks(bytes(image(range(1, 3000))), 2999) == 0
    assert wrong_blocks(bytes(image(range(1, 3001))), 2999) == 0  # one that was not reported yet


def test_a_missing_or_torn_block_is_wrong() -> None:
    assert wrong_blocks(bytes(image(range(1, 499))), 499) == 1
    torn = image(range(1, 500))
    struct.pack_into("<I", torn, 7 * 4096 + 4092, 6)
    assert wrong_blocks(bytes(torn), 499) == 1
    stale = image(range(1, 2500))
    struct.pack_into("<I", stale, 2400 % BLOCKS * 4096, 2400 - BLOCKS)
    struct.pack_into("<I", stale, 2400 % BLOCKS * 4096 + 4092, 2400 - BLOCKS)
    assert wrong_blocks(bytes(stale), 2499) == 1
