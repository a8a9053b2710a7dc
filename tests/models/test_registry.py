"""Any model by its name: one from outside, without torch, and what a model cannot do."""

import subprocess
import sys
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from mean_model import MeanModel
from messages import naming
from small_gears import COMBINATIONS, SINGLES, screen

import diversity_by_design as dbd
from diversity_by_design.errors import InputError
from diversity_by_design.models.jobs import Job, JobSetting, run_jobs
from diversity_by_design.models.splits import Split
from diversity_by_design.models.storage import read_arrays, write_arrays
from diversity_by_design.predictions import Prediction, read_predictions
from diversity_by_design.running.checksum import sha256
from diversity_by_design.running.executors import executor


@pytest.fixture(scope="module")
def cells():
    return screen()


@pytest.fixture(scope="module")
def splits():
    return dbd.models.make_splits("combinations", [*SINGLES, *COMBINATIONS], seed=0)


@pytest.fixture(params=["mean_model:MeanModel", MeanModel], ids=["by name", "the class"])
def row(request):
    row = dbd.models.register("mean_model", "Mean", request.param)
    yield row
    dbd.models.MODELS.remove("mean_model")


def test_a_model_from_outside_is_fitted_predicts_is_saved_and_loaded(row, cells, splits, tmp_path):
    fitted = dbd.models.fit("mean_model", cells, splits[0])
    statistics = dbd.PerturbationStatistics.from_anndata(cells)
    mean = statistics.select(labels=splits[0].labels("train")).perturbed_mean
    a, b = COMBINATIONS[0].split("+")
    predicted = fitted.predict([f"{b}+{a}", "P07+ctrl", "control"])
    assert predicted.index.tolist() == [COMBINATIONS[0], "P07", "control"] and predicted.index.name == "perturbation"
    assert predicted.columns.equals(cells.var_names)
    np.testing.assert_array_equal(predicted, np.tile(mean, (3, 1)))
    assert fitted.predict("P00").shape == (1, cells.n_vars) and fitted.predict([]).shape == (0, cells.n_vars)

    fitted.save(tmp_path / "model.safetensors")
    loaded = dbd.models.load(tmp_path / "model.safetensors")
    assert isinstance(loaded, MeanModel)
    pd.testing.assert_frame_equal(loaded.predict(SINGLES), fitted.predict(SINGLES))
    with pytest.raises(InputError, match=naming("conditions", 1, "A+B")):
        fitted.predict(["A+B", "B+A"])


@pytest.mark.parametrize("workers", [1, 2])
def test_it_runs_as_jobs_here_and_in_other_processes(workers, cells, splits, tmp_path):
    path = tmp_path / "processed.h5ad"
    cells.write_h5ad(path)
    setting = JobSetting(
        data=path, checksum=sha256(path), splits=splits, graphs=({}, {}), options={}, folder=tmp_path,
        models=tmp_path / "models", device="cpu", threads=1, tensorboard=False, code="",
    )  # fmt: skip
    jobs = [Job(dbd.models.Model("mean_model", "Mean", "mean_model:MeanModel"), None, half, 0) for half in (0, 1)]
    with executor(workers) as where:
        outcomes = dict(run_jobs(jobs, setting, where))
    for job, split in zip(jobs, splits, strict=True):
        assert not outcomes[job].error
        expected = MeanModel.fit(dbd.models.Cells.of(cells, split), split).predict(split.labels("test"))
        pd.testing.assert_frame_equal(outcomes[job].value.predictions, expected)
        assert (job.name, job.predictor) == (f"mean_model_half{job.half}_seed0", "mean_model")
        assert (tmp_path / "models" / f"{job.name}.safetensors").exists()


def test_it_is_scored_and_reported(row, cells, splits, tmp_path):
    """As a file of predictions under its name, and as the fitted model itself; both ways give the same scores."""
    split, statistics = splits[0], dbd.PerturbationStatistics.from_anndata(cells)
    fitted = dbd.models.fit("mean_model", cells, split)
    test = split.labels("test")
    Prediction(
        model=fitted.name, loss=row.loss, seed=0, task=split.task, run="", dataset_checksum="ab",
        expression=fitted.predict(test), half=np.zeros(len(test)),
    ).write(tmp_path)  # fmt: skip
    (prediction,) = read_predictions(tmp_path, statistics, "ab")
    truth = dbd.Truth.from_anndata(cells, train=split.labels("train"), halvings=2, seed=0)
    card = dbd.score(truth, {prediction.predictor: prediction.expression, "fitted": fitted}, metrics=["mse"])
    assert card.models == ["mean_model", "fitted"]
    scores = card.table[card.table["perturbation"].isin(test)].pivot_table("value", "perturbation", "predictor")
    np.testing.assert_allclose(scores["mean_model"], scores["fitted"], rtol=1e-6)
    card.to_html(tmp_path / "card.html")
    assert "<td>mean_model</td>" in (tmp_path / "card.html").read_text()


def test_a_row_need_not_be_registered(cells, splits, tmp_path):
    row = dbd.models.Model("mean_model", "Mean", MeanModel)
    fitted = dbd.models.fit(row, cells, splits[0])
    fitted.save(tmp_path / "model")
    with pytest.raises(InputError, match=naming("'mean_model'", "gears")):
        dbd.models.load(tmp_path / "model")


