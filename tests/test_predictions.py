"""Files of predictions: what is written is read, and what does not belong to the data set is refused."""

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from examples import make_expression
from messages import naming

from diversity_by_design import PerturbationStatistics
from diversity_by_design.errors import InputError
from diversity_by_design.predictions import (
    Prediction,
    predicted_by_all,
    prediction_files,
    read_predictions,
)
from diversity_by_design.running.checksum import sha256

CHECKSUM = "ab" * 32


def checksums(folder):
    return {path.name: sha256(path) for path in prediction_files(folder)}


@pytest.fixture(scope="module")
def statistics():
    return PerturbationStatistics.from_anndata(make_expression(seed=3, n_labels=6, n_genes=12))


def table(statistics, labels=("P0+P1", "P2", "P1")) -> pd.DataFrame:
    values = np.arange(len(labels) * 12, dtype=float).reshape(len(labels), 12) / 7 - 1
    return pd.DataFrame(values, index=list(labels), columns=statistics.genes)


def write(folder, expression, loss="mse", seed=0, model="gears", **others):
    arguments = {"half": np.arange(len(expression)) % 2, "task": "unseen", "run": "A", "dataset_checksum": CHECKSUM}
    prediction = Prediction(model=model, loss=loss, seed=seed, expression=expression, **arguments | others)
    return prediction.write(folder)


def facts(adata) -> dict:
    return adata.uns["prediction"]


def edit(path, change) -> None:
    adata = ad.read_h5ad(path)
    adata = change(adata) or adata
    adata.write_h5ad(path)


def test_what_was_written_is_read_again_by_label(statistics, tmp_path):
    expression = table(statistics)
    path = write(tmp_path, expression, loss="wmse^0.5", seed=3, run="20 epochs")
    assert path.name == "gears_wmse-power0.5_seed3.h5ad"
    (found,) = read_predictions(tmp_path, statistics, CHECKSUM)
    assert (found.loss, found.seed, found.task, found.predictor) == ("wmse^0.5", 3, "unseen", "gears_wmse^0.5")
    assert (found.model, found.run, found.dataset_checksum) == ("gears", "20 epochs", CHECKSUM)
    assert found.labels.tolist() == ["P0+P1", "P2", "P1"]
    assert found.half.tolist() == [0, 1, 0]
    aligned = found.aligned(statistics.labels)
    for label, row in zip(statistics.labels, aligned, strict=True):
        if label in expression.index:
            assert row.tolist() == expression.loc[label].to_numpy(np.float32).tolist()
        else:
            assert np.isnan(row).all()


def test_file_is_as_documented_for_other_readers(statistics, tmp_path):
    adata = ad.read_h5ad(write(tmp_path, table(statistics)))
    assert adata.X.dtype == np.float32
    assert adata.obs["is_combination"].tolist() == [True, False, False]
    assert adata.var_names.tolist() == statistics.genes.tolist()
    expected = {"model": "gears", "loss": "mse", "seed": 0, "task": "unseen", "run": "A", "dataset_checksum": CHECKSUM}
    assert dict(facts(adata)) == expected


def test_a_model_without_a_choice_of_losses_has_its_own_name(statistics, tmp_path):
    path = write(tmp_path, table(statistics), loss=None, model="scgpt")
    assert path.name == "scgpt_seed0.h5ad"
    write(tmp_path, table(statistics), loss="wmse")
    write(tmp_path, table(statistics), loss="wmse", model="decoder")
    found = read_predictions(tmp_path, statistics, CHECKSUM)
    assert [one.predictor for one in found] == ["decoder_wmse", "gears_wmse", "scgpt"]
    assert [(one.model, one.loss) for one in found] == [("decoder", "wmse"), ("gears", "wmse"), ("scgpt", None)]


