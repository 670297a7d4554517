"""The doctor's page at common widths, and its values for JSON."""

import json

import pytest

from reports.terminal.doctor import doctor_page, to_json
from reports.terminal.style import Look
from results.records.host_needs import Need

NEEDS = (
    Need("QEMU system", "ok", "10.0.2 (Debian 1:10.0.2): cpr-reboot, cpr-transfer; 16 of 16"),
    Need("KVM", "ok", "makes a VM and a vCPU (kvm_intel)"),
    Need(
        "huge pages, 2 MiB",
        "limited",
        "512 free huge pages are needed and only 3 can be had",
        "the hugetlb scenarios cannot run",
        "sysctl vm.nr_hugepages=512",
    ),
)
MISSING = Need("root", "missing", "not root", "no BPF", "run it with sudo")


@pytest.mark.parametrize("width", [40, 80, 140])
def test_no_line_is_wider_than_the_terminal(width):
    page = doctor_page((*NEEDS, MISSING), Look(width=width)).plain
    assert max(map(len, page.splitlines())) <= width


def test_one_line_per_need_and_more_only_for_what_is_not_ok():
    assert doctor_page(NEEDS, Look(width=100)).plain.splitlines() == [
        "ok       QEMU system        10.0.2 (Debian 1:10.0.2): cpr-reboot, cpr-transfer; 16 of 16",
        "ok       KVM                makes a VM and a vCPU (kvm_intel)",
        "limited  huge pages, 2 MiB  512 free huge pages are needed and only 3 can be had",
        "                            -> the hugetlb scenarios cannot run",
        "                            fix: sysctl vm.nr_hugepages=512",
        "",
        "2 ok, 1 limited. This host can measure with the limits above.",
        "next: make bench",
    ]


def test_a_host_that_cannot_measure():
    page = doctor_page((*NEEDS, MISSING), Look()).plain
    assert "2 ok, 1 limited, 1 missing. This host cannot measure" in page
    assert "make bench" not in page


def test_a_host_without_limits():
    assert "2 ok. This host can measure.\n" in doctor_page(NEEDS[:2], Look()).plain


def test_a_long_label_gets_its_own_line():
    long = Need("QEMU a-label-of-thirty-two-characters", "ok", "11.1.3")
    lines = doctor_page((long, *NEEDS), Look()).plain.splitlines()
    assert lines[0] == "ok       QEMU a-label-of-thirty-two-characters"
    assert lines[1].strip() == "11.1.3"


def test_plain_output_is_ascii_without_escapes():
    evil = Need("QEMU x", "limited", "\x1b[31mred\nnew line →", "µs", "…")
    page = doctor_page((evil,), Look()).plain
    assert page.isascii()
    assert "\x1b" not in page


def test_colour_marks_the_state():
    spans = doctor_page((*NEEDS, MISSING), Look(colour=True, unicode=True)).spans
    assert {"green", "yellow", "bold red"} <= {str(span.style) for span in spans}


def test_a_need_without_a_fix_has_no_empty_line():
    bare = Need("CPU governor", "limited", "none", "the clock may vary")
    assert "fix" not in doctor_page((bare,), Look()).plain


def test_values_for_json():
    assert json.loads(json.dumps(to_json(NEEDS)))[2] == {
        "name": "huge pages, 2 MiB",
        "state": "limited",
        "found": "512 free huge pages are needed and only 3 can be had",
        "consequence": "the hugetlb scenarios cannot run",
        "fix": "sysctl vm.nr_hugepages=512",
    }
    assert to_json(()) == []
