"""The runs as pandas reads them back."""

from __future__ import annotations

import pandas as pd

from reports.formats.parquet import write_parquet
from results.stats.boots import measure


def test_every_run_and_number_comes_back(report_data, stored, tmp_path):
    path = tmp_path / "runs.parquet"
    with path.open("wb") as file:
        write_parquet(report_data, file)
    frame = pd.read_parquet(path)
    runs = stored.runs()
    assert len(frame) == len(runs)
    for run, row in zip(runs, frame.to_dict("records"), strict=True):
        assert (row["scenario"], row["new_build"], row["boot"], row["update"]) == (
            run.scenario, run.new_build, run.boot, run.update,
        )  # fmt: skip
        assert row["outcome"] == run.outcome
        assert (None if pd.isna(row["blackout_ns"]) else row["blackout_ns"]) == run.blackout_ns
        assert pd.isna(row["kvm_entry_ns"])
        if run.outcome == "completed":
            assert row["phase_quiesce_ns"] == measure(run, "quiesce")
            assert row["vcpu_1_blackout_ns"] == run.vcpu_blackouts_ns[1]
        else:
            assert pd.isna(row["phase_quiesce_ns"])
