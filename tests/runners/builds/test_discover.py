"""QEMU builds: what is found in a real one, and how other files are refused."""

import errno
import json
import os
import shutil
import struct
import subprocess
import time
from pathlib import Path

import pytest

from results.errors import BuildUnfit, HostUnfit, UsageError
from results.timeline.marks import FUNCTIONS
from runners.builds import discover as builds
from runners.builds.discover import default_build, discover, modes_of_schema, parse_build_option

MODES = ["normal", "cpr-reboot", "cpr-transfer", "cpr-exec"]


@pytest.fixture
def fake(tmp_path):
    """A script that answers like a QEMU; with `modes` None it exits when queried."""

    def make(version="10.0.2 (Debian 1:10.0.2)", modes=MODES, name=builds._NAME, delay_s=0):
        schema = [{"meta-type": "enum", "name": "7", "values": modes}]
        answer = f"echo '{json.dumps({'return': schema})}'; exec sleep 60"
        script = tmp_path / name
        script.parent.mkdir(parents=True, exist_ok=True)
        script.write_text(
            "#!/bin/sh\n"
            + (f"exec sleep {delay_s}\n" if delay_s else "")
            + f'if [ "$*" = --version ]; then echo "QEMU emulator version {version}"; exit; fi\n'
            + "echo '{\"QMP\": {}}'; read line; echo '{\"return\": {}}'; read line\n"
            + ("echo 'cannot load module' >&2; exit 1\n" if modes is None else f"{answer}\n")
        )
        script.chmod(0o755)
        return script

    return make


def system_qemu(monkeypatch, script):
    """Make a program the one that is found as the system's QEMU."""
    which = shutil.which
    monkeypatch.setattr(
        builds.shutil,
        "which",
        lambda name, *args, **kwargs: (
            str(script) if name == builds._NAME else which(name, *args, **kwargs)
        ),
    )


# --- refusals ---------------------------------------------------------------------------------


def test_an_old_qemu_is_refused(fake):
    with pytest.raises(BuildUnfit, match=r"QEMU 7\.2\.22 .* has no cpr-transfer .*QEMU 10\.0"):
        discover(fake("7.2.22 (Debian 1:7.2+dfsg-7)", ["normal"]))


def test_an_old_qemu_that_does_not_answer_is_refused_as_too_old(fake):
    with pytest.raises(BuildUnfit, match=r"QEMU 7\.2\.22 has no cpr-transfer"):
        discover(fake("7.2.22", None))


def test_a_qemu_with_other_cpr_modes_only_is_refused(fake):
    with pytest.raises(BuildUnfit, match="it supports only cpr-reboot"):
        discover(fake("9.2.0", ["normal", "cpr-reboot"]))


@pytest.mark.parametrize(
    "words",
    [
        "qemu: qemu_thread_create: Resource temporarily unavailable",
        "qemu-system-x86_64: allocate 1073741824 bytes for jit buffer: Cannot allocate memory",
        "error while loading shared libraries: libz.so.1: failed to map segment",
    ],
)
@pytest.mark.parametrize("when", ["--version", "qmp"])
def test_a_limit_of_the_process_is_not_the_builds_fault(fake, monkeypatch, words, when):
    script = fake()
    version = 'echo "QEMU emulator version 10.0.2"; exit' if when == "qmp" else "true"
    script.write_text(
        f'#!/bin/sh\nif [ "$*" = --version ]; then {version}; fi\necho "{words}" >&2; exit 1\n'
    )
    system_qemu(monkeypatch, script)
    for examine in (default_build, lambda: discover(script)):
        with pytest.raises(HostUnfit) as caught:
            examine()
        message = str(caught.value)
        assert words in message
        assert "raise the limit of this process" in message
        assert "make setup" not in message
        assert "or newer" not in message


@pytest.mark.parametrize("number", [errno.EAGAIN, errno.ENOMEM, errno.EMFILE])
def test_a_qemu_that_the_kernel_does_not_start(fake, monkeypatch, number):
    script = fake()

    def refuse(*_, **__):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(builds, "run", refuse)
    with pytest.raises(HostUnfit, match=rf"{os.strerror(number)}: raise the limit"):
        discover(script)


def test_only_a_qemu_that_is_too_old_is_replaced_by_make_setup(fake, monkeypatch):
    for script, helps in ((fake("9.2.0", ["normal"]), True), (fake(modes=None, name="x"), False)):
        system_qemu(monkeypatch, script)
        with pytest.raises(HostUnfit) as caught:
            default_build()
        assert ("make setup" in str(caught.value)) is helps


def test_a_new_qemu_that_does_not_answer_is_refused_with_its_error(fake):
    with pytest.raises(BuildUnfit, match=r"does not report its migration modes \(cannot load mod"):
        discover(fake("11.0.0", None))


