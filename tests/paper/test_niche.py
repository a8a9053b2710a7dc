"""Sensitivity of MSE and WMSE to the top DEGs, and how weights are distributed."""

import numpy as np
import pandas as pd
import pytest
from examples import make_expression
from scipy import stats as scipy_stats

from diversity_by_design import PerturbationStatistics, deg_scores, deg_weights
from diversity_by_design.paper import niche


@pytest.fixture(scope="module")
def stats() -> PerturbationStatistics:
    return PerturbationStatistics.from_anndata(make_expression(seed=3, n_labels=9, n_genes=80, effect=1.0))


@pytest.fixture(scope="module")
def degs(stats):
    return deg_scores(stats)


@pytest.fixture(scope="module")
def weights(degs):
    return deg_weights(degs)


def of_metric(table: pd.DataFrame, metric: str) -> pd.DataFrame:
    return table[table["metric"] == metric].set_index("perturbation")


def test_errors_of_both_predictions_gene_by_gene(stats, degs, weights):
    scores = niche.niche_scores(stats, n_top=3)
    assert of_metric(scores, "mse").loc[stats.labels, "n_degs"].tolist() == degs.n_degs.tolist()
    for row, label in enumerate(stats.labels):
        error = (stats.mean[row] - stats.perturbed_mean) ** 2
        rest = np.argsort(-np.abs(degs.t[row]))[3:]
        for metric, w in (("mse", np.full(80, 1 / 80)), ("wmse", weights[row])):
            found = of_metric(scores, metric).loc[label]
            assert found["perturbed_mean"] == pytest.approx((w * error).sum())
            assert found["perturbed_mean_star"] == pytest.approx((w * error)[rest].sum())
            assert found["fold_reduction"] == pytest.approx((w * error).sum() / (w * error)[rest].sum())


@pytest.mark.parametrize(("n_genes", "expected"), [(8192, 25), (50, 25), (49, 24), (10, 5), (1, 1)])
def test_at_most_half_of_the_genes_become_right(n_genes, expected):
    assert niche.n_top_degs(n_genes) == expected


def test_default_number_is_written_into_the_table(stats):
    assert (niche.niche_scores(stats)["n_top"] == 25).all()
    few = stats.select(genes=stats.genes[:20])
    assert (niche.niche_scores(few)["n_top"] == 10).all()


def test_summary_holds_the_paired_tests(stats):
    scores = niche.niche_scores(stats, n_top=5)
    summary = niche.niche_summary(scores).set_index("metric")
    assert summary.index.tolist() == ["mse", "wmse"]
    for metric in ("mse", "wmse"):
        table, found = of_metric(scores, metric), summary.loc[metric]
        before, after = table["perturbed_mean"], table["perturbed_mean_star"]
        t = scipy_stats.ttest_rel(before, after)
        w = scipy_stats.wilcoxon(before, after)
        assert (found["t"], found["t_p"]) == (pytest.approx(t.statistic), pytest.approx(t.pvalue))
        assert (found["wilcoxon"], found["wilcoxon_p"]) == (pytest.approx(w.statistic), pytest.approx(w.pvalue))
        assert found["fold_of_medians"] == pytest.approx(before.median() / after.median())
        assert found["fold_of_means"] == pytest.approx(before.mean() / after.mean())
        assert found["median_fold"] == pytest.approx((before / after).median())
        assert (found["n"], found["n_undefined"], found["n_top"]) == (9, 0, 5)
    folds = [of_metric(scores, metric)["fold_reduction"] for metric in ("wmse", "mse")]
    assert summary.loc["wmse", "fold_wilcoxon_p"] == pytest.approx(scipy_stats.wilcoxon(*folds).pvalue)
    assert np.isnan(summary.loc["mse", "fold_wilcoxon_p"])


def test_undefined_errors_are_counted_and_leave_mse_alone(stats):
    scores = niche.niche_scores(stats)
    full = niche.niche_summary(scores).set_index("metric")
    lacking = scores.copy()
    undefined = (lacking["metric"] == "wmse") & (lacking["perturbation"] == stats.labels[4])
    lacking.loc[undefined, ["perturbed_mean", "perturbed_mean_star", "fold_reduction"]] = np.nan
    summary = niche.niche_summary(lacking).set_index("metric")
    assert summary.loc["mse", ["n", "n_undefined"]].tolist() == [9, 0]
    assert summary.loc["wmse", ["n", "n_undefined"]].tolist() == [8, 1]
    pd.testing.assert_series_equal(summary.loc["mse"], full.loc["mse"])


