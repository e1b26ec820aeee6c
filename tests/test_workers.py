"""Several workers land the same rows as one, and one that dies changes nothing."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest

from loaders import landing, ledger, slices, workers
from loaders.days import parse_day
from loaders.errors import DaybookError, DriverError
from loaders.partition import drop_leaves
from loaders.retention import sweep_orphans
from loaders.sources import declared_tables
from tests.hard_day import LINES, PLAIN_LINE, WHOLE, csv, generated, one_each, records
from tests.raw_days import HEADER, TENS, batches, land_one, rejects, rows, write
from tests.watching import (
    ROW,
    column,
    dies,
    documented,
    fails,
    run_python,
    sleeps,
    tuples,
    until,
    value,
)

pytestmark = pytest.mark.usefixtures("warehouse")
Hired = Callable[[int], AbstractContextManager[list[workers.Worker]]]
QUOTED = "transaction_id,user_name\n" + "".join(f't{n},"a, ""{n}"""\n' for n in range(2000))


@pytest.fixture(autouse=True)
def _small(monkeypatch) -> None:
    monkeypatch.setattr(slices, "SLICE", 3_000)
    monkeypatch.setattr(slices, "WORTH", 2_000)


def landed_by(db: psycopg.Connection, root: Path, many: int, **options: Any) -> Any:
    """What the warehouse holds of a landing by so many workers, but for its times and ids."""
    db.execute("truncate bronze.load_batches, bronze.load_rejects cascade")
    error = ""
    try:
        land_one(root, workers=many, force=True, **options)
    except DaybookError as failure:
        error = str(failure)
    volatile = ("_batch_id", "_loaded_at")
    landed = [{k: v for k, v in row.items() if k not in volatile} for row in rows(db)]
    (batch,) = batches(db)
    columns = ("status", "rows_in_files", "rows_landed", "rows_rejected", "drift", "source_files")
    noted = {name: batch[name] for name in (*columns, "fingerprint")}
    own = "relname ~ '_p[0-9]{8}_[0-9]+' and not relispartition"
    leaves = column(db, f"select relname from pg_class where {own}")
    return landed, rejects(db), noted, error, leaves


FOLDER = {
    **{f"transactions/{n:03}.json": {"results": [{"id": f"p{n}"}, {"id": n}]} for n in range(300)},
    "transactions/a.csv": csv(900, quotes=False),
    "transactions/b.jsonl": "\n".join(records(400)),
    "transactions/c.csv.gz": csv(300),
}
DAYS: dict[str, dict[str, Any]] = {
    "a folder of all kinds": FOLDER,
    "quotes": {"transactions.csv": QUOTED},
    "line ends in fields": {"transactions.csv": QUOTED + 't,"a\nb"\n' * 100},
    "what COPY refuses": {
        "transactions.csv": "transaction_id,user_name\n" + "t,x\n" * 3000 + "t\n" + "t,x\n" * 3000
    },
    "hard lines": {
        "transactions.jsonl": b"\n".join([*one_each(generated(600)), *[PLAIN_LINE] * 6000])
    },
    "too many rejects": {"transactions.jsonl": '{"id": 1}\n{"id": \n' * 900},
    "no key": {"transactions.jsonl": '{"name": "B"}\n' * 900},
    "a key in one slice alone": {"transactions.jsonl": '{"name": "B"}\n' * 900 + '{"id": 1}\n'},
    "cut": {"transactions.jsonl": "\n".join(records(200)) + '\n{"id": "r", "na'},
    "a page that is none": {**FOLDER, "transactions/9.json": {"message": "slow down"}},
    "nobody's fields": {"transactions.csv": csv(900, quotes=False), "roles.json": []},
    **{f"lines: {n}": {f"transactions{n[n.index('.') :]}": LINES[n]} for n in LINES},
    **{f"whole: {n}": {f"transactions{n[n.index('.') :]}": WHOLE[n]} for n in WHOLE},
}


@pytest.fixture(scope="module")
def staying() -> Iterator[Hired]:
    """Workers who stay for the next test's day, as starting them is most of it; but not after an
    error, when one may be in the middle of its share."""
    hire = workers.started_workers
    with ExitStack() as stack:
        at_work: dict[int, list[workers.Worker]] = {}

        @contextmanager
        def started_workers(many: int) -> Iterator[list[workers.Worker]]:
            if many not in at_work:
                at_work[many] = stack.enter_context(hire(many))
            try:
                yield at_work[many]
            except BaseException:
                at_work.clear()
                stack.close()
                raise

        yield started_workers


@pytest.mark.parametrize("day", DAYS)
def test_several_workers_land_what_one_does(tmp_path, db, monkeypatch, staying, day):
    monkeypatch.setattr(workers, "started_workers", staying)
    for path, content in DAYS[day].items():
        write(tmp_path / "day1", path, content)
    assert landed_by(db, tmp_path, 3) == landed_by(db, tmp_path, 1)


@pytest.mark.parametrize("day", ["quotes", "a folder of all kinds"])
@pytest.mark.parametrize("many", [1, 3])
def test_what_workers_have_read_is_attached_without_a_scan(tmp_path, db, day, many):
    """And no check constraint stays on it, which each later row would have to pass."""
    for path, content in DAYS[day].items():
        write(tmp_path / "day1", path, content)
    land_one(tmp_path, workers=many)
    scans_and_checks = (
        "select pg_stat_get_numscans(relid), (select count(*) from pg_constraint"
        " where conrelid = relid and contype = 'c')"
        " from pg_partition_tree('bronze.stg_transactions') where isleaf"
    )
    assert tuples(db, scans_and_checks) == [(0, 0)] * many