def test_a_wrapper_script_is_refused(fake):
    with pytest.raises(BuildUnfit, match="give the binary itself, not a wrapper script"):
        discover(fake())


def test_a_program_that_never_answers_times_out(fake, monkeypatch):
    monkeypatch.setattr(builds, "_TIMEOUT_S", 0.3)
    started = time.monotonic()
    with pytest.raises(BuildUnfit, match=r"timed out after 0\.3 s"):
        discover(fake(delay_s=30))
    assert time.monotonic() - started < 5


def test_a_qemu_with_a_silent_monitor_is_refused_and_killed(fake, monkeypatch, tmp_path):
    monkeypatch.setattr(builds, "_TIMEOUT_S", 0.3)
    script = fake()
    script.write_text(
        '#!/bin/sh\n[ "$*" = --version ] && echo "QEMU emulator version 10.0.0" && exit\n'
        f"echo $$ > {tmp_path}/pid; exec sleep 60\n"
    )
    with pytest.raises(BuildUnfit, match="does not report its migration modes"):
        discover(script)
    assert not Path(f"/proc/{(tmp_path / 'pid').read_text().strip()}").exists()


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda p: p / "none", "no such file"),
        (lambda p: p, f"no {builds._NAME} in this directory"),
        (lambda p: Path("/etc/passwd"), "not executable"),
        (lambda p: Path("/bin/true").resolve(), "not a QEMU"),
    ],
)
def test_a_path_that_is_not_a_qemu_is_refused(tmp_path, make, words):
    with pytest.raises(BuildUnfit, match=words):
        discover(make(tmp_path))


def test_a_broken_binary_is_refused(tmp_path):
    broken = tmp_path / "qemu"
    broken.write_bytes(b"\x7fELF garbage")
    broken.chmod(0o755)
    with pytest.raises(BuildUnfit, match=r"cannot run on this host: .*Exec format error"):
        discover(broken)


def test_a_tree_without_its_libc_is_refused(tmp_path, fake):
    fake(name=f"usr/bin/{builds._NAME}")
    with pytest.raises(BuildUnfit, match="no dynamic loader"):
        discover(tmp_path)


def test_a_host_without_qemu_is_unfit(monkeypatch):
    monkeypatch.setattr(builds.shutil, "which", lambda name: None)
    monkeypatch.setattr(builds, "_OTHER_PATHS", ())
    with pytest.raises(HostUnfit, match="make setup"):
        default_build()


def test_a_host_with_an_old_qemu_is_unfit(monkeypatch, fake):
    old = str(fake("7.2.22", ["normal"]))
    which = shutil.which
    monkeypatch.setattr(
        builds.shutil, "which", lambda n, **kw: old if n == builds._NAME else which(n, **kw)
    )
    with pytest.raises(HostUnfit, match=r"7\.2\.22 has no cpr-transfer.*make setup"):
        default_build()


# --- values -----------------------------------------------------------------------------------


def test_a_build_option_is_a_label_and_a_path():
    assert parse_build_option("next=/opt/a=b") == ("next", Path("/opt/a=b"))
    assert parse_build_option("v11.1_x-y=~/q")[1] == Path.home() / "q"


@pytest.mark.parametrize("text", ["", "x", "=x", "x=", "a b=x", "-x=y", "x" * 33 + "=y", "a/b=x"])
def test_a_malformed_build_option_is_refused(text):
    with pytest.raises(UsageError, match="--build"):
        parse_build_option(text)


def test_modes_come_from_the_enumeration_that_has_cpr_reboot():
    schema = [
        {"meta-type": "command", "name": "migrate"},
        {"meta-type": "enum", "values": ["cpr-other"]},
        {"meta-type": "enum", "values": MODES},
    ]
    assert modes_of_schema(schema) == ("cpr-reboot", "cpr-transfer", "cpr-exec")
    assert modes_of_schema(schema[:2]) == ()


# --- a real build -----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def build():
    return default_build()


@pytest.mark.qemu
def test_the_system_qemu_is_examined(build):
    assert build.label == "system"
    assert "cpr-transfer" in build.cpr_modes
    assert build.version.split()[0].count(".") == 2
    assert Path(build.binary).read_bytes()[:4] == b"\x7fELF"
    done = subprocess.run(["sha256sum", build.binary], capture_output=True, text=True, check=True)
    assert done.stdout.split()[0] == build.sha256


@pytest.mark.qemu
def test_discovery_is_quick(build):
    started = time.monotonic()
    default_build()
    assert time.monotonic() - started < 2  # 0.13 s on an idle host


