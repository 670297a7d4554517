"""Fields of a scenario that must be equal for two runs to be compared."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace

import pytest

from results.records.scenario import MIB, Scenario, dimensions

PLAIN = Scenario("anon", "anon", accel="kvm")
WORDS = (
    "accel=kvm backend=anon cpu=qemu64 id=anon machine=q35 mem_lock=False pinned=False "
    "ram_bytes=268435456 return_path=False touched=0.25 vcpus=1"
)


def test_dimensions_of_a_plain_scenario():
    assert dimensions(PLAIN) == WORDS


def test_always_compared_fields_are_always_listed():
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
def test_newer_fields_are_listed_only_where_used(changed, words):
    told = dimensions(replace(PLAIN, **changed)).split()
    assert sorted([*WORDS.split(), words]) == told


def test_description_is_not_compared():
    assert dimensions(replace(PLAIN, about="other words")) == WORDS


def test_every_field_declares_whether_it_is_compared():
    said = {f.name: f.metadata["compared"] for f in fields(Scenario)}
    assert set(said.values()) == {"always", "where used", "never"}
    assert [name for name, how in said.items() if how == "never"] == ["about"]


def test_a_field_without_a_declaration_is_an_error():
    @dataclass(frozen=True)
    class Wider(Scenario):
        numa_nodes: int = 1

    with pytest.raises(TypeError, match="numa_nodes"):
        dimensions(Wider("anon", "anon"))
