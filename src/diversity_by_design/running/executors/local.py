"""Processes of this machine."""

from __future__ import annotations

import multiprocessing
import os
import pickle
import signal
import threading
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import islice
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection
from multiprocessing.connection import wait as wait_for_any
from typing import Any

from diversity_by_design.running.executors.interface import Executor, Function, Outcome, Outcomes, attempt, given_up
from diversity_by_design.threads import available_cores, checked_workers

# Deaths of a worker process after which the task it was at is given up.
MAX_DEATHS = 3

# Read by numerical libraries when they are loaded.
_THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")


class LocalProcesses(Executor):
    """Tasks run in processes of this machine, one task at a time in each.

    The processes are new ones ("spawn"), so a script must start its work under ``if __name__ == "__main__":``. They
    share the cores: each has ``cores / workers`` threads for numerical libraries, unless the usual variables
    (OMP_NUM_THREADS and so on) say otherwise. They end with this process, however it ends.

    A process that is killed, for want of memory for instance, is replaced. The task it was at runs again once no new
    tasks are left, and is given up after three deaths. No more processes are started than there are tasks.
    """

    def __init__(self, workers: int) -> None:
        self.workers = checked_workers(workers)
        self._runs: list[_LocalRun] = []

    def run(self, function: Function, tasks: Iterable[Any], *, shared: tuple = ()) -> Outcomes:
        """See `Executor.run`."""
        run = _LocalRun(self.workers, pickle.dumps((function, shared)), tasks)
        self._runs.append(run)
        try:
            yield from run.outcomes()
        finally:
            run.end()
            self._runs.remove(run)

    def close(self) -> None:
        """End all processes."""
        for run in self._runs:
            run.end()


_STARTED = "started"  # a worker process's first message


@dataclass
class _Job:
    index: int
    task: bytes
    deaths: int = 0


class _LocalRun:
    """Processes at work on one series of tasks."""

    def __init__(self, size: int, calling: bytes, tasks: Iterable[Any]) -> None:
        self._size = size
        self._calling = calling  # function and shared arguments, pickled
        self._new = (_Job(index, pickle.dumps(task)) for index, task in enumerate(tasks))
        self._waiting: deque[_Job] = deque()
        self._again: deque[_Job] = deque()
        self._workers: list[_Worker] = []
        self._failed_starts = 0

    def outcomes(self) -> Outcomes:
        self._hand_out()
        while self._waiting or any(worker.job for worker in self._workers):
            if not self._workers:
                raise RuntimeError("the executor was closed before all tasks were done")
            ready = wait_for_any([worker.connection for worker in self._workers])
            for worker in [worker for worker in self._workers if worker.connection in ready]:
                done = self._hear(worker)
                self._hand_out()
                if done:
                    yield done

    def end(self) -> None:
        for worker in self._workers:
            worker.dismiss()
        for worker in self._workers:
            worker.gone()
        self._workers.clear()

    def _hand_out(self) -> None:
        """Give every idle worker a job, and start workers where jobs are left."""
        self._waiting.extend(islice(self._new, max(0, self._size - len(self._waiting))))
        if not self._waiting:
            self._waiting, self._again = self._again, self._waiting
        for worker in self._workers:
            if self._waiting and worker.started and worker.job is None:
                worker.job = self._waiting.popleft()
                worker.send(worker.job.task)
        starting = sum(not worker.started for worker in self._workers)
        for _ in range(min(len(self._waiting) - starting, self._size - len(self._workers))):
            self._workers.append(_Worker(max(1, available_cores() // self._size)))

    def _hear(self, worker: _Worker) -> tuple[int, Outcome] | None:
        """Take what a worker has to say; position and outcome of its job if it is done with one."""
        try:
            message = worker.connection.recv()
        except (EOFError, OSError):
            return self._bury(worker)
        if message == _STARTED:
            worker.started = True
            self._failed_starts = 0
            worker.send(self._calling)
            return None
        if worker.job is None or not isinstance(message, Outcome):
            raise RuntimeError(f"worker processes cannot load the function to run: {message}")
        job, worker.job = worker.job, None
        return job.index, message

    def _bury(self, worker: _Worker) -> tuple[int, Outcome] | None:
        """Remove a dead worker; its job waits again, or has failed."""
        cause = worker.gone()
        self._workers.remove(worker)
        if not worker.started:
            self._failed_starts += 1
            if self._failed_starts >= MAX_DEATHS:
                raise RuntimeError(
                    f"worker processes end while they start ({cause}); their messages are above. A script must start "
                    'its work under `if __name__ == "__main__":`; a program read from standard input must be saved as '
                    "a file, or use workers=1"
                ) from None
        job = worker.job
        if job is None:
            return None
        job.deaths += 1
        if job.deaths < MAX_DEATHS:
            self._again.append(job)
            return None
        return job.index, given_up(f"{job.deaths} worker processes died at this task (last: {cause})")


class _Worker:
    """A process that serves tasks, seen from here."""

    def __init__(self, threads: int) -> None:
        context = multiprocessing.get_context("spawn")
        self.connection, theirs = context.Pipe()
        self.started = False
        self.job: _Job | None = None
        self._process = context.Process(target=_serve, args=(theirs,))
        with _settings_of_children(threads):
            self._process.start()
        theirs.close()

    def send(self, message: bytes) -> None:
        # That a worker has just died is noticed when it is listened to.
        with suppress(OSError):
            self.connection.send_bytes(message)

    def dismiss(self) -> None:
        """Tell the process to end, at once if it is at work."""
        self.connection.close()
        if self.job is not None or not self.started:
            self._process.terminate()

    def gone(self) -> str:
        """Wait until the process has ended; say how it did."""
        self.connection.close()
        self._process.join(5)
        if self._process.exitcode is None:
            self._process.kill()
            self._process.join()
        code = self._process.exitcode or 0
        return f"killed by {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"


@contextmanager
def _settings_of_children(threads: int) -> Iterator[None]:
    """Let processes that start meanwhile have `threads` threads, and not hear Ctrl-C, which is for the parent alone."""
    missing = [name for name in _THREAD_VARIABLES if name not in os.environ]
    os.environ.update(dict.fromkeys(missing, str(threads)))
    masks = hasattr(signal, "pthread_sigmask")
    if masks:
        # A helper process of multiprocessing, whose start would end the mask early.
        resource_tracker.ensure_running()
        before = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
    try:
        yield
    finally:
        for name in missing:
            del os.environ[name]
        if masks:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _serve(connection: Connection) -> None:
    """Life of a worker process: the function first, then tasks, until the other end is closed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    with suppress(EOFError, OSError):
        connection.send(_STARTED)
        loaded = attempt(pickle.loads, connection.recv_bytes())
        if loaded.error:
            connection.send(loaded.error)
            return
        while True:
            outcome = attempt(_call, connection.recv_bytes(), loaded.value)
            try:
                message = pickle.dumps(outcome)
            except Exception as error:
                message = pickle.dumps(Outcome.failure(error))
            connection.send_bytes(message)


def _call(task: bytes, function: Function, shared: tuple) -> Any:
    return function(pickle.loads(task), *shared)


def _end_with_parent() -> None:
    # A worker at work does not look at its connection, so would outlive a parent that was killed.
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
