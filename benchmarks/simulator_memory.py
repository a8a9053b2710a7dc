"""Peak memory of simulating one data set, for growing numbers of cells and for the largest of table 1.

    uv run benchmarks/simulator_memory.py            flat in the number of cells: minutes
    uv run benchmarks/simulator_memory.py --largest  also g 8,192, n_0 8,192, n_p 256, k 2,000 (4.3e9 entries)

Each data set is simulated by a process of its own, on one core.
"""

from __future__ import annotations

import resource
import subprocess
import sys
import time
from typing import Annotated

import typer


def simulate_one(g: int, n_0: int, n_p: int, k: int) -> None:
    from diversity_by_design.simulator import GeneParameters, SimulationConfig, simulate

    parameters = GeneParameters.default()
    small = SimulationConfig(g=1000, n_0=20, n_p=10, k=10)
    simulate(small, parameters, workers=1)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    config = SimulationConfig(g=g, n_0=n_0, n_p=n_p, k=k)
    began = time.perf_counter()
    simulate(config, parameters, workers=1)
    seconds = time.perf_counter() - began
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(
        f"g {g:,} n_0 {n_0:,} n_p {n_p} k {k:,}: {config.n_cells:,} cells, peak {peak:.0f} MiB "
        f"({before:.0f} before), {seconds:.1f} s, {config.n_entries / seconds / 1e6:.0f} million entries/s"
    )


def main(
    largest: Annotated[bool, typer.Option("--largest", help="Also the largest data set of table 1.")] = False,
    one: Annotated[tuple[int, int, int, int] | None, typer.Option(hidden=True)] = None,
) -> None:
    if one is not None:
        simulate_one(*one)
        return
    configurations = [(4096, 300, n_p, 140) for n_p in (16, 64, 256, 1024)]
    if largest:
        configurations.append((8192, 8192, 256, 2000))
    for configuration in configurations:
        subprocess.run([sys.executable, __file__, "--one", *map(str, configuration)], check=True)


if __name__ == "__main__":
    typer.run(main)
