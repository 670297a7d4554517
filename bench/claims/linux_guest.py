"""A Linux guest that uses ordinary devices during a transfer; the host checks their streams."""

from __future__ import annotations

import struct
import time
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

from bench.measurement.experiment import Experiment
from bench.measurement.instruments import Update
from bench.measurement.observation import Observation
from bench.measurement.scenarios import on_common_machine
from bench.measurement.schedule import Trial
from results.claims.catalogue import Finding
from results.claims.guest_outcome import guest_outcome
from results.errors import PausebenchError
from results.records.observations import StreamLog
from results.records.recording import Recording
from results.records.run import Run
from results.records.scenario import MIB, Build, Scenario
from results.summary.run_line import figures
from runners.devices.disk_images import raw_image
from runners.devices.network import PrivateNetwork
from runners.devices.virtio import disk_arguments, nic_arguments, serial_arguments
from runners.host.load import host_state, load_snapshot
from runners.linux.guest import LETTERS, LinuxGuest, Receiver, stream_logs
from runners.linux.initrd import BLOCKS, ETHER_TYPE, build_initrd
from runners.linux.kernel import guest_kernel
from runners.qemu.command_line import Variation

_RAM_BYTES = 192 * MIB
_BLOCK_BYTES = 4096


@dataclass(frozen=True, slots=True)
class Network:
    """How the guest's virtio-net is connected to the host."""

    name: str  # runs are stored as device.linux-NAME
    what: str
    shared: bool  # one tap for both QEMUs
    vnet_header: bool = True
    fix: str = ""


NETWORKS = (
    Network("taps", "Linux under load, a tap for each QEMU", shared=False),
    Network(
        "tap-plain",
        "Linux under load, one tap for both without a virtio header",
        shared=True,
        vnet_header=False,
    ),
    Network(
        "tap-fd",
        "Linux under load, one tap for both",
        shared=True,
        fix="give each QEMU its own tap, or share one without a virtio header (no IFF_VNET_HDR), "
        "which lost no frame",
    ),
)


async def try_linux(experiment: Experiment, old: Build, new: Build, builds: str) -> list[Finding]:
    """One transfer of a Linux guest for each network; needs a fetched kernel."""
    experiment.progress.doing("building the Linux guest")
    try:
        kernel = guest_kernel(experiment.progress.doing)
        initrd = build_initrd(kernel.modules, experiment.place.directory)
    except PausebenchError as error:
        return [
            Finding("device", 0, builds, network.what, "not testable", str(error))
            for network in NETWORKS
        ]
    found = []
    for network in NETWORKS:
        experiment.progress.doing(f"{network.what}, {builds}")
        try:
            run = await _transferred(experiment, old, new, kernel.image, initrd, network)
        except PausebenchError as error:
            found.append(Finding("device", 0, builds, network.what, "not testable", str(error)))
            continue
        found.append(_finding(run, builds, network))
    return found


def _finding(run: Run, builds: str, network: Network) -> Finding:
    found, what = guest_outcome(run), network.what
    if found == "shown":
        return Finding("device", 0, builds, what, found, figures(run), (run.id,))
    fix = network.fix if found == "refuted" else ""
    detail = f"{run.reason}; {figures(run)}"
    return Finding("device", 0, builds, what, found, detail, (run.id,), fix=fix)


async def _transferred(
    experiment: Experiment, old: Build, new: Build, kernel: Path, initrd: Path, network: Network
) -> Run:
    directory = experiment.place.directory
    name = f"device.linux-{network.name}"
    plain = Scenario(name, "anon", network.what, _RAM_BYTES, 0.0, accel="tcg")
    (scenario,), _ = on_common_machine([plain], (old, new), None)
    with ExitStack() as stack:
        net = stack.enter_context(PrivateNetwork())
        taps = [net.tap("tap0", vnet_header=network.vnet_header)]
        taps.append(taps[0] if network.shared else net.tap("tap1"))
        listener = net.listener(ETHER_TYPE)
        receiver = Receiver(directory / f"{network.name}.serial", listener)
        stack.callback(receiver.close)
        image = raw_image(directory / f"{network.name}.raw", BLOCKS * _BLOCK_BYTES)
        shared = (*serial_arguments(receiver.path), *disk_arguments("raw", image))
        first, second = (
            Variation((*shared, *nic_arguments(f"tap,fd={tap}")), descriptors=(tap,))
            for tap in taps
        )
        guest = LinuxGuest(scenario, directory, kernel, initrd)
        stack.callback(guest.close)
        await guest.boot(old, first, receiver, LETTERS)
        trial = Trial(scenario, old, new, 1, 1, f"{name}+{old.label}+{new.label}")
        return experiment.keep(await _recorded(experiment, guest, trial, second, receiver, image))


async def _recorded(
    experiment: Experiment,
    guest: LinuxGuest,
    trial: Trial,
    variation: Variation,
    receiver: Receiver,
    image: Path,
) -> Recording:
    """Transfer the guest and shut it down; the complete recording."""
    about = experiment.blank(trial, 1, time.time_ns())
    before = load_snapshot((guest.qemu.pid,))
    observation = Observation(experiment.instruments.at(Update(about.id, guest.scenario)))
    with observation:
        seen = await guest.update(trial.new_build, observation.hooks(), receiver, variation)
    recorded = observation.recorded(about, seen)
    host = host_state(before, load_snapshot((seen.new.pid,)))
    last, tids = guest.qemu.pid, guest.vcpu_tids
    await guest.qemu.quit()
    experiment.instruments.forget(last, tids)
    logs = stream_logs(receiver.finish(), LETTERS)
    return replace(recorded, host=host, streams=tuple(_with_image(log, image) for log in logs))


def _with_image(log: StreamLog, image: Path) -> StreamLog:
    """The disk's stream, with the blocks that are wrong in the image added."""
    if log.name != LETTERS["B"]:
        return log
    highest = max((number for _, number in log.arrivals), default=0)
    wrong = wrong_blocks(image.read_bytes(), highest)
    return StreamLog(log.name, log.arrivals, log.wrong + wrong, log.torn)


def wrong_blocks(image: bytes, highest: int) -> int:
    """Blocks of the image that do not hold the number last written there.

    `highest` is the last number that the guest reported; later ones may have been written too.
    """
    wrong = 0
    for number in range(max(1, highest - BLOCKS + 1), highest + 1):
        at = number % BLOCKS * _BLOCK_BYTES
        first = struct.unpack_from("<I", image, at)[0]
        last = struct.unpack_from("<I", image, at + _BLOCK_BYTES - 4)[0]
        later = first > highest and (first - number) % BLOCKS == 0
        wrong += first != last or not (first == number or later)
    return wrong
