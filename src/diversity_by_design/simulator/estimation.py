"""Gene parameters from raw counts: maximum-likelihood negative binomial distributions, one gene at a time.

Counts of a gene are taken as draws from one negative binomial distribution of mean mu and size theta, without
correction for library sizes, as the paper does (section 3.1). The likelihood depends on the cells through the
histogram of their counts only, so that one pass over the cells is all that is read of them. Its maximum is at mu = mean
count, and at the alpha = 1 / theta at which

    n m^2 g(alpha m) = sum over k >= 1 of k T_k / (1 + alpha k),    g(z) = (z - log(1 + z)) / z^2

with n cells, mean m, and T_k cells of more than k counts. There is one such alpha above 0 if the variance (with n in
the denominator) exceeds the mean; otherwise the maximum is at alpha = 0, the Poisson distribution. In this form
nothing cancels when alpha is small or counts are large, as it does in sums of digamma functions.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numba
import numpy as np
import numpy.typing as npt
import pandas as pd

from diversity_by_design import errors
from diversity_by_design.errors import InputError
from diversity_by_design.labels import label_among, labels_as_text
from diversity_by_design.simulator.count_histograms import GROUPS, Cells, CountHistograms, count_histograms
from diversity_by_design.threads import map_threads

Array = npt.NDArray[Any]
Floats = npt.NDArray[np.float64]

_SPOKEN = {"control": "control cells", "perturbed": "perturbed cells", "all_cells": "all cells"}
# How a fit can end.
ENDS = ("converged", "no overdispersion", "no counts", "not converged")
_CONVERGED, _POISSON, _EMPTY, _FAILED = range(4)

# A variance that exceeds the mean by less than this part of it does not exceed it: what rounding can feign.
_LEAST_EXCESS = 1e-9
# Relative change of alpha below which it is found, and how many steps that may take (bisection alone takes 60).
_TOLERANCE = 1e-10
_MOST_STEPS = 200

_GENES_PER_TASK = 256


@numba.njit(nogil=True, cache=True)
def _score(alpha: float, mean: float, n_cells: int, counts: Array, cells: Array, present: int) -> tuple[float, float]:
    """Left minus right side of the equation above, and its derivative with respect to alpha."""
    z = alpha * mean
    if z < 0.01:
        g = 1 / 2 - z * (1 / 3 - z * (1 / 4 - z * (1 / 5 - z * (1 / 6 - z * (1 / 7 - z * (1 / 8 - z / 9))))))
        slope = -1 / 3 + z * (2 / 4 - z * (3 / 5 - z * (4 / 6 - z * (5 / 7 - z * (6 / 8 - z * 7 / 9)))))
    else:
        g = (z - math.log1p(z)) / z**2
        slope = (1 / (1 + z) - 2 * g) / z
    total = square = 0.0
    above, start = present, 1
    for position in range(len(counts)):
        # `above` cells have more than k counts, for k up to the next count that occurs.
        part = part_square = 0.0
        for k in range(start, counts[position]):
            term = k / (1 + alpha * k)
            part += term
            part_square += term * term
        total += above * part
        square += above * part_square
        above -= cells[position]
        start = counts[position]
    return n_cells * mean**2 * g - total, n_cells * mean**3 * slope + square


@numba.njit(nogil=True, cache=True)
def _solve(mean: float, excess: float, n_cells: int, counts: Array, cells: Array) -> tuple[float, bool]:
    """Alpha at which the score is 0, and whether it was found: Newton's steps in log alpha, kept within a bracket."""
    present = cells.sum()
    low, high = -np.inf, np.inf
    at = math.log(excess / mean**2)  # the moment estimate
    for _ in range(_MOST_STEPS):
        alpha = math.exp(at)
        score, slope = _score(alpha, mean, n_cells, counts, cells, present)
        if score < 0:
            low = at
        else:
            high = at
        following = at - score / (alpha * slope) if slope > 0 else np.nan
        # With alpha near 0, rounding may keep steps from becoming that small; the bracket still closes.
        if abs(following - at) < _TOLERANCE or high - low < _TOLERANCE:
            return math.exp(at), True
        # Where the bracket is still open, a step is at most tenfold.
        least, most = max(low, at - 2.3), min(high, at + 2.3)
        at = following if least < following < most else (least + most) / 2
    return math.exp(at), False


