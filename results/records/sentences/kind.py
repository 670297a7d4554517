"""What one kind of sentence consists of."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

# What a failed run did to its guest, the worst first. Damage: contents of RAM, or what devices and
# streams carried, are wrong, or the proof is broken. Loss: the guest is gone or stands still.
# Update-failed: it was not updated in the way that was asked for. Measurement: none of these is
# known; the evidence is incomplete or contradicts itself.
Harm = Literal["damage", "loss", "update-failed", "measurement"]


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of sentence: `template` is that of str.format, with figures by name.

    `{n:d}` and `{n:#x}` are integers, `{name}` is text without `; `, `{name!s}` any text. `check`
    is the proof check that uses it. `former` are templates of earlier versions. `gloss` are figures
    that only explain others and are not compared. `harm` is what a run that fails by it did to its
    guest, None for a sentence by which no run fails.
    """

    template: str
    check: str = ""
    former: tuple[str, ...] = ()
    gloss: tuple[str, ...] = ()
    harm: Harm | None = None

    @property
    def templates(self) -> tuple[str, ...]:
        return (self.template, *self.former)
