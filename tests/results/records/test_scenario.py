"""What of a scenario must be equal for two runs to be compared."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace

import pytest

from results.records.scenario import MIB, Scenario, dimensions

PLAIN = Scenario("anon", "anon", accel="kvm")
WORDS = (
    "accel=kvm backend=anon cpu=qemu64 id=anon machine=q35 mem_lock=False pinned=False "
    "ram_bytes=268435456 return_path=False touched=0.25 vcpus=1"
)


def test_the_text_of_a_plain_scenario():
    assert dimensions(PLAIN) == WORDS


def test_what_is_always_compared_is_always_told():
    told = dimensions(replace(PLAIN, ram_bytes=MIB, touched=1.0, pinned=True))
    assert told == (
        "accel=kvm backend=anon cpu=qemu64 id=anon machine=q35 mem_lock=False pinned=True "
        "ram_bytes=1048576 return_path=False touched=1.0 vcpus=1"
    )


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"vfio": "type1"}, "vfio=type1"),
        ({"devices": "0000:01:00.0"}, "devices=0000:01:00.0"),
        ({"spare_devices": 3}, "spare_devices=3"),
        ({"no_mmap": True}, "no_mmap=True"),
        ({"mode": "precopy"}, "mode=precopy"),
    ],
)
def test_what_came_later_is_told_where_it_is_used(changed, words):
    told = dimensions(replace(PLAIN, **changed)).split()
    assert sorted([*WORDS.split(), words]) == told


def test_what_is_said_about_a_scenario_does_not_count():
    assert dimensions(replace(PLAIN, about="other words")) == WORDS


def test_every_field_says_whether_it_is_compared():
    said = {f.name: f.metadata["compared"] for f in fields(Scenario)}
    assert set(said.values()) == {"always", "where used", "never"}
    assert [name for name, how in said.items() if how == "never"] == ["about"]


def test_a_field_that_does_not_say_it_is_an_error():
    @dataclass(frozen=True)
    class Wider(Scenario):
        numa_nodes: int = 1

    with pytest.raises(TypeError, match="numa_nodes"):
        dimensions(Wider("anon", "anon"))
