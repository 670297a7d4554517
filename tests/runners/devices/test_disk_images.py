"""Disk images: QEMU opens the ones we create."""

from __future__ import annotations

import struct
import subprocess

import pytest

from results.records.scenario import MIB
from runners.devices.disk_images import qcow2_image, raw_image


def test_a_raw_image_has_the_size_of_the_disk(tmp_path):
    assert raw_image(tmp_path / "raw", MIB).stat().st_size == MIB


def test_a_qcow2_image_records_its_size(tmp_path):
    header = qcow2_image(tmp_path / "qcow2", 16 * MIB).read_bytes()[:104]
    assert header[:4] == b"QFI\xfb"
    assert struct.unpack_from(">Q", header, 24) == (16 * MIB,)


@pytest.mark.parametrize("size", [0, 513 * MIB])
def test_a_size_beyond_one_l1_entry_is_refused(tmp_path, size):
    with pytest.raises(ValueError, match="L1"):
        qcow2_image(tmp_path / "qcow2", size)


@pytest.mark.qemu
@pytest.mark.parametrize(("corrupt_at", "opens"), [(None, True), (0, False), (4, False)])
def test_qemu_opens_it_and_rejects_a_corrupt_one(tmp_path, corrupt_at, opens):
    image = qcow2_image(tmp_path / "qcow2", 16 * MIB)
    if corrupt_at is not None:
        with image.open("r+b") as file:
            file.seek(corrupt_at)
            file.write(b"\xee\xee")
    argv = ["qemu-system-x86_64", "-machine", "none", "-nodefaults", "-display", "none"]
    disk = f"driver=qcow2,node-name=disk,file.driver=file,file.filename={image}"
    argv += ["-blockdev", disk, "-monitor", "stdio"]
    done = subprocess.run(
        argv, input="quit\n", capture_output=True, text=True, timeout=30, check=False
    )
    assert (done.returncode == 0) is opens, done.stderr
