"""Command lines of scenarios, and scenarios that are refused before anything starts."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import pytest

from results.errors import UsageError
from results.records.scenario import GIB, MIB, Backend, Build, Scenario
from runners.payload import layout
from runners.qemu.command_line import (
    Sockets,
    backend_options,
    channel,
    check_scenario,
    descriptors_made,
    guest_argv,
    low_ram_bytes,
)

BUILD = Build("system", "/usr/bin/qemu", "10.0.2", "id", "sum", ("/lib/ld.so", "/usr/bin/qemu"))
ANON = Scenario("anon", "anon", accel="kvm", vcpus=3, ram_bytes=512 * MIB)


def argv(scenario: Scenario = ANON, **given: Any) -> tuple[str, ...]:
    given = {"firmware": Path("/run/p/payload.bin"), "monitor_fd": 9} | given
    return guest_argv(BUILD, scenario, **given)


def option(name: str, words: tuple[str, ...]) -> str:
    assert words.count(name) == 1
    return words[words.index(name) + 1]


@pytest.mark.parametrize(
    ("backend", "expected"),
    [
        ("anon", "memory-backend-ram,id=ram0,size=536870912,share=on"),
        ("memfd", "memory-backend-memfd,id=ram0,size=536870912,share=on"),
        ("shm", "memory-backend-shm,id=ram0,size=536870912,share=on"),
        (
            "hugetlb-memfd",
            "memory-backend-memfd,id=ram0,size=536870912,share=on,hugetlb=on,hugetlbsize=2097152",
        ),
        (
            "hugetlbfs",
            "memory-backend-file,id=ram0,size=536870912,share=on,mem-path=/run/h/guest-ram",
        ),
    ],
)
def test_each_backend(backend: Backend, expected: str) -> None:
    words = argv(replace(ANON, backend=backend), hugetlbfs=Path("/run/h"))
    assert option("-object", words) == expected


def test_every_backend_has_share_on() -> None:
    """cpr-exec accepts private RAM without an error and loses it."""
    for backend in get_args(Backend):
        assert ",share=on" in backend_options(replace(ANON, backend=backend), Path("/run/h"))


def test_comma_in_the_hugetlbfs_path_is_escaped() -> None:
    options = backend_options(replace(ANON, backend="hugetlbfs"), Path("/run/a,b,,c"))
    assert options.endswith(",mem-path=/run/a,,b,,,,c/guest-ram")


def test_hugetlbfs_without_a_mount_is_refused() -> None:
    with pytest.raises(UsageError, match="scenario big needs a mounted hugetlbfs"):
        backend_options(replace(ANON, id="big", backend="hugetlbfs"), None)


def test_new_guest_starts_paused_without_incoming() -> None:
    words = argv()
    assert words[:2] == BUILD.launcher
    assert option("-machine", words) == "q35,accel=kvm,memory-backend=ram0,aux-ram-share=on"
    assert option("-cpu", words) == "qemu64"
    assert option("-smp", words) == "3"
    assert option("-m", words) == "512M"
    assert option("-bios", words) == "/run/p/payload.bin"
    assert option("-chardev", words) == "socket,id=qmp,fd=9"
    assert "-S" in words
    assert "-incoming" not in words
    assert "-no-reboot" in words


def test_new_qemu_defers_and_names_the_cpr_socket() -> None:
    words = argv(incoming=Sockets(Path('/run/p/a "b".cpr'), Path("/run/p/x.main")))
    assert "-S" not in words
    first = words.index("-incoming")
    assert words[first + 1] == "defer"
    assert words[first + 2] == "-incoming"
    assert json.loads(words[first + 3]) == {
        "channel-type": "cpr",
        "addr": {"transport": "socket", "type": "unix", "path": '/run/p/a "b".cpr'},
    }
    assert not any("x.main" in word for word in words)  # `migrate-incoming` sets it later


def test_old_and_new_differ_only_in_incoming() -> None:
    fresh, new = argv(), argv(incoming=Sockets(Path("/c"), Path("/m")))
    assert new[: len(fresh) - 1] == fresh[:-1]


@pytest.mark.parametrize(("lock", "word"), [(True, "mem-lock=on"), (False, "mem-lock=off")])
def test_locked_memory(lock: bool, word: str) -> None:
    assert option("-overcommit", argv(replace(ANON, mem_lock=lock))) == word


def test_channel_for_the_main_stream() -> None:
    assert channel("main", Path("/run/m")) == {
        "channel-type": "main",
        "addr": {"transport": "socket", "type": "unix", "path": "/run/m"},
    }


@pytest.mark.parametrize(
    ("machine", "ram", "low"),
    [
        ("q35", 2 * GIB, 2 * GIB),
        ("q35", 0xB0000000 - 2 * MIB, 0xB0000000 - 2 * MIB),
        ("q35", 0xB0000000, 2 * GIB),
        ("pc-q35-10.0", 3 * GIB, 2 * GIB),
        ("pc", 3 * GIB, 3 * GIB),
        ("pc", 4 * GIB, 3 * GIB),
        ("pc-i440fx-10.0", 0xE0000000, 3 * GIB),
    ],
)
def test_ram_is_split_around_the_pci_hole(machine: str, ram: int, low: int) -> None:
    """tests/runners/qemu/test_guest.py verifies it with guests on both sides of the hole."""
    assert low_ram_bytes(machine, ram) == low


def test_valid_scenario_is_accepted() -> None:
    check_scenario(ANON, memory_bytes=512 * MIB, cpus=1)
    smallest = replace(ANON, ram_bytes=layout.MINIMUM_RAM_BYTES, vcpus=1, touched=0.0)
    check_scenario(smallest, memory_bytes=GIB, cpus=1)
    check_scenario(replace(ANON, vcpus=layout.MAX_VCPUS, touched=1.0), GIB, cpus=64)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"ram_bytes": 30 * MIB}, "30 MiB of RAM is too little; the payload needs at least 32 MiB"),
        ({"ram_bytes": 0}, "0 MiB of RAM is too little"),
        ({"ram_bytes": -2 * MIB}, "too little"),
        ({"ram_bytes": 64 * MIB + 4096}, "RAM must be a multiple of 2 MiB"),
        ({"ram_bytes": 4 * GIB}, "4096 MiB of RAM, but the host has only 1024 MiB available"),
        ({"vcpus": 0}, "0 vCPUs: expected 1 to 255"),
        ({"vcpus": -1}, "-1 vCPUs: expected 1 to 255"),
        ({"vcpus": 256}, "256 vCPUs: expected 1 to 255"),
        ({"vcpus": 9}, "9 vCPUs on 2 CPUs would measure the scheduler: use at most 8 on this host"),
        ({"touched": 1.5}, "touched is 1.5: expected a share from 0 to 1"),
        ({"touched": -0.1}, "touched is -0.1: expected a share from 0 to 1"),
        ({"touched": float("nan")}, "touched is nan: expected a share from 0 to 1"),
    ],
)
def test_invalid_scenario_is_refused_in_one_line(fields: dict[str, Any], words: str) -> None:
    with pytest.raises(UsageError) as caught:
        check_scenario(replace(ANON, id="mine", **fields), memory_bytes=GIB, cpus=2)
    message = str(caught.value)
    assert message.startswith("scenario mine: ")
    assert words in message
    assert "\n" not in message


def test_descriptors_are_counted_by_what_the_command_line_makes() -> None:
    plain = descriptors_made(argv())
    assert 8 <= plain <= 64
    backends = [("-object", f"memory-backend-ram,id=m{n},size=2M,share=on") for n in range(900)]
    many = replace(BUILD, launcher=(*BUILD.launcher, *(word for pair in backends for word in pair)))
    words = guest_argv(many, ANON, firmware=Path("/run/p/payload.bin"), monitor_fd=9)
    assert descriptors_made(words) == plain + 900
    assert descriptors_made(argv(replace(ANON, spare_devices=4))) > plain
