"""Drawing the cells of a simulated data set on the CPU, a few at a time, so that no matrix of cells x genes is held."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import special

from diversity_by_design.simulator import kernels
from diversity_by_design.simulator.kernels import Counts, Tables
from diversity_by_design.simulator.random_numbers import lanes, stream
from diversity_by_design.simulator.truth import CONTROL_COUNTS, COUNTS, Effects, Floats, Integers, Seed, Truth, child
from diversity_by_design.threads import available_cores, map_threads

# Called from several threads with the numbers of some cells, their counts (cells, at least genes) and library sizes.
UseOfCells = Callable[[Integers, Counts, Floats], None]

# Cells drawn at a time: their counts of some thousand genes stay in the cache.
_CELLS_AT_A_TIME = 128
# Cells of a block, for which one thread draws the cells of a bin at a time, per bin.
_CELLS_PER_BLOCK_AND_BIN = 2 * _CELLS_AT_A_TIME
_CONTROL_GROUP = 1024
_MOST_BINS = 48
_SMALLEST_EXPONENT = 3
# A table reaches so many standard deviations above the mean; what lies beyond takes long to draw.
_REACH = 5.0
# Probabilities are added up from that of no count, which must not be lost: e**-745 is the smallest number.
_LARGEST_LOG = 650.0
# A table pays if it has at most so many columns for each draw from it.
_COLUMNS_PER_DRAW = 6
# Logarithms looked up: of counts up to some times the mean count, within these limits.
_LOOKED_UP_PER_MEAN_COUNT = 6.0
_FEWEST_LOOKED_UP, _MOST_LOOKED_UP = 32, 1024
# Lines of 64 bytes: rows whose distance is a multiple of 4,096 bytes would compete for the same lines of the cache.
_LINE = 16


@dataclass(frozen=True, eq=False)
class Population:
    """Cells to draw; means and dispersions are those of cells at library factor 1 that no perturbation affects."""

    means: Floats  # (genes,)
    dispersions: Floats  # (genes,)
    factors: Floats  # (cells,): library factors
    perturbations: Integers  # (cells,): number of each cell's perturbation, ascending
    groups: Integers  # (cells,): number of the group it is added up in, ascending, each of one perturbation
    effects: Effects
    epsilon: float
    seed: np.random.SeedSequence


@dataclass(frozen=True, eq=False)
class Sums:
    """Of a data set, whatever device drew it: sums and sums of squares of expression."""

    perturbed: Floats  # (k * parts, g): row p * parts + i is part i of perturbation p
    perturbed_sq: Floats
    control: Floats  # (g,)
    control_sq: Floats
    n_empty_cells: int


def control_cells(truth: Truth, seed: Seed) -> Population:
    """Control cells of a data set (equation 3): several perturbations of no effect, which threads share."""
    groups = np.arange(truth.config.n_0) // _CONTROL_GROUP
    nothing = Effects(np.zeros(groups[-1] + 2, np.int64), np.empty(0, np.int64), np.empty(0, bool))
    means, factors, seed = truth.mean_control, truth.control_factors, child(seed, CONTROL_COUNTS)
    return Population(means, truth.dispersion, factors, groups, groups, nothing, truth.config.epsilon, seed)


def perturbed_cells(truth: Truth, seed: Seed, parts: int = 1) -> Population:
    """Perturbed cells of a data set (equation 2); those of a perturbation form `parts` groups."""
    k, n_p = truth.config.k, truth.config.n_p
    numbers = np.repeat(np.arange(k), n_p)
    groups = np.add.outer(parts * np.arange(k), part_numbers(n_p, parts)).ravel()
    means, factors, seed = truth.mean_base, truth.factors, child(seed, COUNTS)
    return Population(means, truth.dispersion, factors, numbers, groups, truth.effects, truth.config.epsilon, seed)


def part_numbers(n_p: int, parts: int) -> Integers:
    """Part that each of the cells of a perturbation belongs to (n_p,), the parts as equal as can be."""
    return np.arange(n_p) * parts // n_p


def draw(population: Population, use: UseOfCells, workers: int | None = None) -> None:
    """Draw all cells and hand them to `use`, a few at a time; it must not keep the counts' array, which is used again.

    The counts of a cell depend on the population and its seed, not on the number of workers (default: all cores).
    """
    n_cells = len(population.factors)
    n_bins = int(np.clip(round(np.sqrt(n_cells) / 4), 1, _MOST_BINS))
    tables = _tables(population, n_cells / n_bins)
    boundaries = _block_boundaries(population.perturbations, _CELLS_PER_BLOCK_AND_BIN * n_bins)
    n_blocks = len(boundaries) + 1
    spaces = [_Space(len(population.means)) for _ in range(min(workers or available_cores(), n_blocks))]
    for number, cells in enumerate(_bins(population.factors, n_bins)):
        if not len(cells):
            continue
        kernels.build_tables(population.factors[cells].min(), population.factors[cells].max(), tables)
        blocks = np.split(cells, np.searchsorted(cells, boundaries))

        def draw_share(worker: int, blocks: Sequence[Integers] = blocks, number: int = number) -> None:
            for block in range(worker, n_blocks, len(spaces)):
                if len(blocks[block]):
                    spaces[worker].draw(population, blocks[block], tables, child(population.seed, number, block), use)

        map_threads(draw_share, range(len(spaces)), len(spaces))


def add_up(population: Population, workers: int | None = None) -> tuple[Floats, Floats, int]:
    """Draw all cells; sums of their log1p expression and of its square, by group: two arrays (groups, genes).

    With them comes the number of cells without a count, whose expression is 0.
    """
    sums, sums_sq = (np.zeros((population.groups[-1] + 1, len(population.means))) for _ in range(2))
    # The logarithms of most counts are looked up.
    mean_count = population.means.mean() * population.factors.max()
    n_looked_up = int(np.clip(_LOOKED_UP_PER_MEAN_COUNT * mean_count, _FEWEST_LOOKED_UP, _MOST_LOOKED_UP))
    n_empty = []

    def add(cells: Integers, counts: Counts, totals: Floats) -> None:
        logarithms = np.empty(n_looked_up, np.float32)
        kernels.add_expression(counts, totals, population.groups[cells], logarithms, sums, sums_sq)
        n_empty.append(int((totals == 0.0).sum()))

    draw(population, add, workers)
    return sums, sums_sq, sum(n_empty)


def _bins(factors: Floats, n_bins: int) -> list[Integers]:
    """Numbers of the cells of each bin, ascending, by ascending library factor.

    Bins have about the same product of width and number of cells squared, which the rare bins at the ends would
    exceed if all had equally many cells.
    """
    logs = np.log(factors)
    z = special.ndtri(np.arange(1, n_bins) / n_bins)
    edges = logs.mean() + np.sqrt(2.0) * logs.std() * z
    number = np.searchsorted(edges, logs)
    return np.split(np.argsort(number, kind="stable"), np.searchsorted(np.sort(number), np.arange(1, n_bins)))


def _block_boundaries(perturbations: Integers, cells_per_block: int) -> Integers:
    """First cells of all blocks but the first; a perturbation is never cut, so that one thread adds up its cells."""
    starts = np.flatnonzero(np.diff(perturbations)) + 1
    wanted = np.arange(cells_per_block, len(perturbations), cells_per_block)
    return np.unique(starts[np.searchsorted(starts, wanted).clip(max=len(starts) - 1)]) if len(starts) else starts


def _tables(population: Population, n_draws: float) -> Tables:
    """Empty tables for all cells; a gene with few draws, `n_draws`, for the size of its table gets none."""
    means, dispersions = population.means, population.dispersions
    mean = population.factors.max() * means
    reach = mean + _REACH * np.sqrt(mean + dispersions * mean**2) + 4.0
    exponents = np.ceil(np.log2(np.maximum(reach, 1 << _SMALLEST_EXPONENT)))
    exponents[-_log_probability_of_none(mean, dispersions) > _LARGEST_LOG] = -1
    exponents[2.0**exponents > min(1 << kernels.LARGEST_EXPONENT, _COLUMNS_PER_DRAW * n_draws)] = -1
    columns = np.where(exponents < 0, 0.0, 2.0**exponents).astype(np.int64)
    offsets, n_columns = np.cumsum(columns) - columns, columns.sum()
    aliases, common, rest = np.zeros(n_columns, np.uint64), np.zeros(n_columns), np.zeros(len(means))
    return Tables(means, dispersions, exponents.astype(np.int64), offsets, aliases, common, rest)


def _log_probability_of_none(means: Floats, dispersions: Floats) -> Floats:
    spread = dispersions > 0.0
    return np.where(spread, -np.log1p(means * dispersions) / np.where(spread, dispersions, 1.0), -means)


class _Space:
    """What one thread needs to draw cells."""

    def __init__(self, n_genes: int) -> None:
        lines = -(-n_genes // _LINE)
        self.counts = np.empty((_CELLS_AT_A_TIME, _LINE * (lines + 1 - lines % 2)), np.uint32)
        self.words = np.empty(kernels.GENES_AT_A_TIME * _CELLS_AT_A_TIME, np.uint64)
        self.n_genes = n_genes

    def draw(
        self, population: Population, cells: Integers, tables: Tables, seed: np.random.SeedSequence, use: UseOfCells
    ) -> None:
        state, many_states = stream(child(seed, 0)), lanes(child(seed, 1))
        for part in np.array_split(cells, -(-len(cells) // _CELLS_AT_A_TIME)):
            factors = population.factors[part]
            counts = self.counts[: len(part)]
            words = self.words[: kernels.GENES_AT_A_TIME * len(part)]
            kernels.draw_unaffected(factors, tables, many_states, state, words, counts)
            perturbations = population.perturbations[part]
            kernels.apply_effects(factors, perturbations, population.effects, population.epsilon, tables, state, counts)
            totals = np.empty(len(part))
            kernels.library_sizes(counts, self.n_genes, totals)
            use(part, counts, totals)
