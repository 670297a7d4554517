"""All runs of a session as Parquet: a row per update, a column per number."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any, BinaryIO

from reports.request import Request
from results.store.tables.columns import MISSING, Columns, Integers
from results.summary.accelerator import tcg_note
from results.summary.report_data import ReportData

if TYPE_CHECKING:
    import pyarrow as pa


def report(request: Request) -> Callable[[BinaryIO], None]:
    return partial(write_parquet, request.data)


def parquet_table(columns: Columns, about: dict[str, str] | None = None) -> pa.Table:
    """The runs as an Arrow table, in the order in which they were stored.

    Texts are dictionary-encoded, times are int64 ns, null where not known; `phase_NAME_ns` is a
    phase's share of the blackout, `vcpu_N_blackout_ns` one vCPU's blackout. `about` becomes the
    table's metadata.
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


def write_parquet(data: ReportData, file: BinaryIO) -> None:
    """Write the table, compressed.

    The file's metadata has the session's id, kind and command, what was done if it ended early,
    and the unproven runs by reason as JSON.
    """
    import pyarrow.parquet as pq

    session = data.session
    unproven = {group.reason: list(group.runs) for group in data.unproven}
    about = {
        "pausebench.accelerator": tcg_note(session, (c.summary.dimensions for c in data.cells)),
        "pausebench.session": session.id,
        "pausebench.kind": data.kind,
        "pausebench.command": " ".join(session.command),
        "pausebench.unfinished": data.unfinished.text if data.unfinished else "",
        "pausebench.unproven": json.dumps(unproven),
    }
    pq.write_table(parquet_table(data.columns, about), file, compression="zstd")


def _numbers(values: Integers) -> Any:
    import pyarrow as pa

    return pa.array(values, mask=values == MISSING)
