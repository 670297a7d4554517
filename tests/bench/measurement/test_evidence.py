"""Reading the RAM and descriptors of two processes."""

from __future__ import annotations

import subprocess

from bench.measurement.evidence import compare_descriptor, unit_bytes, view_from, view_of
from bench.measurement.scenarios import BUILTIN
from probes.pagemap import HUGE_PAGE_BYTES, PAGE_BYTES, choose_pages
from results.records.run import CarriedFd
from results.records.scenario import MIB

RAM = 64 * MIB


def test_a_process_that_is_gone_is_a_reason_and_not_raised() -> None:
    with subprocess.Popen(["true"]) as process:
        process.wait()
    units = choose_pages(0, 4, PAGE_BYTES, 0)
    assert "No such file" in view_of(process.pid, RAM, units, PAGE_BYTES).missing
    assert "cannot be read" in view_from(process.pid, 0, units, PAGE_BYTES).missing
    gone = compare_descriptor(process.pid, process.pid, CarriedFd("ram0", 0, old_fd=3, new_fd=3))
    assert gone.same is None
    assert "No such process" in gone.missing
    never = compare_descriptor(process.pid, process.pid, CarriedFd("ram0", 0, old_fd=3))
    assert never.missing == "was not received"


def test_the_unit_of_ram_is_that_of_its_backend() -> None:
    for each in BUILTIN:
        huge = "hugetlb" in each.backend
        assert unit_bytes(each) == (HUGE_PAGE_BYTES if huge else PAGE_BYTES)