def test_files_that_name_no_model_are_of_gears(statistics, tmp_path):
    """As they were written before there were other models, with combinations in any order."""

    def old(adata):
        adata.uns["gears"] = {name: value for name, value in adata.uns.pop("prediction").items() if name != "model"}
        adata.obs_names = ["P1+P0", "P2", "P1+ctrl"]

    edit(write(tmp_path, table(statistics)), old)
    (found,) = read_predictions(tmp_path, statistics, CHECKSUM)
    assert (found.model, found.loss, found.predictor) == ("gears", "mse", "gears_mse")
    assert found.labels.tolist() == ["P0+P1", "P2", "P1"]
    np.testing.assert_array_equal(found.aligned(pd.Index(["P0+P1"]))[0], table(statistics).iloc[0].astype(np.float32))


def test_labels_are_written_in_canonical_form(statistics, tmp_path):
    write(tmp_path, table(statistics, ["P1+P0", "P2+control", "P1"]))
    (found,) = read_predictions(tmp_path, statistics, CHECKSUM)
    assert found.labels.tolist() == ["P0+P1", "P2", "P1"]
    with pytest.raises(InputError, match=naming("more than once", "P0+P1")):
        write(tmp_path, table(statistics, ["P1+P0", "P2", "P0+P1"]))


def test_losses_come_in_a_fixed_order_and_files_being_written_are_passed_over(statistics, tmp_path):
    for loss in ("wmse^2", "other", "wmse", "wmse^0.5", "gears", "wmse_all_cells", "mse"):
        for seed in (10, 2):
            write(tmp_path, table(statistics), loss=loss, seed=seed)
    (tmp_path / ".12345678.tmp.mse_seed4.h5ad").write_bytes(b"half of a file")
    found = read_predictions(tmp_path, statistics, CHECKSUM)
    losses = ["gears", "mse", "wmse", "wmse_all_cells", "other", "wmse^0.5", "wmse^2"]
    assert [(one.loss, one.seed) for one in found] == [(loss, seed) for loss in losses for seed in (2, 10)]
    assert len(checksums(tmp_path)) == 14


def test_no_folder_means_no_predictions(statistics, tmp_path):
    assert read_predictions(tmp_path / "none", statistics, CHECKSUM) == []
    assert checksums(tmp_path / "none") == {}


def test_checksums_tell_when_a_file_changes(statistics, tmp_path):
    write(tmp_path, table(statistics))
    before = checksums(tmp_path)
    write(tmp_path, table(statistics))
    assert checksums(tmp_path) == before
    write(tmp_path, table(statistics) + 1)
    assert set(checksums(tmp_path)) == set(before)
    assert checksums(tmp_path) != before


@pytest.mark.filterwarnings("ignore:Observation names are not unique")
@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda a: facts(a).update(dataset_checksum="cd" * 32), ("cd" * 6, "ab" * 6)),
        (lambda a: a[:, 1:].copy(), ("1 are missing", "gene0", "0 are unknown", 12)),
        (lambda a: a[:, ::-1].copy(), ("order", "0 are missing", "0 are unknown")),
        (lambda a: setattr(a, "obs_names", ["P2", "XY1", "P1"]), (1, "XY1", "P0")),
        (lambda a: setattr(a, "obs_names", ["P2", "P2", "P1"]), ("more than once", "P2")),
        (lambda a: a.X.__setitem__((1, 2), np.nan), ("1 value", "nan", "'P2'")),
        (lambda a: facts(a).update(task="pairs"), ("task", "'pairs'", "combinations", "unseen")),
        (lambda a: facts(a).update(loss="wmse^x"), ("'wmse^x'", "'x'")),
        (lambda a: facts(a).pop("seed") and None, ("'seed'", "model", "task", "run", "dataset_checksum")),
        (lambda a: facts(a).pop("run") and None, ("'run'", "model", "task", "run", "dataset_checksum")),
        (lambda a: a.uns.pop("prediction") and None, ("uns['prediction']",)),
        (lambda a: a.obs.__delitem__("half"), ("obs['half']",)),
    ],
)
def test_what_is_not_of_this_data_set_is_refused_by_name(change, said, statistics, tmp_path):
    path = write(tmp_path, table(statistics))
    edit(path, change)
    with pytest.raises(InputError, match=naming(path, *said)):
        read_predictions(tmp_path, statistics, CHECKSUM)


