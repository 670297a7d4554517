"""What the kernel refuses is reported as what it is, with the status of its kind."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from bench.cli import main


@pytest.mark.parametrize(
    ("error", "status", "said"),
    [
        (OSError(errno.ENAMETOOLONG, "File name too long", "x" * 300), 2, "File name too long"),
        (OSError(errno.EACCES, "Permission denied", b"/x\xff"), 2, r"/x\udcff: Permission denied"),
        (OSError(errno.ENOSPC, "No space left on device", "/a"), 3, "/a cannot be written"),
        (OSError(errno.EDQUOT, "Disk quota exceeded"), 3, "a file cannot be written: Disk quota"),
        (OSError(errno.EFBIG, "File too large"), 3, "File too large"),
        (OSError(errno.EAGAIN, "Resource temporarily unavailable"), 4, "raise the limit"),
        (OSError("libLLVM-14.so.1: failed to map segment from shared object"), 4, "libLLVM"),
        (ImportError("libsqlite3.so.0: failed to map segment from shared object"), 4, "memory"),
        (MemoryError(), 4, "out of memory"),
        (RuntimeError("can't start new thread"), 4, "no further thread"),
        (ImportError("No module named 'numpy'"), 70, "internal error: ImportError"),
        (BrokenPipeError(errno.EPIPE, "Broken pipe"), 4, "Broken pipe"),
    ],
)
def test_each_kind_has_its_words_and_status(error, status, said, monkeypatch, capsys):
    def run(args: object) -> int:
        raise error

    monkeypatch.setattr("bench.handlers.list.run", run)
    monkeypatch.delenv("PAUSEBENCH_DEBUG", raising=False)
    assert main(["list"]) == status
    err = capsys.readouterr().err
    assert said in err
    assert err.count("\n") == 1


def test_a_report_for_a_full_disk(tmp_path: Path, capsys, monkeypatch):
    """Status 3: the report was asked for rightly."""
    from results.files import write_atomically

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(
        "bench.handlers.list.run", lambda args: write_atomically(tmp_path / "report.html", full)
    )
    assert main(["list"]) == 3
    assert capsys.readouterr().err == (
        f"pausebench: cannot write {tmp_path}/report.html: No space left on device\n"
    )
    assert list(tmp_path.iterdir()) == []
