"""Places where work runs: all do the same, whatever dies meanwhile."""

import os
import signal
import subprocess
import sys
import types
from collections.abc import Iterator
from pathlib import Path

import executor_tasks
import pytest
from dask_cluster import DaskProcesses
from messages import naming
from processes import running, wait_until

from diversity_by_design.errors import InputError
from diversity_by_design.running.executors import (
    DaskCluster,
    LocalProcesses,
    ThisProcess,
    dask_cluster,
    executor,
    local,
)

TESTS = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def cluster(tmp_path_factory) -> Iterator[DaskProcesses]:
    with DaskProcesses(tmp_path_factory.mktemp("cluster")) as processes:
        processes.add_worker()
        processes.add_worker()
        yield processes


@pytest.fixture(params=["this process", "processes", "cluster"])
def options(request) -> dict:
    if request.param == "cluster":
        return {"scheduler": request.getfixturevalue("cluster").address}
    return {"workers": 1 if request.param == "this process" else 2}


def test_every_place_gives_the_same_outcomes(options):
    with executor(**options) as place:
        outcomes = dict(place.run(executor_tasks.square, iter(range(30)), shared=(1,)))
        again = dict(place.run(executor_tasks.square, []))
    assert sorted(outcomes) == list(range(30))
    failed = outcomes.pop(13)
    assert {index: outcome.value for index, outcome in outcomes.items()} == {i: i**2 + 1 for i in range(30) if i != 13}
    assert not any(outcome.error or outcome.traceback for outcome in outcomes.values())
    assert failed.value is None
    assert failed.error == "ValueError: thirteen is unlucky"
    assert "in square" in failed.traceback
    assert again == {}


def test_the_factory_chooses_by_the_options():
    assert isinstance(executor(workers=1), ThisProcess)
    assert executor(workers=3).workers == 3


@pytest.mark.parametrize("workers", [0, -1, "2", 1.5])
@pytest.mark.parametrize("place", [executor, LocalProcesses])
def test_a_number_of_workers_that_is_none_is_refused(place, workers):
    with pytest.raises(InputError, match=naming("workers", workers)):
        place(workers)


def test_tasks_are_taken_a_few_at_a_time():
    taken = []

    def tasks() -> Iterator[int]:
        for number in range(1000):
            taken.append(number)
            yield number

    with LocalProcesses(2) as place:
        next(place.run(executor_tasks.square, tasks()))
        assert len(taken) < 10


def test_workers_share_the_cores(monkeypatch):
    monkeypatch.setattr(local, "available_cores", lambda: 6)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setenv("NUMBA_NUM_THREADS", "1")
    with LocalProcesses(2) as place:
        [(_, outcome)] = place.run(executor_tasks.number_of_threads, [0])
    assert outcome.value == {"OMP_NUM_THREADS": "3", "NUMBA_NUM_THREADS": "1"}
    assert "OMP_NUM_THREADS" not in os.environ


def test_a_killed_process_loses_no_task(tmp_path):
    with LocalProcesses(2) as place:
        outcomes = dict(place.run(executor_tasks.square_or_die, range(8), shared=(str(tmp_path), 3, 5)))
    assert sorted(outcomes) == list(range(8))
    assert "3 worker processes died at this task" in outcomes[3].error
    assert "SIGKILL" in outcomes[3].error
    assert [outcomes[i].value for i in range(8) if i != 3] == [i**2 for i in range(8) if i != 3]


def test_a_process_killed_from_outside_loses_no_task():
    with LocalProcesses(2) as place:
        series = place.run(executor_tasks.process_id, [0.1] * 30)
        outcomes = [next(series)]
        os.kill(outcomes[0][1].value, signal.SIGKILL)
        outcomes += series
    assert sorted(index for index, _ in outcomes) == list(range(30))
    assert not any(outcome.error for _, outcome in outcomes)
    assert len({outcome.value for _, outcome in outcomes}) == 3


def test_a_result_that_cannot_be_sent_is_a_failure():
    with LocalProcesses(2) as place:
        [(_, outcome)] = place.run(executor_tasks.unpicklable, [0])
    assert "local object" in outcome.error