def test_a_big_file_is_shared_and_its_parts_are_one_day(tmp_path, db, monkeypatch):
    write(tmp_path, "day1/transactions.csv", QUOTED)
    assert land_one(tmp_path, workers=3).rows_landed == 2000
    leaves = "select count(*) from pg_partition_tree('bronze.stg_transactions') where isleaf"
    assert value(db, leaves) == 3
    assert len({row["_loaded_at"] for row in rows(db)}) == 3, "each share is loaded at its own time"
    assert land_one(tmp_path, workers=3).status == "unchanged"
    [landed] = [row for row in batches(db) if row["rows_landed"]]
    table, key = declared_tables()["stg_transactions"], (landed["batch_id"], landed["started_at"])
    batch = ledger.Batch(table, parse_day("day1"), "", *key)
    drop_leaves(db, batch)  # where the answer to its commit was lost
    assert value(db, leaves) == 3
    monkeypatch.setattr(slices, "WORTH", 1 << 20)  # not worth a process
    assert land_one(tmp_path, workers=3, force=True).rows_landed == 2000
    assert value(db, leaves) == 1


@pytest.fixture
def pids(monkeypatch) -> list[int]:
    """Of the workers that a landing starts."""
    started: list[int] = []
    start = workers.subprocess.Popen

    def noted(*arguments: Any, **options: Any) -> Any:
        process = start(*arguments, **options)
        started.append(process.pid)
        return process

    monkeypatch.setattr(workers.subprocess, "Popen", noted)
    return started


def test_a_worker_at_work_ends_with_its_parent():
    with workers.Worker("") as worker:
        worker._end.send((sleeps,))
        worker._end.close()
        assert until(lambda: worker._process.poll() is not None)


def test_a_worker_has_its_module_and_the_docstrings_that_libraries_read(monkeypatch):
    monkeypatch.setenv("PYTHONSAFEPATH", "1")
    monkeypatch.setenv("PYTHONOPTIMIZE", "2")
    with workers.Worker("") as worker:
        assert worker.ask((documented,))


def test_a_worker_that_dies_within_its_answer_is_told_of_as_one():
    with (
        workers.Worker("run it again.") as worker,
        pytest.raises(DaybookError, match=r"ended early .*: run it again\."),
    ):
        worker.ask((dies,))


def test_an_error_comes_whole_or_is_known_by_its_name():
    with workers.Worker("") as worker:
        with pytest.raises(DriverError) as raised:
            worker.ask((fails, True))
        assert (raised.value.args, raised.value.sqlstate) == ((ROW,), "57P01")
        assert "in fails" in raised.value.__notes__[0] and ROW not in raised.value.__notes__[0]
        with pytest.raises(DaybookError, match=r"^OddError in a process of the run$"):
            worker.ask((fails, False))


def test_a_worker_that_is_killed_leaves_what_stood(tmp_path, db, monkeypatch, pids):
    write(tmp_path, "day1/transactions.csv", HEADER + TENS)
    land_one(tmp_path)
    write(tmp_path, "day1/transactions.csv", QUOTED)
    ask = workers.Worker.ask

    def killed(worker: workers.Worker, order: Any, *more: Any) -> Any:
        if order[0] is workers._land and order[1] == 2:
            os.kill(pids[1], signal.SIGKILL)
        return ask(worker, order, *more)

    monkeypatch.setattr(workers.Worker, "ask", killed)
    with pytest.raises(DaybookError, match="A process of the run ended early"):
        land_one(tmp_path, workers=3)
    assert len(rows(db)) == 10
    assert [batch["status"] for batch in batches(db)] == ["succeeded", "failed"]
    assert sweep_orphans(flow_run_id="x") == []  # the first had committed, and was dropped


def test_what_a_killed_run_leaves_is_swept(tmp_path, db, monkeypatch):
    write(tmp_path, "day1/transactions.csv", QUOTED)

    def die(*_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(landing.NewPartition, "assemble", die)
    monkeypatch.setattr(landing, "_record_failure", die)
    with pytest.raises(KeyboardInterrupt):
        land_one(tmp_path, workers=2)
    assert rows(db) == []
    batch = batches(db)[0]["batch_id"]
    assert sweep_orphans(flow_run_id="x") == []  # it may be at work still
    landing.reap_running()
    assert sweep_orphans(flow_run_id="x") == [f"bronze.stg_transactions_p19700102_{batch}_1"]


def test_workers_end_with_their_parent(tmp_path, db):
    """Killed while it checks what they have read: nothing is seen, and the sweep finds the rest."""
    write(tmp_path, "day1/transactions.csv", QUOTED)
    code = (
        "import os, signal, sys; from loaders import landing, slices;"
        "from loaders.days import parse_day; slices.SLICE, slices.WORTH = 3000, 8000;"
        "landing.Reading.check = lambda reading: os.kill(os.getpid(), signal.SIGKILL);"
        "landing.land_day(sys.argv[1], parse_day('day1'), tables=['stg_transactions'], workers=2)"
    )
    done = run_python("-c", code, tmp_path)
    assert done.returncode == -signal.SIGKILL
    sessions = "select pid from pg_stat_activity where application_name like 'daybook land%'"
    until(lambda: not column(db, sessions))
    assert rows(db) == []
    landing.reap_running()
    assert len(sweep_orphans(flow_run_id="x")) == 1
    assert db.execute("select from pg_class where relname ~ '_p19700102'").fetchall() == []
