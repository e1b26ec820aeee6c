"""A proxy before the test's PostgreSQL that fails in the middle of a message."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Iterable
from pathlib import Path

from loaders import server


class Proxy:
    """Lets so many bytes through, to and fro, fails for some seconds, and is there again.

    `how`: "cut" ends all connections, and takes no new one meanwhile; "half-open" does that to the
    clients, while the server sees none end before the seconds are over; "still" ends nothing, and
    passes nothing on meanwhile.
    """

    def __init__(self, home: Path, how: str, after_bytes: float, seconds: float) -> None:
        self._server = f"{server.address(home)['host']}/.s.PGSQL.5432"
        self._how, self._left, self._seconds = how, after_bytes, seconds
        self._is_down, self._moves = False, threading.Event()
        self._moves.set()
        self._open: list[tuple[socket.socket, socket.socket]] = []
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.url = f"postgresql://daybook@127.0.0.1:{self._listening.getsockname()[1]}/daybook"
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):  # closed
            while True:
                client, _ = self._listening.accept()
                ends = (client, socket.socket(socket.AF_UNIX))
                if self._is_down or ends[1].connect_ex(self._server):
                    _hang_up(ends)
                    continue
                self._open.append(ends)
                for source, sink in (ends, ends[::-1]):
                    threading.Thread(target=self._pump, args=(source, sink), daemon=True).start()

    def _pump(self, source: socket.socket, sink: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                self._left -= len(data)
                if self._left < 0:
                    sent = max(0, int(self._left + len(data)))
                    sink.sendall(data[:sent])
                    data = data[sent:]
                    self._fail()
                self._moves.wait()
                sink.sendall(data)
        if not (self._is_down and self._how == "half-open"):
            _hang_up((source, sink))

    def _fail(self) -> None:
        self._left = float("inf")
        if self._how == "still":
            self._moves.clear()
        else:
            self._is_down = True
            for client, to_server in self._open:
                _hang_up((client,) if self._how == "half-open" else (client, to_server))
        time.sleep(self._seconds)
        if self._how == "half-open":
            for ends in self._open:
                _hang_up(ends)
        self._is_down = False
        self._moves.set()


def _hang_up(ends: Iterable[socket.socket]) -> None:
    for each in ends:
        with contextlib.suppress(OSError):
            each.shutdown(socket.SHUT_RDWR)
        each.close()
