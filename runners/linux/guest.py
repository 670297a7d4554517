"""The Linux guest: booted under TCG, updated by cpr-transfer, recorded by the receiver."""

from __future__ import annotations

import asyncio
import json
import secrets
import socket
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from pathlib import Path

from results.errors import GuestLost, PausebenchError
from results.records.observations import StreamLog
from results.records.recording import Process
from results.records.scenario import MIB, Build, Scenario
from runners.qemu.answers import integers
from runners.qemu.command_line import (
    NO_VARIATION,
    RAM_ID,
    Sockets,
    Variation,
    backend_options,
    channel,
)
from runners.qemu.guest import vcpu_tids
from runners.qemu.migration import (
    START_TIMEOUT_S,
    wait_until_listening,
    wait_until_resumed,
    wait_until_sent,
)
from runners.qemu.process import Qemu
from runners.system.child import spawn
from runners.system.timeouts import scaled_timeout
from runners.transfer.base import Hooks, Transferred, record_final_state

LETTERS = {"S": "virtio-serial", "B": "virtio-blk", "N": "virtio-net"}
_BOOT_TIMEOUT_S = scaled_timeout(60.0)
_ENOUGH = 50  # numbers of each stream, before and after an update
# idle=poll: a halted vCPU leaves cpu_exec long before it is stopped, and its last return would not
# mark the start of the blackout.
_APPEND = "console=ttyS0 panic=-1 mitigations=off net.ifnames=0 idle=poll quiet"


class Receiver:
    """The process that timestamps what arrives; see runners/linux/receiver.py."""

    def __init__(self, path: Path, packets: socket.socket | None) -> None:
        self.path = path
        with ExitStack() as stack:
            server = stack.enter_context(socket.socket(socket.AF_UNIX))
            server.bind(str(path))
            server.listen(4)
            fds = [server.fileno()] + ([packets.fileno()] if packets else [])
            words = [str(server.fileno()), str(packets.fileno() if packets else -1)]
            program = str(Path(__file__).with_name("receiver.py"))
            self._process = spawn(
                [sys.executable, "-ISu", program, *words],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                pass_fds=fds,
                process_group=0,
            )

    def last(self) -> dict[str, int]:
        """The last number received for each letter."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(b"?")
        self._process.stdin.flush()
        answer = json.loads(self._process.stdout.readline() or b"{}")
        return {letter: _number(text) for letter, text in answer.items()}

    def finish(self) -> list[tuple[int, str, str]]:
        """Stop it and return everything received, as (host ns, source, text)."""
        out, _ = self._process.communicate(timeout=scaled_timeout(20.0))
        return [(int(ns), str(source), str(text)) for ns, source, text in json.loads(out or b"[]")]

    def close(self) -> None:
        self._process.kill()
        self._process.communicate()
        self.path.unlink(missing_ok=True)


def stream_logs(
    records: Iterable[tuple[int, str, str]], letters: Mapping[str, str]
) -> tuple[StreamLog, ...]:
    """Split the receiver's records into streams; a line counts when its last byte arrives."""
    arrivals: dict[str, list[tuple[int, int]]] = {letter: [] for letter in (*letters, "W", "E")}
    rests: dict[str, str] = {}
    for ns, source, text in records:
        *lines, rests[source] = (rests.get(source, "") + text).split("\n")
        for line in lines:
            arrivals.setdefault(line[:1], []).append((ns, _number(line[1:])))
    wrong = len(arrivals["W"]) + len(arrivals["E"])
    torn = sum(map(len, rests.values()))
    return tuple(
        StreamLog(
            name,
            tuple(arrivals[letter]),
            wrong if letter == "B" else 0,
            torn if letter == "S" else 0,
        )
        for letter, name in letters.items()
    )


def _number(text: str) -> int:
    try:
        return int(text, 16)
    except ValueError:
        return 0


