"""The evidence for one run as text: witnesses, descriptors, memory, counters, warnings."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import fields

from reports.wording import STATE_WORDS, figure, mib, ms, percent, rollback_text
from results.claims.hotplug import outcome_line
from results.qemu.modes import mode_of
from results.records.evidence import Proof
from results.records.observations import Aftermath
from results.records.run import CarriedFd, Run, Span, Witnesses
from results.summary.run_line import stream_line
from results.timeline.marks import phase_label

from .style import Page

_LOG_LINES = 20
_FDS_SHOWN = 24
_MAPS_SHOWN = 8
_LABEL = 11


def draw_evidence(page: Page, run: Run) -> None:
    """All of `run` but its spans and its failure; what was not recorded is left out."""
    page.line()
    _draw_plugging(page, run)
    if run.aftermath is not None:  # QEMU refused: there was no update to measure
        _draw_aftermath(page, run.aftermath)
        return
    if run.rollback is not None:
        _labelled(page, "failed", rollback_text(run.rollback))
    _draw_vcpus(page, run)
    _draw_witnesses(page, run)
    _draw_clock(page, run)
    _draw_brownout(page, run)
    _draw_device(page, run)
    _draw_streams(page, run)
    _draw_fds(page, run)
    _draw_memory(page, run)
    _draw_proof(page, run.proof)
    _draw_attribution(page, run)
    _draw_counters(page, run.spans)
    _draw_perf(page, run)
    host = run.host
    _labelled(
        page,
        "host",
        f"load {host.load1:.2f} · CPU {host.cpu_percent:.0f} % · steal {ms(host.steal_ns)} · "
        f"{host.context_switches} context switches",
    )
    for doubt in run.disagreements:
        _labelled(page, "doubt", doubt, "red")
    for warning in run.warnings:
        _labelled(page, "warning", warning, "yellow")


def _draw_proof(page: Page, proof: Proof | None) -> None:
    """The verdict, its checks, and the negative controls that the checks passed."""
    if proof is None:
        return
    style = {"held": "bold green", "broken": "bold red"}.get(proof.verdict, "bold yellow")
    page.line()
    reason = f": {proof.reason}" if proof.verdict == "unproven" else ""
    _labelled(page, "proof", f"{proof.verdict}{reason}", style)
    for check in proof.checks:
        colour = {"held": "", "broken": "red"}.get(check.state, "yellow")
        _labelled(page, f"  {check.state}", f"{check.name}: {check.text}", colour)
    caught = [control.name for control in proof.controls if control.caught]
    slipped = [f"{c.name} ({c.by})" for c in proof.controls if not c.caught]
    if caught:
        _labelled(page, "  controls", f"detected when broken on purpose: {', '.join(caught)}")
    if slipped:
        _labelled(page, "  controls", f"not detected: {', '.join(slipped)}", "red")


def _draw_attribution(page: Page, run: Run) -> None:
    """What the blackout waited for, in one line; `pausebench why` has the details."""
    found = run.attribution
    if found is None:
        return
    page.line()
    if found.missing:
        _labelled(page, "why", f"unknown: {found.missing}", "yellow")
        return
    spent: dict[str, int] = {}
    for cause in found.causes:
        spent[cause.state] = spent.get(cause.state, 0) + cause.ns
    each = " · ".join(f"{STATE_WORDS[state]} {ms(ns)}" for state, ns in spent.items())
    left = f"unattributed {ms(found.unattributed_ns)}"
    _labelled(page, "why", f"critical path: {each} · {left} (`pausebench why {run.id}`)")


def draw_failure(page: Page, run: Run) -> None:
    """The end of QEMU's log, as far as it was kept."""
    lines = run.log_tail.splitlines()
    if not lines:
        _labelled(page, "log", "QEMU's log is empty")
        return
    page.line()
    page.line((f"the last {min(len(lines), _LOG_LINES)} lines of QEMU's log", "bold"))
    for line in lines[-_LOG_LINES:]:
        page.paragraph(line, indent=4, first=2)


def _labelled(page: Page, label: str, text: str, style: str = "") -> None:
    """`label` in the left column, `text` wrapped in the right one."""
    lines = page.look.wrap(text, indent=_LABEL)
    page.line((label.ljust(_LABEL), "bold"), (lines[0][_LABEL:], style))
    for line in lines[1:]:
        page.line((line, style))


