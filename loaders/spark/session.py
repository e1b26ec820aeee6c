"""A Spark session on any master, and the error when Spark is not installed or fails."""

from __future__ import annotations

import contextlib
import importlib.util
import logging
import os
import re
import shutil
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Iterator
from typing import Any

from loaders.errors import DaybookError
from loaders.sources import PROJECT

JAVA_FROM = 17
SETTINGS = {
    "spark.ui.enabled": "false",
    # a task whose worker dies is run again elsewhere, with the same result
    "spark.task.maxFailures": "8",
}


def check_installed() -> None:
    """DaybookError, with the command to run, unless PySpark and Java are installed."""
    if importlib.util.find_spec("pyspark") is None:
        raise DaybookError("PySpark is not installed: make setup SPARK=1")
    _, version = java()
    if version < JAVA_FROM:
        what = f"Java {version} is too old" if version else "Java is not installed"
        raise DaybookError(
            f"{what}; Spark needs Java {JAVA_FROM} or newer: "
            "apt-get install openjdk-17-jre-headless (or set JAVA_HOME)."
        )


def java() -> tuple[str, int]:
    """The path of the Java that Spark would start, empty for none; its version, 0 if unknown."""
    home = os.environ.get("JAVA_HOME")
    path = shutil.which("java", path=f"{home}/bin" if home else None)
    if not path:
        return "", 0
    shown = subprocess.run([path, "-version"], capture_output=True, text=True, timeout=60).stderr
    number = re.search(r'version "(\d+)', shown)
    return path, int(number[1]) if number else 0


def to_set(known: dict[str, str]) -> dict[str, str]:
    """A session's settings, without those in `known` (from spark-submit or spark-defaults).

    SPARK_MASTER goes before `known`, in which PySpark itself may have put local[*].
    """
    master = os.environ.get("SPARK_MASTER") or known.get("spark.master") or "local[*]"
    ours = dict(SETTINGS)
    if master.startswith("local"):
        ours |= {"spark.driver.bindAddress": "127.0.0.1", "spark.driver.host": "127.0.0.1"}
    # else PySpark draws progress bars into a command's output
    always = {"spark.master": master, "spark.ui.showConsoleProgress": "false"}
    return {name: value for name, value in ours.items() if name not in known} | always


@contextlib.contextmanager
def session(name: str) -> Iterator[Any]:
    """A session on SPARK_MASTER (else spark-submit's, else local[*]), its executors with this
    code; then stopped. DaybookError when Spark doesn't start, or fails."""
    check_installed()
    from py4j.protocol import Py4JError, Py4JNetworkError
    from pyspark import SparkConf, SparkContext
    from pyspark.errors import PySparkException

    # it warns wherever it finds pandas, which nothing here uses with Spark
    warnings.filterwarnings("ignore", "PySpark does not yet fully support pandas")
    # Py4J logs what it also raises, with tracebacks, on a console if there is no handler
    if not logging.root.handlers:
        logging.root.addHandler(logging.NullHandler())
    # the executors need this Python, to read what it pickles
    os.environ.setdefault("PYSPARK_PYTHON", sys.executable)
    master = os.environ.get("SPARK_MASTER") or ""
    searched = list(sys.path)
    try:
        # The JVM knows what spark-submit said. One that is started here must know the master:
        # on YARN and Kubernetes it hangs on that what it hands to the executors.
        asked = SparkConf(loadDefaults=False)
        SparkContext._ensure_initialized(conf=asked.setMaster(master) if master else None)
        conf = SparkConf().setAppName(name)
        settings = to_set(dict(conf.getAll()))
        master = settings["spark.master"]
        spark = SparkContext(conf=conf.setAll(settings.items()))
        try:
            spark.setLogLevel("WARN")
            with tempfile.TemporaryDirectory(prefix="daybook-spark-") as folder:
                # the loaders as a zip, for executors on machines that don't have the project
                spark.addPyFile(shutil.make_archive(f"{folder}/daybook", "zip", PROJECT, "loaders"))
                yield spark
        finally:
            spark.stop()
            sys.path[:] = searched  # addPyFile has this process look into the zip as well
    except BrokenPipeError:  # of our own output
        raise
    except (PySparkException, Py4JError, ConnectionError) as error:
        is_gone = isinstance(error, (Py4JNetworkError, ConnectionError))
        # Py4J's first line names what it called, and the second begins with a colon
        said = re.sub(r"\A.*\n: ", "", str(error)).splitlines()
        why = "its Java process ended" if is_gone else said[0]
        raise DaybookError(f"Spark failed on {master}: {why}") from error
