"""In the lab: devices are bound to vfio-pci and back to their real drivers, or refused."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from bench.studies.lab import ensure_root
from results.errors import HostUnfit
from runners.lab import boot, recipe
from runners.lab.boot import Job, lab_run, stage_code
from runners.lab.root import in_use

pytestmark = [pytest.mark.lab, pytest.mark.qemu]

# Runs in the lab. edu has no driver, nvme has one; the SATA controller has no reset method.
SCRIPT = """
import json, os, subprocess, sys, time
from results.errors import PausebenchError
from runners.host import vfio_pci as devices
edu, nvme, igb, root_bus = "0000:01:00.0", "0000:02:00.0", "0000:03:00.0", "0000:00:1f.2"
said = {}
def driver(address): return devices.read_device(address).driver
def refused(name, addresses, kinds=("type1",)):
    try:
        with devices.bound_to_vfio_pci(addresses, kinds): said[name] = "bound"
    except PausebenchError as error: said[name] = f"{type(error).__name__}: {error}"
subprocess.run(["modprobe", "nvme"], check=True)
devices._wait_for_driver(devices._SYS / "bus/pci/devices" / nvme, "nvme")
said["before"] = [driver(edu), driver(nvme)]
with devices.bound_to_vfio_pci([edu, nvme], ["type1"]):
    said["inside"] = [driver(edu), driver(nvme)]
    group = devices.read_device(edu).group
    held = os.open(f"/dev/vfio/{group}", os.O_RDWR)
    refused("busy", [edu])
    os.close(held)
said["after"] = [driver(edu), driver(nvme)]
KILLED = '''
import os, signal, sys
from runners.host import vfio_pci as devices
devices._bind(devices.read_device(sys.argv[1]))
os.kill(os.getpid(), signal.SIGKILL)
'''
paths = os.environ | {"PYTHONPATH": ":".join(path or os.getcwd() for path in sys.path)}
subprocess.run([sys.executable, "-c", KILLED, nvme], env=paths)
said["killed"] = driver(nvme)
reclaim = devices.reclaim_from_dead_sessions
said["returned"] = [reclaim(), driver(nvme), reclaim()]
disk = "/dev/nvme0n1"
end = time.monotonic() + 30
while not os.path.exists(disk): assert time.monotonic() < end, (said, "no disk")
subprocess.run(["/usr/sbin/mkswap", disk], check=True, stdout=subprocess.DEVNULL)
subprocess.run(["/usr/sbin/swapon", disk], check=True)
refused("disk", [nvme])
said["kept"] = driver(nvme)
subprocess.run(["modprobe", "igb"], check=True)
devices._wait_for_driver(devices._SYS / "bus/pci/devices" / igb, "igb")
link = os.listdir(f"/sys/bus/pci/devices/{igb}/net")[0]
subprocess.run(["ip", "link", "set", link, "up"], check=True)
refused("card", [igb])
refused("bridge", ["0000:00:16.0"])
refused("reset", [root_bus])
refused("absent", ["0000:7f:00.0"])
print(json.dumps(said))
"""


@pytest.fixture(scope="module")
def said() -> dict[str, object]:
    root = ensure_root(fresh=False, iommufd=False)
    devices = recipe.chosen_devices(["edu", "nvme", "igb"])
    job = Job(("python3", "/lab/script.py"), devices, {}, 240, {"script.py": SCRIPT})
    lines: list[str] = []
    with in_use(root), lab_run(root, job, lines.append) as finished:
        assert finished.status == 0, "\n".join(lines)
        answer: dict[str, object] = json.loads(finished.output)
    return answer


def test_devices_are_bound_to_vfio_pci_and_back_to_their_drivers(said: dict[str, object]) -> None:
    assert said["before"] == ["", "nvme"]
    assert said["inside"] == ["vfio-pci", "vfio-pci"]
    assert said["after"] == ["", "nvme"]


def test_a_device_of_a_killed_session_is_restored_once(said: dict[str, object]) -> None:
    assert said["killed"] == "vfio-pci"
    assert said["returned"] == [1, "nvme", 0]


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("busy", "UsageError: device 0000:01:00.0 is already assigned to another virtual machine"),
        ("disk", "UsageError: device 0000:02:00.0 (1b36:0010) is in use: disk nvme0n1 is "),
        ("card", "is in use: network interface "),
        ("bridge", "is a bridge"),
        ("reset", "(device-without-reset)"),
        ("absent", "UsageError: this host has no PCI device 0000:7f:00.0"),
    ],
)
def test_a_device_that_must_not_be_assigned_is_refused(
    said: dict[str, object], name: str, words: str
) -> None:
    assert words in str(said[name])


def test_a_refused_device_keeps_its_driver(said: dict[str, object]) -> None:
    assert said["kept"] == "nvme"


def test_a_lab_that_exceeds_its_time_is_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    root = ensure_root(fresh=False, iommufd=False)
    monkeypatch.setattr(boot, "_BOOT_LIMIT_S", 0.5)
    monkeypatch.setattr(boot, "_ATTEMPTS", 1)
    job = Job(("sleep", "1000"), (), {}, 1)
    with pytest.raises(HostUnfit, match="the lab did not boot in 0 s"):
        with in_use(root), lab_run(root, job, lambda line: None):
            pytest.fail("it finished")
    left = [
        path
        for path in Path("/proc").glob("[0-9]*/cmdline")
        if b"pausebench-lab" in _bytes(path) and str(os.getpid()).encode() in _bytes(path)
    ]
    assert left == []


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""


def test_the_staged_code_is_this_code_without_tests(tmp_path: Path) -> None:
    root = ensure_root(fresh=False, iommufd=False)
    stage_code(root, tmp_path / "code")
    here = Path(boot.__file__).parents[2]
    for name in ("bench/cli.py", "probes/bpf/handover.bpf.c", "runners/payload/payload.S"):
        assert (tmp_path / "code" / name).read_bytes() == (here / name).read_bytes()
    assert not list((tmp_path / "code").rglob("test_*"))
    assert list((tmp_path / "code").rglob(f"*.cpython-{root.python.replace('.', '')}.pyc"))
