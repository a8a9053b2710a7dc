"""Scorecards: tables, summaries on the calibrated scale, paired tests, files."""

from itertools import combinations

import numpy as np
import pandas as pd
import pytest
from examples import make_expression
from messages import naming

from diversity_by_design import Scorecard, Truth, score
from diversity_by_design.calibration import calibrate
from diversity_by_design.errors import InputError
from diversity_by_design.metrics import METRICS
from diversity_by_design.paired import holm, paired_tests

BASELINES = ["control_mean", "perturbed_mean", "additive", "technical_duplicate"]
METRIC_NAMES = ["mse", "wmse", "weighted_r2_delta", "pearson_delta"]
N_LABELS = 13


@pytest.fixture(scope="module")
def truth() -> Truth:
    return Truth.from_anndata(make_expression(seed=3, n_labels=N_LABELS, n_genes=60, effect=1.5), halvings=2)


@pytest.fixture(scope="module")
def frame(truth) -> pd.DataFrame:
    """Means of all cells, shrunken towards mu_all; of all perturbations but two."""
    values = truth.own.perturbed_mean + 0.6 * (truth.own.mean - truth.own.perturbed_mean)
    return pd.DataFrame(values, truth.labels, truth.genes).drop(index=["P2", "P7"])


@pytest.fixture(scope="module")
def card(truth, frame) -> Scorecard:
    return score(truth, {"mine": frame, "seeds": {0: frame, 5: frame + 0.1}}, METRIC_NAMES, resamples=100, seed=3)


def of(table: pd.DataFrame, **values) -> pd.DataFrame:
    for column, value in values.items():
        table = table[table[column] == value]
    return table


def values(card: Scorecard, predictor: str, metric: str, seed: int | None = None) -> pd.Series:
    rows = of(card.table, predictor=predictor, metric=metric)
    rows = rows if seed is None else of(rows, seed=seed)
    return rows.set_index("perturbation")["value"]


class TestTable:
    def test_has_a_row_per_perturbation_predictor_seed_and_metric(self, card):
        table = card.table
        assert table.columns.tolist() == [
            "context", "perturbation", "predictor", "seed", "metric", "value", "spread", "n_targets", "calibrated",
        ]  # fmt: skip
        assert not table.duplicated(["perturbation", "predictor", "seed", "metric"]).any()
        counts = of(table, metric="mse")["predictor"].value_counts()
        assert counts.to_dict() == dict.fromkeys(BASELINES, N_LABELS) | {"additive": 1, "mine": 11, "seeds": 22}
        assert of(table, predictor="seeds")["seed"].unique().tolist() == [0, 5]
        assert table.loc[table["predictor"] != "seeds", "seed"].isna().all()
        assert "perfect" not in set(table["predictor"])

    def test_is_calibrated_on_the_scale_of_the_summary(self, card):
        both = card.table.merge(card.summary, on=["context", "predictor", "metric"], suffixes=("", "_of_all"))
        expected = ((both["value"] - both["zero"]) / (both["one"] - both["zero"])).where(both["informative"])
        np.testing.assert_allclose(both["calibrated"], expected)
        assert 0 < both["calibrated"].notna().mean() < 1


