"""What one kind of sentence consists of."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of sentence: `template` is that of str.format, with figures by name.

    `{n:d}` and `{n:#x}` are integers, `{name}` is text without `; `, `{name!s}` any text. `check`
    is the proof check that uses it. `former` are templates of earlier versions. `gloss` are figures
    that only explain others and are not compared.
    """

    template: str
    check: str = ""
    former: tuple[str, ...] = ()
    gloss: tuple[str, ...] = ()

    @property
    def templates(self) -> tuple[str, ...]:
        return (self.template, *self.former)
