"""Options that several commands share are defined once and the same everywhere."""

from __future__ import annotations

import argparse

import pytest

from bench.cli import COMMANDS, build_parser

SHARED = ("--absolute", "--budget", "--json", "--relative", "--scenarios", "--seed", "--store")


def options(command: str) -> dict[str, list[argparse.Action]]:
    """Every option of a command and of its actions."""
    found: dict[str, list[argparse.Action]] = {}
    (commands,) = (a for a in build_parser(command)._actions if a.dest == "command")
    assert isinstance(commands.choices, dict)
    parsers = [commands.choices[command]]
    for parser in parsers:
        for action in parser._actions:
            if isinstance(action, argparse._SubParsersAction):
                parsers += action.choices.values()
            for name in action.option_strings:
                found.setdefault(name, []).append(action)
    return found


def definition(name: str, action: argparse.Action) -> tuple[object, ...]:
    text = (action.help or "").partition(". ")[0] if name == "--budget" else action.help
    return (action.metavar, action.type, repr(action.default), action.nargs, text)


@pytest.mark.parametrize("name", SHARED)
def test_a_shared_option_is_the_same_everywhere(name: str) -> None:
    found = {
        command: [definition(name, action) for action in options(command).get(name, [])]
        for command in COMMANDS
    }
    definitions = {each for mine in found.values() for each in mine}
    assert sum(map(bool, found.values())) > 1
    assert len(definitions) == 1, found
