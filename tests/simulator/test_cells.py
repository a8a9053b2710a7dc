"""Counts drawn through tables, and by every other way, have exactly the distributions of equations 1 to 5."""

from dataclasses import replace

import numpy as np
import pytest
from distributions import assert_negative_binomial

from diversity_by_design.simulator import cells
from diversity_by_design.simulator.cells import Population
from diversity_by_design.simulator.truth import Effects

MEANS = np.array([0.0, 0.003, 0.2, 1.3, 8.0, 60.0])
THETAS = np.array([0.05, 0.6, 2.7, 100.0, np.inf])


def population(factors, effects=None, epsilon=2.0, n_perturbations=1, seed=0):
    """A gene for every pair of mean and theta."""
    mean, theta = (values.ravel() for values in np.meshgrid(MEANS, THETAS))
    if effects is None:
        effects = Effects(np.zeros(n_perturbations + 1, np.int64), np.empty(0, np.int64), np.empty(0, bool))
    perturbations = np.arange(len(factors)) * n_perturbations // len(factors)
    return Population(
        mean, 1.0 / theta, factors, perturbations, perturbations, effects, epsilon, np.random.SeedSequence(seed)
    )


def drawn(of, workers=1):
    counts = np.empty((len(of.factors), len(of.means)), np.int64)

    def keep(numbers, some, totals):
        counts[numbers] = some[:, : len(of.means)]
        np.testing.assert_array_equal(totals, counts[numbers].sum(axis=1))

    cells.draw(of, keep, workers)
    return counts


@pytest.mark.parametrize("level", [0.2, 1.0, 5.0])
def test_counts_have_their_distribution_at_every_mean_size_and_depth(level):
    """mu_l up to the largest of table 1; 20,000 cells, so that all but the largest means go through tables."""
    factors = np.random.default_rng(1).lognormal(level, 0.1714, 20_000)
    of = population(factors)
    counts = drawn(of)
    for gene in range(len(of.means)):
        assert_negative_binomial(counts[:, gene], factors * of.means[gene], of.dispersions[gene])


@pytest.mark.parametrize("ratio", [1.05, 2.0, 20.0])
def test_cells_that_share_tables_have_their_own_distributions(monkeypatch, ratio):
    """However wide a bin is; here all cells are in one."""
    monkeypatch.setattr(cells, "_MOST_BINS", 1)
    factors = np.random.default_rng(5).choice([1.0, np.sqrt(ratio), ratio], 30_000)
    of = population(factors)
    counts = drawn(of)
    for factor in np.unique(factors):
        here = factors == factor
        for gene in range(len(of.means)):
            means = np.full(here.sum(), factor * of.means[gene])
            assert_negative_binomial(counts[here, gene], means, of.dispersions[gene])


@pytest.mark.parametrize("theta", [300.0, 5e3, 1e4, np.inf])
@pytest.mark.parametrize("spread", [0.0, 0.01, 0.05])
def test_large_means_of_hardly_any_spread(theta, spread):
    """The probability of no count, from which tables are made, is next to the smallest number there is, or below."""
    means = np.array([400.0, 620.0, 640.0, 700.0, 760.0, 860.0])
    factors = np.random.default_rng(6).lognormal(0.0, spread, 20_000)
    of = replace(population(factors), means=means, dispersions=np.full(len(means), 1.0 / theta))
    counts = drawn(of)
    for gene in range(len(means)):
        assert_negative_binomial(counts[:, gene], factors * means[gene], of.dispersions[gene])


@pytest.mark.parametrize("level", [0.2, 1.5, 4.0])
def test_effects_multiply_and_divide_the_mean(level):
    """Of three perturbations one raises all genes, one lowers all and one does nothing."""
    n_genes = len(MEANS) * len(THETAS)
    genes = np.tile(np.arange(n_genes), 2)
    effects = Effects(np.array([0, n_genes, n_genes, 2 * n_genes]), genes, np.repeat([True, False], n_genes))
    factors = np.random.default_rng(2).lognormal(level, 0.1714, 24_000)
    of = population(factors, effects, epsilon=3.0, n_perturbations=3)
    counts = drawn(of)
    for perturbation, effect in enumerate((3.0, 1.0, 1 / 3.0)):
        own = np.flatnonzero(of.perturbations == perturbation)
        for gene in range(n_genes):
            assert_negative_binomial(counts[own, gene], factors[own] * of.means[gene] * effect, of.dispersions[gene])


def test_counts_do_not_depend_on_the_number_of_workers():
    factors = np.random.default_rng(3).lognormal(1.0, 0.1714, 30_000)
    of = population(factors, n_perturbations=100)
    np.testing.assert_array_equal(drawn(of, 1), drawn(of, 3))
    other = population(factors, n_perturbations=100, seed=1)
    assert (drawn(of, 1) != drawn(other, 1)).any()


def test_counts_of_different_cells_and_genes_are_independent():
    factors = np.full(50_000, 2.0)
    counts = drawn(population(factors)).astype(float)
    counts = counts[:, counts.std(axis=0) > 0]
    between_genes = np.corrcoef(counts.T)[np.triu_indices(counts.shape[1], 1)]
    between_cells = [np.corrcoef(counts[:-lag, gene], counts[lag:, gene])[0, 1] for gene in range(20) for lag in (1, 2)]
    limit = 5 / np.sqrt(len(counts))
    assert np.abs(between_genes).max() < limit
    assert np.abs(between_cells).max() < limit


def test_the_same_library_factor_in_all_cells():
    of = population(np.full(20_000, 2.0))
    counts = drawn(of)
    assert_negative_binomial(counts[:, 3], np.full(20_000, 2.0 * of.means[3]), of.dispersions[3])


def test_expression_is_added_up_by_group():
    factors = np.random.default_rng(4).lognormal(0.0, 0.1714, 900)
    of = population(factors, n_perturbations=7)
    counts = drawn(of)
    sums, sums_sq, n_empty = cells.add_up(of, 2)
    totals = counts.sum(axis=1, keepdims=True)
    expression = np.log1p(1e4 * counts / np.maximum(totals, 1))
    for group in range(7):
        own = expression[of.groups == group]
        np.testing.assert_allclose(sums[group], own.sum(axis=0), rtol=1e-6)
        np.testing.assert_allclose(sums_sq[group], (own**2).sum(axis=0), rtol=1e-6)
    assert n_empty == (totals == 0).sum()


def test_cells_without_a_count_have_no_expression():
    of = population(np.full(200, 1e-5))
    counts = drawn(of)
    _, _, n_empty = cells.add_up(of, 1)
    assert n_empty == (counts.sum(axis=1) == 0).sum() > 150