@numba.njit(nogil=True, cache=True)
def _fit(
    indptr: Array,
    indices: Array,
    data: Array,
    n_cells: int,
    first: int,
    last: int,
    mean: Array,
    theta: Array,
    end: Array,
) -> None:
    """Fit the genes from `first` up to `last`; the CSR matrix (genes, counts) holds histograms of counts above 0."""
    for gene in range(first, last):
        counts = indices[indptr[gene] : indptr[gene + 1]]
        cells = data[indptr[gene] : indptr[gene + 1]]
        if len(counts) == 0:
            mean[gene], theta[gene], end[gene] = 0.0, np.nan, _EMPTY
            continue
        average = (counts * cells).sum() / n_cells
        deviation = counts - average
        variance = ((cells * deviation * deviation).sum() + (n_cells - cells.sum()) * average**2) / n_cells
        mean[gene] = average
        if variance - average <= _LEAST_EXCESS * average:
            theta[gene], end[gene] = np.inf, _POISSON
            continue
        alpha, found = _solve(average, variance - average, n_cells, counts, cells)
        theta[gene], end[gene] = 1 / alpha, _CONVERGED if found else _FAILED


@dataclass(frozen=True, eq=False)
class ParameterEstimates:
    """Estimates of gene parameters and of the spread of library sizes."""

    # One row per gene: `gene`, and for control, perturbed and all cells (`..._control`, `..._perturbed`,
    # `..._all_cells`) `mu`, the mean count; `theta`, the size of the negative binomial distribution (1 / alpha of nb2),
    # infinite without overdispersion and NaN without counts; and `fit`, how the fit ended: "converged", "no
    # overdispersion", "no counts" or "not converged".
    table: pd.DataFrame
    # One row for control, perturbed and all cells: `cells`, `n_cells`, `n_empty` (cells of library size 0, left out of
    # what follows), `log_mean` and `sigma_l`, the mean and the standard deviation (n - 1) of the natural log of the
    # library size.
    library: pd.DataFrame
    library_sizes: Floats  # (cells,)
    histograms: CountHistograms  # what the fits were made from

    @property
    def sigma_l(self) -> float:
        """Standard deviation of the log library size over all cells; NaN with fewer than two that are not empty."""
        return float(self.library.set_index("cells")["sigma_l"]["all_cells"])

    @property
    def problems(self) -> list[str]:
        """Which genes have no parameters, or doubtful ones, as sentences; empty if none."""
        problems = []
        absent = int(self._absent.sum())
        if absent:
            problems.append(
                f"{absent:,} of {len(self.table):,} genes have no counts in any cell; gene parameters leave them out"
            )
        for cells in GROUPS:
            failed = self.table.loc[self.table[f"fit_{cells}"] == ENDS[_FAILED], "gene"]
            if len(failed):
                problems.append(f"{_SPOKEN[cells]}: {len(failed):,} fits did not converge: {errors.listed(failed)}")
        return problems

    @property
    def notes(self) -> list[str]:
        """What a reader of the estimates must know, `problems` included, as sentences."""
        notes = []
        for cells in GROUPS:
            ends = self.table[f"fit_{cells}"]
            notes.append(
                f"{_SPOKEN[cells]}: {(ends == ENDS[_POISSON]).sum():,} of {len(ends):,} genes show no overdispersion "
                f"(variance at most the mean; theta is infinite), {(ends == ENDS[_EMPTY]).sum():,} have no counts "
                "(theta is undefined; gene parameters take that of all cells)"
            )
        for _, row in self.library.iterrows():
            if row["n_empty"]:
                notes.append(
                    f"{_SPOKEN[row['cells']]}: {row['n_empty']:,} of {row['n_cells']:,} cells have no counts and are "
                    "left out of sigma_l"
                )
        return notes + self.problems

    @property
    def _absent(self) -> npt.NDArray[np.bool_]:
        return (self.table["fit_all_cells"] == ENDS[_EMPTY]).to_numpy()

    def gene_table(self, theta: Cells = "control") -> pd.DataFrame:
        """What `GeneParameters.from_table` takes: both means, and one theta per gene, as in equation 1.

        `theta`: as of `GeneParameters.fit`. Genes without counts in any cell are left out; `notes` says how many.
        """
        if theta not in GROUPS:
            raise InputError(f"theta is {theta!r}; it must be one of {errors.listed(GROUPS)}")
        table = self.table[~self._absent]
        if not len(table):
            raise InputError("no gene has counts in any cell, so there are no gene parameters")
        of_cells = table[f"theta_{theta}"].fillna(table["theta_all_cells"])
        return table[["gene", "mu_control", "mu_perturbed"]].assign(theta=of_cells).reset_index(drop=True)


