"""Known failures are recognised by QEMU's messages, and only where they apply."""

from __future__ import annotations

import pytest

from results.qemu.failures import known_failure, recognise


@pytest.mark.parametrize(
    ("said", "name"),
    [
        (
            "vfio 0000:01:00.0: some memory regions do not support IOMMU_IOAS_CHANGE_PROCESS",
            "iommufd-mapped-bars",
        ),
        ("vfio iommufd backend does not support IOMMU_IOAS_CHANGE_PROCESS", "iommufd-too-old"),
        ("VFIO container does not support VFIO_UPDATE_VADDR", "type1-without-vaddr"),
        ("CPR does not support vfio mdev 3", "vfio-mdev"),
        ("0000:01:00.0: VFIO migration is not supported in kernel", "no-vfio-cpr"),
        ("error: kvm run failed Bad address", "device-without-reset"),
        ("cannot find saved value for fd vfio_group", "descriptor-not-saved"),
        ("missing 'cpr' migration channel", "no-cpr-channel"),
        ("Channel list has more than one cpr entry", "channel-twice"),
        ("bad cpr channel address; must be unix", "cpr-channel-not-unix"),
        ("qemu-system-x86_64: bad cpr channel socket type; must be unix", "cpr-channel-not-unix"),
        ("Cannot use background snapshot with CPR", "capability-conflict"),
        ("State blocked by non-migratable CPU device (invtsc flag)", "invtsc"),
        ("State blocked by non-migratable device '0000:00:01.0/nvme'", "device-not-migratable"),
        (
            "Migration is disabled when using feature 'peer mode' in device 'ivshmem'",
            "device-not-migratable",
        ),
        ("cpr-exec mode requires setting cpr-exec-command", "cpr-exec-command"),
    ],
)
def test_every_known_failure_is_recognised(said: str, name: str) -> None:
    known = recognise(said, vfio=True)
    assert known is not None
    assert known.name == name
    (told,) = known_failure("it failed", said, vfio=True)
    assert (told.code, told.figures) == ("known-failure", {"name": name})
    assert told.text.startswith(f"[{name}: {known.means}")


def test_unknown_failures_have_no_reason() -> None:
    assert known_failure("something else", "log", vfio=True) == ()


def test_failure_is_recognised_in_the_reason_or_in_the_log() -> None:
    said = "missing 'cpr' migration channel"
    (told,) = known_failure(said, "log", vfio=False)
    assert told.text == (
        "[no-cpr-channel: without a second channel no descriptor can be passed: "
        "add a channel of channel-type cpr to `migrate`]"
    )
    assert known_failure("x", said, vfio=False) == (told,)


def test_vfio_failures_are_not_recognised_without_assigned_devices() -> None:
    assert recognise("kvm run failed Bad address", vfio=False) is None
    assert recognise("cannot find saved value for fd x", vfio=False) is not None
