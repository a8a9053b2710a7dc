"""Where work runs: this process and its threads, processes of this machine, or a Dask cluster."""

from __future__ import annotations

import gc
import multiprocessing
import os
import pickle
import signal
import threading
import traceback
import warnings
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import CancelledError, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import islice
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection
from multiprocessing.connection import wait as wait_for_any
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any, Self, TypeVar

if TYPE_CHECKING:
    from distributed import Future

Task = TypeVar("Task")
Result = TypeVar("Result")

# Deaths of a worker process after which the task it was at is given up.
MAX_DEATHS = 3
# Of a Dask worker's thread: one task to work on, one to go on with.
TASKS_PER_THREAD = 2
# Seconds after which a cluster without workers is worth a warning.
PATIENCE = 10.0

# Read by numerical libraries when they are loaded.
_THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")


def available_cores() -> int:
    """Number of cores that this process may use (not all that the machine has)."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def map_threads(function: Callable[[Task], Result], tasks: Iterable[Task], workers: int | None = None) -> list[Result]:
    """Results of `function` for every task, in the order of the tasks.

    Meant for functions that release the interpreter's lock, as NumPy, SciPy and compiled kernels do.

    Parameters
    ----------
    function : callable
    tasks : iterable
    workers : int, optional
        Threads (default: as many as cores).
    """
    tasks = list(tasks)
    workers = min(workers or available_cores(), len(tasks))
    if workers <= 1:
        return [function(task) for task in tasks]
    with ThreadPoolExecutor(workers) as pool:
        return list(pool.map(function, tasks))


@dataclass(frozen=True)
class Outcome:
    """What became of a task.

    Attributes
    ----------
    value : object
        What the function returned; None if it failed.
    error : str
        Type and message of what went wrong; empty if nothing did.
    traceback : str
        Where it went wrong, as Python prints it; empty if unknown.
    """

    value: Any = None
    error: str = ""
    traceback: str = ""

    @classmethod
    def failure(cls, error: BaseException) -> Outcome:
        """Outcome of a task that raised `error`."""
        return cls(
            error="".join(traceback.format_exception_only(error)).strip(),
            traceback="".join(traceback.format_exception(error)),
        )


def attempt(function: Callable[..., Any], task: Any, shared: tuple = ()) -> Outcome:
    """Outcome of ``function(task, *shared)``, whatever happens.

    Examples
    --------
    >>> attempt(int, "7").value, attempt(int, "seven").error
    (7, "ValueError: invalid literal for int() with base 10: 'seven'")
    """
    try:
        return Outcome(function(task, *shared))
    except Exception as error:
        return Outcome.failure(error)


class Executor(ABC):
    """A place where many independent tasks run; a context manager, which ends what still runs.

    Results must not depend on the place: a task carries its own seed. See `executor` for a choice by options.
    """

    @abstractmethod
    def run(
        self, function: Callable[..., Any], tasks: Iterable[Any], *, shared: tuple = ()
    ) -> Iterator[tuple[int, Outcome]]:
        """Call ``function(task, *shared)`` for every task; yield position and outcome of each as it is done.

        Parameters
        ----------
        function : callable
            Of a module, so that another process finds it.
        tasks : iterable
            Anything that can be pickled; taken a few at a time.
        shared : tuple
            Further arguments, the same for all tasks; sent to each worker once.

        Yields
        ------
        index : int
            Position of the task in `tasks`. The order is that in which tasks are done.
        outcome : Outcome
            A task that fails, or that keeps killing its worker, has an `error`; the others go on.
        """

    @abstractmethod
    def close(self) -> None:
        """End what still runs."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()


def executor(workers: int | None = None, scheduler: str | None = None) -> Executor:
    """Place where work runs, from the options ``--workers`` and ``--scheduler``.

    Parameters
    ----------
    workers : int, optional
        Processes of this machine (default: as many as cores); for one, work runs in this process. Unused with
        `scheduler`.
    scheduler : str, optional
        Address of the scheduler of a Dask cluster, such as ``"tcp://10.0.0.1:8786"``.

    Raises
    ------
    ValueError
        `workers` is less than 1.
    ConnectionError
        No scheduler answers at the address.

    Examples
    --------
    >>> with executor(workers=1) as place:
    ...     [outcome.value for _, outcome in place.run(pow, [2, 3], shared=(2,))]
    [4, 9]
    """
    if scheduler is not None:
        return DaskCluster(scheduler)
    workers = available_cores() if workers is None else workers
    return ThisProcess() if workers == 1 else LocalProcesses(workers)


class ThisProcess(Executor):
    """Tasks run here, one after the other."""

    def run(
        self, function: Callable[..., Any], tasks: Iterable[Any], *, shared: tuple = ()
    ) -> Iterator[tuple[int, Outcome]]:
        """See `Executor.run`."""
        for index, task in enumerate(tasks):
            yield index, attempt(function, task, shared)

    def close(self) -> None:
        """Do nothing: nothing runs between two outcomes."""


