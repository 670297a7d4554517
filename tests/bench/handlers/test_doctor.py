"""`pausebench doctor`: its output and exit status."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

import bench.handlers.doctor
from bench.cli import main
from results.records.host_needs import ProbeSupport
from runners.doctor import requirements as needs
from runners.doctor.facts import HostFacts
from runners.system.limits import Room

ROOT = Path(bench.handlers.doctor.__file__).parents[2]
FIT = HostFacts(memory=Room(1 << 33, "the host's available memory", ""), shm_bytes=1 << 30)
SUPPORT = ProbeSupport(headers="6.1.0", bcc_version="0.26.0")


@pytest.fixture
def host(monkeypatch):
    """A described host, so that the status does not depend on where the tests run."""

    def make(facts=FIT, found=SUPPORT):
        monkeypatch.setattr(needs, "collect_facts", lambda builds, *, tidied=False: facts)
        monkeypatch.setattr(bench.handlers.doctor, "probe_support", lambda builds: found)

    return make


@pytest.mark.qemu
def test_a_fit_host(host, capsys):
    host()
    assert main(["doctor"]) == 0
    said = capsys.readouterr()
    assert "QEMU system" in said.out
    assert "This host can measure" in said.out
    assert said.err == ""


@pytest.mark.qemu
def test_a_host_without_bpf(host, capsys):
    host(found=ProbeSupport("refused", "refused", "refused", "refused"))
    assert main(["doctor", "--json"]) == 4
    document = json.loads(capsys.readouterr().out)
    assert (document["measurable"], document["exit_code"]) == (False, 4)
    states = {need["name"]: need["state"] for need in document["needs"]}
    assert states["BPF tracepoints"] == "missing"


def test_an_invalid_build(host, capsys, tmp_path):
    host()
    assert main(["doctor", "--json", "--build", f"next={tmp_path}"]) == 4
    first = json.loads(capsys.readouterr().out)["needs"][0]
    assert (first["name"], first["state"]) == ("QEMU next", "missing")
    assert str(tmp_path) in first["found"]


@pytest.mark.qemu
def test_a_refused_build_and_a_usable_one(host, capsys, tmp_path):
    import shutil

    host()
    fit = shutil.which("qemu-system-x86_64")
    assert main(["doctor", "--build", f"next={fit}", "--build", f"none={tmp_path}"]) == 0
    assert "QEMU none" in capsys.readouterr().out


def test_a_wrong_option_is_one_line_and_exit_2(host, capsys):
    host()
    assert main(["doctor", "--build", "next"]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.count("\n") == 1
    assert "LABEL=PATH" in said.err


@pytest.mark.qemu
def test_leftovers_are_shown_and_removed_on_request(host, capsys, monkeypatch):
    host(replace(FIT, leftovers="5,120 huge pages"))
    assert main(["doctor"]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "left 5,120 huge pages" in said
    assert "pausebench doctor --tidy" in said
    asked = []

    def collect(builds, *, tidied):
        asked.append(tidied)
        return replace(FIT, leftovers="5,120 huge pages", tidied=tidied)

    monkeypatch.setattr(needs, "collect_facts", collect)
    assert main(["doctor", "--tidy", "--json"]) == 0
    found = {need["name"]: need for need in json.loads(capsys.readouterr().out)["needs"]}
    assert asked == [True]
    assert found["killed sessions"]["found"] == "none any more: 5,120 huge pages removed"


@pytest.mark.parametrize(
    "words", [["doctor", "--json", "--share"], ["run", "anon"], ["compare", "a", "b"]]
)
def test_another_pid_namespace_is_refused(words, tmp_path):
    """By the real commands; whether other sessions live is not known there."""
    argv = ["unshare", "--pid", "--fork", "--mount-proc", sys.executable, "-m", "bench", *words]
    done = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True)
    if "unshare failed" in done.stderr:
        pytest.skip(done.stderr)
    assert done.returncode == 4
    assert "--pid=host" in done.stdout + done.stderr
    if words[0] != "doctor":
        assert done.stderr.count("\n") == 1


@pytest.mark.bpf
@pytest.mark.qemu
def test_this_host_as_it_is(capfd):
    """Nothing replaced: one JSON document on standard output and nothing on standard error."""
    assert main(["doctor", "--json"]) == 0
    said = capfd.readouterr()
    document = json.loads(said.out)
    assert document["measurable"] is True
    assert len(document["needs"]) > 20
    assert all(need["consequence"] for need in document["needs"] if need["state"] != "ok")
    assert said.err == ""
