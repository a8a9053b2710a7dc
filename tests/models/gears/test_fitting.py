"""Training and prediction through the public functions."""

import os
import signal
import subprocess
import sys
import time
from copy import deepcopy
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from messages import naming
from scipy import sparse

from diversity_by_design.errors import InputError

torch = pytest.importorskip("torch")

from small_gears import COMBINATIONS, SINGLES, ontology, ring, screen  # noqa: E402

import diversity_by_design as dbd  # noqa: E402
from diversity_by_design.models.splits import Split  # noqa: E402
from diversity_by_design.models.storage import read_arrays  # noqa: E402
from diversity_by_design.models.training import NotFiniteError  # noqa: E402
from diversity_by_design.predictions import LOSSES  # noqa: E402

SMALL = {"epochs": 3, "batch_size": 8, "hidden_size": 8}


@pytest.fixture(autouse=True, scope="module")
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def cells():
    return screen()


@pytest.fixture(scope="module")
def split() -> Split:
    return dbd.gears.make_splits("combinations", [*SINGLES, *COMBINATIONS], seed=0)[0]


def same_models(first, second) -> bool:
    states = first.model.state_dict(), second.model.state_dict()
    return all(torch.equal(states[0][name], states[1][name]) for name in states[0])


@pytest.fixture(scope="module")
def trained(cells, split):
    return dbd.gears.fit(cells, split, ontology(), **SMALL)


def test_predicts_perturbations_by_genes(trained, cells, split):
    test = split.labels("test")
    predicted = trained.predict(test)
    assert predicted.index.equals(test.rename("perturbation")) and predicted.columns.equals(cells.var_names)
    assert np.isfinite(predicted.to_numpy()).all()
    a, b = test[0].split("+")
    pd.testing.assert_frame_equal(trained.predict([f"{b}+{a}"]), predicted.iloc[:1])
    pd.testing.assert_frame_equal(trained.predict(["P00+ctrl", "control+P01"]), trained.predict(["P00", "P01"]))
    assert trained.predict(test[0]).shape == (1, cells.n_vars)


def test_learns(cells, split):
    """Unseen combinations are predicted better than by the mean of all perturbed cells."""
    options = {**SMALL, "hidden_size": 32, "epochs": 10, "learning_rate": 0.01, "learning_rate_decay": 0.8}
    model = dbd.gears.fit(cells, split, ontology(), loss="mse", **options)
    statistics = dbd.PerturbationStatistics.from_anndata(cells)
    test = split.labels("test")
    truth = statistics.select(labels=test).mean
    error, of_mean = (
        np.median(dbd.metrics.mse(truth, prediction))
        for prediction in (model.predict(test).to_numpy(), statistics.perturbed_mean)
    )
    assert error < 0.75 * of_mean


def test_same_seed_same_model(cells, split, trained):
    assert same_models(dbd.gears.fit(cells, split, ontology(), **SMALL), trained)
    assert not same_models(dbd.gears.fit(cells, split, ontology(), **SMALL, seed=1), trained)


def with_other_test_cells(cells, split):
    """Other expression in the cells of test perturbations, and other numbers of them."""
    tested = cells.obs["condition"].isin(split.labels("test")).to_numpy()
    values = cells.X.toarray()
    values[tested] = 3.0 + np.random.default_rng(5).random((tested.sum(), cells.n_vars))
    other = cells.copy()
    other.X = sparse.csr_matrix(values)
    return other[~tested | (np.arange(len(tested)) % 3 > 0)].copy()


@pytest.mark.parametrize("loss", [*LOSSES, "wmse^0.5"])
@pytest.mark.parametrize("pseudobulk", [False, True])
def test_nothing_of_test_perturbations_reaches_the_model(loss, pseudobulk, cells, split):
    """No parameter, graph or measurement, unless the loss is one of the paper's whose weights are of all cells."""
    if loss == "gears" and pseudobulk:
        pytest.skip("refused")
    options = {**SMALL, "loss": loss, "pseudobulk": pseudobulk, "epochs": 2}
    one, other = (
        dbd.gears.fit(data, split, ontology(), **options) for data in (cells, with_other_test_cells(cells, split))
    )
    pd.testing.assert_frame_equal(one.model.coexpression.to_frame(), other.model.coexpression.to_frame())
    assert torch.equal(one.control_mean, other.control_mean)
    lets_in = loss in ("wmse_all_cells", "wmse_released")
    assert same_models(one, other) != lets_in
    assert one.history.equals(other.history) != lets_in