class LocalProcesses(Executor):
    """Tasks run in processes of this machine, one task at a time in each.

    The processes are new ones ("spawn"), so a script must start its work under ``if __name__ == "__main__":``. They
    share the cores: each has ``cores / workers`` threads for numerical libraries, unless the usual variables
    (OMP_NUM_THREADS and so on) say otherwise. They end with this process, however it ends.

    A process that is killed, for want of memory for instance, is replaced. The task it was at runs again once no new
    tasks are left, and is given up after three deaths.

    Parameters
    ----------
    workers : int
        At most this many processes; no more are started than there are tasks.

    Raises
    ------
    ValueError
        `workers` is less than 1.
    """

    def __init__(self, workers: int) -> None:
        if workers < 1:
            raise ValueError(f"workers is {workers}; at least 1 is needed")
        self.workers = workers
        self._runs: list[_LocalRun] = []

    def run(
        self, function: Callable[..., Any], tasks: Iterable[Any], *, shared: tuple = ()
    ) -> Iterator[tuple[int, Outcome]]:
        """See `Executor.run`.

        Raises
        ------
        RuntimeError
            Processes cannot be started, or do not find `function`.
        """
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

    def outcomes(self) -> Iterator[tuple[int, Outcome]]:
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
                worker.give(self._waiting.popleft())
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
        return job.index, _given_up(f"{job.deaths} worker processes died at this task (last: {cause})")


def _given_up(what: str) -> Outcome:
    return Outcome(error=f"{what}, most often for want of memory: use fewer workers, or smaller tasks")


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

    def give(self, job: _Job) -> None:
        self.job = job
        self.send(job.task)

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


def _call(task: bytes, function: Callable[..., Any], shared: tuple) -> Any:
    return function(pickle.loads(task), *shared)


def _end_with_parent() -> None:
    # A worker at work does not look at its connection, so would outlive a parent that was killed.
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


class DaskCluster(Executor):
    """Tasks run on the workers of a Dask cluster, which must have this package installed.

    Workers may join and leave at any time. When one is lost, its tasks run on another; one that was on four lost
    workers is given up (Dask's setting ``distributed.scheduler.allowed-failures``).

    Parameters
    ----------
    address : str
        Of the scheduler, such as ``"tcp://10.0.0.1:8786"``.
    timeout : float
        Seconds to wait for the scheduler's answer.

    Raises
    ------
    ConnectionError
        No scheduler answers.
    """

    def __init__(self, address: str, *, timeout: float = 5.0) -> None:
        from distributed import Client

        self.address = address
        try:
            self._client = Client(address, timeout=timeout, set_as_default=False)
            return
        except (OSError, ValueError) as error:
            reason = str(error)
        # The unfinished client goes now: distributed locks up if it is collected while another client starts.
        gc.collect()
        raise ConnectionError(
            f"no Dask scheduler answers at {address!r} ({reason}); start one with `dask scheduler`, which prints its "
            "address, and workers with `dask worker ADDRESS`"
        )

    def run(
        self, function: Callable[..., Any], tasks: Iterable[Any], *, shared: tuple = ()
    ) -> Iterator[tuple[int, Outcome]]:
        """See `Executor.run`.

        Raises
        ------
        ConnectionError
            The scheduler was lost.
        RuntimeError
            Workers do not find `function`.
        """
        remaining = enumerate(tasks)
        in_flight: dict[Future, int] = {}
        done: SimpleQueue[Future] = SimpleQueue()

        def submit(remote: Callable[..., Any], *arguments: Any) -> Future:
            future = self._client.submit(remote, *arguments, pure=False)
            future.add_done_callback(done.put)
            return future

        try:
            # A task like the others, so that it is computed again if the workers that have it are lost.
            calling = submit(_calling, function, shared)
            while not self._next(done):
                pass
            if calling.status == "error":
                raise RuntimeError(
                    f"workers of the Dask cluster at {self.address} cannot load the function to run "
                    f"({Outcome.failure(calling.exception()).error}); install the same version of this package there"
                )
            while True:
                room = TASKS_PER_THREAD * max(1, self._n_threads()) - len(in_flight)
                for index, task in islice(remaining, max(0, room)):
                    in_flight[submit(_attempt_remotely, calling, task)] = index
                if not in_flight:
                    return
                for future in self._next(done):
                    yield in_flight.pop(future), self._outcome(future)
        finally:
            if self._client.status == "running":
                self._client.cancel(list(in_flight))

    def close(self) -> None:
        """Leave the cluster; tasks that have not started there are cancelled."""
        self._client.close()

    def _next(self, done: SimpleQueue[Future]) -> list[Future]:
        """Futures that are done, waiting for the first, though not for ever: workers may have joined meanwhile."""
        try:
            futures = [done.get(timeout=PATIENCE)]
        except Empty:
            if not self._n_threads():
                warnings.warn(
                    f"the Dask cluster at {self.address} has no workers; waiting for some: "
                    f"`dask worker {self.address}`",
                    stacklevel=2,
                )
            return []
        with suppress(Empty):
            while True:
                futures.append(done.get_nowait())
        if not {future.status for future in futures} <= {"finished", "error"}:
            raise self._lost()
        return futures

    def _n_threads(self) -> int:
        try:
            return sum(self._client.nthreads().values())
        except OSError as error:
            raise self._lost() from error

    def _outcome(self, future: Future) -> Outcome:
        from distributed import KilledWorker

        if future.status == "error":
            error = future.exception()
            if isinstance(error, KilledWorker):
                return _given_up(f"{error.allowed_failures + 1} workers of the cluster died at or before this task")
            return Outcome.failure(error)
        try:
            return future.result()
        except (CancelledError, OSError) as error:
            raise self._lost() from error

    def _lost(self) -> ConnectionError:
        return ConnectionError(f"the Dask scheduler at {self.address} was lost; start it anew and run again")


def _calling(function: Callable[..., Any], shared: tuple) -> tuple[Callable[..., Any], tuple]:
    return function, shared


def _attempt_remotely(calling: tuple[Callable[..., Any], tuple], task: Any) -> Outcome:
    function, shared = calling
    return attempt(function, task, shared)
