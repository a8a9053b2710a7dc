"""What `test_simulator_cuda` runs in processes of its own: ``python cuda_checks.py NAME_OF_CHECK ...``.

Prints a JSON object: of each check what it returned, or its traceback.

Numba's CUDA simulator, which is chosen when numba is loaded, runs kernels as Python threads, so data sets are tiny.
"""

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import warnings
from pathlib import Path
from types import SimpleNamespace

import numpy as np
from numba.core import config

from diversity_by_design.running.executors import attempt
from diversity_by_design.simulator import GeneParameters, SimulationConfig, cuda, cuda_evaluation, cuda_kernels
from diversity_by_design.simulator.evaluation import evaluate
from diversity_by_design.simulator.simulation import _statistics, simulate_statistics
from diversity_by_design.simulator.truth import COUNTS, Effects, Truth, child, draw_truth

PARAMETERS = GeneParameters.default(300)
ARRAYS = ("perturbed", "perturbed_sq", "control", "control_sq")


def launches_of(blocks: int, threads: int) -> None:
    cuda.BLOCKS, cuda.THREADS, cuda.LONE_THREADS = blocks, threads, threads


def small_truth(seed: int = 3, **options) -> Truth:
    options = {"g": 23, "n_0": 37, "n_p": 11, "k": 3, "delta": 0.2, "epsilon": 4.0, "mu_l": 2.0} | options
    return draw_truth(SimulationConfig(**options), PARAMETERS, seed)


def counts_one_by_one(truth: Truth, seed: int) -> np.ndarray:
    """Counts (cells, genes) as the kernel should draw them, control first."""
    config = truth.config
    directions = truth.effects.directions(config.g).repeat(config.n_p, axis=0)
    means = np.vstack(
        [np.tile(truth.mean_control, (config.n_0, 1)), truth.mean_base * config.epsilon ** directions.astype(float)]
    )
    means *= np.concatenate([truth.control_factors, truth.factors])[:, None]
    key = child(seed, COUNTS).generate_state(1, np.uint64)[0]
    rank = np.argsort(np.argsort(truth.mean_base, kind="stable"))
    counts = np.empty(means.shape)
    for cell, gene in np.ndindex(means.shape):
        start = cuda_kernels._mixed(key + np.uint64(cell) * cuda_kernels._DRAW_STEP)
        state = np.array([start + np.uint64(rank[gene]) * cuda_kernels._GENE_STEP])
        counts[cell, gene] = cuda_kernels._negative_binomial(state, means[cell, gene], truth.dispersion[gene])
    return counts


def sums_are_those_of_the_counts() -> None:
    for options in ({}, {"mu_l": -3.0, "g": 5}, {"delta": 0.0, "beta": 0.0, "n_p": 33, "k": 2}):
        truth = small_truth(**options)
        config = truth.config
        counts = counts_one_by_one(truth, 3)
        totals = counts.sum(axis=1, keepdims=True)
        expression = np.log1p(1e4 * counts / np.maximum(totals, 1.0))
        control, perturbed = expression[: config.n_0], expression[config.n_0 :].reshape(config.k, config.n_p, -1)
        sums = cuda.sums(truth, 3)
        np.testing.assert_allclose(sums.control, control.sum(axis=0), rtol=1e-6)
        np.testing.assert_allclose(sums.control_sq, (control**2).sum(axis=0), rtol=1e-6)
        np.testing.assert_allclose(sums.perturbed, perturbed.sum(axis=1), rtol=1e-6)
        np.testing.assert_allclose(sums.perturbed_sq, (perturbed**2).sum(axis=1), rtol=1e-6)
        assert sums.n_empty_cells == (totals == 0.0).sum()
        assert (sums.n_empty_cells > 0) == ("mu_l" in options)


def launches_do_not_matter() -> None:
    truth = small_truth()
    first = cuda.sums(truth, 3)
    for blocks, threads in ((1, 1), (5, 2)):
        launches_of(blocks, threads)
        for again in (cuda.sums(truth, 3), cuda.sums(truth, np.random.SeedSequence(3))):
            assert all((getattr(first, name) == getattr(again, name)).all() for name in ARRAYS)
    assert (cuda.sums(truth, 4).control != first.control).any()


def parts_add_up() -> None:
    truth = small_truth()
    whole, parts = cuda.sums(truth, 3), cuda.sums(truth, 3, parts=4)
    np.testing.assert_array_equal(parts.control, whole.control)
    assert parts.perturbed.shape == (12, 23)
    np.testing.assert_allclose(parts.perturbed.reshape(3, 4, 23).sum(axis=1), whole.perturbed, rtol=1e-12)


def scores_are_those_of_the_cpu() -> None:
    for options in ({}, {"k": 1}, {"delta": 0.03, "k": 6}, {"n_0": 2, "n_p": 2}):
        truth = small_truth(**options)
        sums = cuda.sums(truth, 3)
        values, n_empty = cuda.scores(truth, 3)
        expected = evaluate(_statistics(truth, 1, sums)[0], truth.effects)
        np.testing.assert_allclose(values, expected, rtol=1e-9)
        assert n_empty == sums.n_empty_cells
        # The whole function, with what draws the truth.
        again = simulate_statistics(truth.config, PARAMETERS, 3, device="cuda").statistics[0]
        np.testing.assert_array_equal(again.sum, sums.perturbed)


