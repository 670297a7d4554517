"""A separate process that timestamps what the guest sends, on CLOCK_MONOTONIC.

Run as a program with two descriptors: a listening unix socket, to which each QEMU connects its
serial port, and a packet socket, or -1. Each byte on standard input requests the last line of each
letter; end of file requests everything received, as a JSON list of [ns, source, text]. Sources are
the numbers of the connections, and "net".
"""

from __future__ import annotations

import json
import os
import select
import socket
import sys
import time

_READ_BYTES = 65536
_LINE_BYTES = 10


class _ArrivalLog:
    def __init__(self, server: socket.socket, packets: socket.socket | None) -> None:
        self.records: list[tuple[int, str, bytes]] = []
        self.last: dict[str, str] = {}
        self._connections: dict[int, tuple[socket.socket, str]] = {}
        self._server, self._packets = server, packets
        self._poll = select.poll()
        for source in (server.fileno(), packets.fileno() if packets else -1, 0):
            if source >= 0:
                self._poll.register(source, select.POLLIN)

    def run(self) -> None:
        while True:
            ready = self._poll.poll()
            now = time.monotonic_ns()
            for number, _ in ready:
                if number == 0:
                    if not os.read(0, 1):
                        return
                    print(json.dumps(self.last), flush=True)
                elif number == self._server.fileno():
                    self._accept()
                elif number in self._connections:
                    self._receive(number, now)
                elif self._packets is not None:
                    self._keep(now, "net", self._packets.recv(_READ_BYTES)[14 : 14 + _LINE_BYTES])

    def _accept(self) -> None:
        connection, _ = self._server.accept()
        self._connections[connection.fileno()] = connection, str(len(self._connections))
        self._poll.register(connection, select.POLLIN)

    def _receive(self, number: int, now: int) -> None:
        connection, source = self._connections[number]
        try:
            data = connection.recv(_READ_BYTES)
        except ConnectionError:
            data = b""
        if data:
            self._keep(now, source, data)
        else:
            self._poll.unregister(connection)

    def _keep(self, now: int, source: str, data: bytes) -> None:
        self.records.append((now, source, data))
        for line in data.decode("ascii", "replace").splitlines():
            self.last[line[:1]] = line[1:]


def main() -> None:
    server = socket.socket(fileno=int(sys.argv[1]))
    packets = socket.socket(fileno=int(sys.argv[2])) if int(sys.argv[2]) >= 0 else None
    log = _ArrivalLog(server, packets)
    log.run()
    found = [(ns, source, data.decode("ascii", "replace")) for ns, source, data in log.records]
    json.dump(found, sys.stdout)


if __name__ == "__main__":
    main()
