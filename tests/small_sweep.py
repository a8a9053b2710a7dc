"""A small sweep over simulated data sets, for tests."""

import functools

import pandas as pd

from diversity_by_design.simulator.parameters import GeneParameters
from diversity_by_design.simulator.ranges import SweepRanges, simulation_seed
from diversity_by_design.simulator.simulation import simulate

RANGES = SweepRanges(g=(150, 300), n_0=(10, 60), n_p=(4, 16), k=(3, 12), delta=(0.03, 0.1))


@functools.cache
def small_sweep(n_datasets: int = 40, seed: int = 1) -> pd.DataFrame:
    """The table of a sweep, as `run_random_sweep` returns it; not to be changed."""
    rows = []
    for dataset in range(n_datasets):
        config, _ = RANGES.draw(seed, dataset)
        result = simulate(config, GeneParameters.default(400), simulation_seed(seed, dataset), workers=1)
        rows.append({"dataset": dataset, **vars(config), **result.metrics, "error": ""})
    return pd.DataFrame(rows)
