"""Reasons: statements about a run, each a code with figures and the sentence made from them.

Records store sentences. The table of kinds turns a sentence back into its code and figures, so that
a reworded sentence still compares equal to the stored one.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import Field, dataclass, fields, is_dataclass
from functools import cache
from string import Formatter
from typing import Any

from .sentences.reason_kinds import KINDS, Kind

Figure = int | str
Key = tuple[str, dict[str, Figure]]

# Metadata of a record's field that holds sentences: several joined in one text, or a tuple of them.
SENTENCES = {"sentences": True}

OTHER, FAILED, KNOWN_FAILURE = "other", "transfer-failed", "known-failure"
MOST_ALIKE = 5  # of a list in a sentence, and of sentences of one kind
_BETWEEN = "; "
PROOF_BROKEN = "proof broken: "

_INTEGERS = {"d": r"-?(?:0|[1-9][0-9]*)", "#x": r"-?0x[0-9a-f]+"}
_WITHIN = rf"(?:(?!{_BETWEEN}).)*?"  # text without a separator
_ANYTHING = r".*?"
_KNOWN_AT_END = re.compile(r"(.*) (\[[a-z0-9-]+: .*\])", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Reason:
    """One statement about a run: `code` is a kind of results.records.sentences.reason_kinds."""

    code: str
    figures: dict[str, Figure]
    text: str

    @property
    def key(self) -> Key:
        """Code and figures, independent of the wording; unknown sentences are their own key."""
        kind = KINDS.get(self.code)  # None: written by a newer version
        free = kind is not None and not _own_letters(kind.template)
        return (OTHER, {"text": self.text}) if free else (self.code, self.figures)


def because(code: str, /, **figures: Figure) -> Reason:
    """A reason with the sentence of its kind; figures are named as in the kind's template."""
    kind = KINDS[code]
    said = {name: value for name, value in figures.items() if name not in kind.gloss}
    return Reason(code, said, kind.template.format(**figures))


def joined(reasons: Iterable[Reason]) -> str:
    """All of them as one text, the known failure last."""
    given = list(reasons)
    text = _BETWEEN.join(reason.text for reason in given if reason.code != KNOWN_FAILURE)
    return " ".join([text, *(reason.text for reason in given if reason.code == KNOWN_FAILURE)])


def shown_of(items: int) -> int:
    """How many items of a list are shown: five, or all where only one more would be left out."""
    return items if items <= MOST_ALIKE + 1 else MOST_ALIKE


def cut(reasons: Iterable[Reason]) -> tuple[Reason, ...]:
    """The first few reasons of each kind (`shown_of`), and how many more there are."""
    kinds: dict[str, list[Reason]] = {}
    for reason in reasons:
        kinds.setdefault(reason.code, []).append(reason)
    found: list[Reason] = []
    for alike in kinds.values():
        shown = shown_of(len(alike))
        found += alike[:shown]
        if len(alike) > shown:
            found.append(because("more-alike", more=len(alike) - shown))
    return tuple(found)


# -- reading ------------------------------------------------------------------------------------


def read_reason(text: str) -> Reason:
    """The reason that a sentence of this or an earlier version states; `other` if unknown."""
    found = _recognised(text)
    return found[1] if found is not None else because(OTHER, text=text)


def read_reasons(text: str) -> tuple[Reason, ...]:
    """The reasons in a text of several sentences, each as by `read_reason`: inverts `joined`."""
    if not text:
        return ()
    found = _KNOWN_AT_END.fullmatch(text)
    if found is None:
        return _read_pieces(text.split(_BETWEEN))
    return (*_read_pieces(found[1].split(_BETWEEN)), read_reason(found[2]))


def key_of(text: str) -> tuple[Key, ...]:
    """Keys of the reasons in a text of one or more sentences, independent of the wording."""
    return tuple(reason.key for reason in read_reasons(text))


