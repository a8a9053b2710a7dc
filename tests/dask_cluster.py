"""A Dask cluster of separate processes on this machine, for tests."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Self

TESTS = Path(__file__).parent


class DaskProcesses:
    """A scheduler and workers; a context manager that ends them."""

    def __init__(self, folder: Path, **settings: str) -> None:
        self._folder = folder
        self._environment = {**os.environ, "PYTHONPATH": str(TESTS), **settings}
        self.workers: list[subprocess.Popen] = []
        file = folder / "scheduler.json"
        self.scheduler = self._start("scheduler", "--port", "0", "--scheduler-file", str(file))
        self.address = self._address(file)

    def add_worker(self) -> subprocess.Popen:
        """Start a worker of one thread that nobody restarts."""
        options = ("--nthreads", "1", "--no-nanny", "--local-directory", str(self._folder))
        self.workers.append(self._start("worker", self.address, *options))
        return self.workers[-1]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        for process in [*self.workers, self.scheduler]:
            process.kill()
        for process in [*self.workers, self.scheduler]:
            process.wait()

    def _start(self, kind: str, *options: str) -> subprocess.Popen:
        command = [sys.executable, "-m", f"distributed.cli.dask_{kind}", "--host", "127.0.0.1", "--no-dashboard"]
        with open(self._folder / "log", "ab") as log:
            return subprocess.Popen([*command, *options], env=self._environment, stdout=log, stderr=log)

    def _address(self, file: Path) -> str:
        while self.scheduler.poll() is None:
            try:
                return json.loads(file.read_text())["address"]
            except (OSError, ValueError):
                time.sleep(0.05)
        raise RuntimeError(f"the scheduler did not start: {(self._folder / 'log').read_text()}")
