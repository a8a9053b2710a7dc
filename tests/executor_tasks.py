"""What worker processes do in tests: functions of a module that they can import, which loads quickly."""

import os
import signal
import sys
import time
from pathlib import Path

from diversity_by_design.running.executors import LocalProcesses


def square(number: int, added: int = 0) -> int:
    if number == 13:
        raise ValueError("thirteen is unlucky")
    return number**2 + added


def process_id(seconds: float) -> int:
    time.sleep(seconds)
    return os.getpid()


def number_of_threads(_: int) -> dict[str, str | None]:
    return {name: os.environ.get(name) for name in ("OMP_NUM_THREADS", "NUMBA_NUM_THREADS")}


def unpicklable(_: int) -> object:
    return lambda: 0


def square_or_die(number: int, folder: str, always: int, once: int) -> int:
    """Square, but the worker dies: at the task `always` each time, at the task `once` the first time."""
    died = Path(folder) / "died"
    if number == always or (number == once and not died.exists()):
        died.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return number**2


def print_process_ids(seconds: float) -> None:
    """Run two workers for ever, printing who does the work (see `test_executors`)."""
    # A test suite that runs in the background may hand down a Ctrl-C that is ignored.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    with LocalProcesses(2) as place:
        for index, outcome in place.run(process_id, [0.0, 0.0, *[seconds] * 10]):
            print(index, outcome.value, flush=True)


if __name__ == "__main__":
    print_process_ids(float(sys.argv[1]))
