"""The one place that imports bcc, which is the distribution's package and no other."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import Any

from results.errors import HostUnfit

# Debian's and Ubuntu's place for Python packages; a venv of another Python does not look there.
_DISTRIBUTION = Path("/usr/lib/python3/dist-packages")
_HOW = "install the distribution's: apt-get install python3-bpfcc (PyPI's `bcc` is another thing)"


def load_bcc() -> Any:
    """The module `bcc`, also from a Python that does not see the distribution's packages.

    Raises HostUnfit when it is missing or is another package of that name.
    """
    try:
        module = importlib.import_module("bcc")
    except ImportError:
        module = _from_distribution()
    if not hasattr(module, "BPF"):
        raise HostUnfit(f"the Python package `bcc` here is not the BPF compiler; {_HOW}")
    return module


def _from_distribution() -> Any:
    if not (_DISTRIBUTION / "bcc").is_dir():
        raise HostUnfit(f"Python's bcc is missing; {_HOW}")
    sys.path.append(str(_DISTRIBUTION))
    try:
        return importlib.import_module("bcc")
    except (ImportError, OSError) as error:
        raise HostUnfit(f"bcc cannot be imported: {error}; {_HOW}") from error
    finally:
        # Only bcc is taken from there: other packages must not shadow the venv's.
        sys.path.remove(str(_DISTRIBUTION))
