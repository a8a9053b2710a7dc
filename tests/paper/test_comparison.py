"""Scores of the baselines, and tables about the strength of perturbations."""

import numpy as np
import pandas as pd
import pytest
from examples import make_expression, make_paper_truth
from messages import naming

from diversity_by_design import PerturbationStatistics, Truth, deg_scores, technical_duplicate
from diversity_by_design.baselines import Predictor
from diversity_by_design.errors import InputError
from diversity_by_design.paper import comparison


@pytest.fixture(scope="module")
def truth() -> Truth:
    return make_paper_truth()


@pytest.fixture(scope="module")
def scores(truth) -> pd.DataFrame:
    return comparison.paper_scores(truth)


@pytest.fixture(scope="module")
def n_degs(truth) -> pd.Series:
    degs = deg_scores(truth.statistics)
    return pd.Series(degs.n_degs, degs.labels)


def value(scores: pd.DataFrame, perturbation: str, predictor: str, metric: str) -> float:
    found = scores.query("perturbation == @perturbation and predictor == @predictor and metric == @metric")["value"]
    return found.item()


def test_scores_are_the_formulas_of_the_paper(truth, scores):
    stats, target, half = truth.statistics, truth.target(0), truth.target(0, half=True)
    first, second = technical_duplicate(make_expression(seed=3, n_labels=9, n_genes=60, effect=1.0), seed=1)
    row = stats.labels.get_loc("P2")
    observed, prediction, w = second.mean[row], first.mean[row], target.weights[row]
    mu_all, mu_c = stats.perturbed_mean, stats.control_mean
    delta, predicted = observed - mu_all, prediction - mu_all
    centre = (w * delta).sum()
    mask = target.is_deg[row]
    assert mask.sum() >= 3
    expected = {
        "mse": ((observed - prediction) ** 2).mean(),
        "wmse": (w * (observed - prediction) ** 2).sum(),
        "r2_delta": 1 - ((delta - predicted) ** 2).sum() / ((delta - delta.mean()) ** 2).sum(),
        "weighted_r2_delta": 1 - (w * (delta - predicted) ** 2).sum() / (w * (delta - centre) ** 2).sum(),
        "pearson_delta": np.corrcoef(delta, predicted)[0, 1],
        "pearson_delta_degs": np.corrcoef(delta[mask], predicted[mask])[0, 1],
        "pearson_delta_control": np.corrcoef(observed - mu_c, prediction - mu_c)[0, 1],
    }
    assert tuple(expected) == comparison.METRICS_OF_FIGURE_6
    for metric, number in expected.items():
        assert value(scores, "P2", "technical_duplicate", metric) == pytest.approx(number), metric
    # Everything but the duplicate is measured against all cells; weights and DEGs are of all cells for both.
    assert value(scores, "P2", "control_mean", "mse") == pytest.approx(((stats.mean[row] - mu_c) ** 2).mean())
    np.testing.assert_array_equal(half.weights, target.weights)


def test_table_has_a_row_per_perturbation_predictor_and_metric(truth, scores, n_degs):
    predictors = ["control_mean", "perturbed_mean", "additive", "technical_duplicate"]
    assert list(dict.fromkeys(scores["predictor"])) == predictors
    assert not scores.duplicated(["perturbation", "predictor", "metric"]).any()
    # The additive baseline says nothing of single perturbations.
    assert len(scores) == (3 * len(truth.labels) + 1) * len(comparison.METRICS_OF_FIGURE_6)
    assert set(scores.loc[scores["predictor"] == "additive", "perturbation"]) == {"P0+P1"}
    assert set(scores.loc[scores["is_combination"], "perturbation"]) == {"P0+P1"}
    counts = scores.drop_duplicates("perturbation").set_index("perturbation")["n_degs"]
    assert counts[truth.labels].tolist() == n_degs.tolist()


def test_undefined_where_the_metric_is(scores, n_degs):
    mean = scores[scores["predictor"] == "perturbed_mean"]
    assert mean.loc[mean["metric"].isin(["pearson_delta", "pearson_delta_degs"]), "value"].isna().all()
    assert (mean.loc[mean["metric"].isin(["r2_delta", "weighted_r2_delta"]), "value"] <= 0).all()
    # Fewer than three DEGs are too few to correlate over.
    duplicate = scores.query("predictor == 'technical_duplicate' and metric == 'pearson_delta_degs'")
    assert duplicate.set_index("perturbation")["value"].isna().to_dict() == (n_degs < 3).to_dict()
    assert (n_degs < 3).any()

    weak = Truth.from_anndata(make_expression(seed=3, effect=0.0), mode="paper")
    table = comparison.paper_scores(weak)
    assert table.loc[table["metric"] == "pearson_delta_degs", "value"].isna().all()
    assert table.loc[table["metric"] == "wmse", "value"].notna().all()


