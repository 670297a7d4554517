"""The receiver timestamps lines of successive connections and keeps the rest of a torn line."""

from __future__ import annotations

import socket
import time

from runners.linux.guest import LETTERS, Receiver, stream_logs


def test_lines_of_two_connections_become_streams(tmp_path):
    receiver = Receiver(tmp_path / "socket", None)
    try:
        start = time.monotonic_ns()
        for lines in (b"S00000001\nB00000001\nS00000002\nS000", b"00003\n"):
            with socket.socket(socket.AF_UNIX) as qemu:
                qemu.connect(str(receiver.path))
                qemu.sendall(lines)
        deadline = time.monotonic() + 10
        while len(receiver.last()) < 3 and time.monotonic() < deadline:
            time.sleep(0.01)
        records = receiver.finish()
        end = time.monotonic_ns()
    finally:
        receiver.close()
    assert [source for _, source, _ in records] == ["0", "1"]
    assert all(start < ns < end for ns, _, _ in records)
    serial, disk, net = stream_logs(records, LETTERS)
    assert [number for _, number in serial.arrivals] == [1, 2]
    assert serial.torn == 4
    assert [number for _, number in disk.arrivals] == [1]
    assert net.arrivals == ()


def test_a_failed_block_counts_as_wrong():
    text = "B00000001\nW00000002\nE00000003\nN00000001\n"
    serial, disk, net = stream_logs([(5, "0", text)], LETTERS)
    assert (serial.wrong, disk.wrong, net.wrong) == (0, 2, 0)
    assert disk.arrivals == ((5, 1),)
    assert net.arrivals == ((5, 1),)
    assert stream_logs([], {}) == ()
