"""The simulator on a GPU: first whether it is right, then entries (cells x genes) per second, then the full sweep.

    uv run benchmarks/simulator_gpu.py                      # 10,000 data sets of table 1
    uv run benchmarks/simulator_gpu.py --n-datasets 500     # a quick look

Needs an NVIDIA GPU that numba can use, or (for a check of this script) numba's simulator. Prints, and asserts nothing:

- scores made on the GPU against those that the CPU makes of the same sums: the largest difference, which is rounding;
- sums of the same seed, drawn again by another number of blocks: the number of values that differ, which should be 0;
- mean and variance of the expression of genes, drawn on the GPU and on the CPU: their differences in standard errors,
  whose standard deviation should be 1, for library factors from the smallest to the largest of table 1;
- metrics of data sets of the same truth, drawn on either: the same;
- seconds and entries per second of single data sets, and of many in flight.
"""

from __future__ import annotations

import argparse
import time

import numpy as np
import pandas as pd

from diversity_by_design.simulator import GeneParameters, SimulationConfig, cuda
from diversity_by_design.simulator.evaluation import METRICS, evaluate
from diversity_by_design.simulator.ranges import SweepRanges, simulation_seed
from diversity_by_design.simulator.simulation import _statistics, _sums, simulate
from diversity_by_design.simulator.truth import draw_truth


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--n-datasets", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=42)
    parser.add_argument(
        "--in-flight", type=int, nargs="+", default=[1, 4, 16], help="data sets at a time; the last for the sweep"
    )
    parser.add_argument("--compared", type=int, default=20, help="data sets drawn on the CPU too")
    options = parser.parse_args()
    parameters = GeneParameters.default()
    start = time.perf_counter()
    simulate(SimulationConfig(g=100, n_0=20, n_p=10, k=3), parameters, device="cuda")
    print(f"kernels compiled in {time.perf_counter() - start:.1f} s")
    scores_of_the_same_sums(parameters)
    another_number_of_blocks(parameters)
    expression_on_both(parameters)
    metrics_on_both(parameters, options.compared)
    single(parameters)
    tasks = plan(options.n_datasets, options.seed)
    for in_flight in options.in_flight[:-1]:
        sweep(tasks[:: max(1, len(tasks) // 200)], parameters, in_flight)
    sweep(tasks, parameters, options.in_flight[-1])


def scores_of_the_same_sums(parameters: GeneParameters) -> None:
    largest = 0.0
    for seed, k in enumerate((1, 20, 200)):
        truth = draw_truth(SimulationConfig(g=3000, n_0=200, n_p=20, k=k, delta=0.01), parameters, seed)
        expected = evaluate(_statistics(truth, 1, cuda.sums(truth, seed))[0], truth.effects)
        found, _ = cuda.scores(truth, seed)
        if (np.isnan(found) != np.isnan(expected)).any():
            print("scores: UNDEFINED IN DIFFERENT PLACES")
        largest = max(largest, np.nanmax(np.abs(found - expected)))
    print(f"scores of the same sums: largest difference {largest:.1e}")


def another_number_of_blocks(parameters: GeneParameters) -> None:
    truth = draw_truth(SimulationConfig(n_0=5000), parameters, 1)
    blocks, differing = cuda.BLOCKS, 0
    first = cuda.sums(truth, 1)
    for cuda.BLOCKS in (blocks, 130):
        again = cuda.sums(truth, 1)
        differing += (first.perturbed != again.perturbed).sum() + (first.control_sq != again.control_sq).sum()
    cuda.BLOCKS = blocks
    print(f"sums drawn again: {differing} values differ")


def expression_on_both(parameters: GeneParameters) -> None:
    for mu_l in (0.2, 1.0, 2.5, 5.0):
        config = SimulationConfig(g=4000, n_0=8000, n_p=400, k=20, mu_l=mu_l, delta=0.1, epsilon=4.0)
        truth = draw_truth(config, parameters, 3)
        there, here = cuda.sums(truth, 3), _sums(truth, 3, 1, None)
        for name, n in (("control", config.n_0), ("perturbed", config.n_p)):
            (mean, variance), (mean_here, variance_here) = (
                moments(getattr(some, name), getattr(some, f"{name}_sq"), n) for some in (there, here)
            )
            expressed = variance + variance_here > 0
            z = ((mean - mean_here) / np.sqrt((variance + variance_here) / n))[expressed]
            ratio = np.log(variance[expressed] / variance_here[expressed])
            ratio = ratio[np.isfinite(ratio)]
            print(
                f"expression, mu_l {mu_l}, {name:9}: z of means {z.mean():+.3f} (sd {z.std():.3f}, "
                f"largest {np.abs(z).max():.1f} of {len(z):,}); mean log ratio of variances {ratio.mean():+.4f}"
            )


def moments(total: np.ndarray, total_sq: np.ndarray, n: int) -> tuple[np.ndarray, np.ndarray]:
    return total / n, (total_sq - total**2 / n) / (n - 1)


def metrics_on_both(parameters: GeneParameters, n: int) -> None:
    ranges = SweepRanges(g=(1000, 3000), n_0=(10, 2000), n_p=(10, 100), k=(10, 100))
    differences = []
    for dataset in range(n):
        truth = draw_truth(ranges.draw(0, dataset)[0], parameters, dataset)
        values = [
            evaluate(_statistics(truth, 1, sums)[0], truth.effects)
            for sums in (cuda.sums(truth, dataset), _sums(truth, dataset, 1, None), _sums(truth, n + dataset, 1, None))
        ]
        there, here, again = (pd.DataFrame(some, columns=list(METRICS)).median() for some in values)
        differences.append(pd.DataFrame({"GPU - CPU": there - here, "CPU - CPU, other seed": again - here}))
    if differences:
        spread = pd.concat(differences).groupby(level=0).agg(["mean", "std"]).loc[list(METRICS)]
        print(
            f"medians of metrics, {n} data sets of the same truth:\n{spread.to_string(float_format='{:+.5f}'.format)}"
        )


def single(parameters: GeneParameters) -> None:
    for name, config in {
        "typical": SimulationConfig(),
        "shallow": SimulationConfig(mu_l=0.2, n_p=200, k=1000),
        "middle": SimulationConfig(mu_l=1.0, n_p=200, k=1000),
        "deep": SimulationConfig(mu_l=3.0, n_p=200, k=1000),
        "deepest": SimulationConfig(mu_l=5.0, n_p=200, k=1000),
        "largest": SimulationConfig(g=8192, n_0=8192, n_p=256, k=2000),
    }.items():
        truth = draw_truth(config, parameters, 0)
        seconds = []
        for _ in range(4):
            start = time.perf_counter()
            cuda.scores(truth, 0)
            seconds.append(time.perf_counter() - start)
        report(f"{name} data set, without its truth", config.n_entries, np.median(seconds[1:]))


def plan(n_datasets: int, seed: int) -> list[tuple[SimulationConfig, np.random.SeedSequence]]:
    tasks = [(SweepRanges().draw(seed, dataset)[0], simulation_seed(seed, dataset)) for dataset in range(n_datasets)]
    return sorted(tasks, key=lambda task: task[0].n_entries, reverse=True)


def row(task: tuple[SimulationConfig, np.random.SeedSequence], parameters: GeneParameters) -> dict[str, float]:
    return simulate(task[0], parameters, task[1], device="cuda").metrics


def sweep(
    tasks: list[tuple[SimulationConfig, np.random.SeedSequence]], parameters: GeneParameters, in_flight: int
) -> None:
    start = time.perf_counter()
    with cuda.DataSetsInFlight(in_flight) as place:
        errors = [outcome.error for _, outcome in place.run(row, tasks, shared=(parameters,)) if outcome.error]
    seconds = time.perf_counter() - start
    n_entries = sum(config.n_entries for config, _ in tasks)
    report(f"{len(tasks):,} data sets of table 1, {in_flight} in flight, {len(errors)} failed", n_entries, seconds)
    if errors:
        print(f"  first error: {errors[0]}")


def report(what: str, n_entries: int, seconds: float) -> None:
    print(f"{what}: {n_entries:.3g} entries in {seconds:.3f} s, {n_entries / seconds:.3g} per second", flush=True)


if __name__ == "__main__":
    main()