@pytest.mark.qemu
@pytest.mark.skipif(shutil.which("readelf") is None, reason="no readelf")
def test_symbols_and_build_id_are_those_of_readelf(build):
    def readelf(*options):
        argv = ["readelf", "-W", *options, build.binary]
        return subprocess.run(argv, capture_output=True, text=True, check=True).stdout

    assert f"Build ID: {build.build_id}" in readelf("-n")
    addresses = {
        words[7].partition("@")[0]: int(words[1], 16)
        for line in readelf("--syms", "--dyn-syms").splitlines()
        if len(words := line.split()) == 8 and words[3] == "FUNC" and words[6] != "UND"
    }
    code = [
        [int(word, 16) for word in line.split()[1:6]]
        for line in readelf("-l").splitlines()
        if line.strip().startswith("LOAD") and " E " in line[60:]
    ]
    for name in FUNCTIONS:
        expected = next(
            (
                addresses[name] - start + offset
                for offset, start, _, size, _ in code
                if name in addresses and start <= addresses[name] < start + size
            ),
            None,
        )
        assert build.symbols.get(name) == expected, name


@pytest.mark.qemu
def test_a_slow_reader_gets_the_complete_schema(build, monkeypatch):
    """With an immediate `quit` QEMU truncated its answer at the size of the pipe (64 KiB)."""
    send = builds._send

    def send_and_wait(stream, *commands):
        send(stream, *commands)
        time.sleep(0.5)

    monkeypatch.setattr(builds, "_send", send_and_wait)
    assert discover(build.binary).cpr_modes == build.cpr_modes


@pytest.fixture
def tree(tmp_path, build):
    """The system's QEMU as if unpacked from packages, with its own loader and libraries."""
    libraries = tmp_path / builds._LIBRARY_PLACES[0]
    deep = libraries / "deep"
    deep.mkdir(parents=True)
    (tmp_path / "usr/bin").mkdir()
    (tmp_path / "usr/share/qemu").mkdir(parents=True)
    (libraries / "qemu").mkdir()
    shutil.copy2(build.binary, tmp_path / "usr/bin" / builds._NAME)
    listing = subprocess.run(["ldd", build.binary], capture_output=True, text=True, check=True)
    for words in map(str.split, listing.stdout.splitlines()):
        path = Path(words[2] if "=>" in words else words[0])
        if path.is_file():
            shutil.copy2(path, libraries / path.name)
    return tmp_path


@pytest.mark.qemu
def test_an_unpacked_tree_runs_with_its_own_loader(tree, build):
    found = discover(tree, "tree")
    words = list(found.launcher)
    assert words[1] == f"QEMU_MODULE_DIR={tree / builds._LIBRARY_PLACES[0] / 'qemu'}"
    assert Path(words[2]).is_relative_to(tree)
    assert words[-2:] == ["-L", str(tree / "usr/share/qemu")]
    assert found.binary == str(tree / "usr/bin" / builds._NAME)
    assert (found.sha256, found.symbols) == (build.sha256, build.symbols)
    assert build.identity == build.sha256  # it runs on the host's libraries
    assert found.identity != build.identity
    assert discover(tree / "usr/bin" / builds._NAME, "tree") == found


@pytest.mark.qemu
def test_libraries_in_subdirectories_are_found(tree):
    libraries = tree / builds._LIBRARY_PLACES[0]
    hidden = next(libraries.glob("libglib-2.0.so*"))
    hidden.rename(libraries / "deep" / hidden.name)
    search = builds._library_dirs(tree, builds._loader(tree), tree / "usr/bin" / builds._NAME)
    # The loader may also find the host's copy, through its cache.
    assert search[0] == libraries
    assert set(search[1:]) <= {libraries / "deep"}


@pytest.mark.qemu
def test_a_build_directory_uses_its_own_firmware(tmp_path, build):
    (tmp_path / "pc-bios").mkdir()
    shutil.copy2(build.binary, tmp_path / builds._NAME)
    found = discover(tmp_path)
    assert found.label == f"qemu-{build.version.split()[0]}"
    assert found.firmware_dirs == (str(tmp_path / "pc-bios"),)
    assert found.launcher == (str(tmp_path / builds._NAME), "-L", str(tmp_path / "pc-bios"))


@pytest.mark.qemu
def test_a_binary_without_symbols_has_missing_marks(tmp_path, build):
    """Without section headers it runs, but no function can be probed by name."""
    stripped = tmp_path / "qemu"
    data = bytearray(Path(build.binary).read_bytes())
    struct.pack_into("<Q", data, 0x28, 0)  # e_shoff
    struct.pack_into("<HH", data, 0x3C, 0, 0)  # e_shnum, e_shstrndx
    stripped.write_bytes(data)
    stripped.chmod(0o755)
    found = discover(stripped)
    assert found.symbols == {}
    assert "vm_stop" in found.missing_marks
