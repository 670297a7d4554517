"""Guests with ordinary devices, really transferred; and the finding on a broken one."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from bench.claims.devices import try_devices
from bench.measurement.scenarios import resolve
from bench.measurement.session import LiveSession, open_session
from results.records.run import Run
from results.records.scenario import MIB, Build, Scenario
from results.store.store import Store, open_store
from runners.builds.discover import default_build
from runners.devices.disk_images import raw_image
from runners.devices.virtio import ORDINARY, OrdinaryDevice, Settings, disk_arguments
from runners.qemu.command_line import Variation


class Silent:
    def doing(self, what: str) -> None: ...
    def note(self, text: str) -> None: ...
    def finished(self, run: Run) -> None: ...
    def skipped(self, updates: int) -> None: ...

    planned = None


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    with open_store(tmp_path_factory.mktemp("store")) as opened:
        yield opened


@pytest.fixture(scope="module")
def live(store: Store) -> Iterator[LiveSession]:
    scenario = resolve(Scenario("anon", "anon", ram_bytes=64 * MIB))
    with open_session([scenario], [default_build()], store, Silent(), ["test"], {}) as session:
        yield session


@pytest.mark.qemu
@pytest.mark.kvm
@pytest.mark.bpf
def test_each_device_with_the_qemu_of_this_host(live: LiveSession, store: Store) -> None:
    build = default_build()
    network = Path("/proc/thread-self/ns/net").readlink()
    found = asyncio.run(try_devices(live.experiment, build, build, linux=False))
    by_device = {d.name: f for d, f in zip(ORDINARY, found, strict=True)}
    named = by_device.pop("virtio-net-name")
    assert named.found == "refuted"
    assert "Device or resource busy" in named.quote
    assert "its own tap" in named.fix
    vhost = by_device.pop("vhost-net")
    if Path("/dev/vhost-net").exists():
        assert vhost.found == "shown"
    else:
        assert vhost.found == "not testable"
        assert "vhost" in vhost.quote
        assert "No such file or directory" in vhost.quote
    for name, finding in by_device.items():
        assert finding.found == "shown", finding
        run = store.run(finding.evidence[0])
        assert run.scenario == f"device.{name}"
        assert run.blackout_ns is not None
        assert run.blackout_ns > 0
        assert f"blackout {run.blackout_ns / 1e6:.2f} ms" in finding.detail
    assert Path("/proc/thread-self/ns/net").readlink() == network


@pytest.mark.qemu
@pytest.mark.kvm
@pytest.mark.bpf
def test_a_device_that_new_qemu_lacks_is_refuted(live: LiveSession) -> None:
    async def set_up(stack: AsyncExitStack, directory: Path, build: Build) -> Settings:
        image = raw_image(directory / "lacking.raw", MIB)
        return Settings(Variation(disk_arguments("raw", image)), Variation())

    build = default_build()
    lacking = OrdinaryDevice("lacking", "a disk that new QEMU lacks", set_up)
    (finding,) = asyncio.run(try_devices(live.experiment, build, build, [lacking], linux=False))
    assert finding.found == "refuted"
    assert "virtio-blk" in finding.quote
    assert len(finding.evidence) == 1
