"""iommufd for the lab: Debian's amd64 kernels have it off."""

from __future__ import annotations

from ..cache import Tell
from .root import LabRoot


def has_iommufd(root: LabRoot) -> bool:
    """Whether the modules are there."""
    return (root.tree / "opt/iommufd").is_dir()


def add_iommufd(root: LabRoot, progress: Tell) -> None:
    """Build the modules into the root."""


def load_commands(root: LabRoot) -> tuple[str, ...]:
    """Shell commands that load them in the lab."""
    return ()
