"""Why a BPF program does not compile or load: the compiler's first error, the kernel's errno."""

from pathlib import Path

import pytest

from probes import bpf_program
from probes.bpf_program import NotLoaded, compile_program, why_not_loaded
from probes.headers import Headers

SUPPORT = Path(bpf_program.__file__).parent / "bpf/support.bpf.c"


@pytest.mark.parametrize(
    ("log", "message", "reason", "fix"),
    [
        (
            "<built-in>:1:10: fatal error: './include/linux/kconfig.h' file not found\n"
            '#include "./include/linux/kconfig.h"\n1 error generated.\n',
            "Failed to compile BPF module b'handover.bpf.c'",
            "clang: './include/linux/kconfig.h' file not found",
            "apt-get install linux-headers",
        ),
        (
            "/virtual/main.c:3:1: error: unknown type name 'x'\n2 errors generated.\n",
            "Failed to compile BPF module b'handover.bpf.c'",
            "clang: unknown type name 'x'",
            "",
        ),
        (
            "could not open bpf map: calls, error: Too many open files\n",
            "Failed to compile BPF module b'support.bpf.c'",
            "could not open bpf map: calls: Too many open files, the limit is",
            "ulimit -n",
        ),
        (
            "Unable to find kernel headers. Try rebuilding kernel with CONFIG_IKHEADERS=m\n",
            "Failed to compile BPF module b'support.bpf.c'",
            "Unable to find kernel headers",
            "apt-get install linux-headers",
        ),
    ],
)
def test_why_a_program_did_not_compile_or_load(log, message, reason, fix):
    why = why_not_loaded(log, Exception(message))
    assert why.reason.startswith(reason)
    assert fix in why.fix


@pytest.mark.bpf
@pytest.mark.parametrize("left", [(), ("include/linux/kconfig.h",)])
def test_kernel_headers_that_vanish_are_named_with_their_package(
    tmp_path, monkeypatch, capfd, left
):
    """None at all, and a tree of which little is left."""
    for name in left:
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / name).write_text("")
    there = tmp_path if left else tmp_path / "gone"
    monkeypatch.setattr(bpf_program, "kernel_headers", lambda: Headers(there, "6.1.0", True))
    with pytest.raises(NotLoaded, match="linux-headers") as found:
        compile_program(SUPPORT)
    assert "file not found" in str(found.value) or "Unable to find" in str(found.value)
    said = capfd.readouterr()
    assert (said.out, said.err) == ("", "")
