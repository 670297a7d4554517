"""The JSON for other programs: stable names, null for unknown values."""

from __future__ import annotations

import json
from dataclasses import replace

import msgspec

from reports.formats.session_json import document
from results.store.tables.columns import columns_of
from results.summary.cells import summarise


def test_the_promised_names(session, good_run, failed_run):
    runs = [good_run, failed_run]
    made = document(session, runs, summarise(columns_of(runs)))
    assert made["session"] == session.id
    run = made["runs"][0]
    promised = {
        "id": good_run.id,
        "scenario": "anon",
        "boot": 1,
        "update": 3,
        "outcome": "completed",
        "reason": "",
        "old_pid": 4100,
        "new_pid": 4188,
        "blackout_ns": 4_420_000,
        "vcpu_blackouts_ns": [4_420_000, 4_371_000],
        "guest_gap_ns": 4_663_000,
        "residual_ns": 50_000,
        "proof": None,
    }
    assert {name: run[name] for name in promised} == promised
    assert {n: run["witnesses"][n] for n in ("kvm", "uprobe", "qmp", "qemu", "guest")} == {
        "kvm": 4_420_000,
        "uprobe": 4_155_000,
        "qmp": 3_714_000,
        "qemu": 2_000_000,
        "guest": 4_663_000,
    }
    assert run["witnesses"]["kvm_entry"] is None
    assert run["phases"]["quiesce"] == 1_200_000
    assert "hold" not in run["phases"]
    assert run["fds"][0].items() >= {"name": "ram0", "id": 0}.items()
    assert [fd["name"] for fd in run["fds"]] == ["ram0", "pc.bios", "/rom@etc/acpi/tables"]


def test_the_promised_summary(session, good_run, failed_run):
    made = document(session, [], summarise(columns_of([good_run, failed_run])))
    assert made["runs"] == []
    assert (
        made["summary"][0].items()
        >= {
            "scenario": "anon",
            "boots": 2,
            "updates": 1,
            "valid": 1,
            "failed": 1,
            "median_ns": 4_420_000,
            "low_ns": None,
            "high_ns": None,
            "max_ns": 4_420_000,
        }.items()
    )


def test_a_failed_run_keeps_its_reason_and_no_zero(session, failed_run):
    run = document(session, [failed_run], [])["runs"][0]
    assert (run["outcome"], run["reason"]) == ("failed", failed_run.reason)
    assert run["blackout_ns"] is None
    assert run["vcpu_blackouts_ns"] == [4_420_000, None]


def test_the_document_survives_json(session, good_run, failed_run, summaries):
    made = document(session, [good_run, failed_run], summaries)
    assert json.loads(json.dumps(made, allow_nan=False)) == made
    assert msgspec.json.decode(msgspec.json.encode(made)) == made


def test_the_session_has_its_command_and_host(session):
    made = document(session, [], [])
    assert made["schema"] == 1
    assert made["command"] == ["pausebench", "run", "anon"]
    assert made["environment"] == {"kernel": "6.12.0"}
    assert made["builds"][0]["build_id"] == "ab12"
    assert "symbols" not in made["builds"][0]


def test_any_text_of_a_guest_survives_json(session, failed_run):
    run = replace(failed_run, log_tail='\x00\x1b"\\\u2028', reason="µ")
    made = document(session, [run], [])
    assert json.loads(json.dumps(made))["runs"][0]["log_tail"] == run.log_tail
