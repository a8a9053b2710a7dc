"""Models beside the baselines: tests, spread over seeds, variances, claims; and analysis 5 with predictions."""

import importlib.util
import json
import re
from dataclasses import replace

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from conftest import ROOT
from examples import make_demo, make_paper_truth, write_counts
from messages import naming
from scipy import stats as scipy_stats

from diversity_by_design import PerturbationStatistics, Truth, cli, score
from diversity_by_design.datasets.expression import read_expression
from diversity_by_design.datasets.script import Preparation
from diversity_by_design.errors import InputError
from diversity_by_design.models.splits import make_splits, write_splits
from diversity_by_design.paper import comparison
from diversity_by_design.paper import model_comparison as models
from diversity_by_design.paper.calibrated import calibrated_scores
from diversity_by_design.paper.claims import CHECKS, Evidence, check_claims
from diversity_by_design.predictions import FOLDER, Prediction
from diversity_by_design.running.captions import caption
from diversity_by_design.running.results import ResultFolder

CLAIMS = pd.read_csv(ROOT / "analyses" / "paper_reference" / "claims.csv")


@pytest.fixture(scope="module")
def truth() -> Truth:
    return make_paper_truth()


@pytest.fixture(scope="module")
def stats(truth) -> PerturbationStatistics:
    return truth.statistics


def shrunken(stats, share, loss="mse", seed=0, labels=None) -> Prediction:
    """A model whose predictions are the truth, shrunken towards mu_all."""
    labels = stats.labels if labels is None else pd.Index(labels)
    truth = stats.mean[stats.labels.get_indexer(labels)]
    values = stats.perturbed_mean + share * (truth - stats.perturbed_mean)
    expression = pd.DataFrame(values, index=labels, columns=stats.genes)
    return Prediction("gears", loss, seed, "unseen", "run", "", expression, np.zeros(len(labels), np.int64))


@pytest.fixture(scope="module")
def predictions(stats):
    # MSE collapses, WMSE less so; the second seed is further from the mean.
    shares = {("mse", 0): 0.1, ("mse", 1): 0.3, ("wmse", 0): 0.6, ("wmse", 1): 0.8}
    return [shrunken(stats, share, *key) for key, share in shares.items()]


@pytest.fixture(scope="module")
def seed_scores(truth, predictions):
    return models.seed_scores(truth, predictions)


@pytest.fixture(scope="module")
def scores(seed_scores):
    return models.mean_over_seeds(seed_scores)


def values(scores, predictor, metric):
    return scores[(scores["predictor"] == predictor) & (scores["metric"] == metric)].set_index("perturbation")["value"]


def tidy(columns: dict[str, list[float]], metric: str = "wmse") -> pd.DataFrame:
    """Scores of predictors that are given value by value."""
    return pd.concat(
        pd.DataFrame({"perturbation": [f"P{i}" for i in range(len(value))], "predictor": name, "value": value})
        for name, value in columns.items()
    ).assign(metric=metric)


def test_scores_are_told_apart_by_loss_and_seed(stats, predictions, seed_scores):
    order = ["control_mean", "perturbed_mean", "additive", "gears_mse", "gears_wmse", "technical_duplicate"]
    assert list(dict.fromkeys(seed_scores["predictor"])) == order
    model = seed_scores["predictor"].str.startswith("gears_")
    assert (seed_scores["seed"].notna() == model).all()
    one = seed_scores[(seed_scores["predictor"] == "gears_wmse") & (seed_scores["seed"] == 1)]
    expected = np.square(stats.mean - predictions[3].expression.to_numpy()).mean(axis=1)
    assert values(one, "gears_wmse", "mse")[stats.labels].to_numpy() == pytest.approx(expected, rel=1e-6)


def test_without_models_nothing_changes(truth):
    averaged = models.mean_over_seeds(models.seed_scores(truth, []))
    expected = comparison.paper_scores(truth).drop(columns="seed")
    pd.testing.assert_frame_equal(averaged, expected, check_exact=True)