def test_cells_may_be_labelled_in_any_form(cells, split, trained):
    """Combinations in another order, and singles as cell-gears has them, in the data and in the split."""
    other = cells.copy()
    form = {label: "+".join(label.split("+")[::-1]) if "+" in label else f"{label}+ctrl" for label in split.roles.index}
    other.obs["condition"] = [form.get(label, label) for label in cells.obs["condition"]]
    renamed = Split(split.task, split.half, split.seed, split.roles.rename(form))
    assert same_models(dbd.gears.fit(other, renamed, ontology(), **SMALL), trained)


def test_numbers_of_numpy_are_options(cells, split, trained, tmp_path):
    """They are written into checkpoints and saved models, where there are only plain numbers."""
    options = {name: np.int64(value) for name, value in SMALL.items()}
    checkpoint = tmp_path / "checkpoint.safetensors"
    model = dbd.gears.fit(cells, split, ontology(), seed=np.int64(0), checkpoint=checkpoint, **options)
    model.save(tmp_path / "model.safetensors")
    assert same_models(dbd.gears.load(tmp_path / "model.safetensors"), trained)
    with pytest.raises(InputError, match=naming("epochs", 2.5, 1)):
        dbd.gears.fit(cells, split, ontology(), epochs=2.5)


def test_dense_and_sparse_expression_give_the_same_model(cells, split, trained):
    dense = cells.copy()
    dense.X = dense.X.toarray()
    assert same_models(dbd.gears.fit(dense, split, ontology(), **SMALL), trained)


def test_pseudobulk_has_the_gradient_of_all_cells(cells, split):
    """A batch of every training perturbation once: its gradient is that of all their cells, if control is balanced."""
    from diversity_by_design.models.gears.fitting import new_model
    from diversity_by_design.models.gears.model import CellGroups
    from diversity_by_design.models.losses import WMSELoss

    statistics = dbd.PerturbationStatistics.from_anndata(cells)
    model = new_model(
        ring(list(cells.var_names)), ontology(), dbd.gears.TrainingOptions(hidden_size=8, messages="all_cells")
    )
    training = split.labels("train")
    pairs = model.perturbation_index(training)
    loss = WMSELoss(dbd.deg_weights(dbd.deg_scores(statistics.select(labels=training))))
    gradients = []
    for per_cell in (True, False):
        if per_cell:
            rows = np.flatnonzero(cells.obs["condition"].isin(training))
            labels = training.get_indexer(cells.obs["condition"].to_numpy()[rows])
            targets = torch.as_tensor(cells.X[rows].toarray())
            control = torch.as_tensor(statistics.control_mean, dtype=torch.float32).expand_as(targets)
        else:
            labels = np.arange(len(training))
            targets = torch.as_tensor(statistics.select(labels=training).mean, dtype=torch.float32)
            control = control[: len(training)]
        groups, group = CellGroups.of(pairs[labels], "all_cells")
        model.zero_grad()
        loss(control + model.changes(groups)[group], targets, torch.as_tensor(labels)).backward()
        gradients.append([parameter.grad.clone() for parameter in model.parameters() if parameter.grad is not None])
    for of_cells, of_means in zip(*gradients, strict=True):
        torch.testing.assert_close(of_cells, of_means, rtol=1e-3, atol=1e-5)


def test_best_epoch_is_kept(cells, split):
    model = dbd.gears.fit(cells, split, ontology(), **{**SMALL, "epochs": 5, "learning_rate": 0.05})
    best = int(model.history["validation_mse_top_degs"].argmin()) + 1
    shorter = dbd.gears.fit(cells, split, ontology(), **{**SMALL, "epochs": best, "learning_rate": 0.05})
    assert same_models(model, shorter)
    assert model.history["epoch"].tolist() == [1, 2, 3, 4, 5]


def test_saved_model_predicts_the_same(trained, split, tmp_path):
    path = tmp_path / "model.safetensors"
    trained.save(path)
    loaded = dbd.gears.load(path)
    test = split.labels("test")
    pd.testing.assert_frame_equal(loaded.predict(test), trained.predict(test))
    pd.testing.assert_frame_equal(loaded.history, trained.history)
    assert loaded.options == trained.options


def interrupted(cells, split, checkpoint, after: int, **options):
    """Train, and break off after so many steps."""

    class BrokenOffError(Exception):
        pass

    def log(name, value, step):
        if name == "step_loss" and step >= after:
            raise BrokenOffError

    with pytest.raises(BrokenOffError):
        dbd.gears.fit(cells, split, ontology(), checkpoint=checkpoint, log=log, **options)


