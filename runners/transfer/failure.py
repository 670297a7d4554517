"""Why an update failed: by the QEMU that died or was stopped, if one was, else by its error."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from results.errors import PausebenchError, TransferRefused
from results.qemu.log import last_message
from results.records.reasons import Reason, because
from results.records.run import Side
from runners.qemu.process import Qemu
from runners.system.process_state import signal_name

from .base import Transfer

_SETTLE_S = 0.3
# Steps of a transfer and how a sentence names them.
_STEPS = {
    "migrate": "`migrate`",
    "old_gone": "the end of old QEMU",
    "monitor": "the monitor of new QEMU opened",
    "migrate_incoming": "`migrate-incoming`",
    "completed": "the end of the migration",
}


@dataclass(frozen=True, slots=True)
class _Fate:
    """What became of one QEMU, and since when (monotonic ns)."""

    ns: int
    reason: Reason


async def explain(
    transfer: Transfer, error: PausebenchError | OSError, *, old_has_ended: bool = False
) -> str:
    """Why `transfer` failed with `error`; `old_has_ended` after old QEMU was told to quit.

    A QEMU that dies takes its monitor, its files in /proc and the other QEMU's connection with it,
    so that almost any error may be the first to show it. The earliest death is the cause.
    """
    involved = list(_involved(transfer, old_has_ended))
    await asyncio.gather(*(qemu.settle(_SETTLE_S) for _, qemu in involved))
    fates = [_fate(transfer, side, qemu) for side, qemu in involved]
    first = min((fate for fate in fates if fate), key=lambda fate: fate.ns, default=None)
    if first is None:
        return _named(_said(error), involved)
    texts = [first.reason.text]
    if first.reason.code == "qemu-exited" and isinstance(error, TransferRefused):
        texts.append(str(error))  # the other QEMU's words
    return "; ".join(texts)


def _said(error: PausebenchError | OSError) -> str:
    if isinstance(error, OSError):
        # The /proc entries of a QEMU that exits unexpectedly disappear.
        return f"a QEMU could not be inspected any more: {error}"
    return str(error)


def _named(text: str, involved: Iterable[tuple[Side, Qemu]]) -> str:
    """Say which QEMU it is: an error of one alone knows no side."""
    for side, qemu in involved:
        if text.startswith(f"QEMU (pid {qemu.pid})"):
            return f"{side} {text}"
    return text


def _involved(transfer: Transfer, old_has_ended: bool) -> Iterator[tuple[Side, Qemu]]:
    """The QEMUs that must be alive: not one that has quit, or has become new QEMU by execve."""
    new = transfer.new
    replaced = new is not None and new.pid == transfer.old.pid
    if not (replaced or old_has_ended or transfer.old_state):
        yield "old", transfer.old
    if new is not None:
        yield "new", new


def _fate(transfer: Transfer, side: Side, qemu: Qemu) -> _Fate | None:
    if qemu.alive():
        since = qemu.stopped_since_ns()
        if since is None:
            return None
        when = _moment(transfer, since)
        return _Fate(since, because("qemu-stopped", side=side, when=when))
    ns, code = qemu.ended_ns(), qemu.process.returncode
    when = _moment(transfer, ns)
    if code < 0:
        name = signal_name(-code)
        return _Fate(ns, because("qemu-killed", side=side, number=-code, name=name, when=when))
    said = last_message(qemu.log_tail()) or "its log is empty"
    return _Fate(ns, because("qemu-exited", side=side, status=code, when=when, said=said))


def _moment(transfer: Transfer, ns: int) -> str:
    """The time from the last event of the transfer before `ns`: `3.2 ms after RESUME`."""
    past = [(at, _STEPS[name]) for name, at in transfer.seen.steps.items() if name in _STEPS]
    if transfer.new is not None:
        past += [
            (at, "RESUME") for at, said in transfer.new.stamps if said.get("event") == "RESUME"
        ]
        past.append((transfer.new.started_ns, "new QEMU was started"))
    at, name = max(((at, name) for at, name in past if at <= ns), default=(0, ""))
    if not name:
        return "before the update"
    return f"{(ns - at) / 1e6:.1f} ms after {name}"
