"""The host setup: what it finds missing, what it refuses, and no output when nothing is missing.

Nothing is installed here: the script runs with --check, in a partial copy of the clone, or on a
host that it must refuse.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

PROJECT = Path(__file__).parents[2]
SCRIPT = PROJECT / "runners" / "setup.sh"
PYTHON = Path("/usr/bin/python3")
NOBODY = 65534


class Clone:
    """A directory with those files of the project that the setup script reads."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.venv = root / ".venv"
        (root / "runners").mkdir()
        shutil.copy(SCRIPT, root / "runners")
        shutil.copy(PROJECT / "pyproject.toml", root)
        self.bin = root / "bin"
        self.bin.mkdir()
        self.environ = {**os.environ, "PATH": f"{self.bin}:{os.environ['PATH']}"}

    @property
    def command(self) -> list[str]:
        return [str(self.root / "runners" / "setup.sh")]

    def install_old_qemu(self) -> None:
        qemu = self.bin / "qemu-system-x86_64"
        qemu.write_text("#!/bin/sh\necho 'QEMU emulator version 7.2.22 (Debian 1:7.2+dfsg-7)'\n")
        qemu.chmod(0o755)

    def be(self, os_release: str) -> None:
        path = self.root / "os-release"
        path.write_text(os_release)
        self.environ["PAUSEBENCH_OS_RELEASE"] = str(path)

    def make_venv(self) -> None:
        """As the setup script leaves it, but without pip and the packages."""
        options = ["--system-site-packages", "--without-pip"]
        subprocess.run([PYTHON, "-m", "venv", *options, self.venv], check=True)
        for name in ("pip", "pausebench"):
            (self.venv / "bin" / name).touch(mode=0o755)
        with (self.root / "pyproject.toml").open("rb") as project:
            stamp = subprocess.run(["sha256sum"], stdin=project, capture_output=True, check=True)
        (self.venv / ".pausebench-pyproject").write_bytes(stamp.stdout)

    def run(self, *arguments: str, user: int | None = None) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*self.command, *arguments],
            env=self.environ,
            user=user,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    def missing(self) -> str:
        """The output of --check about .venv and its content."""
        done = self.run("--check")
        lines = [line for line in done.stdout.splitlines() if ".venv" in line]
        assert done.returncode == (1 if done.stdout else 0)
        return "\n".join(lines)


@pytest.fixture
def clone() -> Iterator[Clone]:
    # Not tmp_path: other users cannot access that.
    with tempfile.TemporaryDirectory() as directory:
        root = Path(directory).resolve()
        root.chmod(0o755)
        yield Clone(root)


def test_the_script_parses() -> None:
    subprocess.run(["bash", "-n", SCRIPT], check=True)


@pytest.mark.skipif(shutil.which("shellcheck") is None, reason="no shellcheck")
def test_shellcheck_finds_nothing() -> None:
    subprocess.run(["shellcheck", SCRIPT], check=True)


def test_an_unknown_argument_is_refused(clone: Clone) -> None:
    done = clone.run("--force")
    assert done.returncode == 2
    assert "--force" in done.stderr


def test_a_complete_host_is_left_unchanged_without_output() -> None:
    checked = subprocess.run([SCRIPT, "--check"], capture_output=True, text=True, check=False)
    assert (checked.returncode == 0) == (checked.stdout == "")
    if checked.returncode != 0:
        pytest.skip(f"this host is not set up, which a test must not do: {checked.stdout!r}")
    stamp = PROJECT / ".venv" / ".pausebench-pyproject"
    before = stamp.stat().st_mtime_ns
    start = time.monotonic()
    done = subprocess.run([SCRIPT], capture_output=True, text=True, check=True)
    assert time.monotonic() - start < 2  # 0.15 s on an idle host
    assert done.stdout == done.stderr == ""
    assert stamp.stat().st_mtime_ns == before


def test_an_old_qemu_counts_as_missing(clone: Clone) -> None:
    clone.install_old_qemu()
    done = clone.run("--check")
    assert done.returncode == 1
    assert "missing: QEMU 10.0 or newer (qemu-system-x86_64 on PATH; here: 7.2)" in done.stdout
    assert not clone.venv.exists()


