"""A Spark session on any master, and what is said when Spark can't be had."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import re
import shutil
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Iterator
from typing import TYPE_CHECKING

from loaders.errors import DaybookError
from loaders.sources import PROJECT

if TYPE_CHECKING:
    from pyspark import SparkContext

JAVA_FROM = 17
SETTINGS = {
    "spark.ui.enabled": "false",
    # a task that dies with its worker is run elsewhere, the same one by design
    "spark.task.maxFailures": "8",
}


def check_installed() -> None:
    """DaybookError that says which command installs what is missing."""
    if importlib.util.find_spec("pyspark") is None:
        raise DaybookError("PySpark is not installed: make setup SPARK=1")
    home = os.environ.get("JAVA_HOME")
    java = shutil.which(f"{home}/bin/java" if home else "java")
    said = subprocess.run([java, "-version"], capture_output=True, text=True).stderr if java else ""
    found = re.search(r'version "(\d+)', said)
    if not found or int(found[1]) < JAVA_FROM:
        what = f"Java {found[1]} is too old" if found else "Java is not installed"
        raise DaybookError(
            f"{what}; Spark needs Java {JAVA_FROM} or newer: "
            "apt-get install openjdk-17-jre-headless (or set JAVA_HOME)."
        )


def to_set(known: dict[str, str]) -> dict[str, str]:
    """The settings of a session, but for those that are `known`: spark-submit's, spark-defaults.

    SPARK_MASTER comes first, as PySpark by itself says local[*] where nobody else has.
    """
    master = os.environ.get("SPARK_MASTER") or known.get("spark.master") or "local[*]"
    ours = dict(SETTINGS)
    if master.startswith("local"):
        ours |= {"spark.driver.bindAddress": "127.0.0.1", "spark.driver.host": "127.0.0.1"}
    # PySpark shows bars where nobody says otherwise, and a bar is no output of a command
    always = {"spark.master": master, "spark.ui.showConsoleProgress": "false"}
    return {name: value for name, value in ours.items() if name not in known} | always


@contextlib.contextmanager
def session(name: str) -> Iterator[SparkContext]:
    """A session on SPARK_MASTER (else spark-submit's, else local[*]), its executors with this
    code; then stopped. DaybookError when Spark doesn't start, or fails."""
    check_installed()
    from py4j.protocol import Py4JError
    from pyspark import SparkConf, SparkContext
    from pyspark.errors import PySparkException

    # said wherever it looks for pandas, which nothing here uses
    warnings.filterwarnings("ignore", "PySpark does not yet fully support pandas")
    # the executors' Python must be able to read what this one pickles
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
    except (PySparkException, Py4JError) as error:
        raise DaybookError(f"Spark failed on {master}: {str(error).splitlines()[0]}") from error