def test_a_perturbations_score_is_the_mean_over_seeds_or_undefined_with_any_of_them(seed_scores, scores):
    both = [values(seed_scores[seed_scores["seed"] == seed], "gears_mse", "wmse") for seed in (0, 1)]
    expected = (both[0] + both[1]) / 2
    assert values(scores, "gears_mse", "wmse").to_numpy() == pytest.approx(expected.to_numpy())
    assert not scores.duplicated(["perturbation", "predictor", "metric"]).any()

    lacking = seed_scores.copy()
    chosen = (
        (lacking["seed"] == 1)
        & (lacking["metric"] == "wmse")
        & (lacking["predictor"] == "gears_mse")
        & (lacking["perturbation"] == "P3")
    )
    assert chosen.sum() == 1
    lacking.loc[chosen, "value"] = np.nan
    averaged = values(models.mean_over_seeds(lacking), "gears_mse", "wmse")
    assert averaged.index[averaged.isna()].tolist() == ["P3"]
    # Undefined for one seed only: not among those that are undefined always.
    assert models.undefined_always(lacking) == models.undefined_always(seed_scores)
    assert scores["value"].isna().sum() == models.undefined_always(seed_scores)


def test_seeds_have_medians_and_their_mean_an_interval(seed_scores):
    medians = models.seed_medians(seed_scores)
    assert set(medians["loss"]) == {"mse", "wmse"}
    one = medians.query("loss == 'mse' and metric == 'wmse'").set_index("seed")["median"]
    expected = values(seed_scores[seed_scores["seed"] == 0], "gears_mse", "wmse").median()
    assert one[0] == pytest.approx(expected)
    interval = models.seed_intervals(medians).query("loss == 'mse' and metric == 'wmse'").iloc[0]
    low, high = scipy_stats.t.interval(0.95, 1, loc=one.mean(), scale=scipy_stats.sem(one))
    assert (interval["n_seeds"], interval["mean"]) == (2, pytest.approx(one.mean()))
    assert (interval["low"], interval["high"]) == (pytest.approx(low), pytest.approx(high))

    alone = models.seed_intervals(medians[medians["seed"] == 0])
    assert (alone["n_seeds"] <= 1).all()
    assert alone[["sd", "low", "high"]].isna().all(axis=None)


def test_paired_tests_are_scipys_on_the_pairs_that_are_defined():
    rng = np.random.default_rng(0)
    one, other = rng.lognormal(size=(2, 20))
    other[3] = np.nan
    table = models.pair_tests(tidy({"gears_mse": list(one), "gears_wmse": list(other)}), [("gears_mse", "gears_wmse")])
    assert table["metric"].tolist() == list(comparison.METRICS_OF_FIGURE_6)
    row = table.set_index("metric").loc["wmse"]
    used = np.delete(np.arange(20), 3)
    t = scipy_stats.ttest_rel(other[used], one[used])
    assert (row["t"], row["t_p"]) == (pytest.approx(t.statistic), pytest.approx(t.pvalue))
    assert row["wilcoxon_p"] == pytest.approx(scipy_stats.wilcoxon(one[used], other[used]).pvalue)
    assert (row["n"], row["n_undefined"]) == (19, 1)
    assert row["mean_difference"] == pytest.approx((other[used] - one[used]).mean())
    assert row["ratio_of_medians"] == pytest.approx(np.median(one[used]) / np.median(other[used]))
    # Metrics without any score are rows without numbers, and do not count for the adjustment.
    assert table.set_index("metric").loc["mse", "n"] == 0
    assert row[["t_holm", "wilcoxon_holm"]].tolist() == row[["t_p", "wilcoxon_p"]].tolist()
    assert table["t_holm"].count() == 1


