"""The lab's root file system: packages of one suite, unpacked and cached by their versions.

Nothing is installed or configured on the host. What the lab needs of the maintainer scripts' work
(users, the linker's cache, module dependencies, bytecode) is done here, with the root's own
programs.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path

from results.errors import HostUnfit
from runners.builds.cache import PACKAGES as ARCHIVES
from runners.builds.cache import ReportProgress, cache_directory, locked
from runners.debian.private_apt import Package, PrivateApt
from runners.debian.suites import Suite, suite_sources
from runners.system.child import run

from . import recipe

_RECORD = "lab.json"
_TREE = "root"
_TOOLS = "tools"
_TIMEOUT_S = 600.0


@dataclass(frozen=True, slots=True)
class LabRoot:
    """One root in the cache."""

    path: Path
    key: str
    kernel: str  # release
    kernel_package: str  # version of its package
    qemu: str  # package version
    python: str  # e.g. 3.13
    recipe: int
    python_packages: tuple[str, ...]
    made: str

    @property
    def tree(self) -> Path:
        return self.path / _TREE

    @property
    def tools(self) -> Path:
        """Python packages that run on the host: virtme-ng."""
        return self.path / _TOOLS

    @property
    def kernel_image(self) -> Path:
        return self.tree / "usr/lib/modules" / self.kernel / "vmlinuz"

    def program(self, name: str, *words: str, as_name: str = "") -> list[str]:
        """argv that runs one of the root's programs on the host, with the root's own loader."""
        libraries = f"{self.tree}/usr/lib/x86_64-linux-gnu:{self.tree}/usr/lib"
        loader = [str(self.tree / "usr/lib64/ld-linux-x86-64.so.2")]
        if as_name:
            loader += ["--argv0", as_name]
        return [*loader, "--library-path", libraries, str(self.tree / name), *words]


def lab_directory() -> Path:
    return cache_directory() / ".lab"


def roots() -> list[LabRoot]:
    """Complete roots in the cache, newest first."""
    found = []
    for record in lab_directory().glob(f"*/{_RECORD}"):
        try:
            fields = json.loads(record.read_text())
            fields["python_packages"] = tuple(fields["python_packages"])
            found.append(LabRoot(path=record.parent, **fields))
        except (OSError, ValueError, KeyError, TypeError):
            continue  # written by another version: `lab clean` deletes it
    return sorted(found, key=lambda root: root.made, reverse=True)


def current_root() -> LabRoot | None:
    """The newest root with this version's recipe and this host's Python packages; else None."""
    pins = python_pins()
    fit = (r for r in roots() if r.recipe == recipe.VERSION and r.python_packages == pins)
    return next(fit, None)


def python_pins() -> tuple[str, ...]:
    """`name==version` of pausebench's imports in the lab: the versions installed on this host."""
    try:
        return tuple(f"{name}=={metadata.version(name)}" for name in recipe.PYTHON_PACKAGES)
    except metadata.PackageNotFoundError as error:
        raise HostUnfit(
            f"the Python package {error.name} is not installed: run `make setup`"
        ) from error


@contextmanager
def in_use(root: LabRoot) -> Iterator[None]:
    """Prevent `lab clean` and `lab build` from deleting the root meanwhile."""
    with (root.path / _RECORD).open() as handle:
        fcntl.flock(handle, fcntl.LOCK_SH)
        yield


def _remove(path: Path) -> bool:
    """Delete a root; False when a running lab uses it."""
    if not (path / _RECORD).exists():
        shutil.rmtree(path, ignore_errors=True)
        return True
    with (path / _RECORD).open() as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        shutil.rmtree(path, ignore_errors=True)
    return True


def build_root(progress: ReportProgress) -> LabRoot:
    """A root with the newest versions on the mirror, built unless it exists.

    Building is atomic. Raises HostUnfit, and UsageError when the mirror lacks the suite.
    """
    if os.geteuid() != 0:
        raise HostUnfit("building the lab needs root: run it with sudo")
    pins = python_pins()
    with locked(progress) as cache:
        lab_directory().mkdir(exist_ok=True)
        work = Path(tempfile.mkdtemp(prefix=".new-", dir=cache))
        try:
            return _build(work, pins, progress)
        finally:
            shutil.rmtree(work, ignore_errors=True)


def _build(work: Path, pins: tuple[str, ...], progress: ReportProgress) -> LabRoot:
    apt = PrivateApt("the lab", suite_sources(Suite(recipe.SUITE)), work / "apt", archives())
    progress(f"asking the mirror for {recipe.SUITE}")
    apt.run("apt-get", "update")
    arguments = ("-t", recipe.SUITE, "--no-install-recommends", "-y", "install", *recipe.PACKAGES)
    everything = apt.needed(*arguments)
    packages = [package for package in everything if recipe.wanted(package)]
    key = recipe.root_key(packages, (*pins, recipe.VIRTME))
    for known in roots():
        if known.key == key:
            progress(f"the lab is up to date: {describe(known)}")
            return known
    total = sum(package.size_bytes for package in everything)
    progress(f"fetching {len(everything)} packages, {total / 1e6:.0f} MB")
    apt.fetch(everything, *arguments)
    progress(f"unpacking {len(packages)} packages")
    root = _unpack(apt, packages, work / "staging", key, pins)
    progress("installing Python packages, indexing modules")
    _finish(root)
    record = {name: value for name, value in asdict(root).items() if name != "path"}
    (root.path / _RECORD).write_text(json.dumps(record, indent=2) + "\n")
    place = lab_directory() / key
    shutil.rmtree(place, ignore_errors=True)
    for old in lab_directory().iterdir():  # of other versions; those in use stay
        _remove(old)
    root.path.rename(place)
    shutil.rmtree(archives(), ignore_errors=True)  # needed only to resume a failed build
    return LabRoot(path=place, **record)


