"""Workers of a Dask cluster."""

from __future__ import annotations

import gc
import warnings
from collections.abc import Iterable
from concurrent.futures import CancelledError
from contextlib import suppress
from itertools import islice
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any

from diversity_by_design.errors import InputError
from diversity_by_design.running.executors.interface import Executor, Function, Outcome, Outcomes, attempt, given_up

if TYPE_CHECKING:
    from distributed import Future

# Of a worker's thread: one task to work on, one to go on with.
TASKS_PER_THREAD = 2
# Seconds after which a cluster without workers is worth a warning.
PATIENCE = 10.0


class DaskCluster(Executor):
    """Tasks run on the workers of a Dask cluster, which must have this package installed.

    Workers may join and leave at any time. When one is lost, its tasks run on another; one that was on four lost
    workers is given up (Dask's setting ``distributed.scheduler.allowed-failures``).
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
        raise InputError(
            f"no Dask scheduler answers at {address!r} ({reason}); start one with `dask scheduler`, which prints its "
            "address, and workers with `dask worker ADDRESS`"
        )

    def run(self, function: Function, tasks: Iterable[Any], *, shared: tuple = ()) -> Outcomes:
        """See `Executor.run`."""
        remaining = enumerate(tasks)
        in_flight: dict[Future, int] = {}
        done: SimpleQueue[Future] = SimpleQueue()

        def submit(remote: Function, *arguments: Any) -> Future:
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
                return given_up(f"{error.allowed_failures + 1} workers of the cluster died at or before this task")
            return Outcome.failure(error)
        try:
            return future.result()
        except (CancelledError, OSError) as error:
            raise self._lost() from error

    def _lost(self) -> InputError:
        return InputError(f"the Dask scheduler at {self.address} was lost; start it anew and run again")


def _calling(function: Function, shared: tuple) -> tuple[Function, tuple]:
    return function, shared


def _attempt_remotely(calling: tuple[Function, tuple], task: Any) -> Outcome:
    function, shared = calling
    return attempt(function, task, shared)