@pytest.mark.parametrize(
    ("one", "other", "t_defined", "wilcoxon_defined"),
    [
        ([1.0, 2.0], [2.0, 5.0], False, False),
        ([1.0, 2.0, 3.0], [2.0, 5.0, 7.0], True, True),
        ([1.0, 2.0, 3.0], [1.0, 2.0, 3.0], False, False),
        ([1.0, 2.0, 3.0], [2.0, 3.0, 4.0], False, True),
    ],
)
def test_no_test_without_pairs_or_differences(one, other, t_defined, wilcoxon_defined):
    row = models.pair_tests(tidy({"a": one, "b": other}), [("a", "b")]).set_index("metric").loc["wmse"]
    assert np.isfinite(row["t"]) == t_defined == np.isfinite(row["t_p"])
    assert np.isfinite(row["wilcoxon_p"]) == wilcoxon_defined
    assert row["n"] == len(one)


def test_p_values_are_adjusted_over_the_table(scores):
    table = models.model_tests(scores)
    for test in ("t", "wilcoxon"):
        p = table[f"{test}_p"].to_numpy()
        order = np.argsort(p)[: np.isfinite(p).sum()]
        expected = np.maximum.accumulate(p[order] * np.arange(len(order), 0, -1)).clip(max=1)
        np.testing.assert_allclose(table[f"{test}_holm"].to_numpy()[order], expected)
        assert table[f"{test}_holm"].count() == len(order) > 10


def test_pairs_are_those_of_which_both_are_there(scores):
    table = models.model_tests(scores)
    pairs = table[["first", "second"]].drop_duplicates().apply(tuple, axis=1).tolist()
    assert pairs == [("gears_mse", "gears_wmse"), ("perturbed_mean", "gears_mse"), ("perturbed_mean", "gears_wmse")]
    of_null = table[(table["first"] == "perturbed_mean") & (table["metric"] == "pearson_delta")]
    # Pearson of the mean with itself as the reference is undefined.
    assert (of_null["n"] == 0).all() and (of_null["n_undefined"] == 9).all()
    wmse = table.query("metric == 'wmse' and first == 'gears_mse'").iloc[0]
    assert wmse["t"] < 0 and wmse["ratio_of_medians"] > 1


def test_groups_are_tested_apart_and_small_ones_not():
    table = tidy({"gears_mse": [1.0, 2, 3, 4, 5], "gears_wmse": [0.5, 1, 2, 9, 9]})
    table["deg_group"] = table["perturbation"].map(dict.fromkeys(["P0", "P1", "P2"], "weak")).fillna("strong")
    found = models.group_tests(table, ["weak", "strong", "empty"]).query("metric == 'wmse'").set_index("deg_group")
    assert found["n"].to_dict() == {"weak": 3, "strong": 2, "empty": 0}
    assert np.isfinite(found["t"]).tolist() == [True, False, False]
    assert found.loc["strong", "median_second"] == 9


def test_variance_of_a_shrunken_truth_is_shrunken_squared(truth, stats, predictions):
    labels = stats.labels[:7]
    profiles = models.variance_profiles(truth, predictions, labels, n_top=10)
    variances = stats.mean[:7].var(axis=0, ddof=1)
    own = profiles[profiles["predictor"] == "truth"]
    assert own["variance"].tolist() == pytest.approx(sorted(variances, reverse=True)[:10])
    assert own["rank"].tolist() == list(range(1, 11))
    assert own["gene"].tolist() == stats.genes[np.argsort(-variances)[:10]].tolist()
    # All are of the same genes in the same order.
    assert (profiles.groupby("rank")["gene"].nunique() == 1).all()

    ratios = models.variance_ratios(profiles, len(labels))
    assert (ratios["n_genes"] == 10).all() and (ratios["n_perturbations"] == 7).all()
    by_model = ratios.set_index(["predictor", "seed"])["ratio"]
    assert by_model["gears_mse", 0] == pytest.approx(0.01, rel=1e-3)
    assert by_model["gears_wmse", 1] == pytest.approx(0.64, rel=1e-3)
    mean = ratios[ratios["predictor"] == "gears_mse"]["mean_ratio"]
    assert mean.tolist() == pytest.approx([0.05, 0.05], rel=1e-3)
    assert ratios.loc[ratios["predictor"] == "truth", "ratio"].tolist() == [1]
    half = truth.target(0, half=True).duplicate
    duplicate = half[:7].var(axis=0, ddof=1)[np.argsort(-variances)[:10]]
    expected = np.median(duplicate) / np.median(own["variance"])
    assert ratios.loc[ratios["predictor"] == "technical_duplicate", "ratio"].tolist() == pytest.approx([expected])


