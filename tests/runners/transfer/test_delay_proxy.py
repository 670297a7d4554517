"""The delay proxy: every byte is forwarded, the last one late."""

from __future__ import annotations

import secrets
import socket
import threading
import time

import pytest

from results.errors import TransferRefused
from runners.transfer.delay_proxy import DelayProxy

HOLD_NS = 30_000_000


class Reader(threading.Thread):
    """Stands in for new QEMU: reads to the end and records when the last piece arrived."""

    def __init__(self, path):
        super().__init__(daemon=True)
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(str(path))
        self.listener.listen(1)
        self.data, self.last_ns = b"", 0

    def run(self):
        with self.listener, self.listener.accept()[0] as peer:
            while piece := peer.recv(1 << 16):
                self.data += piece
                self.last_ns = time.monotonic_ns()


@pytest.fixture
def paths(tmp_path):
    return tmp_path / "front", tmp_path / "back"


@pytest.mark.parametrize("size", [1, 2, 1_000_000])
def test_forwards_every_byte_and_delays_the_last(paths, size):
    front, back = paths
    reader = Reader(back)
    reader.start()
    sent = secrets.token_bytes(size)
    with DelayProxy(front, back, HOLD_NS) as channel:
        with socket.socket(socket.AF_UNIX) as old:
            old.connect(str(front))
            for start in range(0, size, 70_000):
                old.sendall(sent[start : start + 70_000])
            with pytest.raises(TransferRefused, match="was not delayed"):
                channel.delay()
        closed = time.monotonic_ns()
        reader.join(10)
        held = channel.delay()
    assert reader.data == sent
    assert held.length_ns >= HOLD_NS
    assert held.end_ns <= reader.last_ns
    assert reader.last_ns >= closed + HOLD_NS - 1_000_000
    assert not front.exists()


def test_closes_without_a_connection(paths):
    start = time.monotonic()
    with DelayProxy(*paths, HOLD_NS) as channel:
        pass
    assert time.monotonic() - start < 10  # less than the timeout for a silent peer
    with pytest.raises(TransferRefused):
        channel.delay()
    assert not paths[0].exists()


def test_reports_that_new_qemu_did_not_listen(paths):
    front, back = paths
    with DelayProxy(front, back, 0) as channel:
        with socket.socket(socket.AF_UNIX) as old:
            old.connect(str(front))
            assert old.recv(1) == b""  # closed by the proxy
        channel._thread.join(10)
        with pytest.raises(TransferRefused, match="No such file"):
            channel.delay()
