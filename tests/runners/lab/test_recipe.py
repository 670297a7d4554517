"""The lab's recipe: keys, packages, devices and the job script."""

from __future__ import annotations

import shlex
import subprocess
from pathlib import Path

import pytest

from results.errors import UsageError
from runners.debian.private_apt import Package
from runners.lab import recipe


def package(name: str, checksum: str = "SHA256:00") -> Package:
    return Package("http://mirror/x", name, 1, checksum)


def test_the_key_of_a_root_depends_on_all_its_content() -> None:
    one, two = package("a_1_amd64.deb"), package("b_1_all.deb")
    key = recipe.root_key([one, two], ["numpy==2"])
    assert key == recipe.root_key([two, one], ["numpy==2"])
    others = [
        recipe.root_key([one], ["numpy==2"]),
        recipe.root_key([one, two], ["numpy==3"]),
        recipe.root_key([one, package("b_1_all.deb", "SHA256:01")], ["numpy==2"]),
        recipe.root_key([one, package("b_2_all.deb")], ["numpy==2"]),
    ]
    assert len({key, *others}) == 5


@pytest.mark.parametrize(
    ("name", "wanted"),
    [("udev_257_amd64.deb", False), ("systemd_257_amd64.deb", False), ("perl_5_amd64.deb", False),
     ("libudev1_257_amd64.deb", True), ("perl-base_5_amd64.deb", True), ("kmod_34_amd64.deb", True),
     ("libasan8_14_amd64.deb", False), ("libsystemd0_257_amd64.deb", True)],
)  # fmt: skip
def test_unused_packages_are_left_out(name: str, wanted: bool) -> None:
    assert recipe.wanted(package(name)) is wanted


def test_devices_are_behind_root_ports_in_their_order() -> None:
    devices = recipe.chosen_devices(["nvme", "edu", "nvme"])
    assert [device.name for device in devices] == ["nvme", "edu"]
    argv = recipe.device_argv(devices, "/tmp/a,b")
    assert argv.count("-device") == 5
    assert "nvme,serial=lab,drive=lab-disk,bus=rp0" in argv
    assert "edu,bus=rp1" in argv
    assert any("file=/tmp/a,,b," in word for word in argv)
    assert [recipe.address_of(place) for place in (0, 1)] == ["0000:01:00.0", "0000:02:00.0"]
    with pytest.raises(
        UsageError, match="the lab has no device `gpu`: expected one of edu, nvme, igb"
    ):
        recipe.chosen_devices(["gpu"])


def test_the_arguments_of_a_job_are_quoted(tmp_path: Path) -> None:
    words = ("printf", "%s|", "a b", "$HOME", "'; exit 3")
    script = recipe.job_script(words, {"NAME": "of a $machine (x, 2 CPUs)"}, 5)
    assert subprocess.run(["bash", "-n"], input=script, text=True, check=False).returncode == 0
    line = next(line for line in script.splitlines() if line.startswith("timeout"))
    assert shlex.split(line)[-6:] == ["NAME=of a $machine (x, 2 CPUs)", *words]
