"""Compiled kernel of the simulator for the GPU: score the perturbed mean, as `evaluation` does on the CPU."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
from numba import float64

from diversity_by_design.arrays import ROUNDING
from diversity_by_design.simulator import evaluation
from diversity_by_design.simulator.cuda_kernels import (
    THREADS,
    Floats,
    Indices,
    Integers,
    cuda,
    for_device,
    larger,
    smaller,
)

Sets = npt.NDArray[np.uint32]

# In the order of `evaluation.GENE_GROUPS`; bit i of a gene's word says that it is in set i.
_ALL, _AFFECTED, _VS_CONTROL, _VS_REST = range(4)
_N_SETS = len(evaluation.GENE_GROUPS)
# Bits of a double, but for the sign, and of the position of a gene.
_SCORE_BITS, _POSITION_BITS = 63, 31
_FEWEST_CHOSEN = evaluation.FEWEST_CHOSEN
_NEGLIGIBLE_CHANGE = evaluation._NOISE * evaluation._NOISE

_variance = for_device(evaluation._variance)


@cuda.jit(device=True)
def _block_sum(space: Floats, value: float) -> float:
    """Sum of `value` over the threads of the block; all of them must call it."""
    thread, half = cuda.threadIdx.x, cuda.blockDim.x // 2
    cuda.syncthreads()
    space[thread] = value
    cuda.syncthreads()
    while half > 0:
        if thread < half:
            space[thread] += space[thread + half]
        cuda.syncthreads()
        half //= 2
    return space[0]


@cuda.jit(device=True)
def _add_top(score_bits: Integers, order: Indices, n: int, bit: int, sets: Sets, space: Floats) -> None:
    """Set `bit` of the words of the `n` genes of largest score; of equal ones those that come first in `order`.

    The bits of doubles that are not negative are ordered as the doubles are. So the n-th largest is found bit by bit,
    from the highest on: a bit is set if still as many as n scores are not below.
    """
    thread, n_threads, n_genes = cuda.threadIdx.x, cuda.blockDim.x, len(order)
    least = np.int64(0)
    for shift in range(_SCORE_BITS - 1, -1, -1):
        candidate = least | (np.int64(1) << np.int64(shift))
        found = 0.0
        for gene in range(thread, n_genes, n_threads):
            found += 1.0 if score_bits[gene] >= candidate else 0.0
        if _block_sum(space, found) >= n:
            least = candidate
    above = equal = 0.0
    for gene in range(thread, n_genes, n_threads):
        above += 1.0 if score_bits[gene] > least else 0.0
        equal += 1.0 if score_bits[gene] == least else 0.0
    above, equal = _block_sum(space, above), _block_sum(space, equal)
    end = np.int64(n_genes)
    if above + equal > n:
        # In the same way, the last position before which equal scores are taken.
        end = np.int64(0)
        for shift in range(_POSITION_BITS - 1, -1, -1):
            candidate = end | (np.int64(1) << np.int64(shift))
            found = 0.0
            for gene in range(thread, n_genes, n_threads):
                found += 1.0 if score_bits[gene] == least and order[gene] < candidate else 0.0
            if above + _block_sum(space, found) <= n:
                end = candidate
    for gene in range(thread, n_genes, n_threads):
        if score_bits[gene] > least or (score_bits[gene] == least and order[gene] < end):
            sets[gene] |= np.uint32(1) << np.uint32(bit)


@cuda.jit
def evaluate(
    n_control: int,
    n_own: int,
    first_rows: Indices,
    sums: Floats,
    sums_sq: Floats,
    totals: Floats,
    totals_sq: Floats,
    order: Indices,
    starts: Integers,
    affected: Indices,
    scores: Floats,
    score_bits: Integers,
    sets: Sets,
    values: Floats,
) -> None:
    """Write the scores of the perturbed mean to `values` (perturbations, 12), as `evaluation.evaluate` does.

    There are `n_control` control cells and `n_own` of each perturbation. Rows, sums and totals are as
    `cuda_kernels.add_rows` left them, the pairs of perturbations and affected genes as for `cuda_kernels.draw`. `order`
    (genes,) is each gene's position in the data set. The rest (blocks, genes) is scratch: scores, the same memory as
    bits, and the sets that each gene is in.
    """
    space = cuda.shared.array(THREADS, float64)
    thread, n_threads = cuda.threadIdx.x, cuda.blockDim.x
    n_genes, n_labels = len(order), len(starts) - 1
    n_perturbed, n_rest = n_labels * n_own, (n_labels - 1) * n_own
    block_scores, block_bits = scores[cuda.blockIdx.x], score_bits[cuda.blockIdx.x]
    block_sets = sets[cuda.blockIdx.x]
    for label in range(cuda.blockIdx.x, n_labels, cuda.gridDim.x):
        row, n_affected = first_rows[label + 1], starts[label + 1] - starts[label]
        for gene in range(thread, n_genes, n_threads):
            block_sets[gene] = np.uint32(1) << np.uint32(_ALL)
        cuda.syncthreads()
        for pair in range(starts[label] + thread, starts[label + 1], n_threads):
            block_sets[affected[pair]] |= np.uint32(1) << np.uint32(_AFFECTED)
        cuda.syncthreads()
        for number in range(_VS_CONTROL, _N_SETS if n_rest > 0 else _VS_REST):
            for gene in range(thread, n_genes, n_threads):
                own, own_sq = sums[row, gene], sums_sq[row, gene]
                n_other, other, other_sq = n_control, sums[0, gene], sums_sq[0, gene]
                if number == _VS_REST:
                    n_other, other, other_sq = n_rest, totals[gene] - own, totals_sq[gene] - own_sq
                    if other < ROUNDING * totals[gene]:
                        other = other_sq = 0.0
                mean, other_mean = own / n_own, other / n_other
                # The square of Welch's t; the reference counts as n_own cells, as in `deg_scores`.
                difference = mean - other_mean
                error = (_variance(n_own, own, own_sq) + _variance(n_other, other, other_sq)) / n_own
                score = difference * difference / error
                block_scores[gene] = score if abs(difference) > ROUNDING * larger(mean, other_mean) else 0.0
            if n_affected > 0:
                _add_top(block_bits, order, n_affected, number, block_sets, space)
        for number in range(_N_SETS):
            n = n_genes if number == _ALL else n_affected
            if n == 0 or (number == _VS_REST and n_rest == 0):
                if thread == 0:
                    for column in range(number, 3 * _N_SETS, _N_SETS):
                        values[label, column] = np.nan
                continue
            squares = absolute = true_mean = predicted_mean = size = 0.0
            for gene in range(thread, n_genes, n_threads):
                if (block_sets[gene] >> np.uint32(number)) & np.uint32(1):
                    truth, control = sums[row, gene] / n_own, sums[0, gene] / n_control
                    prediction = totals[gene] / n_perturbed
                    error = truth - prediction
                    squares += error * error
                    absolute += abs(error)
                    true_mean += truth - control
                    predicted_mean += prediction - control
                    size += larger(larger(truth, prediction), control) ** 2
            squares, absolute, size = _block_sum(space, squares), _block_sum(space, absolute), _block_sum(space, size)
            true_mean, predicted_mean = _block_sum(space, true_mean) / n, _block_sum(space, predicted_mean) / n
            products = true_sq = predicted_sq = 0.0
            for gene in range(thread, n_genes, n_threads):
                if (block_sets[gene] >> np.uint32(number)) & np.uint32(1):
                    control = sums[0, gene] / n_control
                    true_delta = sums[row, gene] / n_own - control - true_mean
                    predicted_delta = totals[gene] / n_perturbed - control - predicted_mean
                    products += true_delta * predicted_delta
                    true_sq += true_delta * true_delta
                    predicted_sq += predicted_delta * predicted_delta
            products, true_sq = _block_sum(space, products), _block_sum(space, true_sq)
            predicted_sq = _block_sum(space, predicted_sq)
            if thread == 0:
                pearson = np.nan
                if (
                    n >= (2 if number == _ALL else _FEWEST_CHOSEN)
                    and smaller(true_sq, predicted_sq) > _NEGLIGIBLE_CHANGE * size
                ):
                    pearson = products / math.sqrt(true_sq) / math.sqrt(predicted_sq)
                    pearson = smaller(larger(pearson, -1.0), 1.0)
                values[label, number] = pearson
                values[label, _N_SETS + number] = squares / n
                values[label, 2 * _N_SETS + number] = absolute / n
