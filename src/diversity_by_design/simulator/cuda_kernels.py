"""Compiled kernels of the simulator for the GPU: draw the counts of cells, normalise them, add them up.

A block of threads draws the cells of a row, which are some or all cells of a perturbation or of control. A thread has
the same genes from the first draw to the last sum, so that sums are added up in the same order, whatever runs beside.
Genes come sorted by mean: the threads of a warp, which wait for each other, then have draws of similar length.
"""

from __future__ import annotations

import math
from importlib import import_module
from types import FunctionType
from typing import Any

import numpy as np
import numpy.typing as npt
from numba import float32, float64, uint64

from diversity_by_design.simulator import random_numbers
from diversity_by_design.simulator.kernels import TARGET_SUM

# A type checker would take what stands for threads and blocks for what it looks like.
cuda: Any = import_module("numba.cuda")
_settings: Any = import_module("numba.core.config")

Words = npt.NDArray[np.uint64]
Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]
Indices = npt.NDArray[np.int32]

# Most threads of a block, whose number must be a power of two.
THREADS = 256
# Cells that a block draws at a time.
CELLS_AT_A_TIME = 8

# Steps of a counter from a draw to the next and from a gene to the next: odd, and of no small common multiple
# (modulo 2**64), so that the draws of a cell's genes are all different words.
_DRAW_STEP, _GENE_STEP = np.uint64(0x9E3779B97F4A7C15), np.uint64(0xD1342543DE82EF95)
# Three blocks of 256 threads fit on a multiprocessor; with fewer registers the draws would keep numbers in memory.
_OPTIONS = {} if getattr(_settings, "ENABLE_CUDASIM", False) else {"max_registers": 80}
# Inversion pays for larger means than on the CPU: the threads of a warp wait for the longest of its draws anyway.
_INVERTED_MEAN = 16.0


