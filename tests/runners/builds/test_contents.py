"""The hash that tells builds apart: every file that runs has a say."""

from __future__ import annotations

import pytest

from runners.builds.contents import contents_hash


@pytest.fixture
def tree(tmp_path):
    """A binary with libraries and firmware of its own."""
    for name, text in (
        ("usr/bin/qemu", "binary"),
        ("usr/lib/libc.so.6", "libc"),
        ("usr/lib/qemu/accel.so", "module"),
        ("usr/share/bios.bin", "firmware"),
    ):
        (tmp_path / "tree" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "tree" / name).write_text(text)
    (tmp_path / "tree/usr/lib/libc.so").symlink_to("libc.so.6")
    return tmp_path / "tree"


def identity(tree):
    usr = tree / "usr"
    places = [usr / "lib", usr / "lib/qemu", usr / "share"]
    return contents_hash(usr / "bin/qemu", places)


@pytest.mark.parametrize(
    "name", ["bin/qemu", "lib/libc.so.6", "lib/qemu/accel.so", "share/bios.bin", "share/new.bin"]
)
def test_every_file_of_a_tree_makes_it_another_build(tree, name):
    before = identity(tree)
    (tree / "usr" / name).write_text("other")
    assert identity(tree) != before


def test_a_link_to_another_library_makes_it_another_build(tree):
    before = identity(tree)
    (tree / "usr/lib/libc.so").unlink()
    (tree / "usr/lib/libc.so").symlink_to("libm.so.6")
    assert identity(tree) != before


def test_a_tree_that_was_moved_is_the_same_build(tree):
    before = identity(tree)
    moved = tree.rename(tree.with_name("moved"))
    assert identity(moved) == before
    link = moved / "lib"
    link.symlink_to("usr/lib")  # as in a merged /usr: the same directory by another name
    places = [moved / "usr/lib", link, moved / "usr/share"]
    assert contents_hash(moved / "usr/bin/qemu", places) == before
