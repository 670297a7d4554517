"""Every option and argument of every command, with values that nobody means.

Whatever is wrong with a value is one line and status 2: never a traceback, an internal error or
what was typed in full. Nothing is measured: each command stops where it would begin to.
"""

from __future__ import annotations

import argparse
import importlib
from pathlib import Path

import pytest

from bench.cli import COMMANDS, build_parser, main
from results.errors import HostUnfit
from results.printable import printable_lines
from results.records.scenario import Session
from results.store.store import open_store

VALUES = {
    "empty": "",
    "digits": "9" * 5_000,
    "large": "99999999999999999999",
    "negative": "-1",
    "long": "x" * 100_000,
    "words": "a b " * 2_000,
    "control": "\x1b[31m\u202eevil\r\nx",
    "bytes": "\udcff",
    "not a number": "nan",
    "infinite": "inf",
    "dots": "../../x",
    "slashes": "/" * 5_000,
    "equals": "=",
    "colon": ":",
    "unit": "1e999G",
}
# What a command needs apart from the value that is tried.
NEEDED = {
    "run": ["anon"],
    "compare": ["system", "system"],
    "matrix": ["anon", "--build", "system"],
    "sweep": ["ram", "anon"],
    "history": ["anon"],
    "nightly": ["job.toml"],
}
STOPPED = "nothing is measured in this test"


def parsers(command):
    """The parsers of a command: its own, or those of its actions, with the words they take."""
    (top,) = (a for a in build_parser(command)._actions if isinstance(a.choices, dict))
    parser = top.choices[command]
    inner = [a for a in parser._actions if isinstance(a, argparse._SubParsersAction)]
    if not inner:
        return [([command], parser)]
    return [([command, name], each) for name, each in inner[0].choices.items()]


def trials():
    for command in COMMANDS:
        for words, parser in parsers(command):
            for action in parser._actions:
                if action.nargs == 0 or isinstance(action, argparse._SubParsersAction):
                    continue
                name = action.option_strings[-1] if action.option_strings else action.dest
                yield pytest.param(words, action, id=f"{' '.join(words)} {name}")


@pytest.fixture
def stopped(monkeypatch, tmp_path):
    """A directory with a store of one session, and commands that measure nothing."""

    def stop(*_, **__):
        raise HostUnfit(STOPPED)

    for command in COMMANDS:
        handler = importlib.import_module(f"bench.handlers.{command}")
        for name in ("require_root", "require_host", "check_host", "add", "remove", "run_night"):
            if hasattr(handler, name):
                monkeypatch.setattr(handler, name, stop)
    monkeypatch.delenv("PAUSEBENCH_DEBUG", raising=False)
    monkeypatch.setenv("PAUSEBENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    with open_store(tmp_path / "out") as store:
        store.add_session(Session("20261123-221500-3f2a", 1_795_472_100_000_000_000, (), (), {}))
    return tmp_path


def argv(words, action, value):
    needed = NEEDED.get(words[0], [])
    if not action.option_strings:
        return [*words, *needed[1:], "--", value] if value.startswith("-") else [*words, value]
    positional = [word for word in needed if not word.startswith("-")]
    return [*words, *positional, f"{action.option_strings[-1]}={value}"]


def status_of(words):
    try:
        return main(words)
    except SystemExit as ended:
        return ended.code


@pytest.mark.parametrize(("words", "action"), list(trials()))
def test_no_value_is_more_than_a_line(words, action, stopped, capsys):
    before = sorted(stopped.parent.iterdir())
    for name, value in VALUES.items():
        status = status_of(argv(words, action, value))
        out, err = capsys.readouterr()
        about = f"{name}: exit {status}, {err[:300]!r}"
        assert status in (0, 2, 4), about
        assert status != 4 or STOPPED in err or "root" in err or "build" in err, about
        assert name != "empty" or status == 2, about
        assert status == 0 or err.count("\n") == 1, about
        assert len(err) <= 1_100, about
        assert printable_lines(err + out) == err + out, about
        assert "internal error" not in err, about
    assert sorted(stopped.parent.iterdir()) == before


def test_every_command_was_tried():
    assert {trial.values[0][0] for trial in trials()} == set(COMMANDS)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("--boots 99999999999999999999", "is larger than 1000000"),
        ("--boots 1000001", "is larger than 1000000"),
        ("--boots 0", "is not an integer from 1"),
        ("--boots 1.5", "is not an integer from 1"),
        ("--seed x", "is not an integer"),
        ("--seed 99999999999999999999", "is too large"),
        ("--ram=", "argument --ram: a value is missing"),
    ],
)
def test_what_is_wrong_with_a_number_is_said_truly(words, said, stopped, capsys):
    assert status_of(["run", "anon", *words.split()]) == 2
    assert said in capsys.readouterr().err


def test_a_scenario_file_that_is_nested_deeply(stopped: Path, capsys):
    for text in ("a = " + "[" * 20_000, "a = " + "{a=" * 20_000, "[" + "a." * 20_000 + "a]"):
        (stopped / "deep.toml").write_text(text)
        for words in (["list", "--scenarios", "deep.toml"], ["nightly", "deep.toml"]):
            assert main(words) == 2
            err = capsys.readouterr().err
            assert err.startswith("pausebench: deep.toml: ")
            assert err.count("\n") == 1
