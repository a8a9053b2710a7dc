"""How many cores there are, and threads that share them."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

from diversity_by_design.errors import whole_number

Task = TypeVar("Task")
Result = TypeVar("Result")


def available_cores() -> int:
    """Number of cores that this process may use (not all that the machine has)."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def checked_workers(workers: int | None) -> int:
    """Number of workers, as many as cores for None; InputError if it is no whole number of at least 1."""
    if workers is None:
        return available_cores()
    return whole_number(workers, "workers", 1)


def map_threads(function: Callable[[Task], Result], tasks: Iterable[Task], workers: int | None = None) -> list[Result]:
    """Results of `function` for every task, in the order of the tasks.

    Meant for functions that release the interpreter's lock, as NumPy, SciPy and compiled kernels do.
    """
    tasks = list(tasks)
    n_threads = min(checked_workers(workers), len(tasks))
    if n_threads <= 1:
        return [function(task) for task in tasks]
    with ThreadPoolExecutor(n_threads) as pool:
        return list(pool.map(function, tasks))


def one_ahead(function: Callable[[Task], Result], tasks: Iterable[Task]) -> Iterator[Result]:
    """Results of `function` for every task, in order; while one is used, the next is made in another thread.

    >>> list(one_ahead(abs, [-2, 3, -4]))
    [2, 3, 4]
    """
    with ThreadPoolExecutor(1) as pool:
        following: deque[Future[Result]] = deque()
        for task in tasks:
            following.append(pool.submit(function, task))
            if len(following) > 1:
                yield following.popleft().result()
        while following:
            yield following.popleft().result()


def row_blocks(n_rows: int, size: int) -> list[slice]:
    """Blocks of at most `size` rows each, in order.

    >>> row_blocks(5, 2)
    [slice(0, 2, None), slice(2, 4, None), slice(4, 6, None)]
    """
    return [slice(start, start + size) for start in range(0, n_rows, size)]
