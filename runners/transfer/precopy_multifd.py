"""precopy-multifd: a precopy over several parallel channels."""

from __future__ import annotations

from typing import Any, ClassVar

from .precopy import Precopy


class PrecopyMultifd(Precopy):
    """A precopy over four channels, where QEMU's default is two."""

    capability: ClassVar[str] = "multifd"
    parameters: ClassVar[dict[str, Any]] = {"multifd-channels": 4}


TRANSFER = PrecopyMultifd
