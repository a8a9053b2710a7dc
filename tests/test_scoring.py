"""score(): what may be given, what comes out whatever the form, and what is refused."""

import os
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from examples import TESTED, TRAIN, make_expression, make_lines
from messages import naming
from scipy import sparse

from diversity_by_design import PerturbationStatistics, Scorecard, Truth, audit, deg_scores, score
from diversity_by_design.baselines import BASELINES, Predictor
from diversity_by_design.errors import InputError
from diversity_by_design.metrics import METRICS, Metric
from diversity_by_design.scorecard import PERFECT
from diversity_by_design.scoring import score_targets
from diversity_by_design.simulator import GeneParameters, SweepRanges
from diversity_by_design.truth import Target

OPTIONS = {"train": TRAIN, "halvings": 2, "seed": 1}


@pytest.fixture(scope="module")
def cells() -> ad.AnnData:
    return make_lines()


@pytest.fixture(scope="module")
def truth(cells) -> Truth:
    return Truth.from_anndata(cells, **OPTIONS)


@pytest.fixture(scope="module")
def frame(truth) -> pd.DataFrame:
    """Predictions that float32 and bfloat16 can hold."""
    noise = np.random.default_rng(0).normal(0, 0.3, truth.own.mean.shape)
    return pd.DataFrame(np.round(8 * (truth.own.mean + noise)) / 8, truth.labels, truth.genes)


@pytest.fixture(scope="module")
def card(truth, frame) -> Scorecard:
    return score(truth, {"mine": frame}, resamples=50)


def assert_same(card: Scorecard, expected: Scorecard, **tolerance) -> None:
    """Equal tables and summaries; to the last bit unless a tolerance is given."""
    exact = {} if tolerance else {"check_exact": True}
    for name in ("table", "summary"):
        pd.testing.assert_frame_equal(getattr(card, name), getattr(expected, name), **exact, **tolerance)


class Fitted:
    """A model that has been fitted."""

    def __init__(self, table):
        self.table = table
        self.asked = []

    def predict(self, labels):
        self.asked.append(labels)
        return self.table.loc[labels]


class Labelled:
    """A function that has labels of its own."""

    def __init__(self, table):
        self.table = table
        self.labels = table.index.tolist()

    def __call__(self, target):
        return self.table.to_numpy()


def as_tensor(dtype: str):
    def convert(frame):
        torch = pytest.importorskip("torch")
        return torch.tensor(frame.to_numpy(), requires_grad=True).to(getattr(torch, dtype))

    return convert


FORMS = {
    "shuffled": lambda frame: frame.sample(frac=1, random_state=0).sample(frac=1, axis=1, random_state=1),
    "other label forms": lambda frame: frame.rename(index={"P0+P1": "P1+P0", "P4": "P4+ctrl"}),
    "more genes": lambda frame: frame.assign(other=1.0),
    "float32 table": lambda frame: frame.astype(np.float32),
    "array": lambda frame: frame.to_numpy(),
    "nested lists": lambda frame: frame.to_numpy().tolist(),
    "sparse": lambda frame: sparse.csr_matrix(frame.to_numpy()),
    "tensor": as_tensor("float64"),
    "float32 tensor": as_tensor("float32"),
    "bfloat16 tensor": as_tensor("bfloat16"),
    "function": lambda frame: lambda target: frame.loc[target.labels],
    "function of a shuffled table": lambda frame: lambda _: frame.sample(frac=1, random_state=0).iloc[:, ::-1],
    "object with labels": Labelled,
    "fitted model": Fitted,
    "predictor": lambda frame: Predictor("another name", lambda target: frame.to_numpy()),
    "context": lambda frame: {"": frame},
}