def test_all_genes_are_ranked_where_there_are_fewer_and_one_perturbation_has_no_variance(truth, predictions):
    assert models.variance_profiles(truth, predictions, truth.labels)["rank"].max() == len(truth.genes)
    with pytest.raises(InputError, match=naming(1, 2)):
        models.variance_profiles(truth, predictions, truth.labels[:1])


def test_dose_goes_from_mse_to_powers_of_wmse(truth, stats):
    shares = {"gears": 0.4, "mse": 0.1, "wmse": 0.6, "wmse_all_cells": 0.6, "wmse^0.5": 0.4, "wmse^2": 0.9}
    found = [shrunken(stats, share, loss) for loss, share in shares.items()]
    medians = models.seed_medians(models.seed_scores(truth, found))
    ratios = models.variance_ratios(models.variance_profiles(truth, found, stats.labels), 9)
    dose = models.loss_dose(medians, ratios)
    ratio = dose[dose["metric"] == "variance_ratio"]
    assert ratio["power"].tolist() == [0, 0.5, 1, 2]
    assert ratio["value"].tolist() == pytest.approx([0.01, 0.16, 0.36, 0.81], rel=1e-3)
    assert set(dose["metric"]) == {"wmse", "weighted_r2_delta", "mse", "variance_ratio"}
    assert dose.query("metric == 'wmse'")["value"].is_monotonic_decreasing

    two = ["mse", "wmse", "gears"]
    predictors = [f"gears_{loss}" for loss in two]
    assert models.loss_dose(medians[medians["loss"].isin(two)], ratios[ratios["predictor"].isin(predictors)]).empty


def test_one_model_under_two_names_counts_once_in_the_dose(truth, stats):
    # The second name's share is another one, to be told from the first's.
    shares = {("mse", 0): 0.1, ("wmse^0", 0): 0.2, ("wmse^0", 1): 0.3, ("wmse^0.5", 0): 0.4}
    shares |= {("wmse^1", 0): 0.5, ("wmse", 0): 0.6}
    found = [shrunken(stats, share, *key) for key, share in shares.items()]
    medians = models.seed_medians(models.seed_scores(truth, found))
    ratios = models.variance_ratios(models.variance_profiles(truth, found, stats.labels), 9)
    dose = models.loss_dose(medians, ratios)
    expected = [("mse", 0), ("wmse^0", 1), ("wmse^0.5", 0), ("wmse", 0)]
    for metric, rows in dose.groupby("metric"):
        assert list(zip(rows["loss"], rows["seed"], strict=True)) == expected, metric
    ratio = dose[dose["metric"] == "variance_ratio"]
    assert ratio["value"].tolist() == pytest.approx([0.01, 0.09, 0.16, 0.36], rel=1e-3)
    intervals = models.seed_intervals(dose, by=("power", "metric"), value="value")
    assert intervals.query("metric == 'wmse'")["n_seeds"].tolist() == [2, 1, 1]
    # Two names of a power are no third power.
    few = ["mse", "wmse^0", "wmse"]
    models_of_few = ratios[ratios["predictor"].isin([f"gears_{loss}" for loss in few])]
    assert models.loss_dose(medians[medians["loss"].isin(few)], models_of_few).empty


def evidence_of(stats, scores, ratios) -> Evidence:
    strength = comparison.strength_table(stats, scores)
    return Evidence(scores.merge(strength[["perturbation", "deg_group"]], on="perturbation"), ratios)


@pytest.fixture(scope="module")
def evidence(truth, stats, scores, predictions):
    profiles = models.variance_profiles(truth, predictions, stats.labels)
    return evidence_of(stats, scores, models.variance_ratios(profiles, 9))


