"""Where work runs: this process and its threads, processes of this machine, or a Dask cluster."""

from __future__ import annotations

from diversity_by_design.running.executors.dask_cluster import DaskCluster
from diversity_by_design.running.executors.interface import Executor, Outcome, ThisProcess, attempt
from diversity_by_design.running.executors.local import LocalProcesses
from diversity_by_design.threads import checked_workers

__all__ = ["DaskCluster", "Executor", "LocalProcesses", "Outcome", "ThisProcess", "attempt", "executor"]


def executor(workers: int | None = None, scheduler: str | None = None) -> Executor:
    """Place where work runs, from the options ``--workers`` and ``--scheduler``.

    `workers` is the number of processes of this machine (default: as many as cores); for one, work runs in this
    process. It is unused with a `scheduler`, the address of that of a Dask cluster, such as ``"tcp://10.0.0.1:8786"``.

    >>> with executor(workers=1) as place:
    ...     [outcome.value for _, outcome in place.run(pow, [2, 3], shared=(2,))]
    [4, 9]
    """
    if scheduler is not None:
        return DaskCluster(scheduler)
    workers = checked_workers(workers)
    return ThisProcess() if workers == 1 else LocalProcesses(workers)
