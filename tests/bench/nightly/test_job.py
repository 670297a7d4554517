"""The nightly job: its configuration, its saved state, and a real night that is killed."""

from __future__ import annotations

import configparser
import email
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from dataclasses import replace
from email.policy import SMTPUTF8
from pathlib import Path

import pytest
import yaml

from bench.cli import main
from bench.measurement.scenarios import BUILTIN
from bench.nightly.checkpoint import Night, save, start_or_resume, trials, units
from bench.nightly.config import load_config
from bench.nightly.job import JobPaths, _remaining, run_night
from bench.studies.ab_blocks import BOOTS_PER_BLOCK, Pair
from results.comparison.verdict import Thresholds
from results.errors import UsageError
from results.records.scenario import Build
from results.store.store import open_store
from results.summary.report_cells import Limit

EXAMPLES = Path(__file__).parents[3] / "bench" / "examples"
LEAST = """
name = "n"
[builds]
baseline = "system"
candidate = "system"
[measure]
scenarios = ["anon"]
"""


@pytest.fixture
def config(tmp_path):
    def write(text=LEAST):
        path = tmp_path / "night.toml"
        path.write_text(text)
        return path

    return write


# --- the configuration ---------------------------------------------------------------------


def test_the_example_has_every_key():
    config = load_config(EXAMPLES / "nightly.toml")
    text = (EXAMPLES / "nightly.toml").read_text()
    for table in ("builds", "measure", "self_check", "judge", "quiet", "retention", "outputs"):
        for key in getattr(config, table).__struct_fields__:
            assert re.search(rf"^{key} = ", text, re.MULTILINE) or key == "scenario_file"
    assert config.report_options().limit("anon") == Limit(50_000_000, 0.99)


def test_a_minimal_configuration_has_sound_defaults(config):
    loaded = load_config(config())
    assert (loaded.boots, loaded.measure.updates, loaded.self_check_boots) == (72, 4, 8)
    assert (loaded.wait_seconds, loaded.report_options().thresholds) == (1800, Thresholds())
    place = JobPaths.of(loaded, config())
    assert place.store == config().parent / "out"
    assert place.reports == place.store / "nights"


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "missing required field `name`"),
        (LEAST + "bootz = 3", "unknown field `bootz` - at `$.measure`"),
        (LEAST + "boots = 0", "`int` >= 1 - at `$.measure.boots`"),
        (LEAST + "boots = 4", "measure.boots: 4 boots of each side cannot call any change"),
        (LEAST + "[self_check]\nboots = 2", "self_check.boots: 2 boots of each side tell nothing"),
        (LEAST.replace('["anon"]', "[]"), "length >= 1 - at `$.measure.scenarios`"),
        (LEAST.replace('name = "n"', 'name = "../n"'), "name: use lower-case letters"),
        (LEAST + '[quiet]\nwait = "soon"', "quiet.wait: expected a number of s, m or h"),
        (
            LEAST + '[outputs]\nformats = ["pdf"]',
            "outputs.formats: no format `pdf`; there are html",
        ),
        (
            LEAST + '[budgets]\nnope = "5ms"',
            "budgets.nope: not measured, only anon",
        ),
        (
            LEAST + '[budgets]\nanon = "fast"',
            "budgets.anon: invalid budget `fast`",
        ),
        (LEAST + '[mail]\nto = "a\\nBcc: b"', "mail: an address must be one line"),
        (
            LEAST + '[outputs]\ndirectory = "a\\u0000b"',
            r"outputs.directory: 'a\x00b' is not a path",
        ),
        ('store = ""\n' + LEAST, "store: '' is not a path"),
        ("name = ", "night.toml"),
        ("name = '\\udc00'", "night.toml"),
    ],
)
def test_an_error_is_one_line_with_the_key(config, capsys, text, complaint):
    assert main(["nightly", str(config(text)), "--check"]) == 2
    said = capsys.readouterr().err
    assert complaint in said
    assert "night.toml" in said
    assert said.count("\n") == 1


def test_check_prints_the_plan(config, capsys):
    status = main(["nightly", str(config()), "--check"])
    assert status in (0, 4)  # 4: a host without KVM
    if status == 0:
        assert "72 boots of each, 4 updates a boot" in capsys.readouterr().out
    assert main(["nightly", "/nowhere.toml"]) == 2
    assert "cannot read /nowhere.toml" in capsys.readouterr().err


