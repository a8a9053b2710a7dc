"""Differential expression from sufficient statistics."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy import special, stats

from diversity_by_design import errors
from diversity_by_design.errors import InputError
from diversity_by_design.statistics import ROUNDING, FloatArray, PerturbationStatistics, sample_variance
from diversity_by_design.threads import map_threads

# Adjusted p value below which a gene counts as differentially expressed (section 3.2).
ALPHA = 0.05

# Rows computed at a time: keeps the intermediate arrays of some thousand genes in the cache.
_BLOCK_ROWS = 16


@dataclass(frozen=True, eq=False, repr=False)
class DegScores:
    """Differential expression of every perturbation, each array (labels, genes).

    The scores are there at once; p values and fold changes, which weights do not need, are computed when they are
    first asked for.

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
        return self._by_rows(lambda rows: 2.0 * special.stdtr(self.freedom[rows], -np.abs(self.t[rows])))

    @cached_property
    def pvals_adj(self) -> FloatArray:
        """P values adjusted within each perturbation (Benjamini-Hochberg)."""
        pvals = self.pvals

        def adjust(rows: slice) -> FloatArray:
            undefined = np.isnan(pvals[rows])
            adjusted = stats.false_discovery_control(np.where(undefined, 1.0, pvals[rows]), axis=1, method="bh")
            return np.where(undefined, np.nan, adjusted)

        return self._by_rows(adjust)

    @cached_property
    def log_fold_change(self) -> FloatArray:
        """log2 of the ratio of the mean expressions, taken back from log1p."""
        # The offset is scanpy's; it keeps a ratio with a gene that nobody expresses finite.
        return self._by_rows(
            lambda rows: np.log2((np.expm1(self.mean[rows]) + 1e-9) / (np.expm1(self.reference_mean[rows]) + 1e-9))
        )

    def _by_rows(self, function: Callable[[slice], FloatArray]) -> FloatArray:
        return np.concatenate(map_threads(function, _row_blocks(len(self.labels)), self.workers))

    @cached_property
    def is_deg(self) -> npt.NDArray[np.bool_]:
        """Whether a gene is differentially expressed: adjusted p < 0.05 (labels, genes)."""
        return self.pvals_adj < ALPHA

    @property
    def n_degs(self) -> npt.NDArray[np.int64]:
        """Number of differentially expressed genes of each perturbation (labels,)."""
        return self.is_deg.sum(axis=1)

    def top(self, n: int) -> npt.NDArray[np.bool_]:
        """Mask (labels, genes) of each perturbation's `n` genes of largest absolute t.

        Among genes of equal score the ones that come first by name are taken, so that the
        order of the genes does not matter.
        """
        if not 1 <= n <= len(self.genes):
            raise InputError(f"cannot take the top {n} of {len(self.genes)} genes")
        by_name = np.argsort(self.genes.astype(str).to_numpy(), kind="stable")
        order = by_name[np.argsort(-np.abs(self.t[:, by_name]), axis=1, kind="stable")[:, :n]]
        mask = np.zeros(self.t.shape, bool)
        np.put_along_axis(mask, order, True, axis=1)
        return mask


def deg_scores(
    statistics: PerturbationStatistics,
    reference: str | Iterable[str] = "rest",
    *,
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
        "rest": all other perturbed cells, control excluded. "control": control cells.
        A label or several (such as the training perturbations): the cells of these perturbations,
        the perturbation's own excluded.
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
        A perturbation or the reference has fewer than two cells, or there is only one perturbation to compare with the
        rest. A label in `reference` is none of "rest", "control" and the perturbations.
    """
    labels = statistics.labels
    if (statistics.n_cells < 2).any():
        single = labels[statistics.n_cells < 2]
        raise InputError(
            f"{len(single)} perturbation(s) with fewer than two cells have no variance: {errors.listed(single)}; "
            "leave them out: stats.select(labels=...)"
        )
    name, n_reference, sums, sums_sq, inside = _reference(statistics, reference)
    lacking = (n_reference - inside * statistics.n_cells) < 2
    if lacking.all():
        raise InputError(f"the reference {name!r} has {n_reference} cell(s); at least two other cells are needed")
    mean = statistics.mean
    t, freedom, reference_mean = (np.empty(statistics.sum.shape) for _ in range(3))

    def compute(rows: slice) -> None:
        n = statistics.n_cells[rows, None].astype(float)
        own, own_sq, excluded = statistics.sum[rows], statistics.sum_sq[rows], inside[rows, None]
        n_other = n_reference - excluded * n
        other = _without(sums, own, excluded)
        other_sq = _without(sums_sq, own_sq, excluded)
        reference_mean[rows] = other / np.where(n_other > 0, n_other, np.nan)
        t[rows], freedom[rows] = _welch(
            _difference(mean[rows], reference_mean[rows]),
            sample_variance(n, own, own_sq) / n,
            sample_variance(n_other, other, other_sq) / n,
            n,
        )

    map_threads(compute, _row_blocks(len(labels)), workers)
    for array in (t, freedom, reference_mean):
        array[lacking] = np.nan
    return DegScores(labels, statistics.genes, name, t, freedom, mean, reference_mean, workers)


def _row_blocks(n_rows: int) -> list[slice]:
    return [slice(start, start + _BLOCK_ROWS) for start in range(0, n_rows, _BLOCK_ROWS)]


def _reference(
    statistics: PerturbationStatistics, reference: str | Iterable[str]
) -> tuple[str, int, FloatArray, FloatArray, npt.NDArray[np.bool_]]:
    """Name, number of cells, sums and sums of squares of the reference, and which labels are part of it."""
    labels = statistics.labels
    if reference == "control":
        statistics.require_control()
        inside = np.zeros(len(labels), bool)
        return "control", statistics.n_control, statistics.control_sum, statistics.control_sum_sq, inside
    if reference == "rest":
        errors.enough_perturbations(labels, "deg_scores(reference='rest')")
        part, name = statistics, "rest"
    else:
        chosen = [reference] if isinstance(reference, str) else list(reference)
        part, name = statistics.select(labels=chosen), errors.listed(chosen, 3)
    return name, part.n_perturbed, part.sum.sum(axis=0), part.sum_sq.sum(axis=0), labels.isin(part.labels)


def _without(total: FloatArray, own: FloatArray, excluded: npt.NDArray[np.bool_]) -> FloatArray:
    """Total minus a perturbation's own part; exactly zero where nothing but its own part was there."""
    rest = total - excluded * own
    rest[rest < ROUNDING * total] = 0.0
    return rest


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
