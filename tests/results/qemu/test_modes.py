"""The contract of each mode, and updates that break it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from results.errors import UsageError
from results.judgement.promises import broken_promises, old_must_end
from results.qemu.modes import (
    check_builds,
    check_mode,
    known_modes,
    lacks,
    mode_of,
    named,
    ram_needed,
)
from results.records.modes import MODES, PROMISES
from results.records.recording import Event, Process, QmpStamp
from results.records.run import CarriedFd
from results.records.scenario import MIB, Build, Scenario, dimensions

ANON = Scenario("anon", "anon")
OLD = Build("old", "", "10.0.2", "", "", (), cpr_modes=("cpr-reboot", "cpr-transfer"))
NEW = replace(OLD, label="new", version="11.1.3", cpr_modes=(*OLD.cpr_modes, "cpr-exec"))


def test_every_mode_has_an_entry():
    assert set(PROMISES) == set(MODES)
    assert [m for m in MODES if PROMISES[m].descriptors] == ["cpr-transfer"]
    assert [m for m in MODES if PROMISES[m].one_process] == ["cpr-exec"]


def test_the_default_mode_is_omitted_so_that_older_runs_stay_comparable():
    assert "mode" not in dimensions(ANON)
    for mode in MODES:
        told = dimensions(replace(ANON, mode=mode))
        assert mode_of(told) == mode
        assert (told == dimensions(ANON)) == (mode == "cpr-transfer")


def test_ids_contain_the_mode_once():
    precopy = named(replace(ANON, mode="precopy"))
    assert (precopy.id, named(precopy).id) == ("anon@precopy", "anon@precopy")
    assert named(replace(precopy, mode="cpr-transfer")).id == "anon"


def test_a_mode_that_a_build_does_not_support_is_rejected():
    assert "cpr-exec" not in known_modes(OLD, NEW)
    assert known_modes(NEW) == MODES
    assert lacks(NEW, "cpr-exec") == ""
    with pytest.raises(
        UsageError, match=r"QEMU old \(10\.0\.2\) has no cpr-exec: it supports cpr-tr"
    ):
        check_builds([replace(ANON, mode="cpr-exec")], [NEW, OLD])


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"vfio": "type1", "devices": "0000:01:00.0"}, "assigned devices"),
        ({"pinned": True}, "pins"),
        ({"backend": "hugetlbfs"}, "the same file"),
    ],
)
def test_scenarios_that_a_mode_would_break_are_rejected(fields, words):
    check_mode(replace(ANON, **fields))
    with pytest.raises(UsageError, match=words):
        check_mode(replace(ANON, mode="precopy", **fields))


def test_ram_needed_counts_every_copy():
    needed = [ram_needed(replace(ANON, mode=m)) // (256 * MIB) for m in ("cpr-exec", "postcopy")]
    assert (needed, ram_needed(replace(ANON, mode="snapshot")) // MIB) == ([1, 2], 768)


RAM0 = (CarriedFd("ram0", 0),)


@pytest.fixture
def kept(make_run, make_recording):
    """An update that keeps its contract, in every mode: (recording, descriptors, blackout)."""

    def make(mode):
        found = replace(make_recording(make_run()), scenario=replace(ANON, mode=mode))
        match mode:
            case "cpr-transfer":
                return found, RAM0, None
            case "cpr-exec":
                execve = Event(50, 10, 10, "exec", "enter")
                found = replace(found, new=replace(found.new, pid=10), events=(execve,))
            case "postcopy":
                turned = QmpStamp(5, "old", "MIGRATION", data={"status": "postcopy-active"})
                found = replace(found, qmp=(turned,))
            case "precopy-multifd":
                found = replace(found, migrate_info={"ram-multifd-bytes": 4096})
            case "cpr-reboot" | "snapshot":
                return replace(found, steps={"migrate": 90, "old_gone": 500}), (), (100, 1_000)
        return found, (), None

    return make


@pytest.mark.parametrize("mode", MODES)
def test_a_kept_contract(kept, mode):
    assert broken_promises(*kept(mode)) == []


@pytest.mark.parametrize(
    ("mode", "recorded", "judged", "words"),
    [
        ("cpr-exec", {"new": Process(11, (), ())}, {}, "keeps the process, but pid 10 became 11"),
        ("cpr-exec", {"events": ()}, {}, "no execve was seen"),
        ("precopy", {"new": Process(10, (), ())}, {}, "pid 10 went on"),
        ("snapshot", {}, {"fds": RAM0}, "but 1 were sent"),
        ("postcopy", {"qmp": ()}, {}, "a precopy, not a postcopy"),
        (
            "precopy",
            {"qmp": (QmpStamp(5, "old", "MIGRATION", data={"status": "postcopy-active"}),)},
            {},
            "turned into a postcopy",
        ),
        ("precopy-multifd", {"migrate_info": {}}, {}, "no bytes were sent over"),
        ("cpr-reboot", {"steps": {"migrate": 90}}, {}, "the exit of old QEMU was not seen"),
        ("snapshot", {}, {"blackout": (100, 400)}, "before old QEMU had ended"),
    ],
)
def test_a_broken_contract(kept, mode, recorded, judged, words):
    recording, fds, blackout = kept(mode)
    seen = {"fds": fds, "blackout": blackout} | judged
    (found,) = broken_promises(replace(recording, **recorded), **seen)
    assert words in found.text


def test_final_state_of_old_qemu():
    assert {old_must_end(mode) for mode in MODES if mode != "cpr-exec"} == {"postmigrate"}
    assert old_must_end("cpr-exec") == "exec"