def test_a_damaged_file_is_named(statistics, tmp_path):
    (tmp_path / "mse_seed0.h5ad").write_bytes(b"not HDF5")
    with pytest.raises(InputError, match=naming(tmp_path / "mse_seed0.h5ad")):
        read_predictions(tmp_path, statistics, CHECKSUM)


def test_two_files_of_one_loss_and_seed_or_two_tasks_are_refused(statistics, tmp_path):
    path = write(tmp_path, table(statistics))
    path.rename(tmp_path / "copy.h5ad")
    write(tmp_path, table(statistics))
    with pytest.raises(InputError, match=naming("copy.h5ad", "gears_mse_seed0.h5ad", "gears_mse", "seed 0")):
        read_predictions(tmp_path, statistics, CHECKSUM)
    (tmp_path / "copy.h5ad").unlink()
    write(tmp_path, table(statistics), loss="wmse", task="combinations")
    with pytest.raises(InputError, match=naming("combinations", "unseen")):
        read_predictions(tmp_path, statistics, CHECKSUM)


def test_files_of_different_runs_are_refused_and_told_apart(statistics, tmp_path):
    write(tmp_path, table(statistics), loss="gears", run="20 epochs")
    write(tmp_path, table(statistics), loss="mse", run="5 epochs")
    write(tmp_path, table(statistics), loss="wmse", run="20 epochs")
    files = [
        "gears_gears_seed0.h5ad, gears_wmse_seed0.h5ad of run '20 epochs'",
        "gears_mse_seed0.h5ad of run '5 epochs'",
    ]
    with pytest.raises(InputError, match=naming("2 runs", *files, "analysis 4")):
        read_predictions(tmp_path, statistics, CHECKSUM)
    # What the runs are called says more than that a loss and seed are there twice.
    (tmp_path / "gears_mse_seed0.h5ad").unlink()
    write(tmp_path, table(statistics), loss="wmse", run="5 epochs").rename(tmp_path / "copy.h5ad")
    write(tmp_path, table(statistics), loss="wmse", run="20 epochs")
    with pytest.raises(InputError, match=naming("2 runs", "copy.h5ad of run '5 epochs'", "gears_gears_seed0.h5ad")):
        read_predictions(tmp_path, statistics, CHECKSUM)
    (tmp_path / "copy.h5ad").unlink()
    assert [one.loss for one in read_predictions(tmp_path, statistics, CHECKSUM)] == ["gears", "wmse"]


def test_what_cannot_be_right_is_not_written(statistics, tmp_path):
    good = table(statistics)
    for expression, others, said in (
        (good.where(good < 3), {}, ("gears_mse", "finite")),
        (good.iloc[:0], {}, (0, (0,))),
        (good.iloc[[0, 0]], {}, ("more than once", "P0+P1")),
        (good, {"half": [0, 1]}, (3, (2,))),
        (good, {"task": "both"}, ("task", "'both'")),
        (good, {"loss": "wmse^"}, ("'wmse^'", "''")),
    ):
        with pytest.raises(InputError, match=naming(*said)):
            write(tmp_path, expression, **others)
    assert list(tmp_path.iterdir()) == []


def test_only_what_every_model_predicts_is_compared(statistics, tmp_path):
    write(tmp_path, table(statistics, ["P3", "P1", "P2"]), loss="mse")
    write(tmp_path, table(statistics, ["P0", "P2", "P3"]), loss="wmse")
    both = read_predictions(tmp_path, statistics, CHECKSUM)
    assert predicted_by_all(both, statistics.labels).tolist() == ["P2", "P3"]
    write(tmp_path, table(statistics, ["P1", "P0"]), loss="gears")
    with pytest.raises(InputError, match=naming("gears_gears seed 0: 2", "gears_mse seed 0: 3")):
        predicted_by_all(read_predictions(tmp_path, statistics, CHECKSUM), statistics.labels)
