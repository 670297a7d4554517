"""Machine types: the newest that all builds support, compared by version number."""

import subprocess

import pytest
from hypothesis import given
from hypothesis import strategies as st

from results.errors import BuildUnfit
from results.records.scenario import Build
from runners.builds.discover import default_build
from runners.builds.machine_types import (
    common_machine,
    known_machines,
    machine_names,
    newest_common,
)

OLD = ("microvm", "pc-q35-9.2", "pc-q35-10.0", "q35", "pc", "pc-i440fx-10.0", "none")
NEW = ("microvm", "pc-q35-10.0", "pc-q35-10.2", "pc-q35-11.1", "q35", "pc", "pc-i440fx-11.1")
HELP = """\
Supported machines are:
microvm              microvm (i386)
pc                   Standard PC (i440FX + PIIX, 1996) (alias of pc-i440fx-10.0)
pc-q35-9.2           Standard PC (Q35 + ICH9, 2009)
pc-q35-10.0          Standard PC (Q35 + ICH9, 2009)
none                 empty machine
"""


def build(answer: str, *, label: str = "old") -> Build:
    script = 'printf %s "$0"; test -n "$0" || echo "qemu: cannot" >&2'
    return Build(label, "/qemu", "10.0.2", "", "", ("sh", "-c", script, answer))


def test_names_are_parsed_from_the_output():
    assert machine_names(HELP) == ("microvm", "pc", "pc-q35-9.2", "pc-q35-10.0", "none")


def test_the_build_is_queried():
    assert known_machines(build(HELP))[-1] == "none"


def test_a_build_that_lists_no_machines_is_refused_with_its_error():
    with pytest.raises(BuildUnfit, match=r"old: cannot list its machine types \(qemu: cannot\)"):
        known_machines(build(""))


def test_a_build_that_cannot_be_started_is_refused():
    with pytest.raises(BuildUnfit, match=r"cannot list its machine types: .*No such file"):
        known_machines(Build("old", "", "", "", "", ("/nonexistent/qemu",)))


def test_the_newest_common_type_is_chosen_by_version_number():
    assert newest_common({"a": OLD, "b": NEW}, "q35") == "pc-q35-10.0"
    assert newest_common({"a": OLD}, "q35") == "pc-q35-10.0"  # not 9.2, which sorts last as text
    assert newest_common({"b": NEW}, "q35") == "pc-q35-11.1"


def test_a_point_release_is_newer():
    assert newest_common({"a": ("pc-q35-2.12", "pc-q35-2.12.1")}, "q35") == "pc-q35-2.12.1"


def test_a_versioned_type_is_kept_if_all_builds_support_it():
    assert newest_common({"a": OLD, "b": NEW}, "pc-q35-10.0") == "pc-q35-10.0"
    with pytest.raises(BuildUnfit, match=r"share no machine type of pc-q35-11\.1"):
        newest_common({"a": OLD, "b": NEW}, "pc-q35-11.1")


def test_a_type_without_versions_is_kept_if_all_builds_support_it():
    assert newest_common({"a": OLD, "b": NEW}, "microvm") == "microvm"
    with pytest.raises(BuildUnfit, match="share no machine type of none"):
        newest_common({"a": OLD, "b": NEW}, "none")


def test_options_are_kept():
    assert newest_common({"a": OLD, "b": NEW}, "q35,hpet=off") == "pc-q35-10.0,hpet=off"


def test_without_a_common_type_the_error_lists_those_of_each_build():
    with pytest.raises(BuildUnfit) as caught:
        newest_common({"old": OLD, "new": ("pc-i440fx-11.1",)}, "pc")
    assert "old has pc-i440fx-10.0; new has pc-i440fx-11.1" in str(caught.value)
    with pytest.raises(BuildUnfit, match="old has none"):
        newest_common({"old": ("q35",)}, "q35")


def test_an_alias_alone_is_never_chosen():
    with pytest.raises(BuildUnfit):
        newest_common({"old": ("q35",), "new": ("q35",)}, "q35")


def test_vendor_types_are_chosen_only_without_upstream_types():
    vendor = ("pc-q35-rhel9.2.0", "pc-q35-rhel9.10.0")
    assert newest_common({"a": vendor}, "q35") == "pc-q35-rhel9.10.0"
    assert newest_common({"a": (*vendor, "pc-q35-8.0")}, "q35") == "pc-q35-8.0"


@given(st.lists(st.sets(st.tuples(st.integers(1, 30), st.integers(0, 12)), min_size=1), min_size=1))
def test_the_common_type_is_the_maximum_of_the_intersection(versions):
    known = {
        str(number): tuple(f"pc-q35-{major}.{minor}" for major, minor in each)
        for number, each in enumerate(versions)
    }
    shared = set.intersection(*versions)
    if not shared:
        with pytest.raises(BuildUnfit):
            newest_common(known, "q35")
        return
    major, minor = max(shared)
    assert newest_common(known, "q35") == f"pc-q35-{major}.{minor}"


@pytest.mark.qemu
def test_the_system_qemu_starts_with_the_chosen_type():
    build = default_build()
    machine = common_machine([build, build])
    assert machine.startswith("pc-q35-")
    argv = [*build.launcher, "-machine", f"{machine},accel=tcg", "-S", "-nodefaults"]
    done = subprocess.run(
        [*argv, "-display", "none", "-monitor", "stdio"],
        input="quit\n",
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert done.returncode == 0, done.stderr
