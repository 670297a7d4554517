"""Devices to assign: addresses and classes, refusals, and builds that support them."""

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
def test_an_address_is_normalized_or_refused(text: str, long: str | None) -> None:
    if long is None:
        with pytest.raises(UsageError, match="invalid PCI address"):
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
        ({"group": ""}, "in no IOMMU group: enable the IOMMU"),
        ({"mates": (("0000:01:00.1", "snd_hda_intel"),)}, "with 0000:01:00.1 (snd_hda_intel)"),
        ({"reset": ""}, "device-without-reset"),
    ],
)
def test_a_device_that_cannot_be_assigned_is_refused_with_the_reason(
    changes: dict[str, object], words: str
) -> None:
    assert words in refusal(dataclasses.replace(FREE, **changes), [ADDRESS])  # type: ignore[arg-type]


def test_other_devices_of_the_group_may_be_chosen_too_or_driverless() -> None:
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
    [("class:0108", "no PCI device of class 0108"), ("class:2", "invalid PCI address"),
     ("class:02000000", "invalid PCI address"), ("class:", "invalid PCI address")],
)  # fmt: skip
def test_an_absent_or_malformed_class_is_refused(sys: Path, text: str, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        chosen_addresses(text, sys)


def test_a_network_interface_counts_as_in_use_when_it_is_up(sys: Path) -> None:
    flags = sys / "class/net/eth0/flags"
    flags.write_text("0x1003\n")
    assert read_device(ADDRESS, sys).uses == ("network interface eth0 is up",)
    flags.write_text("0x1002\n")
    assert read_device(ADDRESS, sys).uses == ()


def test_the_boot_display_counts_as_in_use(sys: Path) -> None:
    (sys / "bus/pci/devices" / ADDRESS / "boot_vga").write_text("1\n")
    assert read_device(ADDRESS, sys).uses == ("it is the boot display",)


def test_a_missing_device_is_refused(sys: Path) -> None:
    with pytest.raises(UsageError, match=r"this host has no PCI device 0000:09:00\.0"):
        read_device("0000:09:00.0", sys)


def test_a_kernel_without_vfio_is_refused_before_anything_is_bound(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(devices, "_SYS", tmp_path)
    monkeypatch.setattr(devices, "_modprobe", lambda module: f" ({module} not found)")
    with pytest.raises(HostUnfit, match=r"no vfio-pci driver \(vfio-pci not found\).*lab run"):
        with bound_to_vfio_pci([], ["type1"]):
            pytest.fail("it was bound")


# --- builds --------------------------------------------------------------------------------


def test_a_qemu_without_cpr_for_vfio_is_refused(tmp_path: Path) -> None:
    old, new = tmp_path / "old", tmp_path / "new"
    old.write_bytes(b"\x7fELF without that message")
    new.write_bytes(b"\x7fELF vfio device with fd=%d needs an id property\0")
    check_build(Build("new", str(new), "11.1.3 (Debian)", "", "", (str(new),)))
    with pytest.raises(BuildUnfit, match=r"old: QEMU 10\.0\.2 does not support CPR with assigned"):
        check_build(Build("old", str(old), "10.0.2 (Debian)", "", "", (str(old),)))


@pytest.mark.qemu
def test_cpr_for_vfio_agrees_with_the_version_of_the_system_qemu() -> None:
    from runners.builds.discover import default_build

    build = default_build()
    version = tuple(int(n) for n in build.version.split()[0].split(".")[:2])
    if version >= (10, 1):
        check_build(build)
    else:
        with pytest.raises(BuildUnfit, match="no-vfio-cpr"):
            check_build(build)
