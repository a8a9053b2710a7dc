"""The simulator's kernels for the GPU, where there is none: as Python threads, on the CPU, and compiled but not run."""

import json
import os
import subprocess
import sys
import threading
from pathlib import Path
from types import FunctionType

import numba
import numpy as np
import pytest
from distributions import assert_negative_binomial
from messages import naming
from scipy import stats

from diversity_by_design.errors import InputError
from diversity_by_design.simulator import GeneParameters, SimulationConfig, cuda, cuda_kernels, simulate

MEANS = np.array([0.0, 0.003, 0.2, 1.3, 8.0, 15.0, 60.0])
THETAS = np.array([0.05, 0.6, 2.7, 100.0, np.inf])


def on_the_cpu(function):
    """A function of the GPU, and those that it calls, compiled for the CPU."""
    source = function.py_func
    called = {
        name: on_the_cpu(value)
        for name, value in source.__globals__.items()
        if name in source.__code__.co_names and isinstance(value, type(function))
    }
    return numba.njit(FunctionType(source.__code__, {**source.__globals__, **called}, source.__name__))


mixed, bits, normal, negative_binomial = (
    on_the_cpu(getattr(cuda_kernels, name)) for name in ("_mixed", "_bits", "_normal", "_negative_binomial")
)


@numba.njit
def drawn(key, factors, means, dispersions):
    """Counts (cells, genes), from the same random numbers as in `cuda_kernels.draw`."""
    counts = np.empty((len(factors), len(means)), np.int64)
    state = np.empty(1, np.uint64)
    for cell in range(len(factors)):
        start = mixed(key + np.uint64(cell) * cuda_kernels._DRAW_STEP)
        for gene in range(len(means)):
            state[0] = start + np.uint64(gene) * cuda_kernels._GENE_STEP
            counts[cell, gene] = negative_binomial(state, factors[cell] * means[gene], dispersions[gene])
    return counts


@numba.njit
def first_words(key, n_cells, n_genes):
    words, state = np.empty((n_cells, n_genes), np.uint64), np.empty(1, np.uint64)
    for cell in range(n_cells):
        start = mixed(key + np.uint64(cell) * cuda_kernels._DRAW_STEP)
        for gene in range(n_genes):
            state[0] = start + np.uint64(gene) * cuda_kernels._GENE_STEP
            words[cell, gene] = bits(state)
    return words


def sample(factors, seed=0):
    """Counts of a gene for every pair of mean and theta, and their means and dispersions at library factor 1."""
    means, thetas = (values.ravel() for values in np.meshgrid(MEANS, THETAS))
    return drawn(np.uint64(seed), factors, means, 1.0 / thetas), means, 1.0 / thetas


@pytest.mark.parametrize("level", [0.2, 1.0, 5.0])
def test_counts_have_their_distribution_at_every_mean_size_and_depth(level):
    """mu_l up to the largest of table 1."""
    factors = np.random.default_rng(1).lognormal(level, 0.1714, 20_000)
    counts, means, dispersions = sample(factors)
    for gene in range(len(means)):
        assert_negative_binomial(counts[:, gene], factors * means[gene], dispersions[gene])


def test_counts_of_different_cells_and_genes_are_independent():
    counts = sample(np.full(50_000, 2.0))[0].astype(float)
    counts = counts[:, counts.std(axis=0) > 0]
    between_genes = np.corrcoef(counts.T)[np.triu_indices(counts.shape[1], 1)]
    between_cells = [
        np.corrcoef(counts[:-lag, gene], counts[lag:, gene])[0, 1]
        for gene in range(counts.shape[1])
        for lag in (1, 2, 8)
    ]
    limit = 5 / np.sqrt(len(counts))
    assert np.abs(between_genes).max() < limit
    assert np.abs(between_cells).max() < limit


def test_first_numbers_of_cells_and_genes_are_uniform():
    """All 16 bits at either end of the words, over neighbouring cells and genes, alone and in pairs."""
    words = first_words(np.uint64(5), 1000, 4096)
    for part in (words >> np.uint64(48), words & np.uint64(0xFFFF)):
        assert stats.chisquare(np.bincount(part.ravel().astype(int), minlength=2**16)).pvalue > 1e-4
        high = (part >> np.uint64(10)).astype(int)
        for one, other in ((high[:-1], high[1:]), (high[:, :-1], high[:, 1:]), (high[:, :-32], high[:, 32:])):
            assert stats.chisquare(np.bincount((one * 64 + other).ravel(), minlength=4096)).pvalue > 1e-4


