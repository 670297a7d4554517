"""How each mode other than cpr-transfer drives an update."""

from __future__ import annotations

import asyncio
import os
import time
from typing import Any, ClassVar

from results.errors import TransferRefused
from results.records import Mode, Process

from .command import Sockets, guest_argv
from .drive import (
    AWAY_S,
    HANDOVER_TIMEOUT_S,
    START_TIMEOUT_S,
    Drive,
    VcpuView,
    listens,
    migration_status,
    numbers,
    runstate,
)
from .guest import vcpu_tids
from .qemu import Qemu

MULTIFD_CHANNELS = 4
_FASTEST = 0  # max-bandwidth: the default of 128 MiB/s would measure the limit
_STILL_S = 0.001
# 25 us that a sample may be late are 40 us of a pause of half a second then.
_LOOKS_S = 0.3


class Precopy(Drive):
    """RAM is copied over a unix socket while the guest runs, as fast as it goes."""

    looks_s: ClassVar[float] = _LOOKS_S
    capabilities: ClassVar[tuple[str, ...]] = ()
    parameters: ClassVar[dict[str, Any]] = {}

    def sockets(self) -> Sockets:
        return Sockets(self.cpr, self.main, plain=True)

    async def _ready(self, qemu: Qemu) -> None:
        await self._prepare(qemu)
        for capability in self.capabilities:
            await qemu.execute(
                "migrate-set-capabilities",
                capabilities=[{"capability": capability, "state": True}],
            )
        if self.parameters:
            await qemu.execute("migrate-set-parameters", self.parameters)

    async def run(self) -> None:
        new = self._theirs()
        self.hooks.started(self.old.pid, new.pid)
        await self._ready(self.old)
        await self.old.execute("migrate-set-parameters", mode="normal", max_bandwidth=_FASTEST)
        await new.connect(START_TIMEOUT_S)
        self._step("monitor")
        tids = await vcpu_tids(new, self.guest.scenario.vcpus)
        await self._ready(new)
        self.seen.new = Process(new.pid, new.argv, tids)
        self.hooks.hold(self.old, new, self.guest.vcpu_tids, tids)
        await new.execute("migrate-incoming", uri=f"unix:{self.main}")
        before = self._watch_guest()
        self._step("migrate")
        await self.old.execute("migrate", uri=f"unix:{self.main}")
        await self._on_its_way()
        await self._stay_away_when_still()
        await self._completed(new)
        self._step("completed")
        self.guest.adopt_ram(new)
        await self._follow_guest(before)
        self.hooks.resumed(self.old, new)
        self.seen.migrate_info = await self._told(self.old)
        self._step("done")

    async def _on_its_way(self) -> None:
        """For modes that turn to something else on their way."""

    async def _stay_away_when_still(self) -> None:
        """Leave the CPU to QEMU once the guest stands still, as in cpr-transfer."""
        memory = self.guest.memory
        end = time.monotonic() + HANDOVER_TIMEOUT_S
        beats = memory.beats()
        while time.monotonic() < end and self.old.alive():
            await asyncio.sleep(_STILL_S)
            earlier, beats = beats, memory.beats()
            if all(a == b for a, b in zip(earlier, beats, strict=True)):
                time.sleep(AWAY_S)
                return
            if any(migration_status(m) in ("completed", "failed") for _, m in self.old.stamps):
                return

    async def _told(self, qemu: Qemu) -> dict[str, int]:
        """query-migrate, with what it says of RAM."""
        said = await qemu.execute("query-migrate")
        ram = said.get("ram")
        extra = numbers(ram) if isinstance(ram, dict) else {}
        return numbers(said) | {f"ram-{name}": value for name, value in extra.items()}


class PrecopyMultifd(Precopy):
    """A precopy over several channels at once."""

    capabilities = ("multifd",)
    parameters: ClassVar[dict[str, Any]] = {"multifd-channels": MULTIFD_CHANNELS}


class Postcopy(Precopy):
    """The guest moves as soon as it can; RAM follows, what it touches first."""

    capabilities = ("postcopy-ram",)

    async def _ready(self, qemu: Qemu) -> None:
        await super()._ready(qemu)
        if qemu is self.old:
            await qemu.execute("migrate-set-parameters", {"max-postcopy-bandwidth": _FASTEST})

    async def _on_its_way(self) -> None:
        await self.old.wait_for(
            lambda message: migration_status(message) in ("active", "completed", "failed"),
            "that the migration began",
            HANDOVER_TIMEOUT_S,
        )
        await self.old.execute("migrate-start-postcopy")


