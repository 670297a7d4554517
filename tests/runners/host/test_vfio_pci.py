"""Devices to assign: how they are named, what forbids taking them, and which QEMU will do."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from results.errors import BuildUnfit, HostUnfit, UsageError
from results.records.scenario import Build
from runners.host import vfio_pci as devices
from runners.host.vfio_pci import (
    PciDevice,
    bound_to_vfio_pci,
    check_build,
    chosen_addresses,
    parse_address,
    read_device,
    refusal,
)

ADDRESS = "0000:01:00.0"
FREE = PciDevice(ADDRESS, "1234:11e8", 0x00FF00, "", "7", (), "bus")


@pytest.mark.parametrize(
    ("text", "long"),
    [("01:00.0", ADDRESS), ("0000:01:00.0", ADDRESS), ("10000:01:00.0", None),
     ("AB:1F.7", "0000:ab:1f.7"), ("01:20.0", None), ("01:00.8", None), ("../x", None), ("", None)],
)  # fmt: skip
def test_an_address_is_read_in_its_long_form_or_refused(text: str, long: str | None) -> None:
    if long is None:
        with pytest.raises(UsageError, match="is no PCI address"):
            parse_address(text)
    else:
        assert parse_address(text) == long


def test_a_free_device_is_not_refused() -> None:
    assert refusal(FREE, [ADDRESS]) == ""


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"class_code": 0x060400}, "is a bridge"),
        ({"uses": ("disk nvme0n1 is mounted or part of a volume",)}, "in use: disk nvme0n1"),
        ({"group": ""}, "in no IOMMU group: boot with intel_iommu=on"),
        ({"mates": (("0000:01:00.1", "snd_hda_intel"),)}, "with 0000:01:00.1 (snd_hda_intel)"),
        ({"reset": ""}, "device-without-reset"),
    ],
)
def test_what_forbids_taking_a_device_is_said(changes: dict[str, object], words: str) -> None:
    assert words in refusal(dataclasses.replace(FREE, **changes), [ADDRESS])  # type: ignore[arg-type]


def test_a_mate_that_is_chosen_too_or_has_no_driver_is_no_obstacle() -> None:
    mates = (("0000:01:00.1", "snd_hda_intel"), ("0000:01:00.2", ""), ("0000:01:00.3", "vfio-pci"))
    assert refusal(dataclasses.replace(FREE, mates=mates), [ADDRESS, "0000:01:00.1"]) == ""


# --- sysfs ---------------------------------------------------------------------------------


@pytest.fixture
def sys(tmp_path: Path) -> Path:
    """A sysfs with a network card and its audio function in one IOMMU group, behind a bridge."""
    bus = tmp_path / "bus/pci/devices"
    bus.mkdir(parents=True)
    group = tmp_path / "kernel/iommu_groups/7"
    (group / "devices").mkdir(parents=True)
    drivers = tmp_path / "bus/pci/drivers"
    for name, kind, driver in (
        ("0000:00:01.0", "0x060400", "pcieport"),
        (ADDRESS, "0x020000", "igb"),
        ("0000:01:00.1", "0x040300", ""),
    ):
        real = tmp_path / "devices/pci0000:00" / name
        real.mkdir(parents=True)
        (bus / name).symlink_to(real)
        (group / "devices" / name).symlink_to(real)
        (real / "iommu_group").symlink_to(group)
        (real / "vendor").write_text("0x8086\n")
        (real / "device").write_text("0x10c9\n")
        (real / "class").write_text(kind + "\n")
        if driver:
            (drivers / driver).mkdir(parents=True)
            (real / "driver").symlink_to(drivers / driver)
    card = tmp_path / "devices/pci0000:00" / ADDRESS
    (card / "reset_method").write_text("flr bus\n")
    net = card / "net/eth0"
    net.mkdir(parents=True)
    (net / "flags").write_text("0x1002\n")
    (tmp_path / "class/net").mkdir(parents=True)
    (tmp_path / "class/net/eth0").symlink_to(net)
    return tmp_path


def test_a_device_is_read_from_sysfs(sys: Path) -> None:
    assert read_device(ADDRESS, sys) == PciDevice(
        ADDRESS, "8086:10c9", 0x020000, "igb", "7", (("0000:01:00.1", ""),), "flr bus"
    )


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("01:00.0", [ADDRESS]),
        ("class:02", [ADDRESS]),
        ("class:0200", [ADDRESS]),
        ("CLASS:040300", ["0000:01:00.1"]),
    ],
)
def test_devices_by_address_or_by_class(sys: Path, text: str, found: list[str]) -> None:
    assert chosen_addresses(text, sys) == found


@pytest.mark.parametrize(
    ("text", "words"),
    [("class:0108", "no PCI device of class 0108"), ("class:2", "is no PCI address"),
     ("class:02000000", "is no PCI address"), ("class:", "is no PCI address")],
)  # fmt: skip
def test_a_class_that_nothing_has_or_that_is_none(sys: Path, text: str, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        chosen_addresses(text, sys)


def test_an_interface_that_is_up_is_a_use_and_one_that_is_down_is_none(sys: Path) -> None:
    flags = sys / "class/net/eth0/flags"
    flags.write_text("0x1003\n")
    assert read_device(ADDRESS, sys).uses == ("network interface eth0 is up",)
    flags.write_text("0x1002\n")
    assert read_device(ADDRESS, sys).uses == ()


def test_the_screen_that_the_firmware_chose_is_a_use(sys: Path) -> None:
    (sys / "bus/pci/devices" / ADDRESS / "boot_vga").write_text("1\n")
    assert "screen" in read_device(ADDRESS, sys).uses[0]


def test_a_device_that_is_not_there_is_said(sys: Path) -> None:
    with pytest.raises(UsageError, match=r"no PCI device 0000:09:00\.0 on this host"):
        read_device("0000:09:00.0", sys)


def test_a_kernel_without_vfio_is_said_before_anything_is_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(devices, "_SYS", tmp_path)
    monkeypatch.setattr(devices, "_modprobe", lambda module: f" ({module} not found)")
    with pytest.raises(HostUnfit, match=r"no vfio-pci driver \(vfio-pci not found\).*lab run"):
        with bound_to_vfio_pci([], ["type1"]):
            pytest.fail("it was lent")


# --- builds --------------------------------------------------------------------------------


def test_a_qemu_without_vfio_cpr_is_refused_by_name(tmp_path: Path) -> None:
    old, new = tmp_path / "old", tmp_path / "new"
    old.write_bytes(b"\x7fELF nothing of the kind")
    new.write_bytes(b"\x7fELF vfio device with fd=%d needs an id property\0")
    check_build(Build("new", str(new), "11.1.3 (Debian)", "", "", (str(new),)))
    with pytest.raises(BuildUnfit, match=r"old: QEMU 10\.0\.2 hands no assigned device over"):
        check_build(Build("old", str(old), "10.0.2 (Debian)", "", "", (str(old),)))


@pytest.mark.qemu
def test_the_systems_qemu_is_told_by_its_version() -> None:
    from runners.builds.discover import default_build

    build = default_build()
    version = tuple(int(n) for n in build.version.split()[0].split(".")[:2])
    if version >= (10, 1):
        check_build(build)
    else:
        with pytest.raises(BuildUnfit, match="no-vfio-cpr"):
            check_build(build)