def test_goes_on_from_the_checkpoint_to_the_same_model(cells, split, trained, tmp_path):
    checkpoint = tmp_path / "checkpoint.safetensors"
    interrupted(cells, split, checkpoint, 60, **SMALL)
    assert len(read_arrays(checkpoint)[1]["history"]) == 2
    resumed = dbd.gears.fit(cells, split, ontology(), checkpoint=checkpoint, **SMALL)
    assert same_models(resumed, trained)
    pd.testing.assert_frame_equal(resumed.history, trained.history)


TRAIN = """
import sys, time
import torch
from small_gears import COMBINATIONS, SINGLES, ontology, screen
import diversity_by_design as dbd

torch.set_num_threads(1)
split = dbd.gears.make_splits("combinations", [*SINGLES, *COMBINATIONS], seed=0)[0]
slow = lambda *values: time.sleep(0.02)
dbd.gears.fit(screen(), split, ontology(), checkpoint=sys.argv[1], epochs=400, batch_size=8, hidden_size=8, log=slow)
"""


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="needs kill -9")
def test_goes_on_after_being_killed(cells, split, tmp_path):
    """Killed at any moment, also while it writes; the first epochs are those of a training without interruption."""
    checkpoint = tmp_path / "checkpoint.safetensors"
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    with subprocess.Popen(
        [sys.executable, "-c", TRAIN, str(checkpoint)], env=environment, stderr=subprocess.DEVNULL
    ) as process:
        while not checkpoint.exists() or len(read_arrays(checkpoint)[1]["history"]) < 4:
            assert process.poll() is None
            time.sleep(0.05)
        process.kill()
    done = len(read_arrays(checkpoint)[1]["history"])
    assert 4 <= done < 400
    options = {**SMALL, "epochs": 400}
    interrupted(cells, split, checkpoint, 20 * (done + 1), **options)
    uninterrupted = tmp_path / "other.safetensors"
    interrupted(cells, split, uninterrupted, 20 * (done + 1), **options)
    first, second = (read_arrays(path) for path in (checkpoint, uninterrupted))
    assert first[1].pop("seconds") > 0 and second[1].pop("seconds") > 0
    assert first[1] == second[1]
    assert first[0].keys() == second[0].keys()
    assert all(np.array_equal(first[0][name], second[0][name]) for name in first[0])


def test_checkpoint_of_another_training_is_refused_and_stays(cells, split, tmp_path):
    checkpoint = tmp_path / "checkpoint.safetensors"
    dbd.gears.fit(cells, split, ontology(), checkpoint=checkpoint, **SMALL)
    before = checkpoint.read_bytes()
    with pytest.raises(InputError, match=naming(checkpoint, "data")):
        dbd.gears.fit(
            screen(seed=1), split, ontology(), coexpression=ring(list(cells.var_names)), checkpoint=checkpoint, **SMALL
        )
    with pytest.raises(InputError, match=naming(checkpoint, "learning_rate", 0.001, 0.01)):
        dbd.gears.fit(cells, split, ontology(), checkpoint=checkpoint, learning_rate=0.01, **SMALL)
    assert checkpoint.read_bytes() == before
    saved = tmp_path / "saved"
    dbd.gears.fit(cells, split, ontology(), **SMALL).save(saved)
    with pytest.raises(InputError, match=naming(saved)):
        dbd.gears.fit(cells, split, ontology(), checkpoint=saved, **SMALL)
    (tmp_path / "damaged").write_bytes(before[:100])
    with pytest.raises(InputError, match=naming(tmp_path / "damaged")):
        dbd.gears.fit(cells, split, ontology(), checkpoint=tmp_path / "damaged", **SMALL)


def test_loss_that_is_not_finite_stops_and_names_step_and_perturbation(cells, split, tmp_path):
    """The overflow of one perturbation's squared errors, from the second epoch on."""
    checkpoint = tmp_path / "checkpoint.safetensors"
    interrupted(cells, split, checkpoint, 25, **SMALL)
    before = checkpoint.read_bytes()
    label = split.labels("train")[0]
    options = {**SMALL, "learning_rate": 1e30}
    with pytest.raises(NotFiniteError, match=r"epoch 1, step \d+, "):
        dbd.gears.fit(cells, split, ontology(), **options)
    from diversity_by_design.models.gears import fitting

    class Broken(torch.nn.Module):
        """Not finite for the cells of one perturbation."""

        def __init__(self, loss) -> None:
            super().__init__()
            self.loss = loss

        def forward(self, prediction, target, labels, reduction="mean"):
            values = self.loss(prediction, target, labels, reduction=reduction)
            return torch.where(labels == 0, torch.nan, values)

    build = fitting.build_loss
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fitting, "build_loss", lambda *args, **kwargs: Broken(build(*args, **kwargs)))
        with pytest.raises(NotFiniteError, match=naming("epoch 2", "step", label, "epoch 1")):
            dbd.gears.fit(cells, split, ontology(), checkpoint=checkpoint, **SMALL)
    assert checkpoint.read_bytes() == before


