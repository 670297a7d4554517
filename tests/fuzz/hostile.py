"""What a hostile store, file or QEMU may hold, and the bounds within which it must be refused."""

from __future__ import annotations

import copy
import os
import resource
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st

from results.errors import PausebenchError

CASES = 5_000  # of all tests together; see --fuzz-cases
CPU_SECONDS = 2.0
_HANG_SECONDS = 60  # of a case, on a busy machine
_MEMORY_BYTES = 1 << 30

TEXTS = st.one_of(
    st.text(max_size=40),
    st.sampled_from(
        [
            "", "\x00", "\x1b[31m", "\u202e", "../../x", "/etc/x", "<script>", "=1+1", "a" * 10_000,
            "-1", "nan", "9" * 5_000, "true", "%s{}{0}", "\n", "last", "*",
        ]
    ),
)  # fmt: skip
NUMBERS = st.one_of(
    st.integers(),
    st.sampled_from([0, -1, 1, 2**31, 2**53, 2**63, 2**64, -(2**63), 10**30]),
    st.floats(),
)
SCALARS = st.one_of(st.none(), st.booleans(), NUMBERS, TEXTS)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(TEXTS, inner, max_size=4)),
    max_leaves=8,
)
# Where in a document something is changed, how, and to what.
CHANGES = st.lists(
    st.tuples(
        st.integers(0, 2**32),
        st.sampled_from(["replace", "replace", "remove", "repeat", "key", "negate", "nest"]),
        VALUES,
    ),
    min_size=1,
    max_size=4,
)


def changed(document: Any, changes: list[tuple[int, str, Any]]) -> Any:
    """`document`, of JSON's types, with some of its values replaced, removed or repeated."""
    root = [copy.deepcopy(document)]
    for number, how, value in changes:
        places = list(_places(root))
        holder, key = places[number % len(places)]
        old = holder[key]
        if how == "remove" and holder is not root:
            del holder[key]
        elif how == "repeat" and isinstance(old, list):
            holder[key] = old * 3
        elif how == "key" and isinstance(holder, dict):
            holder[str(value)] = holder.pop(key)
        elif how == "negate" and isinstance(old, int | float):
            holder[key] = -old
        elif how == "nest":
            for _ in range(40):
                old = [old]
            holder[key] = old
        else:
            holder[key] = value
    return root[0]


def _places(holder: Any, deep: int = 0) -> Iterator[tuple[Any, Any]]:
    """Every (container, key); of long lists the ends, so that no list outweighs all else."""
    if deep > 12:
        return
    keys: Any = holder.keys() if isinstance(holder, dict) else range(len(holder))
    for key in [*keys] if len(keys) < 9 or isinstance(holder, dict) else [0, 1, len(keys) - 1]:
        yield holder, key
        if isinstance(holder[key], dict | list):
            yield from _places(holder[key], deep + 1)


# -- bounds ---------------------------------------------------------------------------------------


class Written:
    """Files that were opened for writing, made or renamed outside of `allowed`."""

    def __init__(self) -> None:
        self.allowed: Path | None = None
        self.outside: list[str] = []
        sys.addaudithook(self._audit)

    def _audit(self, event: str, args: tuple[Any, ...]) -> None:
        if self.allowed is None or event not in ("open", "os.mkdir", "os.rename", "os.symlink"):
            return
        path, mode = args[0], args[1] if len(args) > 1 else None
        if event == "open" and not _writes(mode, args[2]):
            return
        target = args[1] if event in ("os.rename", "os.symlink") else path
        if isinstance(target, str | bytes | Path) and target != "/dev/null":
            full = Path(os.fsdecode(target)).absolute()
            if not full.is_relative_to(self.allowed):
                self.outside.append(f"{event} {full}")


def _writes(mode: Any, flags: Any) -> bool:
    if isinstance(mode, str):
        return any(letter in mode for letter in "wax+")
    return isinstance(flags, int) and bool(flags & 0o3)


WRITTEN = Written()


@contextmanager
def within_bounds(place: Path) -> Iterator[None]:
    """Fail unless the block ends within its CPU time, memory and directory.

    Only an error of ours may end it: it is what the user would see.
    """

    def hang(*_: object) -> None:
        raise AssertionError(f"it hangs for {_HANG_SECONDS} s")

    before = signal.signal(signal.SIGALRM, hang)
    signal.alarm(_HANG_SECONDS)
    WRITTEN.allowed, WRITTEN.outside = place, []
    started = time.thread_time()
    line = ""
    try:
        yield
    except PausebenchError as error:
        line = error.line
    finally:
        WRITTEN.allowed = None
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)
    took = time.thread_time() - started
    assert took < CPU_SECONDS, f"it took {took:.1f} s of CPU time"
    assert WRITTEN.outside == []
    assert line.isprintable()
    assert len(line) <= 1_000


@contextmanager
def limited_memory() -> Iterator[None]:
    """At most 1 GiB more than now: beyond it, Python raises MemoryError."""
    size = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (size + _MEMORY_BYTES, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


def share(part: float) -> Callable[[Any], Any]:
    """The settings of a test that has this part of all cases, the same ones in every run."""
    return settings(
        max_examples=max(1, round(CASES * part)),
        derandomize=True,
        phases=[Phase.explicit, Phase.generate],  # a smaller case would take minutes to find
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