def test_claims_are_judged_by_their_direction(evidence, scores):
    table = check_claims(CLAIMS, evidence, dataset="norman19", task="combinations")
    assert list(table.columns) == ["claim", "dataset", "paper", "ours", "unit", "holds", "note"]
    found = table.set_index(CLAIMS["key"])
    medians = scores.groupby(["metric", "predictor"])["value"].median()
    fold = medians["wmse", "gears_mse"] / medians["wmse", "gears_wmse"]
    assert found.loc["wmse_reduction", ["paper", "ours", "holds"]].tolist() == [2.5, pytest.approx(fold), True]
    assert found.loc["weighted_r2_of_wmse", "ours"] == pytest.approx(medians["weighted_r2_delta", "gears_wmse"])
    # A model that is better than the paper's makes a claim false.
    assert medians["weighted_r2_delta", "gears_mse"] > 0
    assert not found.loc["weighted_r2_of_mse", "holds"]
    assert found.loc["null_not_positive", "holds"] and found.loc["null_not_positive", "ours"] <= 0
    assert found.loc["weighted_metrics", ["ours", "holds"]].tolist() == [2, True]
    assert found.loc["variances_closer", "ours"] == pytest.approx(np.log2(0.5 / 0.05), rel=1e-3)
    means = scores.groupby(["metric", "predictor"])["value"].mean()
    assert f"{means['wmse', 'gears_mse'] / means['wmse', 'gears_wmse']:.3g}" in found.loc["wmse_reduction", "note"]
    assert "another" not in found.loc["wmse_reduction", "note"]


def test_claims_that_cannot_be_judged_are_left_open(evidence):
    found = check_claims(CLAIMS, evidence, dataset="own", task="combinations").set_index(CLAIMS["key"])
    # There is no GEARS with its own loss, and the others are about the other task.
    assert "gears_gears" in found.loc["own_loss_and_null", "note"]
    assert found.loc["own_loss_and_null", ["ours", "holds"]].isna().all()
    assert pd.isna(found.loc["strongest_and_null", "holds"])
    assert re.search(naming("unseen", "combinations"), found.loc["strongest_and_null", "note"])
    assert "another" in found.loc["wmse_reduction", "note"]
    unseen = check_claims(CLAIMS, evidence, dataset="own", task="unseen").set_index(CLAIMS["key"])
    assert pd.isna(unseen.loc["wmse_reduction", "holds"]) and np.isfinite(unseen.loc["wmse_reduction", "ours"])
    # One perturbation is in the top 5 %.
    assert pd.isna(unseen.loc["strongest_and_null", "holds"])
    assert re.search(naming(1), unseen.loc["strongest_and_null", "note"])


def test_a_claim_does_not_hold_where_the_numbers_say_the_opposite(truth, stats):
    reverse = [shrunken(stats, 0.8, "mse"), shrunken(stats, 0.2, "wmse"), shrunken(stats, 0.5, "gears")]
    scores = models.mean_over_seeds(models.seed_scores(truth, reverse))
    profiles = models.variance_profiles(truth, reverse, stats.labels)
    evidence = evidence_of(stats, scores, models.variance_ratios(profiles, 9))
    for task, keys in (
        ("combinations", ["wmse_reduction", "weighted_r2_of_mse", "variances_closer", "weighted_metrics"]),
        ("unseen", ["own_loss_and_null"]),
    ):
        found = check_claims(CLAIMS, evidence, dataset="own", task=task).set_index(CLAIMS["key"])
        assert [bool(found.loc[key, "holds"]) for key in keys] == [False] * len(keys)


def test_undefined_numbers_make_no_verdict(evidence):
    nothing = Evidence(evidence.scores.assign(value=np.nan), evidence.ratios.assign(ratio=np.nan))
    found = check_claims(CLAIMS, nothing, dataset="norman19", task="combinations")
    assert found["holds"].isna().all() and found["ours"].isna().all()


def test_every_claim_of_the_paper_can_be_checked_and_none_is_unknown(evidence):
    assert sorted(CLAIMS["key"]) == sorted(CHECKS)
    with pytest.raises(InputError, match=naming("magic", "wmse_reduction")):
        check_claims(CLAIMS.assign(key="magic").iloc[:1], evidence, dataset="own", task="unseen")