def test_a_last_step_that_breaks_the_model_is_noticed_and_not_kept(cells, split, tmp_path):
    """The gradient of an epoch's last step is NaN, though its loss is finite."""
    from diversity_by_design.models.gears import fitting

    class Broken(torch.nn.Module):
        """With a gradient that is not finite at the last step of the second epoch."""

        def __init__(self, loss) -> None:
            super().__init__()
            self.loss, self.calls = loss, 0

        def forward(self, prediction, target, labels, reduction="mean"):
            self.calls += 1
            values = self.loss(prediction, target, labels, reduction=reduction)
            if self.calls == steps:
                values.register_hook(lambda gradient: gradient * torch.nan)
            return values

    checkpoint = tmp_path / "checkpoint.safetensors"
    steps = 2 * (int(cells.obs["condition"].isin([*split.labels("train"), "control"]).sum()) // SMALL["batch_size"])
    build = fitting.build_loss
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fitting, "build_loss", lambda *args, **kwargs: Broken(build(*args, **kwargs)))
        with pytest.raises(NotFiniteError, match=naming("validation_mse", "epoch 2", "epoch 1")):
            dbd.gears.fit(cells, split, ontology(), checkpoint=checkpoint, **SMALL)
    arrays, about = read_arrays(checkpoint)
    assert len(about["history"]) == 1 and all(np.isfinite(value).all() for value in arrays.values())
    resumed = dbd.gears.fit(cells, split, ontology(), checkpoint=checkpoint, **SMALL)
    assert np.isfinite(resumed.history.to_numpy()).all()


def test_models_depend_on_their_seed_whatever_other_threads_do(cells):
    from diversity_by_design.models.gears.fitting import new_model
    from diversity_by_design.threads import map_threads

    def parameters(seed: int) -> torch.Tensor:
        options = dbd.gears.TrainingOptions(hidden_size=8, seed=seed)
        model = new_model(ring(list(cells.var_names)), ontology(), options)
        return torch.cat([value.flatten() for value in model.parameters()])

    alone = [parameters(seed) for seed in range(4)]
    together = map_threads(parameters, [seed for _ in range(8) for seed in range(4)], workers=4)
    assert all(torch.equal(one, alone[number % 4]) for number, one in enumerate(together))


def test_an_entry_stored_in_parts_counts_as_their_sum(cells, split, trained):
    whole = cells.X
    halves = whole.copy()
    halves.data = np.repeat(whole.data / 2, 2)
    halves.indices = np.repeat(whole.indices, 2)
    halves.indptr = whole.indptr * 2
    parts = cells.copy()
    parts.X = sparse.csr_matrix((halves.data, halves.indices, halves.indptr), shape=whole.shape)
    before = parts.X.nnz
    assert same_models(dbd.gears.fit(parts, split, ontology(), **SMALL), trained)
    assert parts.X.nnz == before == 2 * whole.nnz


def test_without_a_graph_only_genes_of_training_perturbations_are_predicted(cells, split):
    model = dbd.gears.fit(cells, split, **SMALL)
    assert np.isfinite(model.predict(split.labels("test")).to_numpy()).all()
    unseen = dbd.gears.make_splits("unseen", SINGLES, seed=0)[0]
    with pytest.raises(InputError, match=naming("ontology", unseen.labels("test")[0])):
        dbd.gears.fit(cells, unseen, **SMALL)


def test_a_file_with_another_byte_is_refused(trained, tmp_path):
    path = tmp_path / "model.safetensors"
    trained.save(path)
    content = bytearray(path.read_bytes())
    content[-100] ^= 1
    path.write_bytes(content)
    with pytest.raises(InputError, match=naming(path)):
        dbd.gears.load(path)


