"""The phases of a handover and the functions of QEMU that bound them.

Functions are renamed between releases, so every mark has a list of aliases; the first that a build
exports is probed. Source of the boundaries: QEMU's migration/cpr.c, migration/migration.c,
migration/savevm.c and system/cpus.c in 10.0 to 11.1.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Mark:
    """A point in QEMU's code: the aliases of one function and whether its return counts too.

    No return is probed where a function yields as a coroutine: a return probe belongs to a stack,
    and one left behind on another stack ends the process with SIGILL.
    """

    name: str
    functions: tuple[str, ...]
    returns: bool = False
    needed: bool = True


MARKS: tuple[Mark, ...] = (
    Mark("cpr_save", ("cpr_state_save",), returns=True),
    Mark("cpr_load", ("cpr_state_load",), returns=True),
    Mark("cpr_close", ("cpr_state_close",)),
    Mark(
        "main_listen",
        ("socket_connect_incoming", "socket_start_incoming_migration"),
        returns=True,
    ),
    Mark("outgoing", ("socket_connect_outgoing", "socket_start_outgoing_migration")),
    Mark(
        "connected",
        ("migration_start_outgoing", "migration_connect", "migrate_fd_connect"),
    ),
    Mark("vm_stop", ("vm_stop_force_state",), returns=True),
    Mark("pause_vcpus", ("pause_all_vcpus",), returns=True),
    Mark("setup", ("qemu_savevm_state_do_setup", "qemu_savevm_state_setup"), returns=True),
    Mark("complete", ("qemu_savevm_state_complete_precopy",), returns=True),
    Mark("load", ("qemu_loadvm_state",)),
    Mark("load_main", ("qemu_loadvm_state_main",)),
    Mark("loaded", ("cpu_synchronize_all_post_init",)),
    Mark("vm_start", ("vm_start",)),
    Mark("resume_vcpus", ("resume_all_vcpus",), returns=True),
    Mark("runstate", ("runstate_set",)),
    Mark("tcg_exec", ("cpu_exec",), returns=True, needed=False),
)

MARK_NAMES: tuple[str, ...] = tuple(m.name for m in MARKS)

# Every function that a build is asked for.
FUNCTIONS: tuple[str, ...] = tuple(f for m in MARKS for f in m.functions)


def choose_function(mark: Mark, symbols: dict[str, int]) -> str | None:
    """The alias of `mark` that a build with `symbols` has, or None."""
    return next((f for f in mark.functions if f in symbols), None)


def missing_marks(symbols: dict[str, int]) -> tuple[str, ...]:
    """Names of the needed marks for which a build has no symbol at all."""
    return tuple(m.name for m in MARKS if m.needed and choose_function(m, symbols) is None)