# Analysis 5 as a whole.

NAME = "5_compare_models"
FIGURES = {"baseline_metrics": "6", "deg_count_groups": "9", "duplicate_strength": "7", "calibrated_scores": ""}
TABLES = {"model_tests", "seed_spread", "seed_intervals", "variance_ratio", "claims", "group_tests", "summary"}


def load_script():
    spec = importlib.util.spec_from_file_location("compare_models", ROOT / "analyses" / f"{NAME}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


script = load_script()


@pytest.fixture(scope="module")
def screen(tmp_path_factory) -> Preparation:
    """Seven single perturbations and a combination."""
    path = write_counts(tmp_path_factory.mktemp("own") / "own.h5ad")
    return Preparation(dataset=str(path), perturbation_key="guide", min_genes_per_cell=1)


@pytest.fixture(scope="module")
def screen_of_combinations(tmp_path_factory) -> Preparation:
    path = tmp_path_factory.mktemp("demo") / "own.h5ad"
    make_demo().write_h5ad(path)
    return Preparation(dataset=str(path))


@pytest.fixture
def analyse(tmp_path, monkeypatch):
    """Run analysis 5 in this process: its record, and its figures as they were handed over (not drawn to files)."""
    import matplotlib.pyplot as plt

    def keep(self, name, figure, data, **values):
        plt.close(figure)
        figures[name] = {"paper": "", "data": data} | caption(self._captions, name, values)

    figures = {}
    monkeypatch.setenv("DBD_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setattr(ResultFolder, "figure", keep)

    def run(data: Preparation):
        figures.clear()
        monkeypatch.setattr(cli, "script", lambda main: main(data, cli.Common(output=tmp_path, workers=1)))
        script.script(script.analyse, NAME, {}, script.reads)
        return json.loads((tmp_path / "own" / NAME / "run.json").read_text()), figures

    return run


def predict(data: Preparation, output, shares, task, left_out=()) -> None:
    """Leave a split and predictions where analysis 4 would: the truth, shrunken."""
    prepared = data.load()
    stats = PerturbationStatistics.from_anndata(read_expression(prepared.path))
    splits = make_splits(task, stats.labels, 0)
    (output / "own" / FOLDER).mkdir(parents=True, exist_ok=True)
    write_splits(output / "own" / script.SPLITS, splits)
    half = {label: split.half for split in splits for label in split.labels("test") if label not in left_out}
    about = {"task": task, "dataset_checksum": prepared.checksum, "half": np.array(list(half.values()))}
    for (loss, seed), share in shares.items():
        replace(shrunken(stats, share, loss, seed, list(half)), **about).write(output / "own" / FOLDER)


def papers(figures) -> dict[str, str]:
    return {name: about["paper"] for name, about in figures.items()}


def test_analysis_has_the_models_in_every_figure_and_notices_new_predictions(screen, analyse, tmp_path):
    predict(screen, tmp_path, {("gears", 0): 0.4, ("mse", 0): 0.1, ("wmse", 0): 0.6}, "unseen", ["P0"])
    record, figures = analyse(screen)
    assert papers(figures) == FIGURES | {"model_comparison": "8"}
    assert {table["name"] for table in record["tables"]} >= TABLES
    files = [FOLDER / f"gears_{loss}_seed0.h5ad" for loss in ("gears", "mse", "wmse")]
    assert list(record["reads"]) == [*map(str, files), str(script.SPLITS)]
    for about in figures.values():
        assert about["caption"] and not {"nan", "nan,", "nan."} & set(about["caption"].split())
    assert any(re.search(naming(6, 8), note) for note in record["notes"])
    # Baselines and models are on the same perturbations, figure 7 on all.
    scores = figures["baseline_metrics"]["data"]
    counted = scores[scores["metric"] == "wmse"].groupby("predictor")["perturbation"].nunique()
    trained = ["gears_gears", "gears_mse", "gears_wmse"]
    assert counted.to_dict() == dict.fromkeys(["control_mean", "perturbed_mean", *trained, "technical_duplicate"], 6)
    assert len(figures["duplicate_strength"]["data"]["relation"]) == 8
    assert "gears_wmse" in set(figures["deg_count_groups"]["data"]["scores"]["predictor"])
    assert re.search(naming(1, "seeds"), figures["model_comparison"]["caption"])

    # A second seed and further powers: the analysis is run anew, with the dose curve.
    predict(screen, tmp_path, {("mse", 1): 0.3, ("wmse^0.5", 0): 0.3}, "unseen")
    record, figures = analyse(screen)
    assert set(figures) == {*FIGURES, "model_comparison", "loss_dose_curve"}
    assert any("seeds" in note for note in record["notes"])
    assert any("fewer" in note for note in record["notes"])
    spread = pd.read_csv(tmp_path / "own" / NAME / "seed_spread.csv")
    assert spread.query("loss == 'mse' and metric == 'wmse'")["seed"].tolist() == [0, 1]
    assert re.search(naming("0.05", "0.36"), figures["loss_dose_curve"]["caption"])

    # Nothing is new: nothing is done.
    assert analyse(screen)[1] == {}


def test_analysis_of_combinations_is_figure_4_and_runs_with_one_loss(screen_of_combinations, analyse, tmp_path):
    predict(screen_of_combinations, tmp_path, {("wmse", 0): 0.6}, "combinations")
    record, figures = analyse(screen_of_combinations)
    assert papers(figures) == FIGURES | {"model_comparison": "4"}
    claims = pd.read_csv(tmp_path / "own" / NAME / "claims.csv")
    assert claims["note"].fillna("").str.contains("gears_mse").sum() >= 4
    assert "group_tests" not in {table["name"] for table in record["tables"]}


def test_analysis_scores_a_combination_of_three(screen, analyse, tmp_path):
    cells = ad.read_h5ad(screen.dataset)
    cells.obs["guide"] = cells.obs["guide"].cat.rename_categories({"P0+P1": "P2+P1+P0"})
    (tmp_path / "triple").mkdir()
    cells.write_h5ad(tmp_path / "triple" / "own.h5ad")
    _, figures = analyse(replace(screen, dataset=str(tmp_path / "triple" / "own.h5ad")))
    scores = figures["baseline_metrics"]["data"]
    assert set(scores.loc[scores["predictor"] == "additive", "perturbation"]) == {"P0+P1+P2"}
    assert set(scores.loc[scores["is_combination"], "perturbation"]) == {"P0+P1+P2"}


def test_calibrated_scores_of_a_half_know_its_training_perturbations_only(
    screen_of_combinations, tmp_path, monkeypatch
):
    monkeypatch.setenv("DBD_DATA_DIR", str(tmp_path / "data"))
    prepared = screen_of_combinations.load()
    cells = read_expression(prepared.path)
    stats = PerturbationStatistics.from_anndata(cells)
    splits = make_splits("combinations", stats.labels, 0)
    half = {label: split.half for split in splits for label in split.labels("test")}
    model = replace(shrunken(stats, 0.6, labels=list(half)), half=np.array(list(half.values())), task="combinations")
    card = calibrated_scores(cells, [model], splits, workers=1)
    assert card.models == ["gears_mse"] and set(card.table["perturbation"]) == set(half)
    alone = score(
        [
            Truth.from_anndata(cells, train=split.labels("train"), labels=split.labels("test"), workers=1)
            for split in splits
        ],
        {"gears_mse": {0: model.expression}},
    )
    pd.testing.assert_frame_equal(card.table, alone.table)

    # What a model has been trained on is no part of its test.
    swapped = replace(model, half=1 - model.half)
    with pytest.raises(InputError, match=naming("gears_mse", len(half))):
        calibrated_scores(cells, [swapped], splits)
    # Without models, all perturbations are used, and that is said.
    everything = calibrated_scores(cells, workers=1)
    assert set(everything.table["perturbation"]) == set(stats.labels)
    assert any("training" in note for note in everything.notes)
