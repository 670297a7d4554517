"""Options that several commands share are defined once and the same everywhere."""

from __future__ import annotations

import argparse
import re
from pathlib import Path

import pytest

import bench.cli
from bench.cli import COMMANDS, build_parser

HANDLERS = Path(bench.cli.__file__).parent / "handlers"
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


def positionals(command: str) -> set[str]:
    (commands,) = (a for a in build_parser(command)._actions if a.dest == "command")
    assert isinstance(commands.choices, dict)
    parsers = [commands.choices[command]]
    found: set[str] = set()
    for parser in parsers:
        for action in parser._actions:
            if isinstance(action, argparse._SubParsersAction):
                parsers += action.choices.values()
            elif not action.option_strings:
                found.add(action.dest)
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


@pytest.mark.parametrize("command", COMMANDS)
def test_a_handler_reads_only_arguments_that_its_command_defines(command: str) -> None:
    """An option that was dropped would only show when it is used."""
    source = (HANDLERS / f"{command}.py").read_text()
    read = set(re.findall(r"\bargs\.(\w+)", source))
    defined = {action.dest for actions in options(command).values() for action in actions}
    assert read <= defined | positionals(command) | {"action"}
