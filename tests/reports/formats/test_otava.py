"""Histories as Otava reads them: a number for every metric of every row."""

from __future__ import annotations

import csv
import io
import re
from dataclasses import replace
from datetime import datetime

import pytest

from reports.formats.otava import CONFIG_NAME, otava_files
from results.history.kept import read_history


@pytest.fixture
def lines(stored):
    return read_history(stored)


def test_a_file_per_line_and_one_configuration(lines):
    files = otava_files(lines)
    assert set(files) == {
        "anon.old.csv", "anon.new.csv", "memfd.old.csv", "memfd.new.csv", CONFIG_NAME,
    }  # fmt: skip
    for name in set(files) - {CONFIG_NAME}:
        rows = list(csv.reader(io.StringIO(files[name])))
        header = rows[0]
        block = files[CONFIG_NAME].split(f'"{name.removesuffix(".csv")}":')[1].split('\n  "')[0]
        metrics = re.findall(r'column: "(\w+)"', block)
        attributes = re.search(r"attributes: \[(.*)\]", block)[1].split(", ")
        assert {"blackout_median_ms", "phase_quiesce_ms"} <= set(metrics)
        assert set(metrics + attributes + ["time"]) == set(header)
        for row in rows[1:]:
            datetime.strptime(row[0], "%Y-%m-%d %H:%M:%S %z")
            assert all(float(row[header.index(metric)]) >= 0 for metric in metrics)


def test_the_numbers_are_those_of_the_history(lines):
    line = next(line for line in lines if line.name == "anon on new")
    (row,) = csv.DictReader(io.StringIO(otava_files(lines)["anon.new.csv"]))
    assert float(row["blackout_median_ms"]) == pytest.approx(line.points[0].median_ns / 1e6)
    assert row["failed"] == "1"


def test_a_metric_missing_from_a_night_is_left_out(lines):
    line = lines[0]
    gap = replace(line.points[0], qemu_median_ns=None)
    files = otava_files([replace(line, points=(*line.points, gap))])
    assert "qemu_median_ms" not in files["anon.old.csv"]
    assert "handover_median_ms" in files["anon.old.csv"]


def test_two_sizes_and_odd_names_get_their_own_files(lines):
    odd = replace(lines[0], key=replace(lines[0].key, scenario='a/../b "x"\n'))
    files = otava_files([lines[0], lines[0], odd])
    assert {"anon.old.csv", "anon.old-2.csv", "a-..-b-x-.old.csv"} < set(files)