class TestFormsOfPredictions:
    @pytest.mark.parametrize("form", FORMS)
    def test_make_no_difference(self, form, truth, frame, card):
        assert_same(score(truth, {"mine": FORMS[form](frame)}, resamples=50), card)

    def test_predictors_may_be_listed(self, truth, frame, card):
        listed = [Predictor("mine", lambda target: frame.to_numpy(), "mine")]
        assert_same(score(truth, listed, resamples=50), card)
        assert_same(score(truth, iter(listed), resamples=50), card)

    @pytest.mark.parametrize(
        "form", [pd.Series.to_numpy, lambda row: row, lambda row: row[::-1], lambda row: lambda _: row[::-1]]
    )
    def test_one_prediction_for_all(self, form, truth, frame):
        repeated = pd.DataFrame([frame.iloc[0]] * 5, truth.labels)
        expected = score(truth, {"mine": repeated}, "wmse")
        assert_same(score(truth, {"mine": form(frame.iloc[0])}, "wmse"), expected)

    def test_a_fitted_model_is_asked_once_for_what_is_scored(self, truth, frame):
        model = Fitted(frame)
        score(truth, {"mine": model}, "mse")
        assert model.asked == [TESTED]
        lacking = Fitted(frame)
        lacking.predict = lambda labels: lacking.asked.append(labels) or frame.iloc[:2]
        card = score(truth, {"mine": lacking}, "mse")
        assert len(card.table.query("predictor == 'mine'")) == 2
        assert lacking.asked == [TESTED]
        absent = card.left_out.query("predictor == 'mine'")
        assert absent["perturbation"].tolist() == [label for label in TESTED if label not in frame.index[:2]]
        assert set(absent["reason"]) == {"not predicted"}

    def test_labels_may_name_the_control_of_the_data(self, cells, frame, card):
        adata = cells.copy()
        adata.obs["condition"] = adata.obs["condition"].astype(str).replace("control", "NT")
        truth = Truth.from_anndata(adata, control="NT", **OPTIONS | {"train": ["P0+NT", *TRAIN[1:]]})
        assert_same(score(truth, {"mine": frame.rename(index={"P4": "NT+P4"})}, resamples=50), card)

    def test_perturbations_that_are_not_predicted_are_not_scored(self, truth, frame, card):
        lacking = frame.copy()
        lacking.loc[["P4", "P0+P1"]] = np.nan
        found = score(truth, {"mine": lacking}, resamples=50)
        assert_same(score(truth, {"mine": frame.loc[["P7", "P5", "P6"]]}, resamples=50), found)
        before, after = (table.table.query("predictor == 'mine'") for table in (card, found))
        assert sorted(after["perturbation"].unique()) == ["P5", "P6", "P7"]
        kept = before[before["perturbation"].isin(["P5", "P6", "P7"])]
        assert kept["value"].tolist() == pytest.approx(after["value"].tolist(), nan_ok=True)

    def test_perturbations_that_are_not_scored_are_said(self, truth, frame):
        more = pd.concat([frame, pd.DataFrame(1.0, ["P0", "unknown"], frame.columns)])
        found = score(truth, {"mine": more}, "mse")
        assert found.left_out[["perturbation", "predictor"]].values.tolist() == [["P0", "mine"], ["unknown", "mine"]]
        assert found.left_out["reason"].str.len().min() > 0
        assert sorted(found.table.query("predictor == 'mine'")["perturbation"]) == TESTED

    def test_float32_hardly_matters(self, truth, card):
        noise = np.random.default_rng(1).normal(0, 0.3, truth.own.mean.shape)
        pair = [score(truth, {"mine": (truth.own.mean + noise).astype(dtype)}) for dtype in (np.float64, np.float32)]
        values = [found.table.query("predictor == 'mine'")["value"] for found in pair]
        np.testing.assert_allclose(*values, rtol=2e-5, atol=1e-6)

    @pytest.mark.parametrize("train", [None, TRAIN])
    @pytest.mark.parametrize("dtype", [np.float32, np.float64])
    @pytest.mark.parametrize("seed", [0, 1, 2])
    def test_mu_all_has_no_pearson_from_mu_all_in_any_precision(self, seed, dtype, train):
        adata = make_expression(seed=seed, n_labels=9, n_genes=60, effect=1.0)
        truth = Truth.from_anndata(adata, train=train, halvings=1)
        prediction = pd.DataFrame([truth.training.perturbed_mean] * len(truth.labels), truth.labels, truth.genes)
        names = ["pearson_delta", "pearson_delta_degs", "r2_delta"]
        table = score(truth, {"mine": prediction.astype(dtype)}, names).table
        values = table[table["predictor"] == "mine"].set_index("metric")["value"]
        assert values[names[:2]].isna().all()
        assert (values["r2_delta"] <= 1e-6).all()


