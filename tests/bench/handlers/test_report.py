"""`pausebench report`: every format from a store on disk, and its errors."""

from __future__ import annotations

import json
import os
import re
import stat
from xml.etree import ElementTree as ET

import pytest

from bench.cli import main
from reports.formats.registry import FORMATS
from results.records.recording import Process, Recording
from results.records.run import SCHEMA, Run, Span
from results.records.scenario import Scenario, Session
from results.store.store import open_store

SESSION = "20261123-221500-3f2a"


@pytest.fixture
def store(tmp_path):
    """One session of two boots; the second boot's second update failed."""
    path = tmp_path / "store"
    with open_store(path) as opened:
        opened.add_session(
            Session(SESSION, 1_795_472_100_000_000_000, ("pausebench", "run"), (), {})
        )
        for boot, update in ((1, 1), (1, 2), (2, 1), (2, 2)):
            lost = (boot, update) == (2, 2)
            blackout = None if lost else 4_000_000 + 1_000 * boot + update
            run = Run(
                schema=SCHEMA, id=f"{SESSION}.anon.b{boot:02d}.u{update:02d}", session=SESSION,
                scenario="anon", dimensions="id=anon vcpus=1", boot=boot, update=update,
                started_unix_ns=1, outcome="failed" if lost else "completed",
                reason="QEMU died" if lost else "", old_build="system", new_build="system",
                old_pid=10, new_pid=11, blackout_ns=blackout, blackout_start_ns=100,
                vcpu_blackouts_ns=(blackout,), spans=(Span("quiesce", "old", 100, 200, 100),),
            )  # fmt: skip
            process = Process(10, ("qemu",), (12,))
            recording = Recording(
                schema=SCHEMA, id=run.id, session=SESSION, boot=boot, update=update,
                started_unix_ns=1, scenario=Scenario("anon", "anon"), old_build="system",
                new_build="system", old=process, new=process, steps={"migrate": 1},
            )  # fmt: skip
            opened.add_run(run, recording)
    return path


def report(store, *words):
    return main(["report", *words, "--store", str(store)])


@pytest.mark.parametrize("kind", FORMATS)
def test_every_format_is_written_below_the_store(store, capsys, kind):
    assert report(store, "--format", kind) == 0
    said = capsys.readouterr()
    assert said.err == ""
    path = store / "reports" / (SESSION + FORMATS[kind].suffix)
    assert said.out == f"{path}\n"
    assert path.exists()
    assert list(path.parent.glob(".*")) == []


def test_to_standard_output_and_to_a_file(store, tmp_path, capfdbinary):
    assert report(store, "--format", "json", "-o", "-") == 0
    document = json.loads(capfdbinary.readouterr().out)
    assert (document["verdict"], document["exit_code"]) == ("failed", 3)
    out = tmp_path / "junit.xml"
    assert report(store, "last", "--format", "junit", "-o", str(out)) == 0
    assert ET.parse(out).getroot().tag == "testsuites"


def test_another_name_of_standard_output_gets_the_report_alone(store, tmp_path, capfdbinary):
    (tmp_path / "stdout").symlink_to("/proc/self/fd/1")
    assert report(store, "--format", "json", "-o", str(tmp_path / "stdout")) == 0
    assert json.loads(capfdbinary.readouterr().out)["exit_code"] == 3


@pytest.mark.parametrize(
    "words", [*(("report", "--format", kind) for kind in FORMATS), ("history", "anon")]
)
@pytest.mark.skipif(os.geteuid() != 0, reason="only root makes device nodes")
def test_no_output_replaces_a_device(store, tmp_path, capsys, words):
    null, link = tmp_path / "null", tmp_path / "link"
    os.mknod(null, stat.S_IFCHR | 0o600, os.makedev(1, 3))
    link.symlink_to("null")
    for path in (null, link):
        status = main([*words, "-o", str(path), "--store", str(store)])
        said = capsys.readouterr().err
        assert (status, said.count("\n")) == ((2, 1) if said else (0, 0))
    assert null.is_char_device()
    assert link.is_symlink()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["link", "null", "store"]


def test_budgets_reach_the_report(store, capsys):
    report(store, "--format", "markdown", "-o", "-", "--budget", "anon=4001.5us:90")
    assert "2 of 4 under 4.00 ms, 1 failed (missed: 90 % required)" in capsys.readouterr().out


def test_the_help_names_every_format(capsys):
    with pytest.raises(SystemExit):
        main(["report", "--help"])
    said = capsys.readouterr().out
    for name, form in FORMATS.items():
        assert re.search(rf"^  {name} +{re.escape(form.help)}", said, re.MULTILINE)


def test_one_run_as_a_trace(store, capsys):
    assert report(store, "--format", "perfetto", "--run", "worst") == 0
    assert capsys.readouterr().out.endswith(".perfetto-trace\n")


def test_the_schema_is_printed(store, capsys):
    assert report(store, "--schema") == 0
    assert json.loads(capsys.readouterr().out)["$id"] == "urn:pausebench:report:1"


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["nosuch"], "no session 'nosuch'"),
        (["--run", "last"], "--run needs --format perfetto"),
        (["--budget", "nope=5"], "--budget nope=…: not measured, only anon"),
        (["--relative", "-1"], "--relative -1: expected a number from 0"),
        (["--format", "csv", "-o", "-"], "csv writes a directory"),
        (["--format", "parquet", "-o", "-"], "parquet is written to a file"),
        (["-o", "/nowhere/at/all.html"], "cannot write /nowhere/at/all.html"),
        (["--format", "csv", "-o", "/nowhere/at/all"], "cannot create /nowhere/at/all"),
    ],
)
def test_an_error_is_one_line(store, capsys, words, complaint):
    assert report(store, *words) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith(f"pausebench: {complaint}")
    assert said.err.count("\n") == 1


def test_a_calibration_is_reported_by_its_id_only(store, capsys):
    later = "20261124-221500-aaaa"
    with open_store(store) as opened:
        environment = {"purpose": "calibration"}
        opened.add_session(
            Session(later, 1_795_558_500_000_000_000, ("pausebench", "calibrate"), (), environment)
        )
    assert report(store, "--format", "json") == 0
    assert f"{SESSION}.json" in capsys.readouterr().out
    assert report(store, later) == 2  # it has no run
    assert later in capsys.readouterr().err


def test_a_session_without_runs(store, capsys):
    with open_store(store) as opened:
        opened.add_session(Session("20261124-221500-aaaa", 1_795_558_500_000_000_000, (), (), {}))
    assert report(store) == 2
    assert "holds no run yet" in capsys.readouterr().err
