"""All runs of a session as Parquet: a row per handover, a column per number."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any, BinaryIO

from reports.request import Request
from results.store.columns import MISSING, Columns, Integers
from results.summary.report_data import Material

if TYPE_CHECKING:
    import pyarrow as pa


def report(request: Request) -> Callable[[BinaryIO], None]:
    return partial(write_parquet, request.material)


def parquet_table(columns: Columns, about: dict[str, str] | None = None) -> pa.Table:
    """The runs as an Arrow table, in the order in which they were stored.

    Texts are dictionaries, times int64 ns with null where not known; `phase_NAME_ns` is a phase's
    share of the blackout, `vcpu_N_blackout_ns` one vCPU's blackout. `about` goes to the metadata.
    """
    import pyarrow as pa

    arrays: dict[str, Any] = {}
    for name, (codes, words) in columns.texts.items():
        indices = pa.array(codes)
        arrays[name] = pa.DictionaryArray.from_arrays(indices, pa.array(words, pa.string()))
    for name, values in columns.numbers.items():
        if name != "seq":
            arrays[name] = _numbers(values)
    for name, values in columns.shares.items():
        arrays[f"phase_{name}_ns"] = _numbers(values)
    for number, values in enumerate(columns.vcpus):
        arrays[f"vcpu_{number}_blackout_ns"] = _numbers(values)
    return pa.table(arrays, metadata=about or {})


def write_parquet(material: Material, file: BinaryIO) -> None:
    """Write the table, compressed; the session's id and command are in the file's metadata."""
    import pyarrow.parquet as pq

    session = material.session
    about = {"pausebench.session": session.id, "pausebench.command": " ".join(session.command)}
    pq.write_table(parquet_table(material.columns, about), file, compression="zstd")


def _numbers(values: Integers) -> Any:
    import pyarrow as pa

    return pa.array(values, mask=values == MISSING)
