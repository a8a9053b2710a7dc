"""The compiled evaluation gives what the library's own metrics and DEG scores give."""

import numpy as np
import pandas as pd
import pytest

from diversity_by_design import metrics
from diversity_by_design.degs import deg_scores
from diversity_by_design.simulator import GeneParameters, SimulationConfig, simulate_statistics
from diversity_by_design.simulator.evaluation import METRICS, evaluate
from diversity_by_design.simulator.truth import Effects
from diversity_by_design.statistics import PerturbationStatistics


@pytest.fixture(scope="module")
def simulated():
    config = SimulationConfig(g=300, n_0=40, n_p=12, k=9, delta=0.04, beta=0.7)
    return simulate_statistics(config, GeneParameters.default(), seed=4)


def by_the_library(statistics, effects):
    masks = {"all": np.ones(statistics.sum.shape, bool), "affected": effects.directions(len(statistics.genes)) != 0}
    for reference in ("control", "rest"):
        t = np.abs(deg_scores(statistics, reference=reference).t)
        order = np.argsort(-t, axis=1, kind="stable")
        rank = np.argsort(order, axis=1)
        masks[f"degs_vs_{reference}"] = rank < effects.n_affected[:, None]
    prediction, control = statistics.perturbed_mean, statistics.control_mean
    columns = {}
    for name, mask in masks.items():
        columns[f"pearson_delta_{name}"] = metrics.pearson_delta(statistics.mean, prediction, control, mask)
        columns[f"mse_{name}"] = metrics.mse(statistics.mean, prediction, mask)
        columns[f"mae_{name}"] = metrics.mae(statistics.mean, prediction, mask)
    return pd.DataFrame(columns)[list(METRICS)].to_numpy()


def test_agrees_with_the_library(simulated):
    statistics, effects = simulated.statistics[0], simulated.truth.effects
    np.testing.assert_allclose(evaluate(statistics, effects), by_the_library(statistics, effects), rtol=1e-9)


def test_workers_do_not_matter(simulated):
    statistics, effects = simulated.statistics[0], simulated.truth.effects
    np.testing.assert_array_equal(evaluate(statistics, effects, 1), evaluate(statistics, effects, 4))


def test_sets_of_no_gene_of_one_and_of_two(simulated):
    """Errors are defined from one gene on, correlations of chosen genes from three."""
    statistics = simulated.statistics[0]
    effects = Effects(np.array([0, 0, 1, 3, 3, 3, 3, 3, 3, 3]), np.array([5, 0, 7]), np.ones(3, bool))
    values = pd.DataFrame(evaluate(statistics, effects), columns=METRICS)
    np.testing.assert_allclose(values.to_numpy(), by_the_library(statistics, effects), rtol=1e-9)
    subsets = values.drop(columns=[column for column in METRICS if column.endswith("_all")])
    assert subsets.iloc[0].isna().all()
    for few in (subsets.iloc[1], subsets.iloc[2]):
        assert few.filter(like="pearson").isna().all()
        assert few.drop(few.filter(like="pearson").index).notna().all()
    assert values.filter(like="_all").notna().all(axis=None)


def test_genes_of_equal_score_are_taken_in_their_order():
    """Every other gene is expressed nowhere, and has t = 0."""
    rng = np.random.default_rng(0)
    cells = np.where(np.arange(20) % 2, rng.random((30, 20)), 0.0)
    statistics = PerturbationStatistics.from_matrix(
        cells, np.repeat(["A", "B", "control"], 10), [f"g{i}" for i in range(20)], control="control"
    )
    effects = Effects(np.array([0, 15, 20]), np.concatenate([np.arange(15), np.arange(5)]), np.ones(20, bool))
    np.testing.assert_allclose(evaluate(statistics, effects), by_the_library(statistics, effects), rtol=1e-9)


def test_a_gene_without_variance_but_with_a_difference_comes_first():
    cells = np.random.default_rng(0).random((30, 6))
    cells[:, 4] = np.repeat([1.0, 2.0, 1.0], 10)
    statistics = PerturbationStatistics.from_matrix(
        cells, np.repeat(["A", "B", "control"], 10), list("abcdef"), control="control"
    )
    effects = Effects(np.array([0, 1, 3]), np.array([0, 1, 2]), np.ones(3, bool))
    np.testing.assert_allclose(evaluate(statistics, effects), by_the_library(statistics, effects), rtol=1e-9)


def test_a_single_perturbation_has_no_rest():
    data = simulate_statistics(SimulationConfig(g=100, n_0=20, n_p=10, k=1, delta=0.2), GeneParameters.default(), 0)
    values = pd.DataFrame(evaluate(data.statistics[0], data.truth.effects), columns=METRICS)
    assert values.filter(like="degs_vs_rest").isna().all(axis=None)
    assert values["mse_all"].tolist() == [0.0]
