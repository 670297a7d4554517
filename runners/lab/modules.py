"""iommufd for the lab: Debian's amd64 kernels disable it, so its modules are built separately.

They are built from the packaged source of the same version, against its packaged headers, with the
root's own compiler. VFIO's modules are rebuilt too: their structures depend on CONFIG_IOMMUFD.
"""

from __future__ import annotations

import re
import shutil
import tempfile
from pathlib import Path

from results.errors import HostUnfit
from runners.builds.cache import ReportProgress, locked
from runners.debian.private_apt import PrivateApt
from runners.debian.suites import Suite, suite_sources

from . import recipe
from .root import LabRoot, archives, index_modules, run_tool

_BUILD = "tmp/iommufd"
_UPDATES = "updates"  # depmod prefers this directory to the packaged modules
_WANTED = ("*/drivers/vfio/*", "*/drivers/iommu/*", "*/lib/interval_tree.c")
_OBJECTS = (
    *("device.o", "eventq.o", "hw_pagetable.o", "io_pagetable.o", "ioas.o", "main.o", "pages.o"),
    *("vfio_compat.o", "viommu.o", "driver.o", "interval_tree.o"),
)
# As Kconfig would set them; driver.c and the spans of interval trees would then be built into the
# kernel, and are part of the module here.
_DEFINES = (
    *("CONFIG_IOMMUFD_MODULE", "CONFIG_IOMMUFD_DRIVER_CORE", "CONFIG_VFIO_DEVICE_CDEV"),
    "CONFIG_INTERVAL_TREE_SPAN_ITER",
)
_SETTINGS = ("CONFIG_IOMMUFD=m", "CONFIG_VFIO_DEVICE_CDEV=y", "CONFIG_VFIO_MDEV=")


def has_iommufd(root: LabRoot) -> bool:
    """Whether the root has the modules."""
    return (_modules(root) / _UPDATES / "iommufd.ko").is_file()


def _modules(root: LabRoot) -> Path:
    return root.tree / "usr/lib/modules" / root.kernel


def add_iommufd(root: LabRoot, progress: ReportProgress) -> None:
    """Build the modules into the root. Raises HostUnfit with the compiler's last output."""
    with locked(progress) as cache:
        if has_iommufd(root):
            return
        work = Path(tempfile.mkdtemp(prefix=".new-", dir=cache))
        build = root.tree / _BUILD
        try:
            _fetch(root, work, progress)
            progress("building iommufd and VFIO for the lab's kernel")
            _lay_out(work, build)
            _make(root)
            _install(root, build)
        finally:
            shutil.rmtree(build, ignore_errors=True)
            shutil.rmtree(work, ignore_errors=True)
        shutil.rmtree(archives(), ignore_errors=True)


def _fetch(root: LabRoot, work: Path, progress: ReportProgress) -> None:
    """Download make and the source of the root's kernel; unpack the parts that are needed."""
    version = root.kernel_package
    name = f"linux-source-{'.'.join(version.split('.')[:2])}"
    apt = PrivateApt("the lab", suite_sources(Suite(recipe.SUITE)), work / "apt", archives())
    apt.run("apt-get", "update")
    arguments = (
        *("-t", recipe.SUITE, "--no-install-recommends", "-y", "install"),
        *(f"{name}={version}", "make"),
    )
    packages = apt.needed(*arguments)
    total = sum(package.size_bytes for package in packages)
    progress(f"fetching {name} {version}, {total / 1e6:.0f} MB")
    apt.fetch(packages, *arguments)
    for package in packages:
        if package.name.startswith(name):
            apt.unpack(package, work / "source")
        elif package.name.startswith("make_"):
            apt.unpack(package, root.tree)
    sources = list((work / "source").glob("usr/src/*.tar.*"))
    if len(sources) != 1:
        raise HostUnfit(f"the lab: {name} {version} does not contain exactly one source archive")
    run_tool(["tar", "-C", str(work), "-xf", str(sources[0]), "--wildcards", *_WANTED])


def _lay_out(work: Path, build: Path) -> None:
    """Lay both directories out as one external module tree, at the paths their includes expect."""
    source = next(path.parent for path in work.glob("*/drivers"))
    shutil.rmtree(build, ignore_errors=True)
    build.mkdir(parents=True)
    shutil.copytree(source / "drivers", build / "drivers")
    iommufd = build / "drivers/iommu/iommufd"
    tree = (source / "lib/interval_tree.c").read_text()
    # The kernel itself exports the other symbols of this file.
    text = re.sub(r"^EXPORT_SYMBOL.*\n", "", tree, flags=re.MULTILINE)
    (iommufd / "interval_tree.c").write_text(text)
    (iommufd / "Kbuild").write_text(f"obj-m := iommufd.o\niommufd-y := {' '.join(_OBJECTS)}\n")
    (build / "Kbuild").write_text("obj-m += drivers/iommu/iommufd/\nobj-m += drivers/vfio/\n")


def _make(root: LabRoot) -> None:
    tree = root.tree
    run_tool(
        # In its own mount namespace: objtool reads /proc, and no mount is left on the host.
        ["unshare", "--mount", "--pid", "--fork", f"--mount-proc={tree}/proc",
         "chroot", str(tree), "make", "-s", "-j2",
         "-C", f"/usr/src/linux-headers-{root.kernel}", f"M=/{_BUILD}",
         "KCFLAGS=" + " ".join(f"-D{name}=1" for name in _DEFINES), *_SETTINGS, "modules"]
    )  # fmt: skip


def _install(root: LabRoot, build: Path) -> None:
    updates = _modules(root) / _UPDATES
    staging = _modules(root) / f".{_UPDATES}"
    shutil.rmtree(staging, ignore_errors=True)
    staging.mkdir()
    for module in build.rglob("*.ko"):
        shutil.copy(module, staging)
        path = _inside(root, staging / module.name)
        run_tool(["chroot", str(root.tree), "strip", "--strip-debug", path])
    shutil.rmtree(updates, ignore_errors=True)
    staging.rename(updates)
    index_modules(root)


def _inside(root: LabRoot, path: Path) -> str:
    return f"/{path.relative_to(root.tree)}"