def test_models_stand_between_the_baselines_and_may_predict_some_perturbations_only(truth, scores):
    perfect = truth.statistics.mean.copy()
    perfect[4:] = np.nan
    duplicate = truth.target(0, half=True).duplicate
    models = [Predictor("oracle", lambda target: perfect), Predictor("half", lambda target: duplicate)]
    table = comparison.paper_scores(truth, models)
    assert list(dict.fromkeys(table["predictor"]))[2:] == ["additive", "oracle", "half", "technical_duplicate"]
    oracle = table[table["predictor"] == "oracle"]
    assert list(dict.fromkeys(oracle["perturbation"])) == truth.labels[:4].tolist()
    assert oracle.loc[oracle["metric"] == "r2_delta", "value"].tolist() == pytest.approx([1] * 4)
    assert oracle.loc[oracle["metric"] == "wmse", "value"].tolist() == [0] * 4
    own = table[~table["predictor"].isin(["oracle", "half"])].reset_index(drop=True)
    pd.testing.assert_frame_equal(own, scores)


def test_a_model_that_does_not_fit_is_refused_by_name(truth):
    incomplete = truth.statistics.mean.copy()
    incomplete[2, 5:8] = np.nan
    for prediction, said in (
        (truth.statistics.mean[:, 1:], ("m", (9, 59), (9, 60))),
        (incomplete, ("m", 3, 60, truth.labels[2])),
    ):
        with pytest.raises(InputError, match=naming(*said)):
            comparison.paper_scores(truth, [Predictor("m", lambda target, prediction=prediction: prediction)])


def test_without_combinations_there_is_no_additive_baseline():
    cells = make_expression(seed=3)
    cells = cells[cells.obs["condition"] != "P0+P1"].copy()
    assert "additive" not in set(comparison.paper_scores(Truth.from_anndata(cells, mode="paper"))["predictor"])


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


def test_strength_table_takes_the_duplicates_weighted_r2(truth, scores, n_degs):
    strength = comparison.strength_table(truth.statistics, scores).set_index("perturbation")
    assert strength.loc[truth.labels, "n_cells"].tolist() == truth.statistics.n_cells.tolist()
    assert strength.loc[truth.labels, "n_degs"].tolist() == n_degs.tolist()
    for label in truth.labels:
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
    # What is unknown is in no group, and moves no quantile.
    unknown = comparison.deg_groups([*n_degs, np.nan])
    assert list(unknown[:-1]) == list(strength["deg_group"]) and pd.isna(unknown[-1])


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
    # Fewer than three DEGs, over which nothing correlates, unless there are no others.
    assert "A" in comparison.example_labels(lacking.assign(n_degs=[1, 0, 3, 2, 2, 1]))


def test_agreement_of_the_halves_over_all_genes_is_the_duplicates_score(truth, scores, n_degs):
    genes = comparison.duplicate_genes(truth, ["P2", "P0"])
    assert genes["is_deg"].sum() == n_degs[["P2", "P0"]].sum()
    agreement = comparison.duplicate_agreement(genes)
    assert agreement["perturbation"].tolist() == ["P2", "P2", "P0", "P0"]
    overall, of_degs = agreement.iloc[0], agreement.iloc[1]
    for column, metric in (("r2", "r2_delta"), ("weighted_r2", "weighted_r2_delta"), ("pearson", "pearson_delta")):
        assert overall[column] == pytest.approx(value(scores, "P2", "technical_duplicate", metric))
    assert of_degs["pearson"] == pytest.approx(value(scores, "P2", "technical_duplicate", "pearson_delta_degs"))
    assert (overall["n_genes"], of_degs["n_genes"]) == (60, n_degs["P2"])

    alone = comparison.duplicate_agreement(genes.assign(is_deg=False))
    assert alone.loc[alone["genes"] == "DEGs", ["r2", "weighted_r2", "pearson"]].isna().all(axis=None)
    assert alone.loc[alone["genes"] == "DEGs", "n_genes"].tolist() == [0, 0]


def test_weighting_brings_the_duplicate_to_the_top_on_a_screen(screen_expression):
    truth = Truth.from_anndata(screen_expression, mode="paper")
    summary = comparison.summarise(comparison.paper_scores(truth)).set_index(["metric", "predictor"])
    n_labels = len(PerturbationStatistics.from_anndata(screen_expression).labels)
    assert (summary["n"] + summary["n_undefined"])["mse", "control_mean"] == n_labels
    median = summary["median"]
    # Section 4.4: without weights the mean of all perturbed cells beats half of the cells themselves.
    assert median["mse", "perturbed_mean"] < median["mse", "technical_duplicate"]
    assert median["wmse", "perturbed_mean"] > 3 * median["wmse", "technical_duplicate"]
    assert median["weighted_r2_delta", "perturbed_mean"] < 0 < 0.5 < median["weighted_r2_delta", "technical_duplicate"]
    assert summary["max"]["weighted_r2_delta", "perturbed_mean"] <= 0
