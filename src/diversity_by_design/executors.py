"""Where work runs: for now, the threads of this process."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

Task = TypeVar("Task")
Result = TypeVar("Result")


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
