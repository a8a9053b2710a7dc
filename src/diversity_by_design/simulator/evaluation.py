"""How well the perturbed mean predicts each simulated perturbation, on four sets of genes (section 3.1)."""

from __future__ import annotations

import math

import numba
import numpy as np

from diversity_by_design.arrays import ROUNDING
from diversity_by_design.metrics.means import FEWEST_CHOSEN
from diversity_by_design.simulator.truth import Effects, Floats, Integers
from diversity_by_design.statistics import PerturbationStatistics
from diversity_by_design.threads import available_cores, map_threads

GENE_GROUPS = ("all", "affected", "degs_vs_control", "degs_vs_rest")
METRICS = tuple(f"{metric}_{genes}" for metric in ("pearson_delta", "mse", "mae") for genes in GENE_GROUPS)

# A change below this part of the size of the means is rounding, as in `metrics.pearson_delta`.
_NOISE = 8.0 * np.finfo(np.float64).eps

# Of so many genes one tells roughly where the largest scores begin.
_EVERY = 8


def evaluate(statistics: PerturbationStatistics, effects: Effects, workers: int | None = None) -> Floats:
    """Score the perturbed mean as the prediction of every perturbation, which have equally many simulated cells.

    Columns of the result (perturbations, 12) are `METRICS`. The DEGs are the genes of largest absolute Welch t, as many
    as are affected; among equal ones those that come first. Errors are NaN on a set without genes; Pearson(delta) is
    NaN on fewer than three (two of all genes), or where a change is the same for all genes; all is NaN on DEGs vs rest
    where there is no rest.
    """
    n_labels = len(statistics.labels)
    values = np.full((n_labels, len(METRICS)), np.nan)
    sums = statistics.sum, statistics.sum_sq
    control = statistics.control_sum, statistics.control_sum_sq
    totals = statistics.sum.sum(axis=0), statistics.sum_sq.sum(axis=0)
    shares = np.array_split(np.arange(n_labels), min(workers or available_cores(), n_labels))

    def evaluate_share(rows: Integers) -> None:
        _evaluate(rows, sums, statistics.n_cells, totals, control, statistics.n_control, effects, values)

    map_threads(evaluate_share, shares, len(shares))
    return values


# NumPy's rule for divisions by zero lets loops be vectorised.
@numba.njit(nogil=True, cache=True, error_model="numpy", inline="always")
def _variance(n: float, total: float, total_sq: float) -> float:
    """Sample variance from sums; a spread that rounding explains counts as none."""
    spread = total_sq - total * total / n
    return spread / (n - 1.0) if spread > ROUNDING * total_sq else 0.0


@numba.njit(nogil=True, cache=True, error_model="numpy")
def _squared_t(
    n: float, mean: Floats, variance: Floats, n_other: float, total: Floats, total_sq: Floats, scores: Floats
) -> None:
    """Write the squares of the Welch t scores of a perturbation against other cells, of these sums, to `scores`.

    Both groups count as `n` cells, as in `deg_scores`; a difference that rounding explains is none.
    """
    for gene in range(len(scores)):
        other = total[gene] / n_other
        difference = mean[gene] - other
        error = (variance[gene] + _variance(n_other, total[gene], total_sq[gene])) / n
        score = difference * difference / error
        scores[gene] = score if abs(difference) > ROUNDING * max(mean[gene], other) else 0.0


@numba.njit(nogil=True, cache=True)
def _nth_largest(scores: Floats, n: int) -> float:
    """Return the n-th largest score; sorting out by the scores of some genes first leaves few to look at."""
    some = scores[::_EVERY]
    rank = min(2 * n // _EVERY + 8, len(some))
    limit = np.partition(some, len(some) - rank)[len(some) - rank]
    candidates = np.empty(len(scores) + 1)
    n_candidates = 0
    for score in scores:
        candidates[n_candidates] = score
        n_candidates += score >= limit
    candidates = candidates[:n_candidates] if n_candidates >= n else scores
    return np.partition(candidates, len(candidates) - n)[len(candidates) - n]


@numba.njit(nogil=True, cache=True)
def _top(scores: Floats, n: int, chosen: Integers) -> None:
    """Write the positions of the `n` largest scores to `chosen`, ascending; of equal ones the first are taken."""
    if n == 0:
        return
    least = _nth_largest(scores, n)
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
def _score(
    genes: Integers, truth: Floats, prediction: Floats, reference: Floats, fewest: int
) -> tuple[float, float, float]:
    """Pearson(delta), which takes at least `fewest` genes, mean squared and mean absolute error over some genes."""
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
    if n >= fewest and min(true_sq, predicted_sq) > (_NOISE * _NOISE) * size:
        pearson = min(max(products / math.sqrt(true_sq) / math.sqrt(predicted_sq), -1.0), 1.0)
    return pearson, squares / n, absolute / n


@numba.njit(nogil=True, cache=True)
def _evaluate(
    rows: Integers,
    all_sums: tuple[Floats, Floats],
    n_cells: Integers,
    all_totals: tuple[Floats, Floats],
    control_sums: tuple[Floats, Floats],
    n_control: int,
    effects: Effects,
    values: Floats,
) -> None:
    """Fill some rows of `values` (perturbations, 12); pairs are sums, over perturbations or control, and of squares."""
    (sums, sums_sq), (totals, totals_sq), (control_sum, control_sum_sq) = all_sums, all_totals, control_sums
    starts, affected, _ = effects
    n_genes = len(totals)
    n_perturbed = n_cells.sum()
    prediction, control = totals / n_perturbed, control_sum / n_control
    truth, variance, rest, rest_sq, t_control, t_rest = np.empty((6, n_genes))
    everything = np.arange(n_genes)
    for row in rows:
        n = n_cells[row]
        n_rest = n_perturbed - n
        for gene in range(n_genes):
            own, own_sq = sums[row, gene], sums_sq[row, gene]
            truth[gene] = own / n
            variance[gene] = _variance(n, own, own_sq)
            # Where nobody else expresses the gene the difference is rounding.
            elsewhere = totals[gene] - own >= ROUNDING * totals[gene]
            rest[gene] = totals[gene] - own if elsewhere else 0.0
            rest_sq[gene] = totals_sq[gene] - own_sq if elsewhere else 0.0
        _squared_t(n, truth, variance, n_control, control_sum, control_sum_sq, t_control)
        own_affected = affected[starts[row] : starts[row + 1]]
        top_control, top_rest = np.empty_like(own_affected), np.empty_like(own_affected)
        _top(t_control, len(own_affected), top_control)
        if n_rest > 0:
            _squared_t(n, truth, variance, n_rest, rest, rest_sq, t_rest)
            _top(t_rest, len(own_affected), top_rest)
        gene_sets = (everything, own_affected, top_control, top_rest)
        for number in range(4 if n_rest > 0 else 3):
            pearson, squared, absolute = _score(
                gene_sets[number], truth, prediction, control, 2 if number == 0 else FEWEST_CHOSEN
            )
            values[row, number], values[row, 4 + number], values[row, 8 + number] = pearson, squared, absolute