def estimate(
    counts: Any,
    is_control: npt.ArrayLike,
    genes: pd.Index,
    library_sizes: npt.ArrayLike | None = None,
    workers: int | None = None,
    *,
    where: str = "counts",
) -> ParameterEstimates:
    """Estimate the parameters of every gene in control, perturbed and all cells.

    Library sizes are no part of the fit, so that their spread is in theta too: it adds about sigma_l^2 to 1 / theta.

    The raw counts (cells, genes) may be an array, a sparse matrix, or on disk (h5py, zarr, anndata), which is read by
    blocks; `library_sizes` are total counts of each cell (default: of these genes), for sigma_l only. Threads do not
    change the result. Messages call the counts `where`.
    """
    is_control = np.asarray(is_control, dtype=bool)
    genes = pd.Index(genes)
    if tuple(counts.shape) != (len(is_control), len(genes)):
        raise InputError(
            f"{where} has shape {tuple(counts.shape)}, but is_control lists {len(is_control)} cells and genes "
            f"{len(genes)} genes"
        )
    errors.unique_names(genes, "gene", where)
    for kind, number in (("control", is_control.sum()), ("perturbed", (~is_control).sum())):
        if number < 2:
            raise InputError(f"{where}: {number} {kind} cell(s); at least 2 are needed to estimate a variance")
    histograms = count_histograms(counts, is_control, genes, where)
    sizes = histograms.total_counts if library_sizes is None else np.asarray(library_sizes, dtype=np.float64)
    if sizes.shape != is_control.shape:
        raise InputError(f"library_sizes has shape {sizes.shape}, but there are {len(is_control)} cells")
    if not (np.isfinite(sizes) & (sizes >= 0)).all():
        raise InputError("library_sizes holds values that are negative or not finite; they are total counts of cells")
    table = {"gene": genes} | {
        f"{name}_{cells}": values for cells in GROUPS for name, values in _fit_cells(histograms, cells, workers).items()
    }
    return ParameterEstimates(pd.DataFrame(table), _library(sizes, is_control), sizes, histograms)


def _fit_cells(histograms: CountHistograms, cells: Cells, workers: int | None) -> dict[str, npt.NDArray]:
    """`mu`, `theta` and `fit` of every gene."""
    of_cells, n_cells = histograms.of(cells)
    n_genes = of_cells.shape[0]
    histograms_of_cells = of_cells.indptr, of_cells.indices.astype(np.int64, copy=False), of_cells.data
    mean, theta, end = np.empty(n_genes), np.empty(n_genes), np.empty(n_genes, np.int8)

    def fit(first: int) -> None:
        last = min(first + _GENES_PER_TASK, n_genes)
        _fit(*histograms_of_cells, n_cells, first, last, mean, theta, end)

    map_threads(fit, range(0, n_genes, _GENES_PER_TASK), workers)
    return {"mu": mean, "theta": theta, "fit": np.array(ENDS, dtype=object)[end]}


def _library(sizes: Floats, is_control: npt.NDArray[np.bool_]) -> pd.DataFrame:
    """Mean and standard deviation of log library sizes, as `ParameterEstimates.library`."""
    rows = []
    for cells, chosen in zip(GROUPS, (is_control, ~is_control, np.ones_like(is_control)), strict=True):
        logs = np.log(sizes[chosen & (sizes > 0)])
        rows.append(
            {
                "cells": cells,
                "n_cells": int(chosen.sum()),
                "n_empty": int((chosen & (sizes == 0)).sum()),
                "log_mean": logs.mean() if len(logs) else np.nan,
                "sigma_l": logs.std(ddof=1) if len(logs) > 1 else np.nan,
            }
        )
    return pd.DataFrame(rows)


def is_control_cell(obs: pd.DataFrame, perturbation: str, control: str) -> npt.NDArray[np.bool_]:
    """Whether each cell is a control cell; InputError where there is no such column or label."""
    labels = errors.obs_column(obs, perturbation)
    control = label_among(control, labels.unique())
    texts = labels_as_text(labels)
    errors.control_label(texts.unique(), control, perturbation)
    return (texts == control).to_numpy()