def test_arguments_of_another_kind_are_explained(cells, split):
    with pytest.raises(InputError, match=naming("split", "tuple", "Split", "make_splits")):
        dbd.gears.fit(cells, (split, split), ontology())
    with pytest.raises(InputError, match=naming("ontology", "str", "Graph", "perturbation_graph")):
        dbd.gears.fit(cells, split, "annotations.tsv.gz")
    with pytest.raises(InputError, match=naming("loss", "WMSELoss")):
        dbd.gears.fit(cells, split, ontology(), loss=dbd.gears.WMSELoss.mse(3))
    with pytest.raises(InputError, match=naming("lr", "epochs", "batch_size", "learning_rate")):
        dbd.gears.fit(cells, split, ontology(), lr=0.1)


@pytest.mark.parametrize("task", ["combinations", "unseen"])
def test_a_combination_of_three_is_left_out_by_name_and_all_else_goes_on(cells, task):
    triple = "P00+P01+P02"
    with_triple = cells.copy()
    with_triple.obs["condition"] = cells.obs["condition"].replace(COMBINATIONS[-1], "P02+P00+P01")
    without = cells[cells.obs["condition"] != COMBINATIONS[-1]].copy()
    labels = dbd.PerturbationStatistics.from_anndata(with_triple).labels
    if task == "combinations":
        for half in dbd.gears.make_splits(task, labels, seed=0):
            with pytest.raises(InputError, match=naming("GEARS", 2, triple, "left_out", "together=2")):
                dbd.gears.fit(with_triple, half, ontology(), **SMALL)

    split = dbd.gears.make_splits(task, labels, seed=0, together=dbd.models.MODELS["gears"].together)[0]
    test = split.labels("test")
    assert split.roles[triple] == "left_out"
    model = dbd.gears.fit(with_triple, split, ontology(), **SMALL)
    # Nothing of its cells reaches the model.
    others = replace(split, roles=split.roles.drop(triple))
    assert same_models(model, dbd.gears.fit(without, others, ontology(), **SMALL))

    truth = dbd.Truth.from_anndata(with_triple, train=split.labels("train"), halvings=2)
    card = dbd.score(truth, {"gears": model.predict(test)}, metrics=["mse"])
    scored = card.table.groupby("predictor")["perturbation"].unique()
    assert set(scored["gears"]) == set(test) and triple in scored["control_mean"]
    assert (triple in scored.get("additive", ())) == (task == "combinations")
    assert ["", triple, "gears", "not predicted"] in card.left_out.values.tolist()


def test_copies_and_empty_predictions(trained, cells):
    copied = deepcopy(trained.model)
    pairs = trained.model.perturbation_index(SINGLES)
    torch.testing.assert_close(copied.predict_changes(pairs), trained.model.predict_changes(pairs))
    assert trained.predict([]).shape == (0, cells.n_vars)


def test_bad_input(cells, split, trained):
    with pytest.raises(InputError, match=naming("P00")):
        dbd.gears.fit(cells, split, ring(SINGLES[1:]), **SMALL)
    with pytest.raises(InputError, match=naming("GATA1", len(SINGLES))):
        trained.predict(["GATA1"])
    with pytest.raises(InputError, match=naming("P00+P01+P02")):
        trained.predict(["P00+P01+P02"])
    missing = split.labels("train")[0]
    with pytest.raises(InputError, match=naming(missing)):
        dbd.gears.fit(cells[cells.obs["condition"] != missing].copy(), split, ontology(), **SMALL)
    with pytest.raises(InputError, match=naming("GEARS")):
        dbd.gears.fit(cells, split, ontology(), loss="gears", pseudobulk=True)
    with pytest.raises(InputError, match=naming("co-expression")):
        dbd.gears.fit(cells, split, ontology(), coexpression=ring(list(cells.var_names[::-1])), **SMALL)
    with pytest.raises(InputError, match=naming("batch_size", 1, 2)):
        dbd.gears.fit(cells, split, ontology(), batch_size=1)
    with pytest.raises(InputError, match=naming("rmse", "wmse")):
        dbd.gears.fit(cells, split, ontology(), loss="rmse")
    if not torch.cuda.is_available():
        with pytest.raises(InputError, match=naming("GPU", "--device cpu")):
            dbd.gears.fit(cells, split, ontology(), device="cuda")


def test_options_have_cell_gears_defaults():
    options = dbd.gears.TrainingOptions()
    assert (options.learning_rate, options.weight_decay, options.batch_size, options.hidden_size) == (
        1e-3,
        5e-4,
        32,
        64,
    )
    assert (options.learning_rate_decay, options.clip, options.direction_lambda) == (0.5, 1.0, 0.1)
    for change in ({"epochs": 0}, {"learning_rate": 0.0}, {"messages": "none"}, {"training_cells": 0}):
        with pytest.raises(InputError, match=next(iter(change))):
            replace(options, **change)
