"""Calls on the kernel's pin and unpin paths, as far as it lets them be traced.

The tier states which kinds of probes are in use.
"""

from __future__ import annotations

import ctypes
from contextlib import redirect_stderr, suppress
from importlib import resources
from io import StringIO
from pathlib import Path
from typing import Any, Self

from results.records.evidence import PinEvents

from .bpf_program import compile_program, output_to

# Taking and releasing long-term pins, as VFIO, iommufd and io_uring do.
_FUNCTIONS = (
    "pin_user_pages_remote",
    "memfd_pin_folios",
    "unpin_user_pages",
    "unpin_user_page_range_dirty_lock",
    "unpin_folios",
    "vfio_pin_pages_remote",
    "vfio_unpin_pages_remote",
    "batch_unpin",
)
_IOMMU = ("iommu_map", "iommu_unmap")
_VFIO = ("vfio_unmap_dma", "ioas_unmap")
PATHS = (*_FUNCTIONS, *_IOMMU, *_VFIO)
_TRACEFS = Path("/sys/kernel/tracing")


class PinProbe:
    """Counts calls on every path that the kernel has; a context manager, one per session."""

    def __init__(self) -> None:
        self._bpf: Any = None
        self._watched_paths: tuple[str, ...] = ()
        self.tier = "none"

    def __enter__(self) -> Self:
        iommu = (_TRACEFS / "events/iommu/unmap").is_dir()
        vfio = Path("/dev/vfio/vfio").exists() or Path("/dev/iommu").exists()
        flags = [f"-DPATH_{name}={number}" for number, name in enumerate(PATHS)]
        flags.append(f"-DPATHS={len(PATHS)}")
        flags += [f"-DWITH_{name}" for name, there in (("IOMMU", iommu), ("VFIO", vfio)) if there]
        with resources.as_file(resources.files(__package__).joinpath("bpf")) as path:
            self._bpf = compile_program(path / "pins.bpf.c", flags)
        functions = self._attach() if (_TRACEFS / "kprobe_events").exists() else ()
        self._watched_paths = (
            *functions,
            *(_IOMMU if iommu else ()),
            *(_VFIO if vfio else ()),
        )
        kinds = (("kprobes", bool(functions)), ("tracepoints", iommu or vfio))
        self.tier = " and ".join(kind for kind, there in kinds if there) or "none"
        return self

    def _attach(self) -> tuple[str, ...]:
        """Attach to the functions that can be probed here; a static one may be inlined."""
        found = []
        with Path("/dev/null").open("w") as sink, output_to(sink.fileno()):
            for name in _FUNCTIONS:
                with suppress(Exception), redirect_stderr(StringIO()):
                    self._bpf.attach_kprobe(event=name, fn_name=f"at_{name}")
                    found.append(name)
        return tuple(found)

    def __exit__(self, *exc: object) -> None:
        self._bpf.cleanup()

    def watch(self, pid: int) -> None:
        self._bpf["watched"][ctypes.c_uint32(pid)] = ctypes.c_uint32(1)

    def forget(self, pid: int) -> None:
        with suppress(KeyError):
            del self._bpf["watched"][ctypes.c_uint32(pid)]

    def totals(self) -> dict[str, int]:
        """Calls so far by path, over all watched processes."""
        table = self._bpf["counts"]
        numbers = {name: number for number, name in enumerate(PATHS)}
        return {name: int(table[ctypes.c_int(numbers[name])].value) for name in self._watched_paths}

    def since(self, before: dict[str, int]) -> PinEvents:
        """Calls since `before`, an earlier result of `totals`."""
        now = self.totals()
        if not now:
            return PinEvents(
                self.tier,
                missing="no pin path can be traced: needs CONFIG_KPROBES or iommu tracepoints",
            )
        return PinEvents(self.tier, {name: now[name] - before.get(name, 0) for name in now})
