"""A network before the test's PostgreSQL that goes down in the middle of a message."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Iterable
from pathlib import Path

from loaders import server


class Proxy:
    """Lets so many bytes through, to and fro, is down for some seconds, and then there again."""

    def __init__(self, home: Path, after_bytes: float, seconds_down: float) -> None:
        self._server = f"{server.address(home)['host']}/.s.PGSQL.5432"
        self._left, self._seconds = after_bytes, seconds_down
        self._is_down = False
        self._open: list[socket.socket] = []
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
                self._open += ends
                if self._is_down or ends[1].connect_ex(self._server):
                    self._hang_up(ends)
                    continue
                for pair in (ends, ends[::-1]):
                    threading.Thread(target=self._pump, args=pair, daemon=True).start()

    def _pump(self, source: socket.socket, sink: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                self._left -= len(data)
                if self._left < 0:
                    sink.sendall(data[: int(self._left)])
                    self._go_down()
                    break
                sink.sendall(data)
        self._hang_up((source, sink))

    def _go_down(self) -> None:
        self._left, self._is_down = float("inf"), True
        self._hang_up(self._open)
        time.sleep(self._seconds)
        self._is_down = False

    def _hang_up(self, ends: Iterable[socket.socket]) -> None:
        for each in ends:
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()
