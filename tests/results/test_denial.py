"""The words for a denied call: each errno has its own, and a missing capability is named."""

import errno
import os
import resource

import pytest

from results.denial import Denial, Privileges, denial, errno_in, privileges

ALL = Privileges()
STATUS = """\
Name:\tpausebench
CapInh:\t0000000000000000
CapEff:\t{caps:016x}
NoNewPrivs:\t0
Seccomp:\t{seccomp}
Seccomp_filters:\t1
"""


def words(code, **given):
    given = {"absent": "ABSENT", "invalid": "INVALID", "memory": "MEMORY", "mine": ALL} | given
    return denial(code, **given)


def test_each_errno_has_its_own_words_and_none_blames_privileges_but_its_own():
    found = {
        code: words(code)
        for code in (errno.EMFILE, errno.EPERM, errno.ENOENT, errno.EINVAL, errno.ENOMEM)
    }
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    assert found[errno.EMFILE].reason == f"Too many open files, the limit is {soft} (ulimit -n)"
    assert "ulimit -n" in found[errno.EMFILE].fix
    assert found[errno.ENOENT] == Denial("No such file or directory", "ABSENT")
    assert found[errno.EINVAL] == Denial("Invalid argument", "INVALID")
    assert found[errno.ENOMEM] == Denial("Cannot allocate memory", "MEMORY")
    assert len({why.fix for why in found.values()}) == len(found)


@pytest.mark.parametrize("code", [errno.EPERM, errno.EACCES])
@pytest.mark.parametrize(
    ("mine", "reason", "fix"),
    [
        (
            Privileges(frozenset({"BPF"})),
            "CAP_PERFMON and CAP_SYS_ADMIN are missing",
            "--cap-add=PERFMON --cap-add=SYS_ADMIN",
        ),
        (Privileges(user_namespace=True), "user namespace", "--userns=host"),
        (Privileges(lockdown="confidentiality"), "locked down (confidentiality)", "lockdown="),
        (Privileges(seccomp=True), "seccomp", "seccomp=unconfined"),
        (Privileges(), "", "security module"),
    ],
)
def test_what_stands_in_the_way_of_a_permission(code, mine, reason, fix, monkeypatch):
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    why = words(code, needs=("BPF", "PERFMON", "SYS_ADMIN"), mine=mine)
    assert os.strerror(code) in why.reason
    assert reason in why.reason
    assert fix in why.fix


def test_an_ordinary_user_is_told_to_use_sudo(monkeypatch):
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    nothing = Privileges(frozenset())
    assert words(errno.EPERM, needs=("BPF",), mine=nothing).fix == "run pausebench with sudo"


def fake_host(path, caps, seccomp=0, lockdown="", uid_map="0 0 4294967295"):
    (path / "self").mkdir()
    (path / "self/status").write_text(STATUS.format(caps=caps, seccomp=seccomp))
    (path / "self/uid_map").write_text(f"         {uid_map}\n")
    (path / "kernel/security").mkdir(parents=True)
    (path / "kernel/security/lockdown").write_text(lockdown)
    return privileges(path, path)


def test_privileges_are_read_from_proc(tmp_path):
    found = fake_host(tmp_path, 1 << 39 | 1 << 14, 2, "none [integrity] confidentiality\n")
    assert found == Privileges(frozenset({"BPF", "IPC_LOCK"}), "integrity", seccomp=True)


def test_cap_sys_admin_includes_those_split_off_from_it(tmp_path):
    found = fake_host(tmp_path, 1 << 21, uid_map="0 1000 1")
    assert found.capabilities == {"SYS_ADMIN", "BPF", "PERFMON"}
    assert found.user_namespace


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("create_probe_event: open(/sys/uprobe_events): Too many open files", errno.EMFILE),
        ("could not open bpf map: calls, error: Operation not permitted", errno.EPERM),
        ("No such file or directory; then: Invalid argument", errno.EINVAL),
        ("No such device or address", errno.ENXIO),
        ("No such device", errno.ENODEV),
        ("unexpected end of file", 0),
        ("", 0),
    ],
)
def test_the_errno_that_a_library_printed(text, code):
    assert errno_in(text) == code
