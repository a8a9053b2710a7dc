"""Random halves of every perturbation's cells: what the experiment itself would reproduce (section 3.4)."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from diversity_by_design import errors
from diversity_by_design.arrays import FloatArray
from diversity_by_design.errors import InputError
from diversity_by_design.groups import IntArray, LabelledCells, Partition
from diversity_by_design.statistics import PerturbationStatistics, statistics_of, without

if TYPE_CHECKING:
    from anndata import AnnData

# A cell's quarter in a halving: the first two are the first half.
_QUARTERS = 4
# With fewer cells a half has no variance.
FEWEST_CELLS = 4


@dataclass(frozen=True, eq=False)
class Halvings:
    """Sums over random halves of the cells of some perturbations, and over the first half of each half.

    They take 32 bytes per halving, perturbation and gene.
    """

    labels: pd.Index
    genes: pd.Index
    n_cells: IntArray  # (labels,): cells of each perturbation
    n_first: IntArray  # and of its first half
    first: Sequence[FloatArray]  # of each halving, sums and sums of squares of first halves (2, labels, genes)
    quarters: Sequence[FloatArray]  # sums of the first half of the first, and of the second, half (2, labels, genes)

    def __len__(self) -> int:
        return len(self.first)

    def n_half(self, which: int) -> IntArray:
        """Cells of the first (0) or second (1) halves (labels,)."""
        return self.n_cells - self.n_first if which else self.n_first

    def half(self, number: int, which: int, statistics: PerturbationStatistics) -> PerturbationStatistics:
        """Statistics of the first (0) or second (1) halves; `statistics` are those of all cells."""
        total, total_sq = self.first[number]
        if which:
            total, total_sq = without(statistics.sum, total), without(statistics.sum_sq, total_sq)
        return PerturbationStatistics(
            labels=self.labels,
            genes=self.genes,
            n_cells=self.n_half(which),
            sum=total,
            sum_sq=total_sq,
            control=statistics.control,
            n_control=statistics.n_control,
            control_sum=statistics.control_sum,
            control_sum_sq=statistics.control_sum_sq,
        )

    def quarter_means(self, number: int, which: int, half: PerturbationStatistics) -> tuple[FloatArray, FloatArray]:
        """Mean expression of both halves of a half, each (labels, genes)."""
        first = self.quarters[number][which]
        n_first = (half.n_cells // 2)[:, None]
        return first / n_first, without(half.sum, first) / (half.n_cells[:, None] - n_first)


def halved(
    cells: LabelledCells,
    chosen: Mapping[str, pd.Index],
    halvings: int,
    seed: int,
    workers: int | None = None,
) -> tuple[dict[str, PerturbationStatistics], dict[str, Halvings]]:
    """Statistics of each context and halvings of some of its perturbations, in one pass over the cells.

    `chosen` says by context which labels are halved; each has at least two cells. A perturbation's halves depend on the
    seed, its context, its label and its cells' names only.
    """
    errors.unique_names(cells.cells, "cell", "cells")
    groups = pd.MultiIndex.from_frame(cells.groups)
    numbers = groups.get_indexer(
        pd.MultiIndex.from_tuples([(context, label) for context, labels in chosen.items() for label in labels])
    )
    quarters = _quarters(cells, numbers, halvings, seed)
    place = np.full(len(groups) + 1, -1)
    place[numbers] = np.arange(len(numbers))
    group = place[cells.codes]
    partitions = [Partition(cells.codes, len(groups))]
    for quarter in quarters:
        partitions.append(Partition(np.where((quarter == 0) | (quarter == 1), group, -1), len(numbers)))
        # The quarters that are first in their half: 0 and 2.
        begins = np.where((quarter == 0) | (quarter == 2), group + len(numbers) * (quarter == 2), -1)
        partitions.append(Partition(begins, 2 * len(numbers), squares=False))
    totals = cells.gather(partitions, workers)
    statistics = statistics_of(cells, workers, totals[0])
    result, start = {}, 0
    for context, labels in chosen.items():
        rows = slice(start, start + len(labels))
        start = rows.stop
        result[context] = Halvings(
            labels=labels,
            genes=cells.genes,
            n_cells=cells.n_cells[numbers[rows]],
            n_first=cells.n_cells[numbers[rows]] // 2,
            first=[total[:, rows] for total in totals[1::2]],
            quarters=[total[0].reshape(2, len(numbers), -1)[:, rows] for total in totals[2::2]],
        )
    return statistics, result


def technical_duplicate(
    adata: AnnData,
    seed: int = 0,
    perturbation: str = "condition",
    control: str | None = "control",
    *,
    workers: int | None = None,
) -> tuple[PerturbationStatistics, PerturbationStatistics]:
    """Split every perturbation's cells in random halves, as two runs of the experiment (section 3.4).

    Predicting one half's means by the other's is what a perfect model could reach, given
    this number of cells.

    Parameters
    ----------
    adata : AnnData
        As for `PerturbationStatistics.from_anndata`, with unique cell names.
    seed : int
        A label's halves depend on the seed, the label and its cells' names only: neither on the order
        of the cells nor on the other labels.
    perturbation, control, workers
        As for `PerturbationStatistics.from_anndata`. Control cells are halved as well.

    Returns
    -------
    first, second : PerturbationStatistics
        Of an odd number of cells, the second half has one more.

    Raises
    ------
    InputError
        As `PerturbationStatistics.from_anndata`; also where a label has fewer than two cells, cell names are not
        unique, or the seed is no whole number of at least 0.
    """
    seed = errors.whole_number(seed, "seed", 0)
    cells = LabelledCells.from_anndata(adata, perturbation, control)
    errors.unique_names(cells.cells, "cell", "obs_names")
    numbers = np.arange(len(cells.groups))
    [quarter] = _quarters(cells, numbers, 1, seed)
    n_groups = len(numbers)
    [totals] = cells.gather(
        [Partition(np.where(quarter < 0, -1, cells.codes + n_groups * (quarter >= 2)), 2 * n_groups)], workers
    )
    n_first = cells.n_cells // 2
    halves = []
    for part, n_cells in ((slice(0, n_groups), n_first), (slice(n_groups, None), cells.n_cells - n_first)):
        half = LabelledCells(**{**vars(cells), "n_cells": n_cells})
        halves.append(statistics_of(half, workers, totals[:, part])[""])
    return halves[0], halves[1]


def _quarters(cells: LabelledCells, numbers: npt.NDArray[np.intp], halvings: int, seed: int) -> npt.NDArray[np.int8]:
    """Each cell's quarter in each halving (halvings, cells), 0 to 3; -1 for cells of other groups than `numbers`."""
    quarters = np.full((halvings, len(cells.codes)), -1, np.int8)
    members = dict(sorted_members(cells.codes, cells.cells))
    for number in numbers:
        context, label = cells.groups.iloc[number]
        positions = members[number]
        n, n_first = len(positions), len(positions) // 2
        if n < 2:
            raise InputError(f"{label!r} has one cell, which cannot be halved; leave it out")
        bounds = [0, n_first // 2, n_first, n_first + (n - n_first) // 2, n]
        of_place = np.repeat(np.arange(_QUARTERS, dtype=np.int8), np.diff(bounds))
        generator = label_generator(seed, f"{context} | {label}" if context else label)
        for halving in range(halvings):
            quarters[halving, generator.permutation(positions)] = of_place
    return quarters


def sorted_members(codes: Sequence[Any] | npt.NDArray[Any], cells: pd.Index) -> list[tuple[Any, npt.NDArray[np.intp]]]:
    """Each group (a missing one is none) with the positions of its cells in the order of their names.

    Drawing from these makes a random choice independent of the order of the cells.
    """
    by_name = np.argsort(cells.astype(str).to_numpy(str), kind="stable")
    numbers, names = pd.factorize(np.asarray(codes)[by_name], sort=True)
    order = np.argsort(numbers, kind="stable")
    order = order[np.searchsorted(numbers[order], 0) :]
    groups = np.split(by_name[order], np.cumsum(np.bincount(numbers[numbers >= 0]))[:-1])
    return list(zip(names, groups, strict=True))


def label_generator(seed: int, label: str) -> np.random.Generator:
    """Random numbers that depend on the seed and the label only."""
    words = np.frombuffer(hashlib.sha256(label.encode()).digest(), dtype=np.uint32)
    return np.random.default_rng(np.random.SeedSequence([seed, *words.tolist()]))
