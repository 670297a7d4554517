"""Why a uprobe is refused: the kernel's own errno, not that of bcc's last attempt."""

import errno
import os
import resource
import subprocess
import sys

import pytest

from probes import uprobes
from probes.support import _getppid
from probes.uprobes import CannotProbe, Place, attach_uprobe, open_uprobe

PLACE = Place("/usr/bin/env", "main", 64)


class Refusing:
    """A bcc.BPF that prints and fails as libbcc does."""

    def __init__(self, printed):
        self.printed = printed

    def attach_uprobe(self, **given):
        os.write(2, self.printed.encode())
        raise RuntimeError("Failed to attach BPF to uprobe")


def reason(monkeypatch, code, printed="open(uprobe_events): No such file or directory\n"):
    def refused(place):
        if code:
            raise OSError(code, os.strerror(code))

    monkeypatch.setattr(uprobes, "open_uprobe", refused)
    with pytest.raises(CannotProbe) as found:
        attach_uprobe(Refusing(printed), PLACE, "program")
    return str(found.value)


@pytest.mark.parametrize(
    ("code", "words"),
    [
        (errno.EMFILE, "ulimit -n"),
        (errno.ENOENT, "CONFIG_UPROBE_EVENTS"),
        (errno.EINVAL, "local file system"),
        (errno.ENOMEM, "memory control group"),
    ],
)
def test_the_errno_of_the_first_attempt_decides(monkeypatch, capfd, code, words):
    found = reason(monkeypatch, code)
    assert found.startswith(f"cannot probe main in /usr/bin/env: {os.strerror(code)}")
    assert words in found
    assert "root" not in found.partition(":")[0]
    assert capfd.readouterr().err == ""


def test_what_libbcc_printed_is_the_reason_where_a_second_attempt_works(monkeypatch):
    found = reason(monkeypatch, 0, "open(uprobe_events): Read-only file system\n")
    assert "open(uprobe_events): Read-only file system: mount it writable" in found


def test_too_few_descriptors_to_look_up_a_symbol(monkeypatch):
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    monkeypatch.setattr(uprobes, "_BCC_FILES", 100)
    lowest = os.dup(2)
    os.close(lowest)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (lowest + 20, hard))
        found = reason(monkeypatch, 0, "")
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert "Too many open files, the limit is" in found


@pytest.mark.bpf
def test_a_uprobe_opens_here_and_not_in_a_missing_file():
    place = _getppid()
    open_uprobe(place)
    with pytest.raises(FileNotFoundError):
        open_uprobe(Place("/nonexistent", "main", 64))


@pytest.mark.bpf
def test_a_dropped_capability_is_named():
    """In a child, without CAP_PERFMON and CAP_SYS_ADMIN."""
    code = (
        "from probes.support import probe_support; s = probe_support(); "
        "print(s.tracepoints, s.fixes['tracepoints'], s.uprobes, sep='\\n')"
    )
    drop = ["setpriv", "--bounding-set=-perfmon,-sys_admin", "--inh-caps=-all", "--"]
    done = subprocess.run(
        [*drop, sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    tracepoints, fix, uprobe = done.stdout.splitlines()
    assert tracepoints.endswith("Operation not permitted, CAP_PERFMON is missing")
    assert "--cap-add=PERFMON" in fix
    assert "CAP_PERFMON and CAP_SYS_ADMIN are missing" in uprobe