class LinuxGuest:
    """A Linux guest and the QEMU that it currently runs in."""

    def __init__(self, scenario: Scenario, directory: Path, kernel: Path, initrd: Path) -> None:
        self.scenario = scenario
        self.directory = directory
        self._boot = ("-kernel", str(kernel), "-initrd", str(initrd), "-append", _APPEND)
        self._console = directory / f"linux-{secrets.token_hex(4)}.console"
        self.qemu: Qemu
        self.vcpu_tids: tuple[int, ...] = ()

    def start_qemu(
        self, build: Build, variation: Variation, incoming: Sockets | None = None
    ) -> Qemu:
        log = self.directory / f"qemu-{secrets.token_hex(4)}.log"
        return Qemu.start(
            lambda fd: self._argv(build, variation, fd, incoming), log, variation.descriptors
        )

    def _argv(
        self, build: Build, variation: Variation, monitor_fd: int, incoming: Sockets | None
    ) -> tuple[str, ...]:
        scenario = self.scenario
        machine = f"{scenario.machine},accel=tcg,memory-backend={RAM_ID},aux-ram-share=on"
        argv = [
            *build.launcher,
            *("-name", f"pausebench-{scenario.id},debug-threads=on"),
            *("-machine", machine, "-cpu", scenario.cpu, "-smp", str(scenario.vcpus)),
            *("-m", f"{scenario.ram_bytes // MIB}M", "-object", backend_options(scenario, None)),
            *self._boot,
            *("-nodefaults", "-no-user-config", "-no-reboot", "-display", "none"),
            *("-chardev", f"file,id=console0,path={self._console},append=on"),
            *("-serial", "chardev:console0"),
            *("-chardev", f"socket,id=qmp,fd={monitor_fd}", "-mon", "chardev=qmp,mode=control"),
            *variation.arguments,
        ]
        if incoming is not None:
            cpr = json.dumps(channel("cpr", incoming.cpr))
            argv += ["-incoming", "defer", "-incoming", cpr]
        return tuple(argv)

    async def boot(
        self, build: Build, variation: Variation, receiver: Receiver, letters: Iterable[str]
    ) -> None:
        """Start it; returns when every stream sends. Raises GuestLost."""
        self.qemu = self.start_qemu(build, variation)
        await self.qemu.connect()
        self.vcpu_tids = await vcpu_tids(self.qemu, self.scenario.vcpus)
        end = time.monotonic() + _BOOT_TIMEOUT_S
        while not all(receiver.last().get(letter, 0) > _ENOUGH for letter in letters):
            self.qemu.check("before Linux booted")
            if time.monotonic() > end:
                raise GuestLost(
                    f"Linux did not boot and send in {_BOOT_TIMEOUT_S:.0f} s: {self._last_line()}",
                    self.qemu.argv,
                )
            await asyncio.sleep(0.02)

    def _last_line(self) -> str:
        try:
            lines = self._console.read_text(errors="replace").split("\n")
        except OSError:
            lines = []
        printed = [line.strip() for line in lines if line.strip()]
        return printed[-1] if printed else "its console is empty"

    async def update(
        self, build: Build, hooks: Hooks, receiver: Receiver, variation: Variation = NO_VARIATION
    ) -> Transferred:
        """Move it into a new QEMU of `build` by cpr-transfer; sets `failure` when that fails."""
        old = self.qemu
        old.side = "old"
        old.stamps.clear()
        name = secrets.token_hex(4)
        sockets = Sockets(self.directory / f"{name}.cpr", self.directory / f"{name}.main")
        seen = Transferred(
            Process(old.pid, old.argv, self.vcpu_tids), Process(0, build.launcher, ())
        )
        new = self.start_qemu(build, variation, sockets)
        new.side = "new"
        try:
            await self._transfer(old, new, sockets, seen, hooks, receiver)
        except (PausebenchError, OSError) as error:
            seen.failure = str(error)
        except BaseException:
            new.kill()
            raise
        finally:
            for path in (sockets.cpr, sockets.main):
                path.unlink(missing_ok=True)
        await record_final_state(seen, old, new)
        if seen.failure:
            await new.reap()
            return seen
        await old.quit()
        self.qemu, self.vcpu_tids = new, seen.new.vcpu_tids
        hooks.ended(new)
        return seen

    async def _transfer(
        self,
        old: Qemu,
        new: Qemu,
        sockets: Sockets,
        seen: Transferred,
        hooks: Hooks,
        receiver: Receiver,
    ) -> None:
        steps = seen.steps
        hooks.started(old.pid, new.pid)
        events = [{"capability": "events", "state": True}]
        await old.execute("migrate-set-capabilities", capabilities=events)
        await old.execute("migrate-set-parameters", mode="cpr-transfer")
        await wait_until_listening(new, sockets.cpr)
        steps["migrate"] = time.monotonic_ns()
        channels = [channel("main", hooks.main_path(sockets.main)), channel("cpr", sockets.cpr)]
        await old.execute("migrate", channels=channels)
        await new.connect(START_TIMEOUT_S)
        steps["monitor"] = time.monotonic_ns()
        tids = await vcpu_tids(new, self.scenario.vcpus)
        await new.execute("migrate-set-capabilities", capabilities=events)
        seen.new = Process(new.pid, new.argv, tids)
        hooks.hold(old, new, self.vcpu_tids, tids)
        steps["migrate_incoming"] = time.monotonic_ns()
        await new.execute("migrate-incoming", uri=f"unix:{sockets.main}")
        await wait_until_sent(old, new)
        info = await old.execute("query-migrate")
        steps["completed"] = await wait_until_resumed(new)
        seen.migrate_info = integers(info)
        await _wait_for_streams(receiver)
        hooks.resumed(old, new)
        steps["done"] = time.monotonic_ns()

    def close(self) -> None:
        if hasattr(self, "qemu"):
            self.qemu.kill()


async def _wait_for_streams(receiver: Receiver) -> None:
    """Give every stream time to send more numbers; a stalled one is detected later by the judge."""
    before = receiver.last()
    end = time.monotonic() + scaled_timeout(1.0)
    while time.monotonic() < end:
        await asyncio.sleep(0.05)
        now = receiver.last()
        if all(now[letter] > before[letter] + _ENOUGH for letter in before if letter in LETTERS):
            return
