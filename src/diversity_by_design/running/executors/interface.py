"""What executors have in common: tasks in, outcomes out; threads, and work in this process."""

from __future__ import annotations

import traceback
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Self


@dataclass(frozen=True)
class Outcome:
    """What became of a task."""

    value: Any = None  # what the function returned; None if it failed
    error: str = ""  # type and message of what went wrong; empty if nothing did
    traceback: str = ""  # where it went wrong, as Python prints it; empty if unknown

    @classmethod
    def failure(cls, error: BaseException) -> Outcome:
        """Outcome of a task that raised `error`."""
        return cls(
            error=f"{type(error).__name__}: {error}".removesuffix(": "),
            traceback="".join(traceback.format_exception(error)),
        )


Function = Callable[..., Any]
Outcomes = Iterator[tuple[int, Outcome]]  # with the position of the task


def attempt(function: Function, task: Any, shared: tuple = ()) -> Outcome:
    """Outcome of ``function(task, *shared)``, whatever happens.

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
    def run(self, function: Function, tasks: Iterable[Any], *, shared: tuple = ()) -> Outcomes:
        """Call ``function(task, *shared)`` for every task; yield position and outcome of each as it is done.

        The function must be one of a module, so that another process finds it. Tasks are anything that can be pickled,
        and are taken a few at a time; the arguments `shared`, the same for all tasks, are sent to each worker once. A
        task that fails, or that keeps killing its worker, has an `error`; the others go on.
        """

    @abstractmethod
    def close(self) -> None:
        """End what still runs."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()


class ThisProcess(Executor):
    """Tasks run here, one after the other."""

    def run(self, function: Function, tasks: Iterable[Any], *, shared: tuple = ()) -> Outcomes:
        """See `Executor.run`."""
        for index, task in enumerate(tasks):
            yield index, attempt(function, task, shared)

    def close(self) -> None:
        """Do nothing: nothing runs between two outcomes."""


def given_up(what: str) -> Outcome:
    """Outcome of a task that keeps killing its worker."""
    return Outcome(error=f"{what}, most often for want of memory: use fewer workers, or smaller tasks")
