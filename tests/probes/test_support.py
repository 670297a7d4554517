"""Which probes this kernel supports: found by loading them, with reasons for those it refuses."""

import os
from pathlib import Path

import pytest

from probes import bcc_loader, bpf_program, headers, support
from probes.support import probe_support
from results.errors import HostUnfit
from results.records.host_needs import ProbeSupport


@pytest.fixture(scope="module")
def found():
    return probe_support()


@pytest.mark.bpf
def test_tracepoints_and_uprobes_work_with_bpf(found):
    assert found.tracepoints == ""
    assert found.uprobes == ""
    assert found.headers
    assert found.bcc_version


@pytest.mark.bpf
def test_an_unknown_function_is_refused_with_a_one_line_reason():
    bpf = support._compiled()
    try:
        reason = support._attach_and_fire(
            bpf,
            support._KPROBE,
            lambda: bpf.attach_kprobe(event="no_kernel_has_this", fn_name="on_kprobe"),
        )
    finally:
        bpf.cleanup()
    assert reason.reason
    assert "\n" not in reason.reason
    assert reason.reason != "attaches but never fires"


@pytest.mark.bpf
def test_a_program_that_does_not_compile_is_refused_with_a_one_line_reason(monkeypatch):
    compiled = support._compiled
    monkeypatch.setattr(support, "_compiled", lambda *flags: compiled(*flags, "-DKINDS=!"))
    found = probe_support()
    assert found.bcc_version
    for reason in (found.tracepoints, found.uprobes, found.kprobes, found.fentry):
        assert reason == "clang: expected identifier"  # clang's first error
        assert "\n" not in reason
        assert "pausebench doctor" not in reason
        assert "not loaded" not in reason


@pytest.mark.bpf
def test_kprobes_agree_with_the_kernel(found):
    there = Path("/sys/bus/event_source/devices/kprobe").exists()
    assert (found.kprobes == "") == there


@pytest.mark.bpf
def test_nothing_is_printed(capfd):
    probe_support()
    said = capfd.readouterr()
    assert said.out == ""
    assert said.err == ""


@pytest.mark.bpf
def test_a_probe_that_never_fires_does_not_count():
    bpf = support._compiled()
    try:
        assert (
            support._attach_and_fire(bpf, support._KPROBE, lambda: None).reason
            == "attaches but never fires"
        )
    finally:
        bpf.cleanup()


@pytest.mark.bpf
def test_the_last_line_of_libbpf_is_the_reason():
    class Nothing:
        def __getitem__(self, name):
            raise AssertionError("it was refused")

    def refused():
        os.write(2, b"libbpf: first\nlibbpf: the reason\n\n")
        raise RuntimeError("Failed to attach")

    assert support._attach_and_fire(Nothing(), 0, refused).reason == "libbpf: the reason"


def test_without_bcc_every_kind_has_the_reason(monkeypatch):
    def missing():
        raise HostUnfit("Python's bcc is missing; apt-get install python3-bpfcc")

    monkeypatch.setattr(support, "load_bcc", missing)
    monkeypatch.setattr(support, "kernel_headers", missing)
    reason = "Python's bcc is missing; apt-get install python3-bpfcc"
    assert probe_support() == ProbeSupport(reason, reason, reason, reason, "", "")


def test_without_tracefs_every_kind_has_the_reason(monkeypatch, tmp_path):
    """Not the thirteen errors of clang that follow from it."""
    monkeypatch.setattr(support, "load_bcc", lambda: type("bcc", (), {"__version__": "0"}))
    monkeypatch.setattr(bpf_program, "load_bcc", lambda: None)
    monkeypatch.setattr(bpf_program, "_TRACEFS", (tmp_path / "tracing",))
    found = probe_support()
    for reason in (found.tracepoints, found.uprobes, found.kprobes, found.fentry):
        assert reason == (
            "tracefs is not mounted: run `mount -t tracefs tracefs /sys/kernel/tracing`"
        )


def test_another_package_called_bcc_is_refused(monkeypatch):
    monkeypatch.setattr(bcc_loader.importlib, "import_module", lambda name: object())
    with pytest.raises(HostUnfit, match="not the BPF compiler"):
        bcc_loader.load_bcc()


def test_only_bcc_is_imported_from_the_distribution(monkeypatch, tmp_path):
    (tmp_path / "bcc").mkdir()
    (tmp_path / "bcc" / "__init__.py").write_text("BPF = 1\n__version__ = '0'\n")
    monkeypatch.setattr(bcc_loader, "_DISTRIBUTION", tmp_path)
    path, seen = list(bcc_loader.sys.path), []

    def import_module(name):
        seen.append(str(tmp_path) in bcc_loader.sys.path)
        if not seen[-1]:
            raise ImportError(name)
        return type("bcc", (), {"BPF": 1})

    monkeypatch.setattr(bcc_loader.importlib, "import_module", import_module)
    assert bcc_loader.load_bcc().BPF == 1
    assert seen == [False, True]
    assert bcc_loader.sys.path == path


def test_missing_bcc_is_reported_with_its_package(monkeypatch, tmp_path):
    def import_module(name):
        raise ImportError(name)

    monkeypatch.setattr(bcc_loader.importlib, "import_module", import_module)
    monkeypatch.setattr(bcc_loader, "_DISTRIBUTION", tmp_path)
    with pytest.raises(HostUnfit, match="apt-get install python3-bpfcc"):
        bcc_loader.load_bcc()


# --- headers ----------------------------------------------------------------------------------


@pytest.fixture
def trees(tmp_path, monkeypatch):
    monkeypatch.setattr(headers, "SOURCES", tmp_path / "src")
    monkeypatch.setattr(headers, "MODULES", tmp_path / "modules")
    headers.kernel_headers.cache_clear()
    yield tmp_path
    headers.kernel_headers.cache_clear()


def make_tree(root, *files):
    for name in ("include/generated/autoconf.h", *files):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text("")


WHOLE = "include/linux/kconfig.h"


def test_headers_of_the_running_kernel_are_preferred(trees):
    own = trees / "modules" / os.uname().release / "build"
    make_tree(own, WHOLE)
    make_tree(trees / "src/linux-headers-99.0.0-1-amd64", WHOLE)
    assert headers.kernel_headers() == headers.Headers(own, os.uname().release, True)


def test_otherwise_the_newest_headers_are_used(trees):
    for release in ("6.9.1-1-amd64", "6.10.0-1-amd64"):
        make_tree(trees / f"src/linux-headers-{release}", WHOLE)
    found = headers.kernel_headers()
    assert (found.release, found.exact) == ("6.10.0-1-amd64", False)


@pytest.mark.parametrize("flavour", ["amd64", "cloud-amd64", "rt-amd64"])
def test_debians_two_trees_are_merged(trees, flavour):
    arch = f"arch/{headers._ARCH[headers.platform.machine()]}/include"
    make_tree(trees / f"src/linux-headers-6.1.0-9-{flavour}", f"{arch}/generated/uapi/a.h")
    common = trees / "src/linux-headers-6.1.0-9-common"
    make_tree(common, WHOLE, f"{arch}/asm/b.h")
    found = headers.kernel_headers()
    assert found.release == f"6.1.0-9-{flavour}"
    for name in (WHOLE, "include/generated/autoconf.h", f"{arch}/asm/b.h"):
        assert (found.path / name).is_file()
    assert (found.path / arch / "generated/uapi/a.h").is_file()


def test_a_host_without_headers_is_unfit(trees):
    with pytest.raises(HostUnfit, match="linux-headers"):
        headers.kernel_headers()
