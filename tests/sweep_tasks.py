"""What the workers of a sweep do in tests: functions of a module that they can import."""

import os
import sys
import time
from pathlib import Path

import numpy as np

from diversity_by_design.simulator.parameters import GeneParameters
from diversity_by_design.simulator.random_sweep import RESULTS, SweepTask, run_random_sweep
from diversity_by_design.simulator.ranges import SweepRanges

SMALL = SweepRanges(g=(10, 40), n_0=(5, 50), n_p=(2, 9), k=(2, 9))


def parameters(n_genes: int = 50) -> GeneParameters:
    values = np.linspace(0.1, 3, n_genes)
    return GeneParameters([f"gene{i}" for i in range(n_genes)], values, values[::-1], values + 1)


def fake_metrics(task: SweepTask, parameters: GeneParameters, device: str) -> dict[str, float]:
    """Metrics that depend on all that should matter."""
    rng = np.random.default_rng(task.seed)
    metrics = dict(zip(RESULTS, rng.normal(task.config.beta, parameters.theta[0], len(RESULTS)), strict=True))
    undefined = task.dataset % 5 == 0
    return {**metrics, "pearson_delta_affected": np.nan if undefined else 0.5, "n_empty_cells": 0, "n_clipped_genes": 0}


def slow_metrics(task: SweepTask, parameters: GeneParameters, device: str) -> dict[str, float]:
    time.sleep(0.1)
    return fake_metrics(task, parameters, device)


def logged_metrics(task: SweepTask, parameters: GeneParameters, device: str) -> dict[str, float]:
    """As `fake_metrics`, but slow; files in the folder that the environment names tell what was done."""
    time.sleep(float(os.environ["SWEEP_SECONDS"]))
    metrics = fake_metrics(task, parameters, device)
    with open(Path(os.environ["SWEEP_LOG"]) / str(os.getpid()), "a") as file:
        print(task.dataset, file=file)
    return metrics


def failing_metrics(task: SweepTask, parameters: GeneParameters, device: str) -> dict[str, float]:
    if task.dataset in (1, 4):
        raise ValueError(f"data set {task.dataset} cannot be simulated")
    return fake_metrics(task, parameters, device)


def sweep(path: str, n_datasets: int) -> None:
    """Run a sweep of two workers (see `test_random_sweep`)."""
    run_random_sweep(
        n_datasets,
        seed=1,
        parameters=parameters(),
        ranges=SMALL,
        path=Path(path),
        workers=2,
        simulate_one=logged_metrics,
    )


if __name__ == "__main__":
    sweep(sys.argv[1], int(sys.argv[2]))
