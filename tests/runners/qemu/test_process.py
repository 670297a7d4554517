"""A QEMU process: what it may leave for others to read."""

from __future__ import annotations

from runners.qemu.process import Qemu


def test_files_and_sockets_of_qemu_are_ours_alone(tmp_path):
    made = tmp_path / "made"
    qemu = Qemu.start(lambda monitor: ("/bin/sh", "-c", f"echo > {made}"), tmp_path / "log")
    assert qemu.process.wait(10) == 0
    qemu._monitor.close()
    assert made.stat().st_mode & 0o777 == 0o600