def _draw_aftermath(page: Page, found: Aftermath) -> None:
    """The state of the guest in old QEMU after the transfer was refused."""
    migration = f", migration {found.migration}" if found.migration else ""
    _labelled(page, "refusal", f"by {found.said_by}")
    _labelled(page, "  old QEMU", f"{found.runstate}{migration}")
    moved = zip(found.beats_before, found.beats_after, strict=True)
    each = " · ".join(f"vCPU {i} {then} → {now}" for i, (then, now) in enumerate(moved))
    _labelled(page, "  beats", each or "not read")
    if found.ram is not None:
        text = f"{found.ram.pages} pages compared, {found.ram.bad_pages} changed"
        _labelled(page, "  RAM", f"{text} · the guest found {found.pattern_errors} changed words")


def _draw_plugging(page: Page, run: Run) -> None:
    """The devices plugged before the transfer, and the outcome."""
    seen = run.plugging
    if seen is None:
        return
    gone = f", unplugged {', '.join(seen.unplugged)}" if seen.unplugged else ""
    _labelled(page, "plugged", f"{', '.join(seen.plugged)}{gone}; new with {_list(seen.started)}")
    _labelled(page, "  outcome", outcome_line(seen, run))


def _list(names: Sequence[str]) -> str:
    return ", ".join(names) or "none"


def _draw_vcpus(page: Page, run: Run) -> None:
    if not run.vcpu_blackouts_ns:
        return
    each = " · ".join(f"vCPU {i} {ms(ns)}" for i, ns in enumerate(run.vcpu_blackouts_ns))
    _labelled(page, "vCPUs", f"{each} · skew {ms(run.skew_ns)}")


def _draw_witnesses(page: Page, run: Run) -> None:
    """All witnesses in columns, each with its difference to the blackout."""
    found: dict[str, int | None] = {
        f.name: getattr(run.witnesses, f.name) for f in fields(Witnesses)
    }
    if found["observer"] is None:
        del found["observer"]  # not requested, or it had no CPU of its own
    values = list(found.values())
    rows: list[tuple[str, list[str]]] = [
        ("witness", [name.removeprefix("kvm_") for name in found]),
        ("  saw", [ms(value) for value in values]),
    ]
    if run.blackout_ns:
        rows.append(("  off by", [_off(value, run.blackout_ns) for value in values]))
    width = max(9, *(len(cell) + 1 for _, cells in rows for cell in cells))
    for label, cells in rows:
        line = "".join(page.look.printable(cell).rjust(width) for cell in cells)
        page.line((label.ljust(_LABEL), "bold"), line)


def _off(value: int | None, blackout: int) -> str:
    if value is None:
        return percent(None)
    return "0 %" if value == blackout else percent((value - blackout) / blackout * 100.0)


def _draw_clock(page: Page, run: Run) -> None:
    text = f"the guest's clock {run.guest_clock} during the blackout"
    if run.guest_clock == "unknown":
        text = "unknown whether the guest's clock ran during the blackout"
    if run.clock_step_ns is not None:
        text += f", step {ms(run.clock_step_ns)}"
    if run.stop_position != "unknown":
        text += f" · VM stopped {run.stop_position.replace('-', ' ')}"
    _labelled(page, "clock", text)


def _draw_brownout(page: Page, run: Run) -> None:
    """The guest's slow time after the blackout, and the faults that may explain it."""
    if run.brownout_watched_ns is None or run.beats_per_s is None:
        return
    if run.brownout_ns is None:
        text = f"rate not back at 95 % within {ms(run.brownout_watched_ns)}"
    elif run.brownout_ns == 0:
        text = f"rate back at 95 % with the first beats, watched for {ms(run.brownout_watched_ns)}"
    else:
        text = f"rate back at 95 % after {ms(run.brownout_ns)}"
    usual = run.beats_per_s / 1e3
    text += f" · {run.beats_lost} beats lost of {usual:.{0 if usual >= 100 else 1}f} per ms"
    faults = (("host", run.host_faults), ("guest", run.guest_faults))
    counts = [f"{count} {name} page faults" for name, count in faults if count is not None]
    if counts:
        text += f" · {', '.join(counts)} of the new vCPU threads"
    _labelled(page, "brownout", text)


