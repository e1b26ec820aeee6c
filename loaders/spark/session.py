"""A Spark session on any master, and what is said when Spark can't be had."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from loaders.errors import DaybookError
from loaders.sources import PROJECT

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

JAVA_FROM = 17
SETTINGS = {
    "spark.ui.enabled": "false",
    "spark.sql.session.timeZone": "UTC",
    "spark.sql.execution.arrow.maxRecordsPerBatch": "1000",
    # landed and rejected rows, and what is said of them, side by side, without sorting them first
    "spark.sql.maxConcurrentOutputFileWriters": "4",
    # a task that dies with its worker is run elsewhere, the same one by design
    "spark.task.maxFailures": "8",
}


def check_installed() -> None:
    """DaybookError that says which command installs what is missing."""
    from importlib.util import find_spec

    if find_spec("pyspark") is None:
        raise DaybookError("PySpark is not installed: make setup SPARK=1")
    java = _java()
    found = _java_version(java) if java else 0
    if found < JAVA_FROM:
        what = f"Java {found} is too old" if found else "Java is not installed"
        raise DaybookError(
            f"{what}; Spark needs Java {JAVA_FROM} or newer: "
            "apt-get install openjdk-17-jre-headless (or set JAVA_HOME)."
        )


def _java() -> str | None:
    home = os.environ.get("JAVA_HOME")
    return shutil.which(str(Path(home) / "bin" / "java")) if home else shutil.which("java")


def _java_version(java: str) -> int:
    shown = subprocess.run([java, "-version"], capture_output=True, text=True, check=False)
    number = shown.stderr.partition('"')[2].partition('"')[0].split(".")[0].split("-")[0]
    return int(number) if number.isdigit() else 0


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
def session(name: str) -> Iterator[SparkSession]:
    """A session on SPARK_MASTER (else spark-submit's, else local[*]), its executors with this
    code; then stopped."""
    check_installed()
    import warnings

    from py4j.protocol import Py4JError
    from pyspark import SparkConf, SparkContext
    from pyspark.errors import PySparkException
    from pyspark.sql import SparkSession

    # said of pandas at each call; only Arrow is used here
    warnings.filterwarnings("ignore", "PySpark does not yet fully support pandas")

    # the executors' Python must be able to read what this one pickles
    os.environ.setdefault("PYSPARK_PYTHON", sys.executable)
    master = os.environ.get("SPARK_MASTER") or ""
    with tempfile.TemporaryDirectory(prefix="daybook-spark-") as folder:
        try:
            # The JVM knows what spark-submit said. One that is started here must know the master:
            # on YARN and Kubernetes it hangs on that what it hands to the executors.
            asked = SparkConf(loadDefaults=False)
            SparkContext._ensure_initialized(conf=asked.setMaster(master) if master else None)
            settings = to_set(dict(SparkConf().getAll()))
            master = settings["spark.master"]
            builder = SparkSession.builder.appName(name)
            for key, value in settings.items():
                builder = builder.config(key, value)
            spark = builder.getOrCreate()
        except Exception as error:
            raise DaybookError(
                f"Spark did not start on {master or 'here'}: {_first_line(error)}"
            ) from error
        searched = list(sys.path)
        try:
            spark.sparkContext.setLogLevel("ERROR")
            spark.sparkContext.addPyFile(str(_code(Path(folder))))
            yield spark
        except (PySparkException, Py4JError) as error:
            raise DaybookError(f"Spark failed on {master}: {_first_line(error)}") from error
        finally:
            spark.stop()
            # addPyFile has this process look for modules in the zip as well, which goes now
            for place in set(sys.path) - set(searched):
                sys.path.remove(place)
                sys.path_importer_cache.pop(place, None)


def _code(folder: Path) -> Path:
    """The loaders as a zip, for executors on machines that don't have the project."""
    place = folder / "daybook-loaders.zip"
    with zipfile.ZipFile(place, "w") as packed:
        for path in sorted((PROJECT / "loaders").rglob("*.py")):
            packed.write(path, path.relative_to(PROJECT))
    return place


def _first_line(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
