"""How many entries (cells x genes) per second the simulator draws on one core, against plain NumPy, in one run.

    uv run benchmarks/simulator_cpu.py             the typical configuration, at several depths, and 15 of table 1
    uv run benchmarks/simulator_cpu.py --n 31      another number of configurations

NumPy is timed on the same configurations with fewer perturbations where they are large, since its time per entry does
not depend on their number; its median over `--repeats` runs counts, and so does ours. Processor time of one core.
"""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Annotated

import numpy as np
import numpy_simulator
import typer
from tqdm import tqdm

from diversity_by_design.simulator import GeneParameters, SimulationConfig, simulate
from diversity_by_design.simulator.ranges import SweepRanges

TYPICAL = SimulationConfig(g=4600, n_0=300, n_p=50, k=140, mu_l=1.0)
LARGEST_FOR_NUMPY = 5_000_000
LARGEST = 200_000_000


def entries_per_second(function, config, repeats):
    seconds = []
    for _ in range(repeats):
        began = time.process_time()
        function()
        seconds.append(time.process_time() - began)
    return config.n_entries / np.median(seconds)


def smaller(config: SimulationConfig, n_entries: int) -> SimulationConfig:
    """The same configuration with fewer perturbations."""
    if config.n_entries <= n_entries:
        return config
    k = (n_entries // config.g - config.n_0) // config.n_p
    return replace(config, k=int(np.clip(k, 4, config.k)))


def measure(config, parameters, repeats):
    for_numpy, for_ours = smaller(config, LARGEST_FOR_NUMPY), smaller(config, LARGEST)
    theirs = entries_per_second(lambda: numpy_simulator.simulate(for_numpy, parameters, 0), for_numpy, repeats)
    ours = entries_per_second(lambda: simulate(for_ours, parameters, 0, workers=1), for_ours, repeats)
    return ours, theirs


def main(
    n: Annotated[int, typer.Option(help="Configurations drawn from table 1.")] = 15,
    repeats: Annotated[int, typer.Option(help="Runs of each.")] = 3,
) -> None:
    parameters = GeneParameters.default()
    simulate(SimulationConfig(g=1000, n_0=20, n_p=10, k=10), parameters, workers=1)  # loads the kernels
    ours, theirs = measure(TYPICAL, parameters, repeats)
    print(f"typical: {ours / 1e6:.0f} against {theirs / 1e6:.1f} million entries/s: {ours / theirs:.1f} times")
    for mu_l in (0.2, 2.0, 3.0, 4.0, 5.0):
        ours, theirs = measure(replace(TYPICAL, mu_l=mu_l), parameters, repeats)
        print(f"typical, but mu_l {mu_l}: {ours / 1e6:.0f} against {theirs / 1e6:.1f}: {ours / theirs:.1f} times")
    ratios, speeds = [], []
    for index in tqdm(range(n)):
        config, _ = SweepRanges().draw(0, index)
        ours, theirs = measure(config, parameters, repeats)
        ratios.append(ours / theirs)
        speeds.append(ours / 1e6)
        tqdm.write(
            f"g {config.g} n_0 {config.n_0} n_p {config.n_p} k {config.k} delta {config.delta:.3f} "
            f"mu_l {config.mu_l:.2f}: {ours / 1e6:.0f} against {theirs / 1e6:.1f}: {ours / theirs:.1f} times"
        )
    print(
        f"table 1, {n} configurations: median {np.median(ratios):.1f} times ({min(ratios):.1f} to {max(ratios):.1f}), "
        f"{np.median(speeds):.0f} million entries/s ({min(speeds):.0f} to {max(speeds):.0f})"
    )


if __name__ == "__main__":
    typer.run(main)
