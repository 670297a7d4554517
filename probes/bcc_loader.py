"""The only module that imports bcc, and only the distribution's package of that name."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import Any

from results.errors import HostUnfit

# Where Debian and Ubuntu install Python packages; not on the path of a venv of another Python.
_DISTRIBUTION = Path("/usr/lib/python3/dist-packages")
_HOW = (
    "install the distribution's package: apt-get install python3-bpfcc (PyPI's `bcc` is unrelated)"
)


def load_bcc() -> Any:
    """Import `bcc`, even into a Python that does not see the distribution's packages.

    Raises HostUnfit when it is missing or when another package has that name.
    """
    try:
        module = importlib.import_module("bcc")
    except ImportError:
        module = _from_distribution()
    if not hasattr(module, "BPF"):
        raise HostUnfit(f"the installed Python package `bcc` is not the BPF compiler; {_HOW}")
    return module


def _from_distribution() -> Any:
    if not (_DISTRIBUTION / "bcc").is_dir():
        raise HostUnfit(f"the Python package bcc is missing; {_HOW}")
    sys.path.append(str(_DISTRIBUTION))
    try:
        return importlib.import_module("bcc")
    except (ImportError, OSError) as error:
        raise HostUnfit(f"bcc cannot be imported: {error}; {_HOW}") from error
    finally:
        # For bcc alone: other packages in that directory must not shadow the venv's.
        sys.path.remove(str(_DISTRIBUTION))
