"""The marks and phases of a handover: the one table from which every list of them is derived.

A mark is a function of QEMU that is probed. Functions are renamed between releases, so every mark
has a list of aliases; the first that a build exports is probed. A phase lies between two moments,
most of them marks. Source of the boundaries: QEMU's migration/cpr.c, migration/migration.c,
migration/savevm.c and system/cpus.c in 10.0 to 11.1.

A new mark needs an entry here and its `MARK(name)` in probes/bpf/handover.bpf.c, a new phase only
an entry here: what is probed, required, drawn and coloured follows from the table.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from results.records.modes import MODES
from results.records.scenario import Mode

QemuSide = Literal["old", "new"]
PhaseSide = Literal["old", "new", "both", "controller"]
Edge = Literal["enter", "return"]

PHASE_SIDES: tuple[PhaseSide, ...] = get_args(PhaseSide)  # in display order

# -- marks ----------------------------------------------------------------------------------------

EVERY_MODE: frozenset[Mode] = frozenset(MODES)
# With a cpr channel besides the main one.
CPR_CHANNEL: frozenset[Mode] = frozenset({"cpr-transfer"})
# QEMU stops the guest before it sets up RAM (migrate_mode_is_cpr); in all other modes after that.
STOPS_FIRST: frozenset[Mode] = frozenset({"cpr-transfer", "cpr-reboot", "cpr-exec"})
# New QEMU starts when old has saved all.
SUCCEEDS: frozenset[Mode] = frozenset({"cpr-reboot", "cpr-exec", "snapshot"})


@dataclass(frozen=True, slots=True)
class Mark:
    """A point in QEMU's code: the aliases of one function and whether its return is probed too.

    No return is probed in functions that yield as a coroutine: a return probe belongs to a stack,
    and one left behind on another stack kills the process with SIGILL. A needed mark must fire on
    its `side` in all of `modes`. One that `repeats` may fire several times in a transfer, and on
    both sides; all others fire once on their side.
    """

    name: str
    side: QemuSide
    functions: tuple[str, ...]
    returns: bool = False
    repeats: bool = False
    needed: bool = True
    modes: frozenset[Mode] = EVERY_MODE


MARKS: tuple[Mark, ...] = (
    Mark("cpr_save", "old", ("cpr_state_save",), returns=True, modes=CPR_CHANNEL),
    Mark("cpr_load", "new", ("cpr_state_load",), returns=True, modes=CPR_CHANNEL | SUCCEEDS),
    Mark("cpr_close", "new", ("cpr_state_close",), repeats=True, modes=CPR_CHANNEL),
    Mark(
        "main_listen",
        "new",
        ("socket_connect_incoming", "socket_start_incoming_migration"),
        returns=True,
        modes=CPR_CHANNEL,
    ),
    Mark(
        "outgoing",
        "old",
        ("socket_connect_outgoing", "socket_start_outgoing_migration"),
        modes=CPR_CHANNEL,
    ),
    Mark(
        "connected",
        "old",
        ("migration_start_outgoing", "migration_connect", "migrate_fd_connect"),
    ),
    Mark("vm_stop", "old", ("vm_stop_force_state",), returns=True),
    Mark("pause_vcpus", "old", ("pause_all_vcpus",), returns=True),
    Mark("setup", "old", ("qemu_savevm_state_do_setup", "qemu_savevm_state_setup"), returns=True),
    Mark(
        "complete",
        "old",
        ("qemu_savevm_state_complete_precopy",),
        returns=True,
        modes=EVERY_MODE - {"postcopy"},  # where another function ends the source
    ),
    Mark("load", "new", ("qemu_loadvm_state",)),
    Mark("load_main", "new", ("qemu_loadvm_state_main",), repeats=True),
    Mark("loaded", "new", ("cpu_synchronize_all_post_init",), repeats=True),
    Mark("vm_start", "new", ("vm_start",)),
    Mark("resume_vcpus", "new", ("resume_all_vcpus",), returns=True),
    Mark("runstate", "old", ("runstate_set",), repeats=True),
    Mark("tcg_exec", "new", ("cpu_exec",), returns=True, repeats=True, needed=False),
)

MARK_NAMES: tuple[str, ...] = tuple(m.name for m in MARKS)

# Every function that is looked up in a build's symbols.
FUNCTIONS: tuple[str, ...] = tuple(f for m in MARKS for f in m.functions)

# What is recorded of the kernel besides QEMU's marks: system calls and other events.
SYSTEM_CALLS = ("mmap", "sendmsg", "recvmsg", "vfio_ioctl")
KERNEL_EVENTS = (*SYSTEM_CALLS, "interrupt", "exec")


def choose_function(mark: Mark, symbols: dict[str, int]) -> str | None:
    """The alias of `mark` that a build with `symbols` has, or None."""
    return next((f for f in mark.functions if f in symbols), None)


def missing_marks(symbols: dict[str, int]) -> tuple[str, ...]:
    """Names of the needed marks for which a build has no symbol at all."""
    return tuple(m.name for m in MARKS if m.needed and choose_function(m, symbols) is None)


def expected_marks(mode: Mode) -> tuple[Mark, ...]:
    """The marks that must fire in an update by `mode`."""
    return tuple(m for m in MARKS if m.needed and mode in m.modes)


# -- phases ---------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class At:
    """The first event of a mark in one QEMU, not before `after` if that was seen."""

    side: QemuSide
    mark: str
    edge: Edge = "enter"
    after: At | None = None

    @property
    def key(self) -> tuple[QemuSide, str, Edge]:
        return self.side, self.mark, self.edge


@dataclass(frozen=True, slots=True)
class ControllerStep:
    """A timestamp of the controller."""

    name: str


# Moments that a different event marks in each mode, or that depend on several events; see
# results.timeline.phases.
Derived = Literal[
    "cpr_load_begun",
    "stop",
    "paused",
    "saving",
    "followed",
    "loaded",
    "awaited",
    "first_entry",
    "addresses_given_up",
    "remap_begun",
    "remap_ended",
]
Moment = At | ControllerStep | Derived

CPR_SAVE = At("old", "cpr_save")
CPR_SAVED = At("old", "cpr_save", "return")
CPR_LOAD = At("new", "cpr_load")
CPR_LOADED = At("new", "cpr_load", "return")
LISTEN = At("new", "main_listen")
LISTENING = At("new", "main_listen", "return")
CPR_CLOSED = At("new", "cpr_close", after=LISTENING)
OUTGOING = At("old", "outgoing")
CONNECTED = At("old", "connected")
VM_STOP = At("old", "vm_stop")
STOPPED = At("old", "vm_stop", "return")
PAUSE = At("old", "pause_vcpus")
PAUSED = At("old", "pause_vcpus", "return")
SETUP = At("old", "setup")
SET_UP = At("old", "setup", "return")
COMPLETE = At("old", "complete")
COMPLETED = At("old", "complete", "return")
ENDED = At("old", "runstate", after=COMPLETED)
LOAD = At("new", "load")
LOAD_MAIN = At("new", "load_main")
VM_START = At("new", "vm_start")
RESUMED = At("new", "resume_vcpus", "return", after=VM_START)


@dataclass(frozen=True, slots=True)
class Phase:
    """What happens from one moment to another, and which part of it the guest waits for.

    A phase that is not `waited_for` has no share of the blackout. `share_from` is when the guest
    starts to wait for the phase, if that is not its start. Time in two phases belongs to the later
    one in the table, except that a phase that `yields` leaves it to any other.
    """

    name: str
    side: PhaseSide
    start: Moment
    end: Moment
    share_from: Moment | None = None
    waited_for: bool = True
    yields: bool = False


# In the order in which they happen.
PHASES: tuple[Phase, ...] = (
    Phase("cpr_save", "old", CPR_SAVE, CPR_SAVED),
    Phase("cpr_load", "new", "cpr_load_begun", CPR_LOADED),
    Phase("target_init", "new", CPR_LOADED, ControllerStep("monitor")),
    Phase(
        "hold",
        "controller",
        ControllerStep("monitor"),
        ControllerStep("migrate_incoming"),
        waited_for=False,
    ),
    Phase(
        "hang_up",
        "both",
        CPR_CLOSED,
        OUTGOING,
    ),
    Phase("main_connect", "old", OUTGOING, CONNECTED),
    Phase("vcpu_stop", "old", "stop", "paused"),
    Phase("quiesce", "old", "paused", STOPPED),
    Phase("save_start", "old", STOPPED, SETUP),
    Phase("ram_setup", "old", SETUP, SET_UP),
    Phase("state_save", "old", "saving", COMPLETED),
    # Without a hold new QEMU starts within the blackout.
    Phase("source_quit", "old", COMPLETED, "followed", yields=True),
    Phase("target_start", "new", "followed", LOAD, yields=True),
    Phase("state_load", "new", LOAD, "loaded", share_from="awaited"),
    Phase("vfio_remap", "new", "remap_begun", "remap_ended"),
    Phase("activation", "new", "loaded", VM_START),
    Phase("vm_start", "new", VM_START, RESUMED),
    Phase("first_entry", "new", RESUMED, "first_entry"),
    # The handover of assigned devices spans phases of both sides; new QEMU's part is vfio_remap.
    Phase("vfio_handover", "both", "addresses_given_up", "remap_ended", waited_for=False),
    # After the guest has moved.
    Phase("source_end", "old", COMPLETED, ENDED, waited_for=False),
)

PHASE_NAMES: tuple[str, ...] = tuple(p.name for p in PHASES)

# Those that may have a share of the blackout.
SHARING_PHASES: tuple[str, ...] = tuple(p.name for p in PHASES if p.waited_for)


def phase_label(name: str) -> str:
    """The display name of a phase."""
    return name.replace("_", " ")