class TestSummary:
    def test_counts_and_averages(self, card):
        for row in card.summary.itertuples():
            if row.predictor == "seeds":
                continue
            defined = values(card, row.predictor, row.metric).dropna()
            assert row.n == len(defined)
            assert row.n + row.undefined == len(values(card, row.predictor, row.metric))
            assert row.median == pytest.approx(defined.median(), nan_ok=True)
            assert row.mean == pytest.approx(defined.mean(), nan_ok=True)
        row = of(card.summary, predictor="perturbed_mean", metric="pearson_delta").iloc[0]
        assert (row["n"], row["undefined"]) == (0, N_LABELS) and np.isnan(row["calibrated"])

    def test_scores_of_seeds_are_averaged_perturbation_by_perturbation(self, card):
        mean = (values(card, "seeds", "wmse", 0) + values(card, "seeds", "wmse", 5)) / 2
        row = of(card.summary, predictor="seeds", metric="wmse").iloc[0]
        assert (row["n"], row["median"], row["mean"]) == (11, pytest.approx(mean.median()), pytest.approx(mean.mean()))

    def test_a_score_that_is_undefined_for_a_seed_is_undefined(self, truth, frame):
        # mu_all is no change from mu_all.
        other = frame.copy()
        other.loc[["P4", "P5"]] = truth.training.perturbed_mean
        card = score(truth, {"seeds": {0: frame, 1: other}}, ["mse", "pearson_delta"], resamples=5)
        rows = of(card.summary, predictor="seeds").set_index("metric")
        assert rows.loc["mse", ["n", "undefined"]].tolist() == [11, 0]
        assert rows.loc["pearson_delta", ["n", "undefined"]].tolist() == [9, 2]
        kept = values(card, "seeds", "pearson_delta", 0).drop(["P4", "P5"])
        both = (kept + values(card, "seeds", "pearson_delta", 1)[kept.index]) / 2
        assert rows.loc["pearson_delta", "mean"] == pytest.approx(both.mean())

    @pytest.mark.parametrize("aggregate", ["median", "mean"])
    def test_is_calibrated_over_the_perturbations_that_all_have(self, aggregate, truth, frame):
        card = score(truth, {"mine": frame}, METRIC_NAMES, aggregate=aggregate, resamples=100, seed=3)
        total = {"median": np.median, "mean": np.mean}[aggregate]
        for metric in METRIC_NAMES:
            rows = of(card.summary, metric=metric).set_index("predictor")
            zeros = [name for name in ("control_mean", "perturbed_mean") if rows.loc[name, "n"]]
            columns = pd.DataFrame({name: values(card, name, metric) for name in [*zeros, BASELINES[-1], "mine"]})
            common = columns.dropna()
            assert len(common) == 11
            assert rows.loc["mine", "n_calibrated"] == 11
            sign = METRICS[metric].sign
            zero_is = max(zeros, key=lambda name: sign * total(common[name]))
            zero, one = total(common[zero_is]), total(common[BASELINES[-1]])
            row = rows.loc["mine"]
            assert (row["zero"], row["one"]) == (pytest.approx(zero), pytest.approx(one))
            assert row["zero_is"] == zero_is
            if row["informative"]:
                assert row["calibrated"] == pytest.approx((total(common["mine"]) - zero) / (one - zero))
            # The whole of it, as the function of arrays gives it.
            [expected] = calibrate(
                common["mine"].to_numpy()[None],
                common[BASELINES[-1]].to_numpy(),
                common[zeros].to_numpy().T,
                np.full(len(common), np.nan),
                sign=sign,
                aggregate=aggregate,
                resamples=100,
                seed=3,
            )
            assert [row["calibrated"], row["ci_low"], row["ci_high"]] == pytest.approx(
                [expected.value, expected.low, expected.high], nan_ok=True
            )

    @pytest.mark.parametrize("mode", ["calibrated", "paper"])
    @pytest.mark.parametrize("aggregate", ["median", "mean"])
    @pytest.mark.parametrize("seed", [3, 4])
    def test_zero_is_zero_and_one_is_one(self, mode, aggregate, seed):
        cells = make_expression(seed=seed, n_labels=N_LABELS, n_genes=60, effect=1.5)
        truth = Truth.from_anndata(cells, mode=mode, halvings=2)
        summary = score(truth, aggregate=aggregate, resamples=50).summary
        summary = summary[summary["predictor"] != "additive"]
        informative = summary[summary["informative"]]
        zero = informative[informative["predictor"] == informative["zero_is"]]
        one = informative[informative["predictor"] == "technical_duplicate"]
        assert len(zero) == len(one) >= 4
        assert (zero["calibrated"] == 0.0).all()
        assert (one[["calibrated", "ci_low", "ci_high"]] == 1.0).all(axis=None)

    def test_of_noise_nothing_is_informative(self):
        cells = make_expression(seed=5, n_labels=N_LABELS, n_genes=60, effect=0.0)
        card = score(Truth.from_anndata(cells, halvings=2), metrics=["mse", "mae", "wmse"], resamples=100)
        assert not card.summary["informative"].any()
        for name in ("calibrated", "ci_low", "ci_high", "perfect_calibrated"):
            assert card.summary[name].isna().all(), name
        assert card.table["calibrated"].isna().all()
        assert card.summary.loc[card.summary["predictor"] != "additive", ["zero", "one"]].notna().all(axis=None)

    def test_perfect_is_better_than_the_duplicate_and_unknown_in_the_paper_mode(self, card, truth):
        rows = of(card.summary, predictor="technical_duplicate").set_index("metric")
        for metric in METRIC_NAMES:
            assert METRICS[metric].sign * (rows.loc[metric, "perfect"] - rows.loc[metric, "one"]) > 0
        cells = make_expression(seed=3, n_labels=N_LABELS, n_genes=60, effect=1.5)
        paper = score(Truth.from_anndata(cells, mode="paper"), metrics="mse").summary
        assert paper["perfect"].isna().all() and paper["perfect_calibrated"].isna().all()

    def test_the_seed_decides_the_intervals(self, truth, frame, card):
        options = {"metrics": METRIC_NAMES, "resamples": 100}
        models = {"mine": frame, "seeds": {0: frame, 5: frame + 0.1}}
        again, other = (score(truth, models, **options, seed=seed).summary for seed in (3, 4))
        pd.testing.assert_frame_equal(again, card.summary, check_exact=True)
        assert not other["ci_low"].equals(card.summary["ci_low"])
        pd.testing.assert_series_equal(other["calibrated"], card.summary["calibrated"])


