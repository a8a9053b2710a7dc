"""Cores, and threads that share them."""

import os
import threading

import numpy as np
import pytest
from messages import naming

from diversity_by_design.errors import InputError
from diversity_by_design.threads import available_cores, checked_workers, map_threads


def test_cores_are_those_that_this_process_may_use():
    assert 1 <= available_cores() <= os.cpu_count()
    assert checked_workers(None) == available_cores()


@pytest.mark.parametrize("workers", [1, 7, np.int64(3), True])
def test_numbers_of_workers(workers):
    assert checked_workers(workers) == workers and type(checked_workers(workers)) is int


@pytest.mark.parametrize("workers", [0, -1, "2", 1.0, 2.5, np.nan, [2]])
def test_what_is_no_number_of_workers(workers):
    with pytest.raises(InputError, match=naming("workers", repr(workers), 1)):
        checked_workers(workers)
    with pytest.raises(InputError, match=naming("workers", repr(workers))):
        map_threads(str, [1, 2], workers)


@pytest.mark.parametrize("workers", [1, 3, None])
def test_results_are_in_the_order_of_the_tasks(workers):
    assert map_threads(lambda task: task**2, iter(range(20)), workers) == [task**2 for task in range(20)]
    assert map_threads(str, [], workers) == []


def test_one_worker_and_one_task_need_no_thread():
    def place(_):
        return threading.get_ident()

    here = threading.get_ident()
    assert map_threads(place, range(3), 1) == [here] * 3
    assert map_threads(place, [0], 8) == [here]
    assert here not in map_threads(place, range(3), 2)


def test_errors_reach_the_caller():
    with pytest.raises(ZeroDivisionError):
        map_threads(lambda task: 1 / task, [1, 0, 2], 2)