@cuda.jit(device=True)
def _mixed(word: np.uint64) -> np.uint64:
    """Hash of 64 bits: the last steps of SplitMix64 (Steele, Lea and Flood 2014)."""
    word = (word ^ (word >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    word = (word ^ (word >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return word ^ (word >> np.uint64(31))


@cuda.jit(device=True)
def _bits(state: Words) -> np.uint64:
    """Draw 64 random bits; the state is a counter (1,), which costs fewer registers than xoshiro's four words."""
    state[0] += _DRAW_STEP
    return _mixed(state[0])


@cuda.jit(device=True)
def _normal(state: Words) -> float:
    """Draw from the standard normal distribution by Marsaglia's polar method, which needs no tables."""
    while True:
        word = _bits(state)
        x = (np.float64(word >> np.uint64(32)) + 0.5) * 2.0**-31 - 1.0
        y = (np.float64(word & np.uint64(0xFFFFFFFF)) + 0.5) * 2.0**-31 - 1.0
        square = x * x + y * y
        if square < 1.0:
            return x * math.sqrt(-2.0 * math.log(square) / square)


# numba 0.68 cannot compile min and max of numbers for the GPU.
@cuda.jit(device=True)
def smaller(a: float, b: float) -> float:
    """Smaller of two numbers."""
    return a if a < b else b


@cuda.jit(device=True)
def larger(a: float, b: float) -> float:
    """Larger of two numbers."""
    return a if a > b else b


def for_device(function: Any, **names: Any) -> Any:
    """Compile a function that was written for the CPU, with other things in place of those that it knows by `names`."""
    source = function.py_func
    unknown = set(names) - set(source.__code__.co_names)
    if unknown:
        raise LookupError(f"{source.__name__} uses none of {sorted(unknown)}")
    return cuda.jit(device=True)(FunctionType(source.__code__, {**source.__globals__, **names}, source.__name__))


_uniform = for_device(random_numbers.uniform, bits=_bits)
_inverted = for_device(
    random_numbers.inverted, uniform=_uniform, probability_of_none=for_device(random_numbers.probability_of_none)
)
_negative_binomial = for_device(
    random_numbers.negative_binomial,
    inverted=_inverted,
    gamma=for_device(random_numbers.gamma, uniform=_uniform, normal=_normal),
    poisson=for_device(random_numbers.poisson, inverted=_inverted, uniform=_uniform, _LARGE_MEAN=_INVERTED_MEAN),
    _INVERTED_MEAN=_INVERTED_MEAN,
)


@cuda.jit(**_OPTIONS)
def draw(
    key: np.uint64,
    cells: Indices,
    perturbations: Indices,
    factors: Floats,
    means: Floats,
    dispersions: Floats,
    starts: Integers,
    affected: Indices,
    effects: Floats,
    own_means: Floats,
    counts: npt.NDArray[np.uint32],
    sums: Floats,
    sums_sq: Floats,
    n_empty: Indices,
) -> None:
    """Draw the cells of all rows, and add up their log1p expression and its square (equations 2 to 5).

    The counts of a cell depend on the key, its number and its distribution alone. Row r has the cells `cells[r]` to
    `cells[r + 1]`, of perturbation `perturbations[r]`, -1 for control; perturbation p affects the genes `affected`
    `[starts[p]]` to `[starts[p + 1]]`, whose means `effects` multiply. `means` (2, genes) are of control and perturbed
    cells. `own_means` (blocks, genes) and `counts` (blocks, CELLS_AT_A_TIME, genes) are scratch, what follows (rows,
    genes) and (rows,) is written; `n_empty` counts cells without a count, whose expression is 0.
    """
    totals = cuda.shared.array((CELLS_AT_A_TIME, THREADS), float64)
    scales = cuda.shared.array(CELLS_AT_A_TIME, float32)
    keys = cuda.shared.array(CELLS_AT_A_TIME, uint64)
    state = cuda.local.array(1, uint64)
    thread, n_threads = cuda.threadIdx.x, cuda.blockDim.x
    n_genes = len(dispersions)
    block_means, block_counts = own_means[cuda.blockIdx.x], counts[cuda.blockIdx.x]
    for row in range(cuda.blockIdx.x, len(perturbations), cuda.gridDim.x):
        perturbation = perturbations[row]
        for gene in range(thread, n_genes, n_threads):
            block_means[gene] = means[0 if perturbation < 0 else 1, gene]
        cuda.syncthreads()
        if perturbation >= 0:
            for pair in range(starts[perturbation] + thread, starts[perturbation + 1], n_threads):
                block_means[affected[pair]] *= effects[pair]
        empty = 0
        for first in range(cells[row], cells[row + 1], CELLS_AT_A_TIME):
            n_cells = smaller(CELLS_AT_A_TIME, cells[row + 1] - first)
            for cell in range(n_cells):
                totals[cell, thread] = 0.0
            for cell in range(thread, n_cells, n_threads):
                keys[cell] = _mixed(key + np.uint64(first + cell) * _DRAW_STEP)
            cuda.syncthreads()
            for gene in range(thread, n_genes, n_threads):
                mean, dispersion = block_means[gene], dispersions[gene]
                for cell in range(n_cells):
                    state[0] = keys[cell] + np.uint64(gene) * _GENE_STEP
                    count = _negative_binomial(state, factors[first + cell] * mean, dispersion)
                    block_counts[cell, gene] = count
                    totals[cell, thread] += count
            cuda.syncthreads()
            half = n_threads // 2
            while half > 0:
                if thread < half:
                    for cell in range(n_cells):
                        totals[cell, thread] += totals[cell, thread + half]
                cuda.syncthreads()
                half //= 2
            for cell in range(thread, n_cells, n_threads):
                scales[cell] = TARGET_SUM / totals[cell, 0] if totals[cell, 0] > 0.0 else 0.0
            cuda.syncthreads()
            for gene in range(thread, n_genes, n_threads):
                total = total_sq = 0.0
                for cell in range(n_cells):
                    expression = np.float64(math.log1p(np.float32(block_counts[cell, gene]) * scales[cell]))
                    total += expression
                    total_sq += expression * expression
                if first == cells[row]:
                    sums[row, gene], sums_sq[row, gene] = total, total_sq
                else:
                    sums[row, gene] += total
                    sums_sq[row, gene] += total_sq
            for cell in range(n_cells):
                empty += scales[cell] == 0.0
        if thread == 0:
            n_empty[row] = empty


@cuda.jit
def add_rows(first_rows: Indices, sums: Floats, sums_sq: Floats, totals: Floats, totals_sq: Floats) -> None:
    """Add up the rows of every group, into its first row, and all groups but the first, control, into totals.

    `first_rows` is (groups + 1,), sums are (rows, genes), totals (genes,).
    """
    for gene in range(cuda.grid(1), len(totals), cuda.gridsize(1)):
        all_groups = all_groups_sq = 0.0
        for group in range(len(first_rows) - 1):
            total = total_sq = 0.0
            for row in range(first_rows[group], first_rows[group + 1]):
                total += sums[row, gene]
                total_sq += sums_sq[row, gene]
            sums[first_rows[group], gene], sums_sq[first_rows[group], gene] = total, total_sq
            if group > 0:
                all_groups += total
                all_groups_sq += total_sq
        totals[gene], totals_sq[gene] = all_groups, all_groups_sq