def test_what_a_model_cannot_do_is_said(cells, splits):
    row = dbd.models.Model("mean_model", "Mean", MeanModel)
    unseen = dbd.models.make_splits("unseen", SINGLES, seed=0)[0]
    assert row.reason_against(splits[0], {}) is None and row.reason_against(unseen, {}) is None
    for changes, split, said in (
        ({"together": 1}, splits[0], ("Mean", 1, "P00+P01")),
        ({"unseen": False}, unseen, ("Mean", *unseen.labels("test")[:1])),
        ({"unseen": "graph"}, unseen, ("Mean", "graph=")),
    ):
        limited = replace(row, **changes)
        with pytest.raises(InputError, match=naming(*said)):
            dbd.models.fit(limited, cells, split)
        assert limited.reason_against(split, {"graph": "one"}) is None or changes.get("unseen") != "graph"
    assert replace(row, unseen=False).reason_against(splits[0], {}) is None


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"packages": ("no_such_package",)}, ("Mean", "no_such_package", "pip install")),
        ({"implementation": "mean_model:Median"}, ("'mean_model'", "'mean_model:Median'")),
        ({"implementation": "no_such_module:Model"}, ("'mean_model'", "'no_such_module:Model'")),
        ({"implementation": "mean_model"}, ("'mean_model'", "FittedModel")),
        ({"implementation": "small_gears:screen"}, ("'mean_model'", "FittedModel")),
        ({"name": "other"}, ("'other'", "FittedModel")),
    ],
)
def test_rows_that_lead_nowhere(changes, said, cells, splits):
    row = replace(dbd.models.Model("mean_model", "Mean", "mean_model:MeanModel"), **changes)
    with pytest.raises(InputError, match=naming(*said)):
        dbd.models.fit(row, cells, splits[0])


def test_arguments_of_another_kind_are_explained(cells, splits):
    row = dbd.models.Model("mean_model", "Mean", MeanModel)
    for arguments, options, said in (
        (("gear", cells, splits[0]), {}, ("'gear'", "'gears'")),
        ((MeanModel, cells, splits[0]), {}, ("MeanModel", "gears", "Model")),
        ((row, cells, splits), {}, ("split", "tuple", "Split")),
        ((row, cells, splits[0]), {"loss": "mse"}, ("loss", "'mse'", "Mean")),
        ((row, cells, splits[0]), {"loss": 0.5}, ("loss", "float")),
        ((row, cells, splits[0]), {"perturbation": "guide"}, ("'guide'", "condition")),
        ((row, cells, splits[0]), {"control": "NT"}, ("'NT'", "control")),
        ((row, cells[cells.obs["condition"] != SINGLES[0]].copy(), splits[0]), {}, ("'condition'", SINGLES[0])),
    ):
        with pytest.raises(InputError, match=naming(*said)):
            dbd.models.fit(*arguments, **options)


def test_what_is_no_model_is_not_loaded(tmp_path):
    for name, content in (("text", b"nothing"), ("empty", b"")):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(InputError, match=naming(tmp_path / name)):
            dbd.models.load(tmp_path / name)
    with pytest.raises(InputError, match=naming(tmp_path / "none")):
        dbd.models.load(tmp_path / "none")
    write_arrays(tmp_path / "checkpoint", {}, {"of": {}})
    with pytest.raises(InputError, match=naming(tmp_path / "checkpoint")):
        dbd.models.load(tmp_path / "checkpoint")


def test_arrays_come_back_as_they_were(tmp_path):
    arrays = {
        "transposed": np.arange(6, dtype=np.float32).reshape(2, 3).T,
        "number": np.array(7, dtype=np.int64),
        "none": np.zeros((0, 3)),
        "mask": np.array([True, False]),
    }
    write_arrays(tmp_path / "arrays", arrays, {"of": ["text", 1.5, None]})
    found, about = read_arrays(tmp_path / "arrays")
    assert about == {"of": ["text", 1.5, None]}
    for name, values in arrays.items():
        assert found[name].dtype == values.dtype and found[name].shape == values.shape
        np.testing.assert_array_equal(found[name], values)


def test_models_are_known_without_torch():
    code = (
        "import sys, diversity_by_design as dbd; dbd.models.MODELS, dbd.models.make_splits, dbd.gears.make_splits;"
        "import diversity_by_design.models.jobs;"
        "print(list(dbd.models.MODELS), {'torch', 'scanpy', 'anndata'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout.strip() == "['gears'] set()"


def test_every_name_exists():
    pytest.importorskip("torch")
    for module in (dbd.models, dbd.gears):
        assert all(getattr(module, name) is not None for name in module.__all__)
        assert dir(module) == sorted(module.__all__)
    assert dbd.losses.WMSELoss is dbd.gears.WMSELoss is dbd.models.losses.WMSELoss
    with pytest.raises(AttributeError, match=naming("'nothing'")):
        _ = dbd.models.nothing


@pytest.mark.parametrize("control", [99, 99.0, "99", "99.0"])
def test_labels_may_be_numbers(control, cells):
    numbers = {name: float(number) for number, name in enumerate(cells.obs["condition"].unique())}
    numbered = cells.copy()
    numbered.obs["condition"] = cells.obs["condition"].map(numbers | {"control": 99.0}).astype(float)
    labels = [f"{number:.0f}" for name, number in numbers.items() if name != "control"]
    roles = pd.Series(["train", "validation", *["test"] * (len(labels) - 2)], labels)
    taken = dbd.models.Cells.of(numbered, Split("unseen", 0, 0, roles), control=control)
    assert taken.control == "99" and set(taken.statistics.labels) == set(labels)