def test_a_function_that_processes_do_not_find_is_an_error(monkeypatch):
    module = types.ModuleType("only_here")
    module.function = types.FunctionType(compile("0", "only_here", "eval"), {}, "function")
    module.function.__module__ = "only_here"
    module.function.__qualname__ = "function"
    monkeypatch.setitem(sys.modules, "only_here", module)
    with LocalProcesses(2) as place, pytest.raises(RuntimeError, match=naming("only_here")):
        list(place.run(module.function, range(5)))


def test_a_script_without_guard_is_told(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(
        "from diversity_by_design.running.executors import LocalProcesses\n"
        "with LocalProcesses(2) as place:\n    list(place.run(abs, [1, 2]))\n"
    )
    ended = subprocess.run([sys.executable, script], capture_output=True, text=True)
    assert ended.returncode == 1
    assert 'start its work under `if __name__ == "__main__":`' in ended.stderr.splitlines()[-1]


def test_processes_end_with_the_context():
    with LocalProcesses(2) as place:
        series = place.run(executor_tasks.process_id, [0.0, 0.0, *[60.0] * 5])
        workers = {outcome.value for _, outcome in (next(series), next(series))}
        assert all(running(worker) for worker in workers)
    assert not any(running(worker) for worker in workers)
    with pytest.raises(RuntimeError, match=naming("closed")):
        list(series)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_processes_end_with_the_program(number):
    program = subprocess.Popen(
        [sys.executable, str(TESTS / "executor_tasks.py"), "60"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    workers = {int(program.stdout.readline().split()[1]) for _ in range(2)}
    assert all(running(worker) for worker in workers)
    # Ctrl-C reaches all processes of a terminal.
    (os.killpg if number == signal.SIGINT else os.kill)(program.pid, number)
    _, messages = program.communicate()
    assert wait_until(lambda: not any(running(worker) for worker in workers))
    if number == signal.SIGINT:
        assert messages.count("Traceback") == 1
        assert messages.rstrip().endswith("KeyboardInterrupt")


def test_a_cluster_worker_killed_in_mid_run_loses_no_task(cluster):
    cluster.add_worker()
    with DaskCluster(cluster.address) as place:
        series = place.run(executor_tasks.process_id, [0.05] * 40)
        outcomes = [next(series)]
        killed = outcomes[0][1].value
        [process] = [process for process in cluster.workers if process.pid == killed]
        process.kill()
        outcomes += series
    assert sorted(index for index, _ in outcomes) == list(range(40))
    assert not any(outcome.error for _, outcome in outcomes)
    assert sum(outcome.value == killed for _, outcome in outcomes) < 10


def test_a_scheduler_that_cannot_be_reached_is_named():
    with pytest.raises(InputError, match=naming("tcp://127.0.0.1:1", "dask scheduler", "dask worker")):
        DaskCluster("tcp://127.0.0.1:1", timeout=0.5)
    with pytest.raises(InputError, match=naming("Dask", "''")):
        DaskCluster("")


@pytest.mark.filterwarnings("ignore:the Dask cluster")
def test_a_cluster_that_dies_bit_by_bit(tmp_path, monkeypatch):
    monkeypatch.setattr(dask_cluster, "PATIENCE", 0.2)
    settings = {"DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES": "0"}
    with DaskProcesses(tmp_path, **settings) as cluster, DaskCluster(cluster.address) as place:
        cluster.add_worker()
        with pytest.warns(UserWarning, match=naming("workers", cluster.address)):
            outcomes = dict(place.run(executor_tasks.square_or_die, [3], shared=(str(tmp_path), 3, -1)))
        assert outcomes[0].error.startswith("1 workers of the cluster died")
        cluster.add_worker()
        series = place.run(executor_tasks.process_id, [0.05] * 200)
        assert next(series)[1].error == ""
        cluster.scheduler.kill()
        with pytest.raises(InputError, match=naming("scheduler", cluster.address)):
            list(series)
