"""A file is complete or as it was, whatever fails while it is written."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from unittest.mock import patch

import pytest

from results import files
from results.errors import UsageError, WriteFailed
from results.files import make_directory, write_atomically
from results.store.store import open_store


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
    [(OSError(28, os.strerror(28)), WriteFailed), (KeyboardInterrupt(), KeyboardInterrupt)],
)
def test_an_interrupted_write_leaves_the_old_file(tmp_path, error, raised):
    path = tmp_path / "report"
    path.write_text("old")

    def breaks(file):
        file.write(b"half")
        raise error

    with pytest.raises(raised) as caught:
        write_atomically(path, breaks)
    if raised is WriteFailed:
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
    (tmp_path / "to-file").symlink_to(path)
    with pytest.raises(UsageError, match="it is not a directory"):
        make_directory(tmp_path / "to-file")


def test_a_pipe_is_written_to(tmp_path):
    path = tmp_path / "pipe"
    os.mkfifo(path)
    with ThreadPoolExecutor(1) as reader:
        content = reader.submit(path.read_bytes)
        write_atomically(path, b"report")
        assert content.result(10) == b"report"
    assert path.is_fifo()


@pytest.fixture
def null(tmp_path):
    """A device like /dev/null: root could replace that by a regular file."""
    if os.geteuid() != 0:
        pytest.skip("only root makes device nodes")
    path = tmp_path / "null"
    os.mknod(path, stat.S_IFCHR | 0o600, os.makedev(1, 3))
    try:
        path.write_bytes(b"")
    except OSError:
        pytest.skip("devices cannot be opened here (mounted nodev)")
    return path


@pytest.mark.parametrize("links", [0, 1, 2])
def test_a_device_is_written_to(tmp_path, null, links):
    path = null
    for number in range(links):
        link = tmp_path / f"link{number}"
        link.symlink_to(path.name)
        path = link
    there = sorted(tmp_path.iterdir())
    assert write_atomically(path, b"report") == path
    assert null.is_char_device()
    assert path.is_symlink() == bool(links)
    assert sorted(tmp_path.iterdir()) == there


@pytest.mark.parametrize("pipe", [False, True])
def test_standard_output_by_its_name_is_written_to(tmp_path, pipe):
    (tmp_path / "stdout").symlink_to("/proc/self/fd/1")
    program = (
        "import sys; from pathlib import Path; from results.files import write_atomically\n"
        "print('before', flush=True)\n"
        "write_atomically(Path(sys.argv[1]), b'report\\n')\n"
    )
    argv = [sys.executable, "-c", program, str(tmp_path / "stdout")]
    if pipe:
        written = subprocess.run(argv, check=True, capture_output=True).stdout
    else:
        with (tmp_path / "out").open("wb") as out:
            subprocess.run(argv, check=True, stdout=out)
        written = (tmp_path / "out").read_bytes()
    assert written == b"before\nreport\n"
    assert (tmp_path / "stdout").is_symlink()


def test_a_link_keeps_its_target(tmp_path):
    (tmp_path / "reports").mkdir()
    link = tmp_path / "latest"
    link.symlink_to("reports/today")
    for content in (b"first", b"second"):
        assert write_atomically(link, content) == link
        assert (tmp_path / "reports" / "today").read_bytes() == content
    assert link.is_symlink()
    assert [path.name for path in (tmp_path / "reports").iterdir()] == ["today"]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root makes links of other users")
def test_a_link_of_another_user_is_not_followed(tmp_path):
    victim, link = tmp_path / "victim", tmp_path / "report"
    victim.write_bytes(b"precious")
    link.symlink_to(victim)
    os.chown(link, 65534, 65534, follow_symlinks=False)
    write_atomically(link, b"report")
    assert victim.read_bytes() == b"precious"
    assert link.read_bytes() == b"report"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root makes links of other users")
@pytest.mark.parametrize("between", [False, True])
def test_a_pipe_is_not_written_to_by_a_link_of_another_user(tmp_path, between):
    """It could be a disk."""
    pipe, link = tmp_path / "pipe", tmp_path / "report"
    os.mkfifo(pipe)  # writing to it would block
    link.symlink_to(pipe)
    os.chown(link, 65534, 65534, follow_symlinks=False)
    path = link
    if between:
        path = tmp_path / "mine"
        path.symlink_to(link)
    write_atomically(path, b"report")
    assert link.is_symlink() is False
    assert link.read_bytes() == b"report"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root makes links of other users")
def test_a_link_of_the_user_of_sudo_is_followed(tmp_path, monkeypatch):
    link = tmp_path / "latest"
    link.symlink_to("today")
    os.chown(link, 65534, 65534, follow_symlinks=False)
    monkeypatch.setenv("SUDO_UID", "65534")
    write_atomically(link, b"report")
    assert link.is_symlink()
    assert (tmp_path / "today").read_bytes() == b"report"


def test_links_in_a_circle_are_one_line(tmp_path):
    (tmp_path / "one").symlink_to("other")
    (tmp_path / "other").symlink_to("one")
    with pytest.raises(UsageError, match=r"cannot write .*/one: Too many levels of symbolic links"):
        write_atomically(tmp_path / "one", b"report")
    assert all(path.is_symlink() for path in tmp_path.iterdir())


@pytest.mark.parametrize("path", [".", "..", "/"])
def test_a_path_without_a_name_is_not_replaced(tmp_path, monkeypatch, path):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match="cannot write"):
        write_atomically(Path(path), b"report")
    assert list(tmp_path.iterdir()) == []


def test_a_directory_is_not_replaced(tmp_path):
    with pytest.raises(UsageError, match=f"cannot write {tmp_path}: Is a directory"):
        write_atomically(tmp_path, b"report")


@pytest.fixture
def links(tmp_path):
    """A directory, and a link to it of each user: root, ours, another's."""
    if os.geteuid() != 0:
        pytest.skip("only root can make a link of another user")
    (tmp_path / "real").mkdir()
    made = {}
    for name, uid in (("ours", os.geteuid()), ("another", 12345)):
        link = tmp_path / name
        link.symlink_to("real")
        os.chown(link, uid, uid, follow_symlinks=False)
        made[name] = link
    return made


@pytest.mark.parametrize("inner", ["", "a", "a/b"])
def test_no_path_leads_through_a_link_of_another_user(links, inner):
    for name, link in links.items():
        directory = link / inner
        for write in (
            lambda d: write_atomically(d / "file", "x", parents=True),
            lambda d: make_directory(d / "made"),
            lambda d: open_store(d / "store"),
        ):
            if name == "ours":
                write(directory)
            else:
                with pytest.raises(UsageError, match="belongs to user 12345: it is not followed"):
                    write(directory)
    (links["another"]).unlink()


def test_a_link_inside_a_store_is_not_followed(links, tmp_path):
    store = tmp_path / "store"
    store.mkdir()
    links["another"].rename(store / "raw")
    with pytest.raises(UsageError, match="it is not followed"):
        open_store(store)
    assert list((tmp_path / "real").iterdir()) == []


def test_the_links_of_the_user_who_called_sudo_are_followed(links, monkeypatch):
    monkeypatch.setenv("SUDO_UID", "12345")
    write_atomically(links["another"] / "file", "x")
    monkeypatch.setenv("SUDO_UID", "nobody")
    with pytest.raises(UsageError):
        write_atomically(links["another"] / "file", "y")
