"""When a comparison is precise enough: by a width that does not know which boots are A's."""

from __future__ import annotations

from bench.studies.ab_blocks import narrow
from results.records.run import SCHEMA, Run


def boots_of(build, values, scenario="anon"):
    return [
        Run(
            SCHEMA, f"s.{scenario}+{build}.b{boot:02d}.u01", "s", scenario, f"id={scenario}",
            boot, 1, boot, "completed", "", build, build, 10, 11, blackout_ns=value,
        )
        for boot, value in enumerate(values, 1)
    ]  # fmt: skip


def test_every_cell_has_to_be_narrow():
    near = [2_400_000 + 1_000 * i for i in range(8)]
    far = [2_400_000 + 300_000 * i for i in range(8)]
    assert narrow(boots_of("a", near), boots_of("b", near), 2)
    assert not narrow(boots_of("a", far), boots_of("b", far), 2)
    # Each cell has to be, and a change does not count as scatter of one side alone.
    both = [*boots_of("a", near), *boots_of("a", far, "memfd")]
    assert not narrow(both, [*boots_of("b", near), *boots_of("b", far, "memfd")], 2)
    moved = [value + 900_000 for value in near]
    assert not narrow(boots_of("a", near), boots_of("b", moved), 2)
    assert not narrow(boots_of("a", near[:3]), boots_of("b", near[:3]), 50)
