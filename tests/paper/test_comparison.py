"""Scores of the baselines, and tables about the strength of perturbations."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from examples import make_expression

from diversity_by_design import PerturbationStatistics, deg_scores, deg_weights, technical_duplicate
from diversity_by_design.errors import InputError
from diversity_by_design.paper import comparison

ANALYSES = Path(__file__).parents[2] / "analyses"


@pytest.fixture(scope="module")
def inputs():
    cells = make_expression(seed=3, n_labels=9, n_genes=60, effect=1.0)
    stats = PerturbationStatistics.from_anndata(cells)
    degs = deg_scores(stats)
    return stats, technical_duplicate(cells, seed=1), degs, deg_weights(degs)


def value(scores: pd.DataFrame, perturbation: str, predictor: str, metric: str) -> float:
    found = scores.query("perturbation == @perturbation and predictor == @predictor and metric == @metric")["value"]
    return found.item()


def test_scores_are_the_formulas_of_the_paper(inputs):
    stats, (first, second), degs, weights = inputs
    scores = comparison.baseline_scores(*inputs)
    row = stats.labels.get_loc("P2")
    truth, prediction, w = second.mean[row], first.mean[row], weights[row]
    mu_all, mu_c = stats.perturbed_mean, stats.control_mean
    delta, predicted = truth - mu_all, prediction - mu_all
    centre = (w * delta).sum()
    mask = degs.is_deg[row]
    assert mask.sum() >= 3
    expected = {
        "mse": ((truth - prediction) ** 2).mean(),
        "wmse": (w * (truth - prediction) ** 2).sum(),
        "r2_delta": 1 - ((delta - predicted) ** 2).sum() / ((delta - delta.mean()) ** 2).sum(),
        "weighted_r2_delta": 1 - (w * (delta - predicted) ** 2).sum() / (w * (delta - centre) ** 2).sum(),
        "pearson_delta": np.corrcoef(delta, predicted)[0, 1],
        "pearson_delta_degs": np.corrcoef(delta[mask], predicted[mask])[0, 1],
        "pearson_delta_control": np.corrcoef(truth - mu_c, prediction - mu_c)[0, 1],
    }
    assert tuple(expected) == comparison.METRICS
    for metric, number in expected.items():
        assert value(scores, "P2", "technical_duplicate", metric) == pytest.approx(number), metric
    # Everything but the duplicate is measured against all cells.
    assert value(scores, "P2", "control_mean", "mse") == pytest.approx(((stats.mean[row] - mu_c) ** 2).mean())


def test_against_the_second_half_only_the_duplicate_stays_the_same(inputs):
    stats, (_, second), _, _ = inputs
    paper = comparison.baseline_scores(*inputs)
    other = comparison.baseline_scores(*inputs, truth="second_half")
    differs = (paper["value"] != other["value"]) & paper["value"].notna()
    assert not differs[paper["predictor"] == "technical_duplicate"].any()
    assert differs[(paper["predictor"] == "perturbed_mean") & (paper["metric"] == "mse")].all()
    expected = ((second.mean[0] - stats.perturbed_mean) ** 2).mean()
    assert value(other, stats.labels[0], "perturbed_mean", "mse") == pytest.approx(expected)
    with pytest.raises(InputError, match="paper, second_half"):
        comparison.baseline_scores(*inputs, truth="first_half")


def test_table_has_a_row_per_perturbation_predictor_and_metric(inputs):
    stats, _, degs, _ = inputs
    scores = comparison.baseline_scores(*inputs)
    predictors = ["control_mean", "perturbed_mean", "additive", "technical_duplicate"]
    assert list(dict.fromkeys(scores["predictor"])) == predictors
    assert not scores.duplicated(["perturbation", "predictor", "metric"]).any()
    # The additive baseline says nothing of single perturbations.
    assert len(scores) == (3 * len(stats.labels) + 1) * len(comparison.METRICS)
    assert set(scores.loc[scores["predictor"] == "additive", "perturbation"]) == {"P0+P1"}
    assert set(scores.loc[scores["is_combination"], "perturbation"]) == {"P0+P1"}
    counts = scores.drop_duplicates("perturbation").set_index("perturbation")["n_degs"]
    assert counts[stats.labels].tolist() == degs.n_degs.tolist()


def test_undefined_where_the_metric_is(inputs):
    stats, halves, degs, weights = inputs
    scores = comparison.baseline_scores(*inputs)
    mean = scores[scores["predictor"] == "perturbed_mean"]
    assert mean.loc[mean["metric"].isin(["pearson_delta", "pearson_delta_degs"]), "value"].isna().all()
    assert (mean.loc[mean["metric"].isin(["r2_delta", "weighted_r2_delta"]), "value"] <= 0).all()

    # One DEG is too few to correlate over; a perturbation without weights has no weighted metrics.
    few = replace(degs)
    vars(few)["pvals_adj"] = np.where(np.arange(60) == 7, 0.0, np.ones_like(degs.t))
    without = weights.copy()
    without[2] = np.nan
    scores = comparison.baseline_scores(stats, halves, few, without)
    assert scores.loc[scores["metric"] == "pearson_delta_degs", "value"].isna().all()
    own = scores[(scores["perturbation"] == stats.labels[2]) & (scores["predictor"] == "technical_duplicate")]
    assert own.set_index("metric")["value"].isna()[["mse", "wmse", "r2_delta", "weighted_r2_delta"]].tolist() == [
        False,
        True,
        False,
        True,
    ]


def test_models_stand_between_the_baselines_and_may_predict_some_perturbations_only(inputs):
    stats, halves, _, _ = inputs
    perfect = stats.mean.copy()
    perfect[4:] = np.nan
    scores = comparison.baseline_scores(*inputs, predictions={"oracle": perfect, "half": halves[0].mean})
    assert list(dict.fromkeys(scores["predictor"]))[2:] == ["additive", "oracle", "half", "technical_duplicate"]
    oracle = scores[scores["predictor"] == "oracle"]
    assert list(dict.fromkeys(oracle["perturbation"])) == stats.labels[:4].tolist()
    assert oracle.loc[oracle["metric"] == "r2_delta", "value"].tolist() == pytest.approx([1] * 4)
    assert oracle.loc[oracle["metric"] == "wmse", "value"].tolist() == [0] * 4
    baselines = comparison.baseline_scores(*inputs)
    own = scores[~scores["predictor"].isin(["oracle", "half"])].reset_index(drop=True)
    pd.testing.assert_frame_equal(own, baselines)


def test_what_does_not_fit_together_is_refused(inputs):
    stats, halves, degs, weights = inputs
    incomplete = stats.mean.copy()
    incomplete[2, 5:8] = np.nan
    reordered = stats.select(genes=stats.genes[::-1])
    for arguments, predictions, message in (
        (inputs, {"m": stats.mean[:, 1:]}, r"predictions of 'm' have shape \(9, 59\); expected \(9, 60\)"),
        (inputs, {"m": incomplete}, f"'m' predicts NaN for 3 of 60 genes of '{stats.labels[2]}'"),
        (inputs, {"additive": stats.mean}, "additive is the name of a baseline"),
        ((stats, (halves[0], reordered), degs, weights), None, "genes of the second half"),
        ((stats, halves, deg_scores(stats.select(labels=stats.labels[1:])), weights), None, "labels of DEG scores"),
    ):
        with pytest.raises(InputError, match=message):
            comparison.baseline_scores(*arguments, predictions=predictions)


def test_without_combinations_there_is_no_additive_baseline():
    cells = make_expression(seed=3)
    cells = cells[cells.obs["condition"] != "P0+P1"].copy()
    stats = PerturbationStatistics.from_anndata(cells)
    degs = deg_scores(stats)
    scores = comparison.baseline_scores(stats, technical_duplicate(cells), degs, deg_weights(degs))
    assert "additive" not in set(scores["predictor"])


def test_summary_counts_what_is_undefined():
    scores = pd.DataFrame(
        {
            "predictor": ["b", "b", "b", "b", "a"],
            "metric": "mse",
            "value": [1.0, 2.0, 6.0, np.nan, np.nan],
        }
    )
    first, second = comparison.summarise(scores).to_dict("records")
    assert first == {
        "predictor": "b",
        "metric": "mse",
        "n": 3,
        "n_undefined": 1,
        "median": 2.0,
        "mean": 3.0,
        "q25": 1.5,
        "q75": 4.0,
        "min": 1.0,
        "max": 6.0,
    }
    assert second["predictor"] == "a"
    assert (second["n"], second["n_undefined"]) == (0, 1)
    assert np.isnan(second["median"])


def test_strength_table_takes_the_duplicates_weighted_r2(inputs):
    stats, _, degs, _ = inputs
    scores = comparison.baseline_scores(*inputs)
    strength = comparison.strength_table(stats, scores).set_index("perturbation")
    assert strength.loc[stats.labels, "n_cells"].tolist() == stats.n_cells.tolist()
    assert strength.loc[stats.labels, "n_degs"].tolist() == degs.n_degs.tolist()
    for label in stats.labels:
        expected = value(scores, label, "technical_duplicate", "weighted_r2_delta")
        assert strength.loc[label, "weighted_r2_delta"] == expected


def test_strength_correlation_is_of_ranks_and_undefined_without_variation():
    table = pd.DataFrame({"n_degs": [0, 3, 5, 900, 7], "weighted_r2_delta": [-9.0, 0.1, 0.3, 0.9, np.nan]})
    result = comparison.strength_correlation(table).iloc[0]
    assert (result["n"], result["n_undefined"], result["spearman_r"]) == (4, 1, pytest.approx(1.0))
    constant = comparison.strength_correlation(table.assign(n_degs=0)).iloc[0]
    assert np.isnan(constant["spearman_r"]) and np.isnan(constant["p"])
    assert constant["n"] == 4


def test_deg_groups_follow_the_quantiles():
    groups = pd.Series(comparison.deg_groups(np.arange(1, 101))).value_counts(sort=False)
    assert groups.to_dict() == {"0-25 %": 25, "25-50 %": 25, "50-75 %": 25, "75-95 %": 20, "95-100 %": 5}


def test_perturbations_with_equally_many_degs_share_a_group_and_empty_groups_are_kept():
    n_degs = [0] * 6 + [4, 4, 8, 20]
    strength = pd.DataFrame({"n_degs": n_degs, "deg_group": comparison.deg_groups(n_degs)})
    assert (strength.groupby("n_degs")["deg_group"].nunique() == 1).all()
    ranges = comparison.group_ranges(strength)
    assert ranges["deg_group"].tolist() == list(comparison.DEG_GROUPS)
    assert ranges["n"].tolist() == [6, 0, 2, 1, 1]
    assert ranges["fewest_degs"].isna().tolist() == [False, True, False, False, False]
    assert ranges.loc[2, ["fewest_degs", "most_degs"]].tolist() == [4, 4]
    everything = comparison.deg_groups([3, 3, 3])
    assert list(everything) == ["0-25 %"] * 3


def test_spread_goes_from_the_weakest_to_the_strongest_whatever_the_order():
    labels, n_degs = ["a", "b", "c", "d", "e", "f", "g"], [5, 5, 0, 9, 2, 30, 7]
    expected = ["c", "a", "g", "f"]
    assert comparison.spread_by_strength(labels, n_degs, 4) == expected
    assert comparison.spread_by_strength(labels[::-1], n_degs[::-1], 4) == expected
    assert comparison.spread_by_strength(["x", "y"], [1, 0], 4) == ["y", "x"]


def test_examples_are_the_papers_that_are_there_and_others_spread_over_strength():
    labels = [*comparison.PAPER_EXAMPLES, "X", "Y"]
    strength = pd.DataFrame({"perturbation": labels, "n_degs": [5, 0, 0, 0, 70, 80]})
    assert comparison.example_labels(strength) == list(comparison.PAPER_EXAMPLES)
    lacking = pd.DataFrame({"perturbation": ["MRPL23", "A", "B", "C", "D", "E"], "n_degs": [5, 0, 3, 9, 7, 2]})
    assert comparison.example_labels(lacking) == ["MRPL23", "B", "D", "C"]
    assert "A" in comparison.example_labels(lacking.assign(n_degs=[1, 0, 1, 2, 2, 1]))


def test_agreement_of_the_halves_over_all_genes_is_the_duplicates_score(inputs):
    stats, _, degs, _ = inputs
    scores = comparison.baseline_scores(*inputs)
    genes = comparison.duplicate_genes(*inputs, ["P2", "P0"])
    assert genes["is_deg"].sum() == degs.n_degs[stats.labels.get_indexer(["P2", "P0"])].sum()
    agreement = comparison.duplicate_agreement(genes)
    assert agreement["perturbation"].tolist() == ["P2", "P2", "P0", "P0"]
    overall, of_degs = agreement.iloc[0], agreement.iloc[1]
    for column, metric in (("r2", "r2_delta"), ("weighted_r2", "weighted_r2_delta"), ("pearson", "pearson_delta")):
        assert overall[column] == pytest.approx(value(scores, "P2", "technical_duplicate", metric))
    assert of_degs["pearson"] == pytest.approx(value(scores, "P2", "technical_duplicate", "pearson_delta_degs"))
    assert (overall["n_genes"], of_degs["n_genes"]) == (60, degs.n_degs[stats.labels.get_loc("P2")])

    alone = comparison.duplicate_agreement(genes.assign(is_deg=False))
    assert alone.loc[alone["genes"] == "DEGs", ["r2", "weighted_r2", "pearson"]].isna().all(axis=None)
    assert alone.loc[alone["genes"] == "DEGs", "n_genes"].tolist() == [0, 0]


def test_weighting_brings_the_duplicate_to_the_top_on_real_data(real_expression):
    stats = PerturbationStatistics.from_anndata(real_expression)
    degs = deg_scores(stats)
    scores = comparison.baseline_scores(stats, technical_duplicate(real_expression), degs, deg_weights(degs))
    summary = comparison.summarise(scores).set_index(["metric", "predictor"])
    assert (summary["n"] + summary["n_undefined"])["mse", "control_mean"] == len(stats.labels)
    median = summary["median"]
    # Section 4.4: without weights the mean of all perturbed cells beats half of the cells themselves.
    assert median["mse", "perturbed_mean"] < median["mse", "technical_duplicate"]
    assert median["wmse", "perturbed_mean"] > 3 * median["wmse", "technical_duplicate"]
    assert median["weighted_r2_delta", "perturbed_mean"] < 0 < 0.5 < median["weighted_r2_delta", "technical_duplicate"]
    assert summary["max"]["weighted_r2_delta", "perturbed_mean"] <= 0
