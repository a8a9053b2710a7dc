"""Truths: what is compared with what, by brute force from the cells; who may look at what; one pass over the cells."""

from functools import partialmethod

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from examples import TESTED, TRAIN, make_lines
from messages import naming
from scipy import sparse, stats

from diversity_by_design import PerturbationStatistics, Truth, deg_scores, deg_weights, score, technical_duplicate
from diversity_by_design import cells as reading
from diversity_by_design.baselines import BASELINES
from diversity_by_design.errors import InputError
from diversity_by_design.groups import LabelledCells
from diversity_by_design.halves import label_generator
from diversity_by_design.metrics import METRICS
from diversity_by_design.scoring import score_targets
from diversity_by_design.truth import Target


@pytest.fixture(scope="module")
def cells() -> ad.AnnData:
    return make_lines()


@pytest.fixture(scope="module")
def truth(cells) -> Truth:
    return Truth.from_anndata(cells, train=TRAIN, halvings=2, seed=1)


def arrays_of(truth: Truth) -> dict[str, np.ndarray]:
    """All that the targets of a truth hold."""
    found = {}
    for number, target in enumerate(truth.targets()):
        arrays = {name: getattr(target, name) for name in ("mean", "weights", "is_deg", "duplicate")}
        arrays |= {f"quarter {place}": quarter for place, quarter in enumerate(target.quarters)}
        arrays |= {name: getattr(target, name) for name in ("perturbed_mean", "control_mean")}
        found |= {f"{name} of {number}": array for name, array in arrays.items() if array is not None}
    return found


def assert_same(first: Truth, second: Truth) -> None:
    assert first.labels.equals(second.labels)
    ours, theirs = arrays_of(first), arrays_of(second)
    assert list(ours) == list(theirs)
    for name, array in ours.items():
        np.testing.assert_array_equal(array, theirs[name], err_msg=name)


