"""The C sources agree with the tables in Python; needs no kernel."""

import re
from importlib import resources

from results.timeline.marks import KERNEL_EVENTS, MARK_NAMES, MARKS

BPF = resources.files("probes").joinpath("bpf")


def source(name):
    return BPF.joinpath(name).read_text("utf-8")


def test_every_mark_has_a_program():
    text = source("handover.bpf.c")
    plain = re.findall(r"^MARK\((\w+)\)", text, re.MULTILINE)
    entered = [*plain, *re.findall(r"^int enter_(\w+)\(", text, re.MULTILINE)]
    returned = [*plain, *re.findall(r"^int return_(\w+)\(", text, re.MULTILINE)]
    assert sorted(entered) == sorted(MARK_NAMES)
    assert {mark.name for mark in MARKS if mark.returns} <= set(returned)
    assert len(returned) == len(set(returned))


def test_kinds_of_records_agree_with_the_header():
    numbers = re.findall(r"^#define KIND_(\w+) (\d+)", source("event.h"), re.MULTILINE)
    assert [int(number) for _, number in numbers] == list(range(1000, 1000 + len(KERNEL_EVENTS)))
    for (name, _), event in zip(numbers, KERNEL_EVENTS, strict=True):
        assert event.startswith(name.lower())