class Snapshot(Drive):
    """Old QEMU saves to a file and ends; then new QEMU starts and loads it.

    The file is a memfd of this process: tmpfs, without a name that could be left behind.
    """

    looks_s: ClassVar[float] = _LOOKS_S
    mode: ClassVar[str] = "normal"
    state: int = -1

    def sockets(self) -> Sockets:
        return Sockets(self.cpr, self.main, plain=True)

    def begin(self) -> None:
        self.state = os.memfd_create("guest-state")

    def clear(self) -> None:
        super().clear()
        if self.state >= 0:
            os.close(self.state)
            self.state = -1

    @property
    def uri(self) -> str:
        return f"file:/proc/{os.getpid()}/fd/{self.state}"

    async def run(self) -> None:
        self.hooks.leaving(self.old, self.guest.vcpu_tids)
        await self._prepare(self.old)
        await self.old.execute("migrate-set-parameters", mode=self.mode, max_bandwidth=_FASTEST)
        before = self._watch_guest()
        self._step("migrate")
        await self._save()
        await self._sent()
        self.old_state = await runstate(self.old)
        self.seen.migrate_info = numbers(await self.old.execute("query-migrate"))
        await self.old.quit()
        self._step("old_gone")
        new = self._start()
        self.hooks.spawned(new.pid)
        await new.connect(START_TIMEOUT_S)
        self._step("monitor")
        await self._prepare(new)
        await new.execute("migrate-set-parameters", mode=self.mode)
        await self._restore(new)
        await self._resumed(new)
        await self._arrive(new, before)

    async def _save(self) -> None:
        await self.old.execute("stop")
        await self.old.execute("migrate", uri=self.uri)

    async def _restore(self, new: Qemu) -> None:
        await new.execute("migrate-incoming", uri=self.uri)
        await new.wait_for(
            lambda message: migration_status(message) in ("completed", "failed"),
            "that it loaded the guest",
            HANDOVER_TIMEOUT_S,
        )
        await new.execute("cont")

    async def _arrive(self, new: Qemu, before: list[VcpuView]) -> None:
        self._step("completed")
        tids = await vcpu_tids(new, self.guest.scenario.vcpus)
        self.seen.new = Process(new.pid, new.argv, tids)
        self.hooks.arrived(new, tids)
        self._adopt(new)
        await self._follow_guest(before)
        self.hooks.resumed(self.old, new)
        self._step("done")

    def _adopt(self, new: Qemu) -> None:
        self.guest.adopt_ram(new)


class CprReboot(Snapshot):
    """As documented: mode cpr-reboot on both sides, which stops and resumes the guest itself."""

    mode = "cpr-reboot"

    async def _save(self) -> None:
        await self.old.execute("migrate", uri=self.uri)

    async def _restore(self, new: Qemu) -> None:
        await new.execute("migrate-incoming", uri=self.uri)


class CprExec(Snapshot):
    """One process: QEMU stops, saves, and starts its successor by execve.

    Its monitor does not come through. That of the successor is a private socket which it listens
    on; an inherited descriptor would serve for one update only.
    """

    mode = "cpr-exec"

    def sockets(self) -> Sockets:
        return Sockets(self.cpr, self.main, uri=self.uri, monitor=self.cpr)

    async def run(self) -> None:
        guest, old = self.guest, self.old
        argv = guest_argv(
            self.build,
            guest.scenario,
            firmware=guest.place.firmware,
            monitor_fd=-1,
            hugetlbfs=guest.place.hugetlbfs,
            incoming=self.sockets(),
            variation=self.variation,
        )
        await self._prepare(old)
        await old.execute(
            "migrate-set-parameters",
            {"mode": self.mode, "cpr-exec-command": list(argv), "max-bandwidth": _FASTEST},
        )
        self.hooks.leaving(old, guest.vcpu_tids)
        self.hooks.spawned(old.pid)
        before = self._watch_guest()
        self._step("migrate")
        await old.execute("migrate", uri=self.uri)
        await self._executed(argv)
        self.old_state = "exec"
        new = self._is_new(Qemu(old.process, argv, old.log))
        await new.connect(START_TIMEOUT_S, self.cpr)
        self._step("monitor")
        await self._running(new)
        await self._arrive(new, before)

    async def _executed(self, argv: tuple[str, ...]) -> None:
        """Wait until the successor listens, or until old QEMU says that it failed."""
        end = time.monotonic() + HANDOVER_TIMEOUT_S
        while not listens(self.cpr):
            if any(migration_status(m) == "failed" for _, m in self.old.stamps):
                said = await self.old.execute("query-migrate")
                raise TransferRefused(
                    f"QEMU reports a failed migration: {said.get('error-desc', 'no reason given')}",
                    received=str(said),
                )
            if not self.old.alive():
                self._is_new(Qemu(self.old.process, argv, self.old.log))
                raise self.old.lost("it started its successor")
            if time.monotonic() > end:
                raise TransferRefused(
                    f"QEMU (pid {self.old.pid}) did not start its successor "
                    f"in {HANDOVER_TIMEOUT_S:g} s"
                )
            await asyncio.sleep(0.002)

    async def _running(self, new: Qemu) -> None:
        """The guest may have resumed before the monitor was there to say so: ask."""
        end = time.monotonic() + HANDOVER_TIMEOUT_S
        while (state := (await new.execute("query-status"))["status"]) != "running":
            if time.monotonic() > end:
                raise TransferRefused(
                    f"new QEMU (pid {new.pid}) is still {state} after {HANDOVER_TIMEOUT_S:g} s"
                )
            await asyncio.sleep(0.002)

    def _adopt(self, new: Qemu) -> None:
        self._same_file(new)

    async def end_old(self) -> None:
        """Old QEMU is new QEMU: only its monitor is gone."""
        await self.old.disconnect()


DRIVES: dict[Mode, type[Drive]] = {
    "cpr-transfer": Drive,
    "precopy": Precopy,
    "precopy-multifd": PrecopyMultifd,
    "postcopy": Postcopy,
    "cpr-reboot": CprReboot,
    "cpr-exec": CprExec,
    "snapshot": Snapshot,
}