def describe(root: LabRoot) -> str:
    return f"Linux {root.kernel}, QEMU {root.qemu}, Python {root.python}"


def archives() -> Path:
    return cache_directory() / f"{ARCHIVES}-lab"


def _unpack(
    apt: PrivateApt, packages: Sequence[Package], path: Path, key: str, pins: tuple[str, ...]
) -> LabRoot:
    tree = path / _TREE
    tree.mkdir(parents=True)
    path.chmod(0o755)
    # Its links, /bin -> usr/bin and so on, must exist before anything is unpacked through them.
    ordered = sorted(packages, key=lambda p: (not p.name.startswith("base-files_"), p.name))
    apt.unpack(ordered[0], tree)
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        list(pool.map(lambda package: apt.unpack(package, tree), ordered[1:]))
    kernels = [p.parent.name for p in tree.glob("usr/lib/modules/*/vmlinuz")]
    if len(kernels) != 1:
        raise HostUnfit(f"the lab: {recipe.SUITE} installs {len(kernels)} kernels, not one")
    return LabRoot(
        path=path,
        key=key,
        kernel=kernels[0],
        kernel_package=_version(packages, f"linux-headers-{kernels[0]}"),
        qemu=_version(packages, "qemu-system-x86").split(":")[-1],
        python=(tree / "usr/bin/python3").readlink().name.removeprefix("python"),
        recipe=recipe.VERSION,
        python_packages=pins,
        made=time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    )


def _version(packages: Sequence[Package], name: str) -> str:
    """Version of a package, from its file name."""
    found = next(p.name.split("_")[1] for p in packages if p.name.startswith(f"{name}_"))
    return found.replace("%3a", ":")


def _finish(root: LabRoot) -> None:
    """Do what the maintainer scripts would do, as far as the lab needs it."""
    tree = root.tree
    for name in ("passwd", "group"):
        shutil.copy(tree / f"usr/share/base-passwd/{name}.master", tree / "etc" / name)
    (tree / "usr/bin/awk").symlink_to("mawk")
    null = tree / "dev/null"
    os.mknod(null, 0o666 | stat.S_IFCHR, os.makedev(1, 3))
    null.chmod(0o666)
    for mounted in ("lab", "opt/pausebench"):
        (tree / mounted).mkdir(parents=True, exist_ok=True)
    modules = tree / "usr/lib/modules" / root.kernel / "kernel"
    for name in recipe.UNUSED_MODULES:
        shutil.rmtree(modules / name, ignore_errors=True)
    with ThreadPoolExecutor(2) as pool:
        jobs = [
            pool.submit(index_modules, root),
            pool.submit(_python_packages, root),
        ]
        for job in jobs:
            job.result()


def index_modules(root: LabRoot) -> None:
    run_tool(root.program("usr/bin/kmod", "-b", str(root.tree), root.kernel, as_name="depmod"))
    run_tool(["chroot", str(root.tree), "/usr/sbin/ldconfig"])


def _python_packages(root: LabRoot) -> None:
    """Install pausebench's imports for the root's Python, and virtme-ng for the host's."""
    pip = [sys.executable, "-m", "pip", "-q", "--disable-pip-version-check", "install"]
    into = root.tree / "opt/pausebench"
    run_tool(
        [*pip, "--target", str(into), "--python-version", root.python, "--implementation", "cp",
         "--only-binary=:all:", "--no-compile", *root.python_packages]
    )  # fmt: skip
    run_tool([*pip, "--target", str(root.tools), recipe.VIRTME])
    compile_python(root, into, "/opt/pausebench")
    for name in ("python3/dist-packages", f"python{root.python}"):
        compile_python(root, root.tree / "usr/lib" / name, f"/usr/lib/{name}")


def compile_python(root: LabRoot, directory: Path, seen_as: str) -> None:
    """Compile `directory` to bytecode with the root's Python: under TCG it would take minutes."""
    argv = root.program(
        f"usr/bin/python{root.python}",
        *("-m", "compileall", "-q", "-s", str(directory), "-p", seen_as, str(directory)),
    )
    home = {"PYTHONHOME": str(root.tree / "usr"), "PYTHONNOUSERSITE": "1", "PATH": "/usr/bin:/bin"}
    # The exit status is ignored: some files in tests are not meant to compile.
    run(argv, _TIMEOUT_S, home)


def run_tool(argv: Sequence[str], **more: str) -> str:
    """Run a step of the build. Raises HostUnfit with its last output."""
    try:
        done = run(argv, _TIMEOUT_S, os.environ | {"LC_ALL": "C"} | more)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise HostUnfit(f"building the lab failed: {Path(argv[0]).name}: {error}") from error
    if done.returncode != 0:
        lines = (done.stderr.strip() or done.stdout.strip()).splitlines()[-3:]
        raise HostUnfit(f"building the lab failed: {Path(argv[0]).name}: {' / '.join(lines)}")
    return done.stdout


def clean() -> list[LabRoot]:
    """Delete all roots that are not in use; returns those that are."""
    kept = [root for root in roots() if not _remove(root.path)]
    if not kept:
        shutil.rmtree(lab_directory(), ignore_errors=True)
        shutil.rmtree(archives(), ignore_errors=True)
    return kept
