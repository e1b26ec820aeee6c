"""A Spark standalone cluster on this machine: a master and two workers, each a process."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
from collections.abc import Callable
from pathlib import Path

from loaders import process

WAIT = 240.0


class Cluster:
    """The processes of a cluster; each is the leader of a group that its executors are in."""

    def __init__(self, folder: Path, memory: str) -> None:
        """The workers have one core each, and `memory` (as 600m) for executors."""
        self.folder = folder
        self.processes: list[subprocess.Popen[bytes]] = []
        try:
            self._start_all(memory)
        except BaseException:
            self.stop()
            raise

    def _start_all(self, memory: str) -> None:
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        self.master = f"spark://127.0.0.1:{port}"
        self.log = self.folder / "master.log"
        arguments = ["--host", "127.0.0.1", "--port", str(port), "--webui-port", "0"]
        self.processes.append(self._start("master.Master", self.log, arguments))
        until(lambda: "I have been elected leader" in self.log.read_text())
        for number in (1, 2):
            work = ["--cores", "1", "--memory", memory, "--webui-port", "0"]
            work += ["--host", "127.0.0.1", "-d", str(self.folder / f"work{number}"), self.master]
            log = self.folder / f"worker{number}.log"
            self.processes.append(self._start("worker.Worker", log, work))
        until(lambda: self.log.read_text().count("Registering worker") == 2)

    @staticmethod
    def _start(what: str, log: Path, arguments: list[str]) -> subprocess.Popen[bytes]:
        import pyspark

        program = str(Path(pyspark.__file__).parent / "bin" / "spark-class")
        command = [program, f"org.apache.spark.deploy.{what}", *arguments]
        own = {"SPARK_LOCAL_IP": "127.0.0.1", "SPARK_DAEMON_MEMORY": "256m"}
        return process.spawn(command, log, {**os.environ, **own})

    def kill_a_worker(self) -> None:
        """As a machine that is gone: the worker and its executor, without a word."""
        os.killpg(self.processes[1].pid, signal.SIGKILL)
        self.processes[1].wait()

    def stop(self) -> None:
        """End what still runs."""
        for each in self.processes:
            if each.poll() is None:
                os.killpg(each.pid, signal.SIGKILL)
                each.wait()


def until(done: Callable[[], bool]) -> None:
    """Wait; RuntimeError when it is in vain."""
    if not process.until(done, WAIT):
        raise RuntimeError("waited in vain")