def _read_pieces(pieces: list[str]) -> tuple[Reason, ...]:
    """The parse of all pieces in which the most letters belong to templates.

    A sentence may contain the separator of sentences, so it may span several pieces.
    """
    best: list[tuple[int, int, tuple[Reason, ...]]] = [(0, 0, ())]  # of the last 0, 1, … pieces
    for start in reversed(range(len(pieces))):
        own, count, rest = best[-1]
        options = [(own, count - 1, _other_before(pieces[start], rest))]
        for end in range(start + 1, len(pieces) + 1):
            found = _recognised(_BETWEEN.join(pieces[start:end]))
            if found is not None:
                own, count, rest = best[len(pieces) - end]
                options.append((found[0] + own, count - 1, (found[1], *rest)))
        best.append(max(options, key=lambda option: option[:2]))
    return best[-1][2]


def _other_before(piece: str, rest: tuple[Reason, ...]) -> tuple[Reason, ...]:
    """An unknown piece, merged with the unknown pieces that follow it."""
    if rest and rest[0].code == OTHER:
        return (because(OTHER, text=_BETWEEN.join((piece, rest[0].text))), *rest[1:])
    return (because(OTHER, text=piece), *rest)


def _recognised(text: str) -> tuple[int, Reason] | None:
    """The reason that `text` states, with how many of its letters belong to the template.

    A sentence of the proof may follow the name of its check, and the prefix of a broken proof.
    """
    best: tuple[int, Reason] | None = None
    for code, kind in KINDS.items():
        for template in kind.templates:
            found = _pattern(template, kind.check).fullmatch(text)
            if found is None:
                continue
            own = _own_letters(template) + len(found["_name"] or "")
            if own and (best is None or own > best[0]):
                best = own, Reason(code, _figures(template, kind, found.groupdict()), text)
    return best


@cache
def _pattern(template: str, check: str) -> re.Pattern[str]:
    name = f"(?:{re.escape(PROOF_BROKEN)})?{re.escape(check)}: " if check else "(?!)"
    parts = [f"(?P<_name>{name})?"]
    for literal, figure, form, conversion in Formatter().parse(template):
        parts.append(re.escape(literal))
        if figure is not None:
            shape = _INTEGERS.get(form or "") or (_ANYTHING if conversion == "s" else _WITHIN)
            parts.append(f"(?P<{figure}>{shape})")
    return re.compile("".join(parts), re.DOTALL)


@cache
def _own_letters(template: str) -> int:
    return sum(len(literal) for literal, *_ in Formatter().parse(template))


def _figures(template: str, kind: Kind, found: Mapping[str, str]) -> dict[str, Figure]:
    figures: dict[str, Figure] = {}
    for _, name, form, _ in Formatter().parse(template):
        if name is not None and name not in kind.gloss:
            figures[name] = int(found[name], 0) if form in _INTEGERS else found[name]
    return figures


# -- comparing ----------------------------------------------------------------------------------


def says_the_same(one: Any, other: Any) -> bool:
    """Whether two values of records are equal, ignoring the wording of sentences in them."""
    if type(one) is not type(other):
        return bool(one == other)
    if isinstance(one, Reason):
        return bool(one.key == other.key)
    if is_dataclass(one):
        return all(same_field(f, one, other) for f in fields(one))
    if isinstance(one, tuple):
        return len(one) == len(other) and all(map(says_the_same, one, other))
    return bool(one == other)


def same_field(about: Field[Any], one: Any, other: Any) -> bool:
    """Whether one field of two records of the same type is equal, ignoring wording."""
    mine, theirs = getattr(one, about.name), getattr(other, about.name)
    if about.metadata != SENTENCES:
        return says_the_same(mine, theirs)
    if isinstance(mine, str):
        mine, theirs = (mine,), (theirs,)
    return bool(mine == theirs) or list(map(key_of, mine)) == list(map(key_of, theirs))
