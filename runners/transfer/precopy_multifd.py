"""precopy-multifd: a precopy over several channels at once."""

from __future__ import annotations

from typing import Any, ClassVar

from .precopy import Precopy


class PrecopyMultifd(Precopy):
    """Four of them, where QEMU's default is two."""

    capability: ClassVar[str] = "multifd"
    parameters: ClassVar[dict[str, Any]] = {"multifd-channels": 4}
