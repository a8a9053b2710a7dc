"""Differential expression from sufficient statistics, and the weights of genes that follow from it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from diversity_by_design import errors
from diversity_by_design.arrays import ROUNDING, BoolArray, FloatArray, as_array
from diversity_by_design.errors import InputError
from diversity_by_design.labels import label_index
from diversity_by_design.statistics import PerturbationStatistics, sample_variance, without
from diversity_by_design.threads import map_threads, row_blocks

# Adjusted p value below which a gene counts as differentially expressed (section 3.2).
ALPHA = 0.05

# Rows computed at a time: keeps the intermediate arrays of some thousand genes in the cache.
_BLOCK_ROWS = 16


@dataclass(frozen=True, eq=False, repr=False)
class DegScores:
    """Differential expression of every perturbation, each array (labels, genes).

    The scores are there at once; p values and fold changes, which weights do not need, are computed when they are
    first asked for. A perturbation that has nothing to be compared with has rows of NaN.

    Attributes
    ----------
    labels, genes : pandas.Index
    reference : str
        What the perturbations were compared with.
    t : float64 array
        Welch t score; positive where the perturbation is higher.
    freedom : float64 array
        Degrees of freedom of the scores.
    mean, reference_mean : float64 array
        Mean expression of the perturbation, and of what it was compared with.
    workers : int or None
        Threads that compute the rest.
    """

    labels: pd.Index
    genes: pd.Index
    reference: str
    t: FloatArray
    freedom: FloatArray
    mean: FloatArray
    reference_mean: FloatArray
    workers: int | None = None

    def __repr__(self) -> str:
        return f"DegScores({len(self.labels):,} perturbations x {len(self.genes):,} genes vs {self.reference})"

    @cached_property
    def pvals(self) -> FloatArray:
        """Two-sided p values."""
        from diversity_by_design.significance import two_sided

        return self._by_rows(lambda rows: two_sided(self.t[rows], self.freedom[rows]))

    @cached_property
    def pvals_adj(self) -> FloatArray:
        """P values adjusted within each perturbation (Benjamini-Hochberg)."""
        from diversity_by_design.significance import adjusted

        pvals = self.pvals
        return self._by_rows(lambda rows: adjusted(pvals[rows]))

    @cached_property
    def log_fold_change(self) -> FloatArray:
        """log2 of the ratio of the mean expressions, taken back from log1p."""
        # The offset is scanpy's; it keeps a ratio with a gene that nobody expresses finite.
        return self._by_rows(
            lambda rows: np.log2((np.expm1(self.mean[rows]) + 1e-9) / (np.expm1(self.reference_mean[rows]) + 1e-9))
        )

    def select(self, rows: slice | npt.NDArray[Any]) -> DegScores:
        """The scores of some perturbations, by position or as a mask."""
        arrays = {name: getattr(self, name)[rows] for name in ("t", "freedom", "mean", "reference_mean")}
        return replace(self, labels=self.labels[rows], **arrays)

    def _by_rows(self, function: Callable[[slice], FloatArray]) -> FloatArray:
        return np.concatenate(map_threads(function, row_blocks(len(self.labels), _BLOCK_ROWS), self.workers))

    @cached_property
    def is_deg(self) -> BoolArray:
        """Whether a gene is differentially expressed, adjusted p < 0.05 (labels, genes); False in an undefined row."""
        return self.pvals_adj < ALPHA

    @property
    def is_defined(self) -> BoolArray:
        """Whether a perturbation was compared with anything (labels,)."""
        return np.asarray(~np.isnan(self.t).any(axis=1))

    @property
    def n_degs(self) -> FloatArray:
        """Number of differentially expressed genes of each perturbation (labels,); NaN where undefined."""
        return np.where(self.is_defined, self.is_deg.sum(axis=1), np.nan)

    def top(self, n: int) -> BoolArray:
        """Mask (labels, genes) of each perturbation's `n` genes of largest absolute t; empty in an undefined row.

        Among genes of equal score the ones that come first by name are taken, so that the
        order of the genes does not matter.
        """
        if not 1 <= n <= len(self.genes):
            raise InputError(f"cannot take the top {n} of {len(self.genes)} genes")
        by_name = np.argsort(self.genes.astype(str).to_numpy(), kind="stable")
        order = by_name[np.argsort(-np.abs(self.t[:, by_name]), axis=1, kind="stable")[:, :n]]
        mask = np.zeros(self.t.shape, bool)
        np.put_along_axis(mask, order, True, axis=1)
        return mask & self.is_defined[:, None]


def deg_scores(
    statistics: PerturbationStatistics,
    reference: str | Iterable[str] = "rest",
    *,
    pool: PerturbationStatistics | None = None,
    workers: int | None = None,
) -> DegScores:
    """Compare every perturbation with a reference, gene by gene.

    Equals ``scanpy.tl.rank_genes_groups(method="t-test_overestim_var")`` on the perturbed
    cells: a Welch t test in which the reference is taken to have as many cells as the
    perturbation, so that its variance counts for more (section 3.2).

    Parameters
    ----------
    statistics : PerturbationStatistics
    reference : "rest", "control" or labels
        "rest": all other perturbed cells, control excluded. "control": control cells. One or several labels (such as
        the training perturbations): the cells of these perturbations, the perturbation's own excluded. A perturbation
        that is itself called "rest" or "control" is given in a list.
    pool : PerturbationStatistics, optional
        Where the cells of the reference are taken from, with the same genes (default: `statistics`). So halves of
        perturbations are compared with all cells of the others.
    workers : int, optional
        Threads (default: as many as cores). The result does not depend on it.

    Returns
    -------
    DegScores
        A gene whose score is undefined (no variance and no difference) has t = 0 and p = 1; one
        with a difference but no variance on either side has an infinite t. A perturbation that is
        the only one in the reference has nothing to be compared with: its row is NaN.

    Raises
    ------
    InputError
        A perturbation or the reference has fewer than two cells, there is only one perturbation to compare with the
        rest, a label in `reference` is no perturbation, or the pool has other genes.
    """
    errors.of_type(statistics, PerturbationStatistics, "statistics", "PerturbationStatistics.from_anndata(adata)")
    labels = statistics.labels
    if (statistics.n_cells < 2).any():
        single = labels[statistics.n_cells < 2]
        raise InputError(
            f"{len(single)} perturbation(s) with fewer than two cells have no variance: {errors.listed(single)}; "
            "leave them out: stats.select(labels=...)"
        )
    pool = statistics if pool is None else pool
    if not pool.genes.equals(statistics.genes):
        raise InputError(
            f"the pool has {len(pool.genes)} genes, the statistics {len(statistics.genes)}, or they are in another "
            "order; select the same genes in both"
        )
    name, n_reference, sums, sums_sq, members = _reference(pool, reference)
    # Which part of the reference is a perturbation's own, to be excluded: its row in the pool, or -1.
    own_row = np.where(labels.isin(members), pool.labels.get_indexer(labels), -1)
    n_own = np.where(own_row >= 0, pool.n_cells[own_row], 0)
    lacking = n_reference - n_own < 2
    if lacking.all():
        raise InputError(f"the reference {name!r} has {n_reference} cell(s); at least two other cells are needed")
    mean = statistics.mean
    t, freedom, reference_mean = (np.empty(statistics.sum.shape) for _ in range(3))
    every = np.arange(len(labels))

    def compute(rows: slice) -> None:
        n = statistics.n_cells[rows, None].astype(float)
        own, own_sq = pool.sum[rows], pool.sum_sq[rows]  # most often these, which are views
        if not np.array_equal(own_row[rows], every[rows]):
            excluded = own_row[rows, None] >= 0
            own, own_sq = excluded * pool.sum[own_row[rows]], excluded * pool.sum_sq[own_row[rows]]
        n_other = (n_reference - n_own[rows])[:, None].astype(float)
        other, other_sq = without(sums, own), without(sums_sq, own_sq)
        reference_mean[rows] = other / np.where(n_other > 0, n_other, np.nan)
        t[rows], freedom[rows] = _welch(
            _difference(mean[rows], reference_mean[rows]),
            sample_variance(n, statistics.sum[rows], statistics.sum_sq[rows]) / n,
            sample_variance(n_other, other, other_sq) / n,
            n,
        )

    map_threads(compute, row_blocks(len(labels), _BLOCK_ROWS), workers)
    for array in (t, freedom, reference_mean):
        array[lacking] = np.nan
    return DegScores(labels, statistics.genes, name, t, freedom, mean, reference_mean, workers)


def deg_weights(degs: Any) -> FloatArray:
    """Turn DEG scores into weights (section 3.3.3): abs t -> min-max per perturbation -> square -> sum to one.

    Parameters
    ----------
    degs : DegScores or array (labels, genes)
        Scores of every perturbation, by the paper's choice against the rest of the perturbed
        cells. An array of t scores works too; a single vector (genes,) as well.

    Returns
    -------
    float64 array, of the shape of the scores
        Rows sum to one. Undefined, hence NaN, for a perturbation whose absolute scores are all
        equal or contain NaN. Where scores are infinite (a difference without any variance), these genes
        share the weight and the others have none, which is the limit of the definition.

    Examples
    --------
    >>> deg_weights([[0.0, -1.0, 2.0]])
    array([[0. , 0.2, 0.8]])
    """
    squared = squared_scores(degs)
    return squared / squared.sum(axis=-1, keepdims=True)


def squared_scores(degs: Any) -> FloatArray:
    """Square of the absolute scores after min-max per perturbation: `deg_weights` before they are scaled to sum to one.

    Parameters
    ----------
    degs : as for `deg_weights`

    Returns
    -------
    float64 array, of the shape of the scores
        From 0 to 1, both of which occur in each row. Undefined (NaN) where `deg_weights` is; where scores are infinite,
        1 for these genes and 0 for the others.

    Examples
    --------
    >>> squared_scores([[0.0, -1.0, 2.0]])
    array([[0.  , 0.25, 1.  ]])
    """
    scores = np.abs(degs.t if isinstance(degs, DegScores) else as_array(degs, "scores", infinite=True))
    infinite = np.isinf(scores)
    if infinite.any():
        limit = infinite.any(axis=-1, keepdims=True) & ~np.isnan(scores).any(axis=-1, keepdims=True)
        scores = np.where(limit, infinite, scores)
    low = scores.min(axis=-1, keepdims=True)
    spread = scores.max(axis=-1, keepdims=True) - low
    return ((scores - low) / np.where(spread > 0, spread, np.nan)) ** 2


def _reference(
    pool: PerturbationStatistics, reference: str | Iterable[str]
) -> tuple[str, int, FloatArray, FloatArray, pd.Index]:
    """Name, number of cells, sums and sums of squares of the reference, and the perturbations that are part of it."""
    if isinstance(reference, str) and reference == "control":
        pool.require_control()
        return "control", pool.n_control, pool.control_sum, pool.control_sum_sq, pd.Index([])
    if isinstance(reference, str) and reference == "rest":
        errors.enough_perturbations(pool.labels, "deg_scores(reference='rest')")
        return "rest", pool.n_perturbed, pool.sum.sum(axis=0), pool.sum_sq.sum(axis=0), pool.labels
    names = label_index(reference, "reference", pool.control)
    # In the order of the pool, on which the rounding of sums depends.
    part = pool.select(labels=pool.labels[np.sort(pool.positions(names))])
    return errors.listed(names, 3), part.n_perturbed, part.sum.sum(axis=0), part.sum_sq.sum(axis=0), names


def _difference(mean: FloatArray, other: FloatArray) -> FloatArray:
    """Mean minus the other; exactly zero where they differ by rounding only."""
    difference = mean - other
    difference[np.abs(difference) < ROUNDING * np.maximum(mean, other)] = 0.0
    return difference


def _welch(
    difference: FloatArray, error: FloatArray, error_other: FloatArray, n: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """Welch t score and degrees of freedom of two groups that both count as `n` cells.

    `error` and `error_other` are the squared standard errors of the two means.
    """
    total_error = error + error_other
    with np.errstate(divide="ignore", invalid="ignore"):
        t = difference / np.sqrt(total_error)
        freedom = (n - 1.0) * total_error**2 / (error**2 + error_other**2)
    freedom[np.isnan(freedom)] = 1.0
    t[np.isnan(t)] = 0.0
    return t, freedom
