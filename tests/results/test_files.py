"""A file is complete or as it was, whatever fails while it is written."""

from __future__ import annotations

import os
from unittest.mock import patch

import pytest

from results import files
from results.errors import UsageError
from results.files import make_directory, write_atomically


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
def test_a_file_is_replaced(tmp_path, content, written, synced):
    path = tmp_path / "file"
    path.write_bytes(b"old and longer")
    assert write_atomically(path, content, synced=synced) == path
    assert path.read_bytes() == written
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    ("error", "raised"),
    [(OSError(28, os.strerror(28)), UsageError), (KeyboardInterrupt(), KeyboardInterrupt)],
)
def test_an_interrupted_write_leaves_the_old_file(tmp_path, error, raised):
    path = tmp_path / "report"
    path.write_text("old")

    def breaks(file):
        file.write(b"half")
        raise error

    with pytest.raises(raised) as caught:
        write_atomically(path, breaks)
    if raised is UsageError:
        assert str(caught.value) == f"cannot write {path}: No space left on device"
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_synced_file_is_on_disk_before_it_is_renamed(tmp_path):
    path, named = tmp_path / "file", []
    with patch.object(files.os, "fsync", lambda _: named.append(path.exists())):
        write_atomically(path, b"a")
        assert named == []
        path.unlink()
        write_atomically(path, b"a", synced=True)
    assert named == [False]


def test_directories_are_created_on_request(tmp_path):
    path = tmp_path / "a" / "b" / "file"
    with pytest.raises(UsageError, match="cannot write"):
        write_atomically(path, b"")
    assert write_atomically(path, b"", parents=True).exists()
    deep = tmp_path / "c" / "d"
    with pytest.raises(UsageError, match=f"cannot create {deep}: No such file"):
        make_directory(deep, parents=False)
    assert make_directory(deep).is_dir()
    assert make_directory(deep) == deep
    with pytest.raises(UsageError, match="it is not a directory"):
        make_directory(path)
    (tmp_path / "link").symlink_to("nowhere")
    with pytest.raises(UsageError, match="it is a link to nothing"):
        make_directory(tmp_path / "link")