class TestTests:
    def test_are_of_models_with_each_other_and_with_every_baseline(self, card):
        assert card.models == ["mine", "seeds"]
        pairs = card.tests[["first", "second"]].drop_duplicates().apply(tuple, axis=1).tolist()
        everyone = [*BASELINES, "mine", "seeds"]
        assert pairs == [pair for pair in combinations(everyone, 2) if set(pair) & {"mine", "seeds"}]
        assert len(card.tests) == len(pairs) * len(METRIC_NAMES)

    def test_without_models_baselines_are_tested_with_each_other(self, truth):
        tests = score(truth, metrics="mse", resamples=5).tests
        assert len(tests) == 6

    def test_are_paired_by_perturbation_and_adjusted_over_the_table(self, card):
        tests = card.tests
        row = of(tests, first="perturbed_mean", second="mine", metric="wmse").iloc[0]
        both = pd.DataFrame({name: values(card, name, "wmse") for name in ("perturbed_mean", "mine")}).dropna()
        expected = paired_tests(both["perturbed_mean"].to_numpy(), both["mine"].to_numpy())
        assert {name: row[name] for name in expected} == pytest.approx(expected)
        assert row["n"] == 11
        for name in ("t", "wilcoxon"):
            np.testing.assert_array_equal(tests[f"{name}_holm"], holm(tests[f"{name}_p"].to_numpy()))

    def test_of_chosen_pairs_and_metrics_are_a_family_of_their_own(self, card):
        table = card.paired([("mine", "additive"), ("mine", "technical_duplicate")], ["wmse"])
        assert table[["metric", "first", "second"]].values.tolist() == [
            ["wmse", "mine", "additive"],
            ["wmse", "mine", "technical_duplicate"],
        ]
        np.testing.assert_array_equal(table["t_holm"], holm(table["t_p"].to_numpy()))
        # One combination is no sample.
        assert table["n"].tolist() == [1, 11] and np.isnan(table.loc[0, "t_p"])
        assert card.paired([]).empty

    def test_a_metric_by_its_name(self, card):
        pairs = [("mine", "seeds")]
        pd.testing.assert_frame_equal(card.paired(pairs, "wmse"), card.paired(pairs, ["wmse"]))

    def test_unknown_names(self, card):
        with pytest.raises(InputError, match=naming("nobody", "mine", "additive")):
            card.paired([("mine", "nobody")])
        with pytest.raises(InputError, match=naming("mae", "mse", "pearson_delta")):
            card.paired([("mine", "seeds")], ["mae"])


def test_files_hold_the_tables(card, tmp_path):
    card.to_csv(tmp_path / "mine")
    assert sorted(path.name for path in (tmp_path / "mine").iterdir()) == [
        "left_out.csv",
        "notes.csv",
        "scores.csv",
        "summary.csv",
        "tests.csv",
    ]
    assert pd.read_csv(tmp_path / "mine" / "notes.csv")["note"].tolist() == list(card.notes) != []
    scores = pd.read_csv(tmp_path / "mine" / "scores.csv")
    np.testing.assert_allclose(scores["value"], card.table["value"], rtol=1e-9)
    assert scores.columns.tolist() == card.table.columns.tolist()
    summary = pd.read_csv(tmp_path / "mine" / "summary.csv")
    np.testing.assert_allclose(summary["calibrated"], card.summary["calibrated"], rtol=1e-9)


def test_it_says_what_it_holds(card):
    said = repr(card)
    for part in ("mine, seeds", "4 baselines", f"{len(METRIC_NAMES)} metrics", f"{N_LABELS} perturbations"):
        assert part in said