class TestWhatDoesNotMatter:
    @pytest.mark.parametrize("stored_as", ["dense", "csc", "float64", "dense float64", "backed"])
    def test_storage(self, stored_as, cells, frame, card, tmp_path):
        adata = cells.copy()
        if "float64" in stored_as:
            adata.X = adata.X.astype(np.float64)
        if "dense" in stored_as:
            adata.X = adata.X.toarray()
        if stored_as == "csc":
            adata.X = sparse.csc_matrix(adata.X)
        if stored_as == "backed":
            adata.write_h5ad(tmp_path / "x.h5ad")
            adata = ad.read_h5ad(tmp_path / "x.h5ad", backed="r")
        assert_same(score(Truth.from_anndata(adata, **OPTIONS), {"mine": frame}, resamples=50), card)

    def test_order_of_cells_and_workers(self, cells, frame, card):
        shuffled = cells[np.random.default_rng(0).permutation(cells.n_obs)].copy()
        truth = Truth.from_anndata(shuffled, **OPTIONS, workers=3)
        assert_same(score(truth, {"mine": frame}, resamples=50, workers=2), card)

    def test_order_of_labels(self, cells, frame, card):
        truth = Truth.from_anndata(cells, **OPTIONS | {"train": TRAIN[::-1]}, labels=TESTED[::-1])
        assert_same(score(truth, {"mine": frame[::-1]}, resamples=50), card)

    def test_order_of_genes(self, cells, frame, card):
        order = np.random.default_rng(0).permutation(cells.n_vars)
        truth = Truth.from_anndata(cells[:, order].copy(), **OPTIONS)
        assert_same(score(truth, {"mine": frame}, resamples=50), card, rtol=1e-10)

    def test_other_predictors_and_metrics(self, truth, frame, card):
        names = ["wmse", "pearson_delta_degs"]
        found = score(truth, {"other": frame + 1, "mine": frame}, names, resamples=50).table
        kept = card.table[card.table["metric"].isin(names)]
        keys = ["predictor", "metric", "perturbation"]
        pd.testing.assert_frame_equal(
            found[found["predictor"] != "other"].sort_values(keys, ignore_index=True),
            kept.sort_values(keys, ignore_index=True),
            check_exact=True,
        )

    def test_hash_seed(self):
        code = (
            "import sys; sys.path.insert(0, sys.argv[1]);"
            "from examples import make_expression; import diversity_by_design as dbd, hashlib, numpy as np;"
            "a = make_expression(); s = dbd.PerturbationStatistics.from_anndata(a);"
            "f, g = dbd.technical_duplicate(a, seed=3);"
            "d = dbd.deg_scores(s, {'P3', 'P1', 'P0', 'P4'});"
            "c = dbd.score(dbd.Truth.from_anndata(a, train={'P3', 'P1', 'P0'}, halvings=2), {'m': np.zeros(40)});"
            "t = (c.table.to_csv() + c.summary.to_csv()).encode();"
            "arrays = (s.sum, s.sum_sq, f.sum, g.sum, dbd.deg_weights(d));"
            "print(hashlib.sha256(b''.join(x.tobytes() for x in arrays) + t).hexdigest())"
        )
        digests = {
            subprocess.run(
                [sys.executable, "-c", code, str(Path(__file__).parent)],
                env={**os.environ, "PYTHONHASHSEED": hash_seed},
                capture_output=True,
                text=True,
                check=True,
            ).stdout
            for hash_seed in ("0", "7")
        }
        assert len(digests) == 1