def test_another_distribution_gets_a_list_of_what_to_install(clone: Clone) -> None:
    clone.install_old_qemu()
    clone.be('ID=fedora\nPRETTY_NAME="Fedora Linux 42"\n')
    done = clone.run()
    assert done.returncode == 4
    assert "this is Fedora Linux 42" in done.stderr
    assert "  - QEMU 10.0 or newer" in done.stderr
    assert "apt-get" not in done.stderr
    assert not clone.venv.exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_an_ordinary_user_gets_the_command_for_root(clone: Clone) -> None:
    clone.install_old_qemu()
    clone.be('ID=linuxmint\nID_LIKE="ubuntu debian"\nPRETTY_NAME="A Mint"\n')
    done = clone.run(user=NOBODY)
    assert done.returncode == 4
    assert "only root can install" in done.stderr
    assert "apt-get install --no-install-recommends qemu-system-x86" in done.stderr
    assert "A Mint" not in done.stderr


def test_a_second_setup_waits_for_the_first(clone: Clone) -> None:
    clone.install_old_qemu()
    clone.be("ID=fedora\n")  # it exits as soon as it has the lock
    lock = os.open(clone.root, os.O_RDONLY)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        second = subprocess.Popen(
            clone.command, env=clone.environ, stderr=subprocess.PIPE, text=True
        )
        assert second.stderr is not None
        assert "another setup is running" in second.stderr.readline()
        with pytest.raises(subprocess.TimeoutExpired):
            second.wait(timeout=0.5)
        fcntl.flock(lock, fcntl.LOCK_UN)
        _, rest = second.communicate(timeout=30)
    finally:
        os.close(lock)
    assert second.returncode == 4
    assert "QEMU" in rest


needs_bcc = pytest.mark.skipif(
    not Path("/usr/lib/python3/dist-packages/bcc").is_dir(), reason="no bcc from the distribution"
)


@needs_bcc
def test_a_venv_is_kept_until_pyproject_changes(clone: Clone) -> None:
    assert clone.missing() == "missing: .venv (it does not exist)"
    clone.make_venv()
    assert clone.missing() == ""
    with (clone.root / "pyproject.toml").open("a") as project:
        project.write("# another dependency\n")
    assert "as in the current pyproject.toml" in clone.missing()


@needs_bcc
def test_an_interrupted_install_is_repeated(clone: Clone) -> None:
    clone.make_venv()
    (clone.venv / ".pausebench-pyproject").unlink()
    assert "the project and its Python packages" in clone.missing()


@needs_bcc
def test_a_moved_clone_gets_a_new_venv(clone: Clone) -> None:
    clone.make_venv()
    config = clone.venv / "pyvenv.cfg"
    config.write_text(config.read_text().replace(str(clone.venv), "/elsewhere/.venv"))
    assert clone.missing() == "missing: .venv (it was created in another directory)"


@needs_bcc
@pytest.mark.parametrize(
    ("here", "there"),
    [("home = /usr/bin", "home = /opt/python/bin"), ("version = 3.", "version = 2.")],
)
def test_a_venv_of_another_python_is_replaced(clone: Clone, here: str, there: str) -> None:
    clone.make_venv()
    config = clone.venv / "pyvenv.cfg"
    assert here in config.read_text()
    config.write_text(config.read_text().replace(here, there))
    assert (
        clone.missing()
        == "missing: .venv (it was created with another Python than /usr/bin/python3)"
    )


@needs_bcc
def test_a_venv_that_does_not_see_bcc_is_replaced(clone: Clone) -> None:
    clone.make_venv()
    config = clone.venv / "pyvenv.cfg"
    config.write_text(config.read_text().replace("packages = true", "packages = false"))
    assert clone.missing() == "missing: .venv (it does not see the distribution's bcc)"


@needs_bcc
def test_a_broken_venv_is_replaced(clone: Clone) -> None:
    clone.make_venv()
    (clone.venv / "bin" / "python").unlink()
    assert clone.missing() == "missing: .venv (it is broken)"