def test_an_anchor_that_is_not_stored_is_refused_before_anything_is_measured(config, tmp_path):
    loaded = load_config(config('anchor = "20260101-221500-aaaa"' + LEAST))
    place = JobPaths.of(loaded, config())
    with open_store(tmp_path / "out") as store, pytest.raises(UsageError, match="20260101"):
        run_night(loaded, place, store, [], pytest.fail)


# --- the other examples --------------------------------------------------------------------


def unit_file(name):
    parser = configparser.ConfigParser(interpolation=None, strict=True)
    parser.optionxform = str
    parser.read_string((EXAMPLES / name).read_text())
    return parser


def test_the_systemd_units_are_sound(tmp_path):
    service = unit_file("pausebench-nightly.service")
    timer = unit_file("pausebench-nightly.timer")
    assert timer["Timer"]["Unit"] == "pausebench-nightly.service"
    words = service["Service"]["ExecStart"].split()
    assert words[1] == "nightly"
    assert words[0].startswith("/")
    assert service["Service"]["Restart"] == "on-abnormal"
    if subprocess.run(["sh", "-c", "command -v systemd-analyze"], capture_output=True).returncode:
        return  # the shape is checked above; systemd's own check where it is there
    for name in ("pausebench-nightly.service", "pausebench-nightly.timer"):
        text = (EXAMPLES / name).read_text().replace(words[0], "/bin/true")
        (tmp_path / name).write_text(text)
    done = subprocess.run(
        ["systemd-analyze", "verify", *map(str, sorted(tmp_path.glob("*.*")))],
        capture_output=True, text=True, env=os.environ | {"SYSTEMD_UNIT_PATH": f"{tmp_path}:"},
    )  # fmt: skip
    assert "pausebench" not in done.stderr, done.stderr


def test_the_ci_job_is_sound():
    job = yaml.safe_load((EXAMPLES / "ci-job.yml").read_text())
    (steps,) = (j["steps"] for j in job["jobs"].values())
    commands = [step["run"] for step in steps if "run" in step]
    assert any("pausebench nightly bench/examples/nightly.toml" in c for c in commands)
    outputs = load_config(EXAMPLES / "nightly.toml").outputs
    summary = next(c for c in commands if "GITHUB_STEP_SUMMARY" in c)
    assert "report.md" in summary
    assert "markdown" in outputs.formats
    place = JobPaths.of(load_config(EXAMPLES / "nightly.toml"), EXAMPLES / "nightly.toml")
    assert str(place.reports.relative_to(EXAMPLES.parents[1])) in summary


# --- what is remembered --------------------------------------------------------------------


@pytest.fixture
def pair():
    build = Build("a", "/a", "10", "id", "sha", ("/a",))
    return Pair(build, replace(build, label="b"))


def test_units_and_their_trials_are_reproducible(pair):
    planned = units("main", BUILTIN[:3], 4, seed=5)
    assert planned == units("main", BUILTIN[:3], 4, seed=5)
    assert planned != units("main", BUILTIN[:3], 4, seed=6)
    assert len({unit.name for unit in planned}) == len(planned) == 12
    seen = Counter()
    for unit in planned:
        done = trials(unit, pair, 3, seed=5)
        assert done == trials(unit, pair, 3, seed=5)
        labels = [t.new_build.label for t in done]
        assert labels in (["a", "b", "b", "a"], ["b", "a", "a", "b"])
        seen.update((t.cell, t.boot) for t in done)
    assert set(seen.values()) == {1}  # no boot of a cell has a number twice
    assert max(boot for _, boot in seen) == 4 * BOOTS_PER_BLOCK


def test_a_night_is_resumed_only_if_nothing_changed(tmp_path):
    path, now = tmp_path / "state" / "n.json", 10**18
    fresh, resumed = start_or_resume(path, "n", "plan", now)
    assert not resumed
    save(path, replace(fresh, sessions=("s",), done=("main.anon.0",)))
    again, resumed = start_or_resume(path, "n", "plan", now + 10**9)
    assert resumed
    assert (again.done, again.seed) == (("main.anon.0",), fresh.seed)
    assert not start_or_resume(path, "n", "other plan", now)[1]
    assert not start_or_resume(path, "n", "plan", now + 21 * 3600 * 10**9)[1]
    save(path, replace(again, finished=True))
    assert start_or_resume(path, "n", "plan", now)[0].done == ()
    path.write_text("{")
    assert start_or_resume(path, "n", "plan", now)[0].done == ()
    assert [p.name for p in path.parent.iterdir()] == ["n.json"]