def _draw_streams(page: Page, run: Run) -> None:
    for stream in run.streams:
        after = f", {stream.after} arrived in new QEMU"
        _labelled(page, "stream", stream_line(stream) + after, "red" if stream.troubles else "")


def _draw_device(page: Page, run: Run) -> None:
    if run.device is None:
        return
    found = run.device
    text = f"{found.address}: {found.operations} operations"
    if found.during is not None:
        text += f", {found.during} of them during the blackout"
    if found.longest_gap_ns is not None:
        text += f"; longest gap between two {ms(found.longest_gap_ns)}"
        text += f" (typically {ms(found.usual_gap_ns)}), blackout {ms(run.blackout_ns)}"
    _labelled(page, "device", text)


def _draw_fds(page: Page, run: Run) -> None:
    if not run.fds and mode_of(run.dimensions) != "cpr-transfer":
        return
    if not run.fds:
        _labelled(page, "fds", "none seen on the cpr channel")
        return
    sent = sum(fd.sent_ns is not None for fd in run.fds)
    received = sum(fd.received_ns is not None for fd in run.fds)
    counted = Counter(f"{fd.name} id {fd.id}{_lost(fd)}" for fd in run.fds)
    shown = [
        name + (f" (× {count})" if count > 1 else "")
        for name, count in list(counted.items())[:_FDS_SHOWN]
    ]
    if len(counted) > _FDS_SHOWN:
        shown.append(f"… and {len(counted) - _FDS_SHOWN} more")
    _labelled(page, "fds", f"{sent} sent, {received} received: {', '.join(shown)}")


def _lost(fd: CarriedFd) -> str:
    if fd.received_ns is None:
        return " (not received)"
    return " (not sent)" if fd.sent_ns is None else ""


def _draw_memory(page: Page, run: Run) -> None:
    for area in run.ram_maps[:_MAPS_SHOWN]:
        size = mib(area.length_bytes)
        text = f"{area.name} {size} at {area.address:#x} in new QEMU, fd {area.fd}"
        _labelled(page, "RAM map", text)
    if len(run.ram_maps) > _MAPS_SHOWN:
        _labelled(page, "", f"… and {len(run.ram_maps) - _MAPS_SHOWN} more")
    if run.ram is None:
        _labelled(page, "RAM check", "not done", "yellow")
        return
    ram = run.ram
    text = f"{ram.pages} pages ({mib(ram.bytes)}) compared in {ms(ram.duration_ns)}, "
    if ram.bad_pages:
        _labelled(page, "RAM check", f"{text}{ram.bad_pages} bad, first {ram.first_bad}", "red")
    else:
        _labelled(page, "RAM check", f"{text}none bad")


def _draw_counters(page: Page, spans: Sequence[Span]) -> None:
    """Software counters of the phases that have a share of the blackout."""
    counted = [s for s in spans if s.blackout_ns > 0 and any(s.counters.values())]
    if not counted:
        return
    keys = list(dict.fromkeys(key for s in counted for key in s.counters))
    heads = [page.look.printable(key.removesuffix("_ns").replace("_", " ")) for key in keys]
    names = [page.look.printable(phase_label(s.name)) for s in counted]
    first = max(_LABEL, max(map(len, names)) + 1)
    page.line()
    page.line(("counters".ljust(first) + "".join(f"{head:>14}" for head in heads), "bold"))
    for name, span in zip(names, counted, strict=True):
        cells = (_counter(key, span.counters.get(key)) for key in keys)
        page.line(name.ljust(first), "".join(f"{page.look.printable(cell):>14}" for cell in cells))


def _counter(key: str, value: int | None) -> str:
    if value is None:
        return "–"
    return f"{figure(value)} ms" if key.endswith("_ns") else str(value)


def _draw_perf(page: Page, run: Run) -> None:
    for side, counts in run.perf.items():
        if counts:
            each = " · ".join(f"{name} {count}" for name, count in counts.items())
            _labelled(page, "perf", f"{side}: {each}")