class TestWhatIsScored:
    def test_baselines_are_always_there(self, truth):
        table = score(truth, metrics="mse").table
        counts = table.groupby("predictor", sort=False)["perturbation"].nunique()
        assert counts.to_dict() == {
            "control_mean": 5, "perturbed_mean": 5, "additive": 1, "technical_duplicate": 5,
        }  # fmt: skip
        assert (table["n_targets"] == 4).all()
        assert table["seed"].isna().all()

    def test_metrics_by_name_or_as_they_are(self, truth):
        own = Metric("largest_error", lambda target, prediction: np.abs(target.mean - prediction).max(axis=1), False)
        assert score(truth, metrics=own).table["metric"].unique().tolist() == ["largest_error"]
        assert score(truth, metrics=["wmse", own]).table["metric"].unique().tolist() == ["wmse", "largest_error"]
        assert score(truth).table["metric"].unique().tolist() == list(METRICS)

    def test_a_mean_over_targets_and_their_spread(self, truth, frame, card):
        values = np.array([METRICS["wmse"].score(target, frame.to_numpy()) for target in truth.targets()])
        mine = card.table.query("predictor == 'mine' and metric == 'wmse'")
        np.testing.assert_allclose(mine["value"], values.mean(axis=0), rtol=1e-12)
        np.testing.assert_allclose(mine["spread"], values.std(axis=0, ddof=1), rtol=1e-9)

    def test_paper_mode_compares_only_the_duplicate_with_a_half(self, cells):
        truth = Truth.from_anndata(cells, mode="paper")
        whole, half = truth.target(0), truth.target(0, half=True)
        table = score(truth, {"oracle": whole.mean}, "mse").table.set_index("predictor")
        assert (table.loc["oracle", "value"] == 0).all() and (table["n_targets"] == 1).all()
        expected = METRICS["mse"].score(half, half.duplicate)
        np.testing.assert_array_equal(table.loc["technical_duplicate", "value"], expected)
        assert table["spread"].isna().all()

    def test_contexts(self, cells, frame):
        truths = Truth.from_anndata(cells, **OPTIONS, context="line")
        per_line = {"a": frame, "b": frame.loc[["P5", "P4"]] + 1}
        found = score(truths, {"same": frame, "own": per_line}, "mse")
        for line, part in truths.items():
            alone = score(part, {"same": frame, "own": per_line[line]}, "mse")
            own = found.table[found.table["context"] == line].drop(columns="context").reset_index(drop=True)
            pd.testing.assert_frame_equal(own, alone.table.drop(columns="context"), check_exact=True)

    def test_an_iterator_of_predictors_serves_all_contexts(self, cells):
        truths = Truth.from_anndata(cells, **OPTIONS, context="line")
        table = score(truths, (Predictor(name, lambda target: target.mean) for name in ["mine"]), "mse").table
        assert table.loc[table["predictor"] == "mine", "context"].unique().tolist() == ["a", "b"]

    def test_numbers_that_are_seeds_or_contexts_are_refused(self, cells, frame):
        adata = cells.copy()
        adata.obs["batch"] = (adata.obs["line"] == "b").astype(int)
        truths = Truth.from_anndata(adata, **OPTIONS, context="batch")
        with pytest.raises(InputError, match=naming("mine", 0, 1, "'0'")):
            score(truths, {"mine": {0: frame, 1: frame + 1}}, "mse")
        found = score(truths, {"mine": {"0": {0: frame, 1: frame}, "1": frame + 1}}, "mse").table
        assert found.query("predictor == 'mine'").groupby("context")["seed"].nunique().tolist() == [2, 0]

    def test_several_truths_of_one_context_are_summarised_together(self, cells, frame):
        singles = ["P4", "P5", "P6", "P7"]
        halves = [
            Truth.from_anndata(cells, train=[*TRAIN, *others], labels=labels, halvings=2)
            for others, labels in ((["P6", "P7"], ["P4", "P5"]), (["P4", "P5"], ["P6", "P7"]))
        ]
        found = score(halves, {"mine": frame.loc[singles]}, "mse")
        mine = found.summary.set_index("predictor").loc["mine"]
        assert (mine["n"], mine["n_calibrated"]) == (4, 4)
        parts = pd.concat([score(half, {"mine": frame.loc[half.labels]}, "mse").table for half in halves])
        values = parts.loc[parts["predictor"] == "mine", "value"]
        assert mine["mean"] == pytest.approx(values.mean())
        # What one scores is not left out by the other.
        assert found.left_out.empty
        assert len(score(halves, {"mine": frame}, "mse").left_out) == 1

    def test_data_without_control_cells(self, cells, frame):
        truth = Truth.from_anndata(cells[cells.obs["condition"] != "control"].copy(), control=None, **OPTIONS)
        found = score(truth, {"mine": frame}, ["mse", "pearson_delta"])
        assert "control_mean" not in set(found.table["predictor"])
        assert set(found.summary.loc[found.summary["metric"] == "mse", "zero_is"]) == {"perturbed_mean"}
        with pytest.raises(InputError, match=naming("control")):
            score(truth, {"mine": frame}, "pearson_delta_control")

    def test_notes_say_what_references_are_of(self, truth, frame):
        assert score(truth, metrics="mse").notes == ()
        [said] = score(Truth(truth.statistics, train=TRAIN), metrics="mse").notes
        assert "technical duplicate" in said
        notes = score(Truth(truth.statistics), metrics="mse").notes
        assert len(notes) == 2 and any("mu_all" in note for note in notes)

    def test_perturbations_with_few_cells_are_said(self, cells):
        few = np.flatnonzero(cells.obs["condition"] == "P4")[3:]
        card = score(Truth.from_anndata(cells[np.delete(np.arange(cells.n_obs), few)], **OPTIONS), metrics="mse")
        assert card.left_out.values.tolist() == [["", "P4", "truth", card.left_out["reason"][0]]]
        assert any("P4" in note for note in card.notes)