def test_finished_units_do_not_remain(config):
    loaded = load_config(config(LEAST + "boots = 6"))
    anon = next(s for s in BUILTIN if s.id == "anon")
    night = Night(1, "n", "p", 7, 0)
    assert [u.name for u in _remaining(loaded, [anon], night)] == [
        "main.anon.0",
        "main.anon.1",
        "main.anon.2",
    ]
    night = replace(night, done=("main.anon.0",))
    assert [u.name for u in _remaining(loaded, [anon], night)] == ["main.anon.1", "main.anon.2"]


def test_a_state_that_cannot_be_written(tmp_path):
    (tmp_path / "state").write_text("a file")
    with pytest.raises(UsageError, match="cannot write"):
        save(tmp_path / "state" / "n.json", Night(1, "n", "p", 7, 0))


# --- a real night --------------------------------------------------------------------------

TINY = """
name = "tiny"
store = "store"
[builds]
baseline = "system"
candidate = "system"
[measure]
scenarios = ["anon"]
boots = 6
updates = 1
[self_check]
scenarios = ["anon"]
boots = 4
[budgets]
"*" = "100000"
[quiet]
busy_percent = 100.0
wait = "10s"
[outputs]
directory = "nights"
formats = ["html", "markdown", "junit", "json", "openmetrics", "csv", "parquet", "perfetto"]
"""


def night(path):
    return subprocess.Popen(
        [sys.executable, "-m", "bench", "nightly", str(path)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


@pytest.mark.kvm
@pytest.mark.qemu
@pytest.mark.bpf
@pytest.mark.slow
def test_a_killed_night_resumes_where_it_stopped(config, tmp_path):
    path, state = config(TINY), tmp_path / "store" / "nightly" / "tiny.json"
    first = night(path)
    deadline = time.monotonic() + 120
    while first.poll() is None and time.monotonic() < deadline:
        if state.exists() and len(json.loads(state.read_text())["done"]) == 1:
            break
        time.sleep(0.05)
    first.send_signal(signal.SIGKILL)
    said = first.communicate(timeout=30)
    assert first.returncode == -signal.SIGKILL, said
    done = json.loads(state.read_text())
    assert len(done["done"]) == 1
    assert not done["finished"]

    second = night(path)
    out, err = second.communicate(timeout=300)
    # 0 or 1: a host with other load may well see a difference between two equal builds.
    assert second.returncode in (0, 1), err
    assert "resuming the night" in err
    after = json.loads(state.read_text())
    assert after["finished"]
    assert len(after["sessions"]) == 2
    assert after["sessions"][0] == done["sessions"][0]

    (directory,) = (tmp_path / "nights").iterdir()
    assert f"reports: {directory}" in out
    with open_store(tmp_path / "store") as store:
        boots = Counter()
        for session in after["sessions"]:
            mine = {(run.new_build, run.boot) for run in store.runs(session=session)}
            if session == after["sessions"][1]:
                block = after["done"].index(done["done"][0])
                assert block == 0
                # The finished block's boots were not measured again.
                number = int(done["done"][0].rpartition(".")[2])
                finished = {2 * number + 1, 2 * number + 2}
                assert not finished & {boot for _, boot in mine}
            boots.update(mine)
        assert {boot for _, boot in boots} == set(range(1, 7))
        assert {label for label, _ in boots} == {"baseline", "candidate"}
        assert len(store.aa_of(after["self_check_sessions"][0])) == 1

    report = json.loads((directory / "report.json").read_text())
    assert [s["id"] for s in report["sessions"]] == after["sessions"]
    assert report["exit_code"] == second.returncode
    names = {p.name for p in directory.iterdir()}
    assert names == {
        "mail.eml", "report.html", "report.md", "report.xml", "report.json", "report.prom",
        "report.otava", "report.parquet", "report.perfetto-trace",
    }  # fmt: skip
    mail = email.message_from_bytes((directory / "mail.eml").read_bytes(), policy=SMTPUTF8)
    assert mail["Subject"].startswith(f"[pausebench tiny] {report['verdict']}: ")
    assert "resumed 1 ×" in mail.get_content()
    assert "anon on candidate" in mail.get_content()