def scores_of_equal_genes_and_small_sets() -> None:
    """Genes expressed nowhere (t = 0), copies of each other, and with a difference but no variance (t infinite)."""
    rng = np.random.default_rng(0)
    n_genes, n_cells, copies = 20, 12, list(range(5, 11))
    sets = [[], [4], [0, 7], list(range(4)), copies, list(range(7)), list(range(17)), list(range(n_genes))]
    k = len(sets)
    genes, starts = (
        np.concatenate(sets).astype(np.int64),
        np.concatenate([[0], np.cumsum([len(some) for some in sets])]),
    )
    truth = small_truth(g=n_genes, n_0=n_cells, n_p=n_cells, k=k)
    truth = Truth(**{**vars(truth), "effects": Effects(starts, genes, np.ones(len(genes), bool))})
    cells = rng.random((k + 1, n_cells, n_genes))
    cells[:, :, ::3] = 0.0
    cells[:, :, copies] = cells[:, :, [5]]
    cells[:, :, 13] = 1.0
    cells[2, :, 13] = cells[3, :, 14] = 2.0
    drawn = cuda._Drawn(truth, 0)
    np.testing.assert_array_equal(drawn.first_rows, np.arange(k + 2))
    sums, sums_sq = cells.sum(axis=1), (cells**2).sum(axis=1)
    drawn.sums[:], drawn.sums_sq[:] = sums[:, drawn.order], sums_sq[:, drawn.order]
    drawn.totals[:] = drawn.sums[1:].copy_to_host().sum(axis=0)
    drawn.totals_sq[:] = drawn.sums_sq[1:].copy_to_host().sum(axis=0)
    statistics = _statistics(
        truth, 1, SimpleNamespace(perturbed=sums[1:], perturbed_sq=sums_sq[1:], control=sums[0], control_sq=sums_sq[0])
    )[0]
    expected = evaluate(statistics, truth.effects)
    assert np.isnan(expected[0, 1:4]).all() and np.isnan(expected[[1, 4], 1]).all() and np.isfinite(expected[5:]).all()
    np.testing.assert_allclose(drawn.scores(), expected, rtol=1e-9)


def failures_are_reported() -> None:
    """With one data set in flight: the simulator runs one kernel at a time."""
    tasks = [{"k": 2}, {"g": 301}, {"k": 3}]
    with cuda.DataSetsInFlight(1) as place:
        outcomes = dict(place.run(scores_of, tasks, shared=(7,)))
    assert [outcomes[i].error.split(":")[0] for i in range(3)] == ["", "InputError", ""]
    for index in (0, 2):
        np.testing.assert_array_equal(outcomes[index].value, scores_of(tasks[index], 7))


def scores_of(options: dict[str, int], seed: int) -> np.ndarray:
    return cuda.scores(small_truth(seed, **options), seed)[0]


def kernels_compile() -> str | None:
    """To PTX, and to machine code where there is an assembler: with NVVM, but without a GPU. Says if there is none."""
    from numba import cuda as numba_cuda
    from numba import types
    from numba.cuda import dispatcher
    from numba.cuda.cudadrv import nvvm

    if not nvvm.is_available():
        return "no NVVM, which is part of CUDA toolkits: the kernels are not compiled for a GPU"
    # Numba asks the GPU what it can do.
    dispatcher.get_current_device = lambda: SimpleNamespace(compute_capability=(9, 0))
    indices, doubles, matrix = (
        types.Array(*of, "C") for of in ((types.int32, 1), (types.float64, 1), (types.float64, 2))
    )
    words, counts, bits = (types.Array(*of, "C") for of in ((types.uint32, 2), (types.uint32, 3), (types.int64, 2)))
    starts = types.int64[::1]
    cells = (indices, indices, doubles, matrix, doubles, starts, indices, doubles)
    rows = (indices, matrix, matrix, doubles, doubles)
    arguments = {
        cuda_kernels.draw: (types.uint64, *cells, matrix, counts, matrix, matrix, indices),
        cuda_kernels.add_rows: rows,
        cuda_evaluation.evaluate: (
            types.int64,
            types.int64,
            *rows,
            indices,
            starts,
            indices,
            matrix,
            bits,
            words,
            matrix,
        ),
    }
    for kernel, of in arguments.items():
        ptx, _ = numba_cuda.compile_ptx(kernel.py_func, of, cc=(9, 0))
        shared = sum(map(int, re.findall(r"^\.shared .*\[(\d+)\];", ptx, re.MULTILINE)))
        # More than that must be asked for at a launch.
        assert ".target sm_90" in ptx and shared <= 48 * 1024
        # An array in memory of its own would be slow: the state of a thread's random numbers is in registers.
        assert ".local" not in ptx
        if shutil.which("ptxas"):
            assert registers(ptx) * cuda.THREADS <= 65_536
    return None


def registers(ptx: str) -> int:
    """Registers of a thread, if the assembler may take as many as it likes."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "kernel.ptx"
        path.write_text(ptx)
        command = ["ptxas", "-v", "-arch=sm_90", "-o", os.devnull, str(path)]
        report = subprocess.run(command, capture_output=True, text=True, check=True).stderr
    return int(re.search(r"Used (\d+) registers", report).group(1))


def checked(name: str) -> str | None:
    if config.ENABLE_CUDASIM:
        import cuda_turns  # noqa: F401

        launches_of(2, 4)
    # Hashes overflow; a variance of none divides by zero.
    with warnings.catch_warnings(action="ignore", category=RuntimeWarning):
        outcome = attempt(lambda check: check(), globals()[name])
    return outcome.traceback or outcome.value


if __name__ == "__main__":
    print(json.dumps({name: checked(name) for name in sys.argv[1:]}))