def screen_of(mean: np.ndarray, n_cells: int, seed: int = 0) -> ad.AnnData:
    """Cells whose true means are known; the noise, of mean zero, never makes a value negative."""
    rng = np.random.default_rng(seed)
    noise = rng.uniform(-1, 1, (len(mean) * n_cells, mean.shape[1])) * rng.uniform(0.2, 0.9, mean.shape[1])
    labels = [f"P{number:03d}" for number in np.repeat(np.arange(len(mean)), n_cells)]
    values = np.vstack([np.repeat(mean, n_cells, axis=0) + noise, np.full((2, mean.shape[1]), 0.5)])
    obs = pd.DataFrame({"condition": [*labels, "control", "control"]}, index=[f"c{i}" for i in range(len(values))])
    return ad.AnnData(values, obs=obs)


# Halves and quarters of one size; quarters of 1 and 2; halves of 6 and 7.
@pytest.mark.parametrize("n_cells", [8, 6, 13])
def test_what_perfect_scores_is_unbiased_for_squared_errors(n_cells):
    """On average it is the error of the true means, which only the target's own noise makes."""
    mean = np.random.default_rng(1).uniform(1, 3, (400, 12))
    truth = Truth.from_anndata(screen_of(mean, n_cells), halvings=3)
    predictors = [Predictor("true", lambda target: mean), BASELINES["technical_duplicate"]]
    table, _ = score_targets(truth, predictors, [METRICS["mse"]])
    scores = {name: rows["value"].to_numpy() for name, rows in table.groupby("predictor")}
    difference = scores[PERFECT] - scores["true"]
    few_errors = 4 * difference.std() / np.sqrt(len(mean))
    assert abs(difference.mean()) < few_errors < 0.06 * scores["technical_duplicate"].mean()
    assert scores["technical_duplicate"].mean() > 1.7 * scores["true"].mean()