def test_words_of_a_cell_are_all_different():
    """Up to 100,000 genes: their counters are more than a million draws apart."""
    apart = int(cuda_kernels._GENE_STEP) * pow(int(cuda_kernels._DRAW_STEP), -1, 2**64)
    draws = np.array([distance * apart % 2**64 for distance in range(1, 100_000)], np.uint64)
    assert np.minimum(draws, -draws).min() > 1_000_000


def test_normal_has_its_distribution():
    @numba.njit
    def draw(n):
        state, values = np.zeros(1, np.uint64), np.empty(n)
        for i in range(n):
            values[i] = normal(state)
        return values

    values = draw(2_000_000)
    assert stats.kstest(values, stats.norm.cdf).pvalue > 1e-3
    beyond = np.abs(values[np.abs(values) > 3.5])
    assert stats.kstest(beyond, stats.truncnorm(3.5, np.inf).cdf).pvalue > 1e-3


IN_SIMULATOR = (
    "sums_are_those_of_the_counts",
    "launches_do_not_matter",
    "parts_add_up",
    "scores_are_those_of_the_cpu",
    "scores_of_equal_genes_and_small_sets",
    "failures_are_reported",
)


def outcomes_of(*checks, **environment):
    script = Path(__file__).parents[1] / "cuda_checks.py"
    done = subprocess.run(
        [sys.executable, script, *checks], capture_output=True, text=True, env=os.environ | environment
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def in_simulator():
    return outcomes_of(*IN_SIMULATOR, NUMBA_ENABLE_CUDASIM="1")


@pytest.mark.parametrize("check", IN_SIMULATOR)
def test_kernels_in_numbas_simulator(in_simulator, check):
    assert in_simulator[check] is None


def test_kernels_compile_for_a_gpu():
    outcome = outcomes_of("kernels_compile")["kernels_compile"]
    if (outcome or "").startswith("no NVVM"):
        pytest.skip(outcome)
    assert outcome is None


@pytest.mark.parametrize(("n_p", "parts"), [(2, 1), (11, 4), (256, 1), (40, 40), (2000, 3)])
@pytest.mark.parametrize(("n_0", "k"), [(2, 1), (8192, 10), (10, 2000)])
def test_rows_hold_all_cells_once_in_groups_as_on_the_cpu(n_0, n_p, k, parts):
    first_rows, first_cells = cuda._rows(n_0, n_p, k, parts)
    sizes = np.diff(first_cells)
    of_cells = np.arange(n_p) * parts // n_p
    n_cells = np.concatenate([[n_0], np.tile(np.bincount(of_cells), k)])
    assert first_cells[0] == 0 and (sizes > 0).all()
    np.testing.assert_array_equal(np.add.reduceat(sizes, first_rows[:-1]), n_cells)
    # No more than about a thousand, but for a row of each group.
    assert len(sizes) <= 1024 + len(n_cells)


def test_tasks_in_flight_are_many_and_failures_are_reported(monkeypatch):
    monkeypatch.setattr(cuda, "_cuda", lambda: None)
    together = threading.Barrier(3, timeout=30)

    def task(number, divisor):
        if number < 3:
            together.wait()
        return 1 / (number - divisor)

    taken = []
    with cuda.DataSetsInFlight(3) as place:
        # Six at first, of which three are worked on.
        for index, outcome in place.run(task, (taken.append(n) or n for n in range(8)), shared=(5,)):
            assert index <= max(taken) <= 7
            assert (outcome.error, outcome.value) == (("", 1 / (index - 5)) if index != 5 else (outcome.error, None))
            assert ("ZeroDivisionError" in outcome.error) == (index == 5)
    with pytest.raises(InputError, match=naming("in_flight", 0)):
        cuda.DataSetsInFlight(0)


def test_without_a_gpu_the_error_says_what_is_needed():
    if cuda_kernels.cuda.is_available():
        pytest.skip("there is a GPU here")
    for use in (
        lambda: simulate(SimulationConfig(g=10, k=2), GeneParameters.default(50), device="cuda"),
        cuda.DataSetsInFlight,
    ):
        with pytest.raises(InputError, match=naming("--device cuda", "NVIDIA", "--device cpu")):
            use()


def test_without_numbas_cuda_support_the_error_says_so(monkeypatch):
    monkeypatch.setitem(sys.modules, "numba.cuda", None)
    monkeypatch.delattr(numba, "cuda", raising=False)
    with pytest.raises(InputError, match=naming("--device cuda", "--device cpu")):
        cuda.DataSetsInFlight()
