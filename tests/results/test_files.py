"""A file is whole or as it was, whatever breaks while it is written."""

from __future__ import annotations

import os
from unittest.mock import patch

import pytest

from results import files
from results.errors import UsageError
from results.files import make_directory, write_whole


@pytest.mark.parametrize(
    ("content", "written"),
    [
        (b"\x00\xff", b"\x00\xff"),
        ("µ \udc80", "µ ?".encode()),
        (lambda file: file.write(b"new"), b"new"),
        (b"", b""),
    ],
    ids=["bytes", "text", "callable", "nothing"],
)
@pytest.mark.parametrize("synced", [False, True])
def test_what_is_written_takes_the_place_of_what_was(tmp_path, content, written, synced):
    path = tmp_path / "file"
    path.write_bytes(b"old and longer")
    assert write_whole(path, content, synced=synced) == path
    assert path.read_bytes() == written
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    ("error", "raised"),
    [(OSError(28, os.strerror(28)), UsageError), (KeyboardInterrupt(), KeyboardInterrupt)],
)
def test_a_write_that_breaks_off_leaves_the_old_file_alone(tmp_path, error, raised):
    path = tmp_path / "report"
    path.write_text("old")

    def breaks(file):
        file.write(b"half")
        raise error

    with pytest.raises(raised) as caught:
        write_whole(path, breaks)
    if raised is UsageError:
        assert str(caught.value) == f"cannot write {path}: No space left on device"
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_it_is_on_disk_before_it_has_its_name(tmp_path):
    path, named = tmp_path / "file", []
    with patch.object(files.os, "fsync", lambda _: named.append(path.exists())):
        write_whole(path, b"a")
        assert named == []
        path.unlink()
        write_whole(path, b"a", synced=True)
    assert named == [False]


def test_directories_are_made_where_they_may_be(tmp_path):
    path = tmp_path / "a" / "b" / "file"
    with pytest.raises(UsageError, match="cannot write"):
        write_whole(path, b"")
    assert write_whole(path, b"", parents=True).exists()
    deep = tmp_path / "c" / "d"
    with pytest.raises(UsageError, match=f"cannot make {deep}: No such file"):
        make_directory(deep, parents=False)
    assert make_directory(deep).is_dir()
    assert make_directory(deep) == deep
    with pytest.raises(UsageError, match="File exists"):
        make_directory(path)