class TestRegistries:
    """One function and one row are all that a metric or a baseline takes."""

    @pytest.fixture
    def registered(self):
        @np.errstate(invalid="ignore")
        def largest_error(target, prediction):
            return np.abs(target.mean - prediction).max(axis=1)

        METRICS.register("largest_error", largest_error, higher_is_better=False, perfect=0.0, by_row=True)
        BASELINES.register("half_of_mu_all", lambda target: target.perturbed_mean / 2, uninformative=True)
        yield
        METRICS.remove("largest_error")
        BASELINES.remove("half_of_mu_all")

    @pytest.mark.usefixtures("registered")
    def test_appear_in_scores_summaries_tests_and_reports(self, truth, frame, tmp_path):
        card = score(truth, {"mine": frame}, resamples=20)
        for table in (card.table, card.summary):
            found = table[(table["metric"] == "largest_error") & (table["predictor"] == "half_of_mu_all")]
            assert len(found) == (5 if table is card.table else 1)
        assert {"half_of_mu_all", "mine"} in [set(pair) for pair in card.tests[["first", "second"]].values]
        assert "half_of_mu_all" not in card.models
        card.to_html(tmp_path / "scorecard.html")
        page = (tmp_path / "scorecard.html").read_text()
        assert {"largest_error", "half_of_mu_all"} <= set(re.findall(r"\w+", page))

    @pytest.mark.usefixtures("registered")
    def test_an_uninformative_baseline_may_be_the_zero(self, truth):
        best = Metric("low", lambda target, prediction: prediction.sum(axis=1), higher_is_better=False)
        zero_is = score(truth, metrics=best, resamples=5).summary["zero_is"]
        assert set(zero_is) == {"half_of_mu_all"}

    @pytest.mark.usefixtures("registered")
    def test_appear_in_an_audit(self):
        table = audit(
            1,
            parameters=GeneParameters.default(80),
            ranges=SweepRanges(g=(40, 50), n_0=(10, 20), n_p=(10, 12), k=(4, 5)),
            workers=1,
            progress=False,
        )
        rows = table.set_index(["metric", "predictor"])["value"]
        assert rows["largest_error", "dial_0"] == 0
        assert rows["largest_error", "half_of_mu_all"] > 0 and np.isfinite(rows["wmse", "half_of_mu_all"])

    @pytest.mark.usefixtures("registered")
    def test_names_that_are_taken_are_refused(self, truth, frame):
        with pytest.raises(InputError, match=naming("largest_error")):
            METRICS.register("largest_error", np.mean, True)
        with pytest.raises(InputError, match=naming("half_of_mu_all")):
            BASELINES.register("half_of_mu_all", np.mean)
        with pytest.raises(InputError, match=naming("half_of_mu_all")):
            score(truth, {"half_of_mu_all": frame}, "mse")

    def test_are_gone_again(self, truth):
        assert "largest_error" not in METRICS and "half_of_mu_all" not in BASELINES
        with pytest.raises(InputError, match=naming("largest_error", "wmse")):
            score(truth, metrics="largest_error")


