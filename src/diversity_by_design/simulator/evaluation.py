"""How well the perturbed mean predicts each simulated perturbation, on four sets of genes (section 3.1)."""

from __future__ import annotations

import math

import numba
import numpy as np
import numpy.typing as npt

from diversity_by_design.executors import available_cores, map_threads
from diversity_by_design.simulator.truth import Effects
from diversity_by_design.statistics import ROUNDING, PerturbationStatistics

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]

GENE_SETS = ("all", "affected", "degs_vs_control", "degs_vs_rest")
METRICS = tuple(f"{metric}_{genes}" for metric in ("pearson_delta", "mse", "mae") for genes in GENE_SETS)

# A change below this part of the size of the means is rounding, as in `metrics.pearson_delta`.
_NOISE = 8.0 * np.finfo(np.float64).eps


def evaluate(statistics: PerturbationStatistics, effects: Effects, workers: int | None = None) -> Floats:
    """Score the perturbed mean as the prediction of every perturbation.

    Parameters
    ----------
    statistics : PerturbationStatistics
        Of simulated cells, each perturbation with the same number.
    effects : Effects
        Genes that each perturbation affects.
    workers : int, optional
        Threads (default: as many as cores).

    Returns
    -------
    (perturbations, 12)
        Columns as in `METRICS`. The DEGs are the genes of largest absolute Welch t, as many as are affected; among
        equal ones those that come first. Errors are NaN on a set without genes; Pearson(delta) is NaN on fewer than
        two, or where a change is the same for all genes; all is NaN on DEGs vs rest where there is no rest.
    """
    n_labels = len(statistics.labels)
    values = np.full((n_labels, len(METRICS)), np.nan)
    totals, totals_sq = statistics.sum.sum(axis=0), statistics.sum_sq.sum(axis=0)
    shares = np.array_split(np.arange(n_labels), min(workers or available_cores(), n_labels))

    def evaluate_share(rows: Integers) -> None:
        _evaluate(
            rows,
            statistics.sum,
            statistics.sum_sq,
            statistics.n_cells,
            totals,
            totals_sq,
            statistics.control_sum,
            statistics.control_sum_sq,
            statistics.n_control,
            effects.starts,
            effects.genes,
            values,
        )

    map_threads(evaluate_share, shares, len(shares))
    return values


@numba.njit(nogil=True, cache=True)
def _variance(n: float, total: float, total_sq: float) -> float:
    """Sample variance from sums; differences that rounding explains count as none."""
    spread = total_sq - total * total / n
    return max(spread, 0.0) / (n - 1.0) if spread > ROUNDING * total_sq else 0.0


@numba.njit(nogil=True, cache=True)
def _absolute_t(difference: float, size: float, error: float) -> float:
    """Absolute Welch t of a difference between means as large as `size`; `error` is its squared standard error."""
    if abs(difference) <= ROUNDING * size:
        return 0.0
    return abs(difference) / math.sqrt(error) if error > 0.0 else np.inf


@numba.njit(nogil=True, cache=True)
def _top(scores: Floats, n: int, chosen: Integers) -> None:
    """Write the positions of the `n` largest scores to `chosen`, ascending; of equal ones the first are taken."""
    if n == 0:
        return
    least = np.partition(scores, len(scores) - n)[len(scores) - n]
    above = 0
    for score in scores:
        above += score > least
    ties, position = n - above, 0
    for gene in range(len(scores)):
        if scores[gene] > least or (scores[gene] == least and ties > 0):
            ties -= scores[gene] == least
            chosen[position] = gene
            position += 1


@numba.njit(nogil=True, cache=True)
def _score(genes: Integers, truth: Floats, prediction: Floats, reference: Floats) -> tuple[float, float, float]:
    """Pearson(delta), mean squared error and mean absolute error over some genes."""
    n = len(genes)
    if n == 0:
        return np.nan, np.nan, np.nan
    true_mean = predicted_mean = squares = absolute = size = 0.0
    for gene in genes:
        error = truth[gene] - prediction[gene]
        squares += error * error
        absolute += abs(error)
        true_mean += truth[gene] - reference[gene]
        predicted_mean += prediction[gene] - reference[gene]
        size += max(truth[gene], prediction[gene], reference[gene]) ** 2
    true_mean /= n
    predicted_mean /= n
    products = true_sq = predicted_sq = 0.0
    for gene in genes:
        true_delta = truth[gene] - reference[gene] - true_mean
        predicted_delta = prediction[gene] - reference[gene] - predicted_mean
        products += true_delta * predicted_delta
        true_sq += true_delta * true_delta
        predicted_sq += predicted_delta * predicted_delta
    pearson = np.nan
    if n >= 2 and min(true_sq, predicted_sq) > (_NOISE * _NOISE) * size:
        pearson = min(max(products / math.sqrt(true_sq) / math.sqrt(predicted_sq), -1.0), 1.0)
    return pearson, squares / n, absolute / n


@numba.njit(nogil=True, cache=True)
def _evaluate(
    rows: Integers,
    sums: Floats,
    sums_sq: Floats,
    n_cells: Integers,
    totals: Floats,
    totals_sq: Floats,
    control_sum: Floats,
    control_sum_sq: Floats,
    n_control: int,
    starts: Integers,
    affected: Integers,
    values: Floats,
) -> None:
    """Fill the rows of `values` (perturbations, 12); the other arguments are as for `evaluate`."""
    n_genes = len(totals)
    n_perturbed = n_cells.sum()
    prediction, control, control_variance = totals / n_perturbed, control_sum / n_control, np.empty(n_genes)
    for gene in range(n_genes):
        control_variance[gene] = _variance(n_control, control_sum[gene], control_sum_sq[gene])
    truth, t_control, t_rest = np.empty(n_genes), np.empty(n_genes), np.empty(n_genes)
    everything = np.arange(n_genes)
    for row in rows:
        n = n_cells[row]
        n_rest = n_perturbed - n
        for gene in range(n_genes):
            own, own_sq = sums[row, gene], sums_sq[row, gene]
            truth[gene] = own / n
            variance = _variance(n, own, own_sq)
            # The reference counts as n cells, as in `deg_scores`.
            difference, size = truth[gene] - control[gene], max(truth[gene], control[gene])
            t_control[gene] = _absolute_t(difference, size, (variance + control_variance[gene]) / n)
            if n_rest > 0:
                rest, rest_sq = totals[gene] - own, totals_sq[gene] - own_sq
                if rest < ROUNDING * totals[gene]:
                    rest = rest_sq = 0.0
                difference, size = truth[gene] - rest / n_rest, max(truth[gene], rest / n_rest)
                t_rest[gene] = _absolute_t(difference, size, (variance + _variance(n_rest, rest, rest_sq)) / n)
        own_affected = affected[starts[row] : starts[row + 1]]
        top_control, top_rest = np.empty_like(own_affected), np.empty_like(own_affected)
        _top(t_control, len(own_affected), top_control)
        if n_rest > 0:
            _top(t_rest, len(own_affected), top_rest)
        gene_sets = (everything, own_affected, top_control, top_rest)
        for number in range(4 if n_rest > 0 else 3):
            pearson, squared, absolute = _score(gene_sets[number], truth, prediction, control)
            values[row, number], values[row, 4 + number], values[row, 8 + number] = pearson, squared, absolute
