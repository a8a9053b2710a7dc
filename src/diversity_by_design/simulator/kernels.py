"""Compiled kernels of the simulator for the CPU: draw the counts of a few cells, normalise them, add them up.

Most counts come from tables, one per gene, for all cells of a bin of similar library factors. What the distributions
of all these cells have in common, the smallest of their probabilities of each count, is drawn from by Walker's method
of aliases (Vose 1991) in a few instructions. Its last column stands for the rest, which is drawn from by inversion,
with the cell's own probabilities minus the common ones. The sum of both is the cell's distribution, exactly.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numba
import numpy as np
import numpy.typing as npt

from diversity_by_design.simulator.random_numbers import (
    NEGLIGIBLE,
    RECIPROCALS,
    Words,
    fill,
    negative_binomial,
    probability_of_none,
    uniform,
)
from diversity_by_design.simulator.truth import Effects, Floats, Integers

Counts = npt.NDArray[np.uint32]


class Tables(NamedTuple):
    """A table per gene, for cells whose library factors are in an interval; arrays are (genes,) or (columns of all,).

    Means (at library factor 1) and dispersions are those of the genes' negative binomial distributions.
    """

    means: Floats
    dispersions: Floats
    exponents: Integers  # log2 of the number of a gene's columns; negative for none, of genes drawn one by one
    offsets: Integers  # where a gene's table begins
    aliases: Words  # of each column its threshold (upper 48 bits) and its alias (lower 16)
    common: Floats  # probability of each count that all cells of the bin have in common; of the last column `rest`
    rest: Floats  # probability of what is not in common, by gene


# The upper bits of a random word choose a column, the 48 bits that follow between the column and its alias.
LARGEST_EXPONENT = 10
_ALIAS_BITS = 16
_THRESHOLD_UNIT = 2.0**48
# From this mean on a fresh draw is faster than a decision for each molecule.
_MANY_MOLECULES = 40.0
# Genes that random words are drawn for at a time.
GENES_AT_A_TIME = 16
# Counts per cell after normalisation.
TARGET_SUM = 1e4


@numba.njit(nogil=True, cache=True)
def build_tables(low: float, high: float, tables: Tables) -> None:
    """Fill the tables for cells whose library factors are in [low, high]: `aliases`, `common` and `rest`."""
    means, dispersions, exponents, offsets, aliases, common, rest = tables
    largest = 1 << LARGEST_EXPONENT
    scaled = np.empty(largest)
    small, large = np.empty(largest, np.int64), np.empty(largest, np.int64)
    for gene in range(len(means)):
        if exponents[gene] < 0:
            continue
        columns = 1 << exponents[gene]
        dispersion = dispersions[gene]
        # The probability of a count rises with the mean and falls again, so that an end of the interval is lowest.
        p_low = probability_of_none(low * means[gene], dispersion)
        p_high = probability_of_none(high * means[gene], dispersion)
        step_low = low * means[gene] / (1.0 + low * means[gene] * dispersion)
        step_high = high * means[gene] / (1.0 + high * means[gene] * dispersion)
        offset = offsets[gene]
        remaining = 1.0
        n_small = n_large = 0
        for x in range(columns):
            p = min(p_low, p_high)
            ratio = (1.0 + x * dispersion) * RECIPROCALS[x]
            p_low *= step_low * ratio
            p_high *= step_high * ratio
            if x == columns - 1:
                p = max(remaining, 0.0)
                rest[gene] = p
            remaining -= p
            common[offset + x] = p
            scaled[x] = p * columns
            if scaled[x] < 1.0:
                small[n_small] = x
                n_small += 1
            else:
                large[n_large] = x
                n_large += 1
        while n_small > 0 and n_large > 0:
            n_small -= 1
            less, more = small[n_small], large[n_large - 1]
            threshold = np.uint64(scaled[less] * _THRESHOLD_UNIT)
            aliases[offset + less] = (threshold << np.uint64(_ALIAS_BITS)) | np.uint64(more)
            scaled[more] -= 1.0 - scaled[less]
            if scaled[more] < 1.0:
                n_large -= 1
                small[n_small] = more
                n_small += 1
        # What is left has a threshold of one, up to rounding: its alias is itself.
        for left in range(n_large):
            aliases[offset + large[left]] = np.uint64(large[left])
        for left in range(n_small):
            aliases[offset + small[left]] = np.uint64(small[left])


@numba.njit(nogil=True, cache=True)
def _from_rest(
    state: Words, mean: float, dispersion: float, common: Floats, offset: int, last: int, rest: float
) -> int:
    """Draw a count from what the common probabilities of counts below `last` leave of the distribution of this mean."""
    u = uniform(state) * rest
    p = probability_of_none(mean, dispersion)
    step = mean / (1.0 + mean * dispersion)
    for x in range(last):
        own = p - common[offset + x]
        if u < own:
            return x
        # Rounding can make it negative.
        u -= max(own, 0.0)
        p *= step * (1.0 + x * dispersion) * RECIPROCALS[x]
    x = last
    # Rounding can leave a little of u where probabilities cannot be told from zero any more.
    while u >= p and p > NEGLIGIBLE:
        u -= p
        p *= step * (1.0 + x * dispersion) / (x + 1)
        x += 1
    return x


@numba.njit(nogil=True, cache=True, inline="always")
def _column(word: np.uint64, exponent: int, aliases: Words, offset: int) -> np.uint64:
    """Return the count that a random word stands for in a table; the last column stands for the rest."""
    column = word >> np.uint64(64 - exponent)
    entry = aliases[np.uint64(offset) + column]
    fraction = (word << np.uint64(exponent)) >> np.uint64(_ALIAS_BITS)
    return column if fraction < (entry >> np.uint64(_ALIAS_BITS)) else entry & np.uint64(0xFFFF)


@numba.njit(nogil=True, cache=True)
def draw_unaffected(factors: Floats, tables: Tables, lanes: Words, state: Words, words: Words, counts: Counts) -> None:
    """Write the counts (cells, at least genes) of cells that no perturbation affects.

    The library factors (cells,) are in the interval of the tables. The streams `lanes` and `state` of random numbers
    are advanced; `words` (GENES_AT_A_TIME * cells,) is scratch.
    """
    means, dispersions, exponents, offsets, aliases, common, rest = tables
    n_cells = len(factors)
    for gene in range(len(means)):
        first_word = gene % GENES_AT_A_TIME * n_cells
        if first_word == 0:
            fill(lanes, words)
        exponent, offset = exponents[gene], offsets[gene]
        if exponent < 0:
            for cell in range(n_cells):
                counts[cell, gene] = negative_binomial(state, factors[cell] * means[gene], dispersions[gene])
            continue
        last = (1 << exponent) - 1
        for cell in range(n_cells):
            count = _column(words[first_word + cell], exponent, aliases, offset)
            if count == np.uint64(last):
                mean = factors[cell] * means[gene]
                count = np.uint64(_from_rest(state, mean, dispersions[gene], common, offset, last, rest[gene]))
            counts[cell, gene] = count


@numba.njit(nogil=True, cache=True)
def apply_effects(
    factors: Floats,
    perturbations: Integers,
    effects: Effects,
    epsilon: float,
    tables: Tables,
    state: Words,
    counts: Counts,
) -> None:
    """Turn counts (cells, at least genes) of unaffected cells into those of perturbed cells (equations 2 and 4).

    A count becomes one of a smaller mean, exactly, by keeping each of its molecules with probability 1 / epsilon: the
    Poisson variable stays one, whatever the gamma variable that its mean is multiplied by.
    `perturbations` (cells,) holds numbers; the tables, the unaffected distributions.
    """
    means, dispersions = tables.means, tables.dispersions
    starts, affected, upward = effects
    kept = 1.0 / epsilon
    for cell in range(len(factors)):
        perturbation = perturbations[cell]
        for pair in range(starts[perturbation], starts[perturbation + 1]):
            gene = affected[pair]
            mean = factors[cell] * means[gene]
            if upward[pair]:
                counts[cell, gene] = negative_binomial(state, mean * epsilon, dispersions[gene])
            elif mean > _MANY_MOLECULES:
                counts[cell, gene] = negative_binomial(state, mean * kept, dispersions[gene])
            else:
                count = np.uint32(0)
                for _ in range(counts[cell, gene]):
                    count += np.uint32(uniform(state) < kept)
                counts[cell, gene] = count


@numba.njit(nogil=True, cache=True)
def library_sizes(counts: Counts, n_genes: int, totals: Floats) -> None:
    """Total counts of each cell, written to `totals` (cells,)."""
    for cell in range(len(totals)):
        total = np.int64(0)
        for gene in range(n_genes):
            total += np.int64(counts[cell, gene])
        totals[cell] = total


@numba.njit(nogil=True, cache=True, fastmath={"contract"})
def add_expression(
    counts: Counts, totals: Floats, groups: Integers, logarithms: npt.NDArray[np.float32], sums: Floats, sums_sq: Floats
) -> None:
    """Add the log1p expression of cells, and its square, to the sums (groups, genes) of their groups.

    A cell without a count, whose library size is 0 in `totals` (cells,), has expression 0. `logarithms` (n,) is
    scratch: those of counts below n are computed once per cell.
    """
    n_genes = sums.shape[1]
    expression = np.empty(n_genes, np.float32)
    n_looked_up = np.uint32(len(logarithms))
    for cell in range(len(totals)):
        if totals[cell] == 0.0:
            continue
        scale = TARGET_SUM / totals[cell]
        for count in range(len(logarithms)):
            logarithms[count] = math.log1p(count * scale)
        row, group_sums, group_sums_sq = counts[cell], sums[groups[cell]], sums_sq[groups[cell]]
        for gene in range(n_genes):
            count = row[gene]
            expression[gene] = logarithms[count] if count < n_looked_up else math.log1p(count * scale)
        for gene in range(n_genes):
            value = np.float64(expression[gene])
            group_sums[gene] += value
            group_sums_sq[gene] += value * value