class TestRefused:
    @pytest.mark.parametrize(
        ("change", "said"),
        [
            (lambda frame: frame.drop(columns=["gene7", "gene3"]), ("mine", 2, 60, "gene3")),
            (lambda frame: frame.rename(columns={"gene7": "gene8"}), ("mine", 1, "gene8")),
            (lambda frame: frame.iloc[:0], ("mine", 5, "P4")),
            (lambda frame: frame.rename(index=str.lower), ("mine", 5, "P4", "p4")),
            (lambda frame: frame.rename(index={"P4": "P1+P0"}), ("mine", 1, "P0+P1")),
            (lambda frame: frame.mask(frame > 3.5), ("mine", 60, "P0+P1")),
            (lambda frame: frame.mask(frame > 1e9).add(0).T.assign(P4=np.inf).T, ("mine", 60, (1, 0))),
            (lambda frame: frame + 1j, ("mine", "complex128")),
            (lambda frame: frame.astype(str), ("mine", 60, "gene0")),
            (lambda frame: frame.to_numpy()[:, 1:], ("mine", (5, 59), (5, 60), (60,))),
            (lambda frame: frame.to_numpy()[1:], ("mine", (4, 60), (5, 60))),
            (lambda frame: frame.to_numpy().T, ("mine", (60, 5), (5, 60))),
            (lambda frame: frame.iloc[0][1:], ("mine", 1, 60, "gene0")),
            (lambda frame: {}, ("mine",)),
            (lambda frame: {"b": frame}, ("mine", "''", "b")),
            (lambda frame: SimpleNamespace(predict=lambda labels: frame.to_numpy()), ("mine", "ndarray")),
            (lambda frame: "predictions.h5ad", ("mine",)),
            (lambda frame: None, ("mine",)),
            (lambda frame: lambda target: "text", ("mine",)),
            (lambda frame: lambda target: frame.reset_index(drop=True), ("mine", 5, "P4")),
        ],
    )
    def test_predictions(self, change, said, truth, frame):
        with pytest.raises(InputError, match=naming(*said)):
            score(truth, {"mine": change(frame)}, "mse")

    def test_what_is_easily_given_by_mistake(self, cells, truth, frame):
        for wrong in (cells, truth.statistics, deg_scores(truth.statistics), truth):
            with pytest.raises(InputError, match=naming("mine", type(wrong).__name__)):
                score(truth, {"mine": wrong}, "mse")
        for wrong in (cells, truth.statistics, frame.to_numpy(), "truth", None):
            with pytest.raises(InputError, match=naming("Truth", "Truth.from_anndata")):
                score(wrong, {"mine": frame}, "mse")
        for wrong in (frame, frame.to_numpy(), "mine", truth.statistics, [frame]):
            with pytest.raises(InputError, match=naming("Predictor", "mine")):
                score(truth, wrong, "mse")
        for nothing in ([], {}):
            with pytest.raises(InputError):
                score(nothing)

    def test_names(self, truth, frame):
        for name in ("additive", "technical_duplicate", "perfect"):
            with pytest.raises(InputError, match=naming(name)):
                score(truth, {name: frame}, "mse")
        twice = [Predictor("mine", lambda target: frame), Predictor("mine", lambda target: frame + 1)]
        with pytest.raises(InputError, match=naming("mine")):
            score(truth, twice, "mse")

    def test_perturbations_scored_twice(self, truth, frame):
        with pytest.raises(InputError, match=naming(5, "P0+P1")):
            score([truth, truth], {"mine": frame}, "mse")

    @pytest.mark.parametrize(
        ("options", "said"),
        [
            ({"metrics": ["mse", "rmse"]}, ("rmse", "mse", "wmse")),
            ({"metrics": []}, ("metrics", "wmse")),
            ({"metrics": ["mse", "mse"]}, ("mse",)),
            ({"metrics": np.mean}, ("metric", "Metric")),
            ({"aggregate": "mode"}, ("mode", "median", "mean")),
            ({"resamples": 0}, ("resamples", 0, 1)),
            ({"resamples": 10.5}, ("resamples", 10.5)),
            ({"seed": -1}, ("seed", -1, 0)),
            ({"seed": "x"}, ("seed", "'x'")),
            ({"workers": 0}, ("workers", 0, 1)),
            ({"workers": -1}, ("workers", -1)),
            ({"workers": "2"}, ("workers", "'2'")),
        ],
    )
    def test_options(self, options, said, truth, frame):
        with pytest.raises(InputError, match=naming(*said)):
            score(truth, {"mine": frame}, **({"metrics": "mse"} | options))

    def test_faults_of_functions_say_whose_they_are(self, truth):
        def broken(target: Target):
            raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError) as caught:
            score(truth, {"mine": broken}, "mse")
        assert "mine" in caught.value.__notes__[0]
        with pytest.raises(ZeroDivisionError) as caught:
            score(truth, metrics=Metric("own", lambda target, prediction: 1 / 0, True))
        assert "own" in caught.value.__notes__[0]


def test_on_a_screen_weights_bring_the_duplicate_to_the_top(screen_expression):
    labels = sorted(set(screen_expression.obs["condition"]) - {"control"})
    truth = Truth.from_anndata(screen_expression, train=labels[::2], halvings=3)
    summary = score(truth, metrics=["mse", "wmse", "weighted_r2_delta"], resamples=200).summary
    summary = summary.set_index(["metric", "predictor"])
    for metric in ("wmse", "weighted_r2_delta"):
        found = summary.loc[metric].loc[["control_mean", "perturbed_mean", "technical_duplicate"]]
        assert found["informative"].all()
        assert (found["perfect_calibrated"] > 1).all()
        assert found.loc["technical_duplicate", "calibrated"] == 1
    assert summary.loc[("weighted_r2_delta", "perturbed_mean"), "median"] < 0


def test_statistics_alone_are_scored_without_a_scale(cells, frame):
    card = score(Truth(PerturbationStatistics.from_anndata(cells), train=TRAIN), {"mine": frame}, "mse")
    assert card.summary["calibrated"].isna().all() and not card.summary["informative"].any()
    assert np.isfinite(card.table.loc[card.table["predictor"] == "mine", "value"]).all()