def test_undefined_weights_are_counted(stats, degs, weights):
    without = weights.copy()
    without[4] = np.nan
    concentration = niche.weight_summary(degs, without)
    assert concentration["effective_genes"].isna().tolist() == [row == 4 for row in range(9)]
    assert concentration["degs_weight"].isna().tolist() == [row == 4 for row in range(9)]
    histogram = niche.weight_histogram(stats.labels, without, [stats.labels[4]])
    assert histogram.loc[histogram["group"] == niche.OVERALL, "count"].sum() == 8 * 80
    assert histogram.loc[histogram["group"] == stats.labels[4], "fraction"].isna().all()


def test_no_error_left_is_an_infinite_reduction():
    stats = PerturbationStatistics.from_anndata(make_expression(seed=3, n_genes=10))
    scores = niche.niche_scores(stats, n_top=10)
    assert np.isinf(scores["fold_reduction"]).all()
    summary = niche.niche_summary(scores)
    assert np.isinf(summary["fold_of_medians"]).all()
    # Infinite reductions cannot be compared with each other.
    assert summary["fold_wilcoxon_p"].isna().all()


def test_tests_need_three_perturbations_and_a_difference(stats):
    scores = niche.niche_scores(stats)
    two = niche.niche_summary(scores[scores["perturbation"].isin(["P1", "P2"])])
    assert two["n"].tolist() == [2, 2] and two[["t_p", "wilcoxon_p"]].isna().all(axis=None)
    one = niche.niche_summary(scores[scores["perturbation"] == "P1"])
    assert one["n"].tolist() == [1, 1]
    assert one[["t", "t_p", "wilcoxon", "wilcoxon_p", "fold_wilcoxon_p"]].isna().all(axis=None)
    same = niche.niche_summary(scores.assign(perturbed_mean_star=scores["perturbed_mean"]))
    assert same[["t_p", "wilcoxon_p"]].isna().all(axis=None)
    assert (same["fold_of_medians"] == 1).all()


def test_concentration_of_the_weights(stats, degs, weights):
    table = niche.weight_summary(degs, weights)
    assert table["perturbation"].tolist() == stats.labels.tolist()
    assert table["effective_genes"].between(1, 80).all()
    assert table["degs_weight"].tolist() == pytest.approx(
        [w[d].sum() for w, d in zip(weights, degs.is_deg, strict=True)]
    )
    equal = np.zeros_like(weights)
    equal[:, :4] = 0.25
    assert niche.weight_summary(degs, equal)["effective_genes"].tolist() == [4.0] * 9


def test_histograms_count_every_weight_once(stats, weights):
    histogram = niche.weight_histogram(stats.labels, weights, ["P3", "P1"])
    groups = histogram.groupby("group", sort=False)
    assert groups["count"].sum().to_dict() == {niche.OVERALL: weights.size, "P3": 80, "P1": 80}
    assert groups["fraction"].sum().tolist() == pytest.approx([1, 1, 1])
    single = histogram[histogram["group"] == "P3"]
    own = weights[stats.labels.get_loc("P3")]
    assert single["count"].iat[0] == (own < single["bin_right"].iat[0]).sum() >= 1
    for _, bin_ in single.iloc[1:-1].iterrows():
        assert bin_["count"] == ((own >= bin_["bin_left"]) & (own < bin_["bin_right"])).sum()


def test_wmse_notices_the_top_degs_more_than_mse_on_a_screen(screen_expression):
    stats = PerturbationStatistics.from_anndata(screen_expression)
    summary = niche.niche_summary(niche.niche_scores(stats)).set_index("metric")
    assert summary.loc["wmse", "fold_of_medians"] > 5 * summary.loc["mse", "fold_of_medians"]
    assert summary.loc["wmse", "fold_wilcoxon_p"] < 1e-4
