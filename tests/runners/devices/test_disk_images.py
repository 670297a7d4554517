"""Disk images: QEMU itself opens what we make."""

from __future__ import annotations

import struct
import subprocess

import pytest

from results.records.scenario import MIB
from runners.devices.disk_images import qcow2_image, raw_image


def test_a_raw_image_is_as_long_as_its_disk(tmp_path):
    assert raw_image(tmp_path / "raw", MIB).stat().st_size == MIB


def test_a_qcow2_image_tells_its_size(tmp_path):
    header = qcow2_image(tmp_path / "qcow2", 16 * MIB).read_bytes()[:104]
    assert header[:4] == b"QFI\xfb"
    assert struct.unpack_from(">Q", header, 24) == (16 * MIB,)


@pytest.mark.parametrize("size", [0, 513 * MIB])
def test_a_size_beyond_one_l1_entry_is_refused(tmp_path, size):
    with pytest.raises(ValueError, match="L1"):
        qcow2_image(tmp_path / "qcow2", size)


@pytest.mark.qemu
@pytest.mark.parametrize(("spoil", "opens"), [(None, True), (0, False), (4, False)])
def test_qemu_opens_it_and_refuses_a_spoilt_one(tmp_path, spoil, opens):
    image = qcow2_image(tmp_path / "qcow2", 16 * MIB)
    if spoil is not None:
        with image.open("r+b") as file:
            file.seek(spoil)
            file.write(b"\xee\xee")
    argv = ["qemu-system-x86_64", "-machine", "none", "-nodefaults", "-display", "none"]
    disk = f"driver=qcow2,node-name=disk,file.driver=file,file.filename={image}"
    argv += ["-blockdev", disk, "-monitor", "stdio"]
    done = subprocess.run(
        argv, input="quit\n", capture_output=True, text=True, timeout=30, check=False
    )
    assert (done.returncode == 0) is opens, done.stderr