class TestByBruteForce:
    """Everything anew from the cells, one perturbation and one halving at a time."""

    HALVINGS, SEED = 3, 5

    def halves(self, adata: ad.AnnData, label: str) -> list[tuple[np.ndarray, np.ndarray]]:
        names = adata.obs_names[adata.obs["condition"] == label]
        positions = adata.obs_names.get_indexer(sorted(names))
        generator = label_generator(self.SEED, label)
        drawn = [generator.permutation(positions) for _ in range(self.HALVINGS)]
        return [(order[: len(order) // 2], order[len(order) // 2 :]) for order in drawn]

    def expected(self, adata: ad.AnnData, train: list[str] | None) -> pd.DataFrame:
        values, condition = adata.X.toarray().astype(float), adata.obs["condition"].to_numpy()
        labels = sorted(set(condition) - {"control"})
        seen = labels if train is None else train
        mean = {label: values[condition == label].mean(axis=0) for label in [*labels, "control"]}
        mu_all, mu_c = values[np.isin(condition, seen)].mean(axis=0), mean["control"]
        rows = []
        for label in [label for label in labels if train is None or label not in train]:
            rest = values[np.isin(condition, seen) & (condition != label)]
            for pair in self.halves(adata, label):
                for a, b in (pair, pair[::-1]):
                    target, n = values[b].mean(axis=0), len(b)
                    own_error = values[b].var(axis=0, ddof=1) / n
                    rest_error = rest.var(axis=0, ddof=1) / n
                    with np.errstate(invalid="ignore"):
                        t = (target - rest.mean(axis=0)) / np.sqrt(own_error + rest_error)
                        freedom = (n - 1) * (own_error + rest_error) ** 2 / (own_error**2 + rest_error**2)
                    t, freedom = np.nan_to_num(t), np.nan_to_num(freedom, nan=1.0)
                    is_deg = stats.false_discovery_control(2 * stats.t.sf(np.abs(t), freedom)) < 0.05
                    weights = ((np.abs(t) - np.abs(t).min()) / np.ptp(np.abs(t))) ** 2
                    weights /= weights.sum()
                    predictions = {
                        "control_mean": mu_c,
                        "perturbed_mean": mu_all,
                        "technical_duplicate": values[a].mean(axis=0),
                        "mine": 0.7 * mean[label] + 0.1,
                    }
                    if "+" in label:
                        predictions["additive"] = mu_c + sum(mean[part] - mu_c for part in label.split("+"))
                    for name, prediction in predictions.items():
                        scores = self.scores(target, prediction, mu_all, mu_c, weights, is_deg)
                        rows += [(label, name, metric, value) for metric, value in scores.items()]
        table = pd.DataFrame(rows, columns=["perturbation", "predictor", "metric", "value"])
        return table.groupby(["perturbation", "predictor", "metric"])["value"].agg(["mean", "std", "count"])

    def scores(self, target, prediction, mu_all, mu_c, weights, is_deg) -> dict[str, float]:
        error = target - prediction

        def pearson(reference, genes):
            x, y = (array[genes] - reference[genes] for array in (target, prediction))
            return np.corrcoef(x, y)[0, 1] if len(x) >= 3 and np.ptp(y) > 1e-9 else np.nan

        def r2(w):
            delta = target - mu_all
            return 1 - (w * error**2).sum() / (w * (delta - (w * delta).sum()) ** 2).sum()

        every, some = np.ones(len(target), bool), is_deg.any()
        return {
            "mse": (error**2).mean(),
            "mae": np.abs(error).mean(),
            "wmse": (weights * error**2).sum(),
            "r2_delta": r2(every / len(target)),
            "weighted_r2_delta": r2(weights),
            "pearson_delta": pearson(mu_all, every),
            "pearson_delta_degs": pearson(mu_all, is_deg),
            "pearson_delta_control": pearson(mu_c, every),
            "pearson_delta_control_degs": pearson(mu_c, is_deg),
            "mse_degs": (error[is_deg] ** 2).mean() if some else np.nan,
            "mae_degs": np.abs(error[is_deg]).mean() if some else np.nan,
        }

    @pytest.mark.parametrize("train", [None, TRAIN])
    def test_calibrated_scores_and_their_spread(self, train, cells):
        expected = self.expected(cells, train)
        truth = Truth.from_anndata(cells, train=train, halvings=self.HALVINGS, seed=self.SEED)
        mine = pd.DataFrame(0.7 * truth.own.mean + 0.1, truth.labels, truth.genes)
        metrics = expected.index.unique("metric")
        found = score(truth, {"mine": mine}, metrics).table.set_index(["perturbation", "predictor", "metric"])
        assert len(found) == len(expected)
        expected = expected.loc[found.index]
        # With few of each kind, nothing would be said of DEGs.
        assert expected.xs("pearson_delta_degs", level="metric")["count"].between(1, 2 * self.HALVINGS).sum() > 5
        np.testing.assert_allclose(found["value"], expected["mean"], rtol=1e-9, atol=1e-12)
        np.testing.assert_array_equal(found["n_targets"], expected["count"])
        np.testing.assert_allclose(found["spread"], expected["std"], rtol=1e-7, atol=1e-10)


class TestPaperMode:
    @pytest.fixture
    def paper(self, cells) -> Truth:
        return Truth.from_anndata(cells, mode="paper", seed=1)

    def test_all_cells_but_for_the_duplicate(self, paper, cells):
        whole = PerturbationStatistics.from_anndata(cells)
        first, second = technical_duplicate(cells, seed=1)
        degs = deg_scores(whole)
        assert len(list(paper.targets())) == 1 and not paper.has_quarters
        for half, mean, duplicate in ((False, whole.mean, None), (True, second.mean, first.mean)):
            target = paper.target(0, half=half)
            np.testing.assert_array_equal(target.mean, mean)
            np.testing.assert_array_equal(target.weights, deg_weights(degs))
            np.testing.assert_array_equal(target.is_deg, degs.is_deg)
            np.testing.assert_array_equal(target.perturbed_mean, whole.perturbed_mean)
            np.testing.assert_array_equal(target.control_mean, whole.control_mean)
            assert target.duplicate is None if duplicate is None else (target.duplicate == duplicate).all()

    def test_two_cells_are_enough(self, cells):
        few = cells[
            np.sort(
                np.r_[
                    np.flatnonzero(cells.obs["condition"] != "P4"), np.flatnonzero(cells.obs["condition"] == "P4")[:2]
                ]
            )
        ]
        assert Truth.from_anndata(few, mode="paper").left_out == {}

    def test_knows_no_training_labels(self, cells):
        with pytest.raises(InputError, match=naming("paper", "calibrated")):
            Truth.from_anndata(cells, mode="paper", train=TRAIN)


class TestOnePass:
    @pytest.fixture
    def passes(self, monkeypatch) -> list[int]:
        """How many cells each pass has read so far."""
        found = []
        original = reading.read_blocks

        def counting(*arguments):
            found.append(0)
            for chunk in original(*arguments):
                found[-1] += chunk.values.shape[0]
                yield chunk

        monkeypatch.setattr("diversity_by_design.groups.read_blocks", counting)
        return found

    @pytest.mark.parametrize("context", [None, "line"])
    def test_a_backed_file_is_read_once(self, context, cells, tmp_path, monkeypatch, passes):
        cells.write_h5ad(tmp_path / "x.h5ad")
        monkeypatch.setattr(reading, "BLOCK_VALUES", 1000)
        backed = ad.read_h5ad(tmp_path / "x.h5ad", backed="r")
        labels = None if context is None else TRAIN
        found = Truth.from_anndata(backed, halvings=3, seed=1, context=context, labels=labels)
        assert passes == [cells.n_obs]
        expected = Truth.from_anndata(cells, halvings=3, seed=1, context=context, labels=labels)
        for place in [None] if context is None else expected:
            assert_same(*(truth if place is None else truth[place] for truth in (found, expected)))

    def test_equals_separate_passes(self, cells, truth):
        whole = PerturbationStatistics.from_anndata(cells)
        np.testing.assert_array_equal(truth.statistics.sum_sq, whole.sum_sq)
        first, second = technical_duplicate(cells, seed=1)
        for number, (duplicate, target) in enumerate(((first, second), (second, first))):
            found = truth.target(number)
            np.testing.assert_array_equal(found.duplicate, duplicate.select(labels=TESTED).mean)
            np.testing.assert_array_equal(found.mean, target.select(labels=TESTED).mean)

    def test_blocks_of_genes_give_the_same_bits(self, cells, truth, monkeypatch, passes):
        small = partialmethod(LabelledCells.gather, sums_bytes=16_000)
        monkeypatch.setattr(LabelledCells, "gather", small)
        assert_same(Truth.from_anndata(cells, train=TRAIN, halvings=2, seed=1), truth)
        assert passes == [cells.n_obs] * 4


class TestContexts:
    def test_give_what_each_contexts_cells_alone_give(self, cells):
        options = {"context": "line", "train": TRAIN, "halvings": 2, "seed": 1}
        both = Truth.from_anndata(cells, **options)
        assert list(both) == ["a", "b"]
        for line in both:
            assert_same(both[line], Truth.from_anndata(cells[cells.obs["line"] == line], **options)[line])
        assert not np.array_equal(both["a"].target(0).control_mean, both["b"].target(0).control_mean)

    def test_need_not_have_the_same_perturbations(self, cells):
        part = cells[~((cells.obs["line"] == "a") & cells.obs["condition"].isin(["P1", "P5"]))]
        both = Truth.from_anndata(part, context="line", train=TRAIN, halvings=1)
        assert both["a"].train.tolist() == ["P0", "P2", "P3"] and both["b"].train.tolist() == TRAIN
        assert "P5" in both["b"].labels and "P5" not in both["a"].labels

    def test_a_context_without_training_perturbations_is_named(self, cells):
        part = cells[~(cells.obs["condition"].isin(["P0", "P1"]) & (cells.obs["line"] == "b"))]
        with pytest.raises(InputError, match=naming("'b'", "train", 7, "P2")):
            Truth.from_anndata(part, train=["P0", "P1"], context="line")


class TestStorageAndOrder:
    @pytest.mark.parametrize("change", ["cells", "csc", "dense", "float64", "workers", "label forms"])
    def test_same_bits(self, change, cells, truth):
        other, options = cells.copy(), {}
        if change == "cells":
            other = cells[np.random.default_rng(0).permutation(cells.n_obs)].copy()
        elif change == "csc":
            other.X = sparse.csc_matrix(cells.X)
        elif change == "dense":
            other.X = cells.X.toarray()
        elif change == "float64":
            other.X = cells.X.astype(np.float64)
        elif change == "workers":
            options = {"workers": 3}
        else:
            other.obs["condition"] = cells.obs["condition"].astype(str).replace({"P0+P1": "P1+P0", "P4": "P4+ctrl"})
            options = {"train": ["P3+ctrl", "P1", "P2", "P0"]}
        assert_same(Truth.from_anndata(other, **({"train": TRAIN, "halvings": 2, "seed": 1} | options)), truth)

    def test_order_of_genes(self, cells, truth):
        order = np.random.default_rng(0).permutation(cells.n_vars)
        found = arrays_of(Truth.from_anndata(cells[:, order].copy(), train=TRAIN, halvings=2, seed=1))
        for name, array in arrays_of(truth).items():
            if name.startswith("weights"):
                # Their sum to one is added up in another order.
                np.testing.assert_allclose(found[name], array[..., order], rtol=1e-12)
            else:
                np.testing.assert_array_equal(found[name], array[..., order])


class TestLeaks:
    """What is made from training labels does not move with the cells of test perturbations."""

    CHANGED = "P6"

    @pytest.fixture(params=["scaled", "shuffled", "swapped for control"])
    def other(self, request, cells) -> ad.AnnData:
        """The cells of one test perturbation changed."""
        adata = cells.copy()
        values = cells.X.toarray()
        own = np.flatnonzero(cells.obs["condition"] == self.CHANGED)
        if request.param == "scaled":
            values[own] *= 0.37
        elif request.param == "shuffled":
            values[own] = np.random.default_rng(0).permuted(values[own], axis=1)
        else:
            values[own] = values[np.flatnonzero(cells.obs["condition"] == "control")[: len(own)]]
        adata.X = sparse.csr_matrix(values)
        return adata

    def test_predictions_references_and_scores_of_others_stay(self, cells, truth, other):
        changed = Truth.from_anndata(other, train=TRAIN, halvings=2, seed=1)
        kept = truth.labels != self.CHANGED
        assert not np.array_equal(changed.target(0).mean, truth.target(0).mean)
        for number in truth.numbers():
            before, after = truth.target(number), changed.target(number)
            np.testing.assert_array_equal(after.perturbed_mean, before.perturbed_mean)
            np.testing.assert_array_equal(after.training.sum, before.training.sum)
            for name in ("weights", "is_deg", "mean", "duplicate"):
                np.testing.assert_array_equal(getattr(after, name)[kept], getattr(before, name)[kept], err_msg=name)
            np.testing.assert_array_equal(after.degs.reference_mean, before.degs.reference_mean)
            for name, baseline in BASELINES.items():
                # Of the changed perturbation itself only its duplicate may move, which is made of its own cells.
                rows = kept if baseline.half else slice(None)
                np.testing.assert_array_equal(
                    baseline.predict(after)[rows], baseline.predict(before)[rows], err_msg=name
                )

    def test_scores_of_others_stay_for_every_metric(self, cells, truth, other):
        changed = Truth.from_anndata(other, train=TRAIN, halvings=2, seed=1)
        metrics = [metric for metric in METRICS.values() if metric.by_row]
        before, after = (score_targets(part, list(BASELINES.values()), metrics)[0] for part in (truth, changed))
        own = before["perturbation"] == self.CHANGED
        pd.testing.assert_frame_equal(after[~own], before[~own], check_exact=True)
        assert not after[own]["value"].equals(before[own]["value"])

    def test_cells_of_training_perturbations_do_matter(self, cells, truth):
        """That is, the tests above would notice."""
        adata = cells.copy()
        values = cells.X.toarray()
        values[cells.obs["condition"] == "P2"] *= 0.5
        adata.X = values
        changed = Truth.from_anndata(adata, train=TRAIN, halvings=2, seed=1)
        before, after = truth.target(0), changed.target(0)
        assert not np.array_equal(after.perturbed_mean, before.perturbed_mean)
        assert not np.array_equal(after.weights, before.weights)

    @pytest.mark.parametrize("form", [lambda labels: ["P1+P0", *labels[1:]], iter, pd.Series, set])
    def test_training_labels_in_any_form_are_not_scored(self, form, truth):
        labels = ["P0+P1", "P2"]
        other = Truth(truth.statistics, train=form(labels))
        assert other.labels.tolist() == [label for label in truth.statistics.labels if label not in labels]
        assert "P2" not in Truth(truth.statistics, train="P2").labels

    def test_labels_may_be_numbers(self, cells):
        adata = cells.copy()
        numbers = {label: number for number, label in enumerate(["control", *TRAIN, *TESTED])}
        adata.obs["number"] = cells.obs["condition"].astype(str).map(numbers).astype(float)
        expected = Truth.from_anndata(cells, train=TRAIN, halvings=1)
        for control in (0, "0", 0.0):
            truth = Truth.from_anndata(adata, "number", control, train=[1, 2.0, "3", 4], halvings=1)
            assert truth.train.tolist() == ["1", "2", "3", "4"] and truth.labels.tolist() == list("56789")
            order = [str(numbers[label]) for label in expected.labels]
            np.testing.assert_array_equal(
                truth.statistics.select(order).mean, expected.statistics.select(expected.labels).mean
            )
            assert Truth(truth.statistics, train=pd.Index([1.0, 2.0])).train.tolist() == ["1", "2"]

    def test_a_scored_training_perturbation_is_left_out_of_its_own_rest(self, cells):
        changed = cells.copy()
        values = cells.X.toarray()
        values[cells.obs["condition"] == "P2"] *= 0.5
        changed.X = values
        before, after = (
            Truth.from_anndata(adata, train=TRAIN, labels=["P2"], halvings=1).target(0).degs.reference_mean
            for adata in (cells, changed)
        )
        np.testing.assert_allclose(after, before, rtol=1e-12)

    @pytest.mark.parametrize("train", [None, TRAIN])
    def test_the_mean_is_never_a_leave_one_out_reference(self, train, cells):
        """Which would give it a Pearson correlation of exactly 1."""
        truth = Truth.from_anndata(cells, train=train, halvings=2)
        names = ["pearson_delta", "pearson_delta_degs"]
        table = score(truth, metrics=names).table
        assert table.loc[table["predictor"] == "perturbed_mean", "value"].isna().all()
        for target in truth.targets():
            assert target.perturbed_mean.shape == (60,)


class TestWhatIsScored:
    def test_all_but_training_perturbations_or_those_asked_for(self, cells, truth):
        assert truth.labels.tolist() == TESTED and truth.train.tolist() == TRAIN
        assert Truth(truth.statistics).labels.tolist() == sorted([*TRAIN, *TESTED])
        for labels in (["P7", "P1+P0", "P2"], pd.Series(["P2", "P7", "P0+P1"])):
            some = Truth.from_anndata(cells, train=TRAIN, labels=labels, halvings=1)
            # In the order of the statistics.
            assert some.labels.tolist() == ["P0+P1", "P2", "P7"]

    def test_perturbations_with_few_cells_are_left_out_and_said(self, cells):
        few = np.flatnonzero(cells.obs["condition"] == "P4")[3:]
        part = cells[np.delete(np.arange(cells.n_obs), few)]
        truth = Truth.from_anndata(part, halvings=1)
        assert "P4" not in truth.labels and len(truth.labels) == 8
        assert list(truth.left_out) == ["P4"] and "4 cells" in truth.left_out["P4"]
        # Its cells are still there for the rest and the mean of all.
        assert "P4" in truth.statistics.labels
        with pytest.raises(InputError, match=naming("P4", 1, 4)):
            Truth.from_anndata(part, labels=["P4"], halvings=1)

    def test_without_halves_predictions_meet_the_mean_of_all_cells(self, truth):
        plain = Truth(truth.statistics, train=TRAIN)
        [target] = plain.targets()
        np.testing.assert_array_equal(target.mean, plain.own.mean)
        assert target.duplicate is None and target.quarters == () and not plain.has_quarters

    def test_it_says_what_it_is(self, truth):
        said = repr(truth)
        for part in ("calibrated", "5 perturbations", "60 genes", "4 target", "4 training"):
            assert part in said

    @pytest.mark.parametrize(
        ("options", "said"),
        [
            ({"train": ["nobody", "P0"]}, ("train", 1, "nobody", "P7")),
            ({"train": ["P0", "P0+ctrl"]}, ("train", 1, "P0")),
            ({"train": ["P0", None]}, ("train", 1, 2)),
            ({"train": ["P0", "control"]}, ("train", 1, "control", "P7")),
            ({"train": []}, ("train", 9, "P0")),
            ({"train": sorted([*TRAIN, *TESTED])}, (9, "labels")),
            ({"labels": ["nobody"]}, ("labels", 1, "nobody", "P7")),
            ({"labels": ["control"]}, ("labels", 1, "control", "P7")),
            ({"labels": []}, ("labels", 9, "P0")),
            ({"context": []}, ("context",)),
            ({"perturbation": ["condition", "line"]}, ("line", "condition")),
            ({"mode": "calib"}, ("calib", "calibrated", "paper")),
            ({"halvings": 0}, ("halvings", 0, 1)),
            ({"halvings": 1.5}, ("halvings", 1.5, 1)),
            ({"seed": -1}, ("seed", -1, 0)),
            ({"seed": 0.5}, ("seed", 0.5, 0)),
            ({"workers": 0}, ("workers", 0, 1)),
            ({"workers": "2"}, ("workers", "'2'", 1)),
            ({"context": "tissue"}, ("tissue", "line")),
            ({"perturbation": "guide"}, ("guide", "condition")),
            ({"control": "NT"}, ("NT", "control")),
            ({"layer": "log"}, ("log",)),
        ],
    )
    def test_what_is_refused(self, options, said, cells):
        with pytest.raises(InputError, match=naming(*said)):
            Truth.from_anndata(cells, **({"halvings": 1} | options))

    @pytest.mark.filterwarnings("ignore:Observation names are not unique")
    def test_cell_names_must_be_unique(self, cells):
        other = cells.copy()
        other.obs_names = ["cell1", *cells.obs_names[1:]]
        with pytest.raises(InputError, match=naming(1, "cell1")):
            Truth.from_anndata(other, halvings=1)

    def test_other_things_than_statistics_and_other_halves(self, cells, truth):
        with pytest.raises(InputError, match=naming("AnnData", "Truth.from_anndata")):
            Truth(cells)
        with pytest.raises(InputError, match=naming(5, 9, "P0+P1", "P0")):
            Truth(truth.statistics, halves=truth.halves)
        with pytest.raises(InputError, match=naming("nobody", 9)):
            Truth(truth.statistics, train=["nobody"])
        with pytest.raises(InputError, match=naming("train", 9)):
            Truth(truth.statistics, train=[])


class TestTarget:
    def test_arrays_cannot_be_written_to(self, truth):
        target = truth.target(0)
        for name in ("mean", "perturbed_mean", "control_mean", "weights", "is_deg", "duplicate"):
            with pytest.raises(ValueError, match="read-only"):
                getattr(target, name)[0] = 0
        with pytest.raises(ValueError, match="read-only"):
            target.quarters[0][0] = 0

    def test_some_rows(self, truth):
        target, rows = truth.target(1), np.array([3, 0])
        part = target.rows(rows)
        assert part.labels.tolist() == [TESTED[3], TESTED[0]]
        for name in ("mean", "weights", "is_deg", "duplicate"):
            np.testing.assert_array_equal(getattr(part, name), getattr(target, name)[rows])
        np.testing.assert_array_equal(part.degs.t, target.degs.t[rows])
        np.testing.assert_array_equal(part.perturbed_mean, target.perturbed_mean)

    def test_other_genes_in_place_of_the_degs(self, truth):
        target = truth.target(0)
        mask = np.arange(60) < 7
        changed = target.with_genes(np.tile(mask, (5, 1)))
        np.testing.assert_array_equal(changed.is_deg, np.tile(mask, (5, 1)))
        np.testing.assert_array_equal(changed.weights, target.weights)
        assert not np.array_equal(target.is_deg, changed.is_deg)

    def test_what_it_does_not_have(self):
        target = Target(pd.Index(["A"]), pd.Index(["g"]), np.ones((1, 1)), perturbed_mean=np.ones(1))
        assert not target.has_control and target.duplicate is None and target.simulation is None
        with pytest.raises(InputError, match=naming("control")):
            target.control_mean  # noqa: B018
        for name in ("degs", "weights", "is_deg"):
            with pytest.raises(InputError):
                getattr(target, name)
