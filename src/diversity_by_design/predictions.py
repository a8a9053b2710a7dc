"""Predictions of models as files: one per model, loss and seed, perturbations by genes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from diversity_by_design import errors
from diversity_by_design.errors import InputError, listed
from diversity_by_design.labels import is_combination, label_index
from diversity_by_design.running.checksum import sha256
from diversity_by_design.running.hdf5 import write_anndata
from diversity_by_design.statistics import PerturbationStatistics

# Where training leaves them, inside the results of a data set.
FOLDER = Path("4_train_gears") / "predictions"
TASKS = ("combinations", "unseen")
# The order in which tables and figures have the losses; powers of weights follow.
LOSSES = ("gears", "mse", "wmse", "wmse_all_cells", "wmse_released")

_KEY = "prediction"
_TEXTS = ("model", "task", "run", "dataset_checksum")
# Files from before predictions could be of other models.
_GEARS = "gears"


@dataclass(frozen=True, eq=False)
class Prediction:
    """What a model predicts that was trained with one loss and one seed.

    Attributes
    ----------
    model : str
    loss : str or None
        None for a model that has no choice of losses.
    seed : int
    task : str
        One of `TASKS`.
    run : str
        Of which run: only predictions of the same run may be compared, see `write_predictions`.
    dataset_checksum : str
        Of the prepared file that the model was trained on.
    labels : pandas.Index (perturbations,)
        Those that the model predicts, in canonical form.
    expression : float32 array (perturbations, genes)
        Mean log1p expression; genes are those of the data set, in its order.
    half : int64 array (perturbations,)
        In which half of the split each was tested.
    """

    model: str
    loss: str | None
    seed: int
    task: str
    run: str
    dataset_checksum: str
    labels: pd.Index
    expression: npt.NDArray[np.float32]
    half: npt.NDArray[np.int64]

    @property
    def predictor(self) -> str:
        """What the model is called in tables and figures, whatever its seed."""
        return predictor_name(self.model, self.loss)

    def aligned(self, labels: pd.Index) -> npt.NDArray[np.float32]:
        """The predictions for `labels` (labels, genes); a row of NaN for each that is not predicted."""
        rows = self.labels.get_indexer(labels)
        return np.where((rows >= 0)[:, None], self.expression[rows], np.float32(np.nan))


def predictor_name(model: str, loss: str | None) -> str:
    """What a model is called in tables and figures: with its loss, if it has a choice of losses.

    Examples
    --------
    >>> predictor_name("gears", "wmse"), predictor_name("scgpt", None)
    ('gears_wmse', 'scgpt')
    """
    return model if loss is None else f"{model}_{loss}"


def file_stem(model: str, loss: str | None) -> str:
    """Beginning of the names of a model's files, in which a caret is no good.

    Examples
    --------
    >>> file_stem("gears", "wmse^0.5")
    'gears_wmse-power0.5'
    """
    return predictor_name(model, loss).replace("^", "-power")


def prediction_path(folder: Path, model: str, loss: str | None, seed: int) -> Path:
    """The file of a model, loss and seed.

    Examples
    --------
    >>> prediction_path(Path(), "gears", "wmse^0.5", 3).name
    'gears_wmse-power0.5_seed3.h5ad'
    """
    return folder / f"{file_stem(model, loss)}_seed{seed}.h5ad"


def prediction_checksums(folder: Path) -> dict[str, str]:
    """SHA-256 of every file of predictions in `folder` by its name; none if there is no such folder."""
    return {path.name: sha256(path) for path in _files(folder)}


def loss_power(loss: str) -> tuple[str, float | None]:
    """Split a loss's name into its base and the power that its weights are raised to; None without one.

    Raises
    ------
    InputError
        What follows ``^`` is no number.

    Examples
    --------
    >>> loss_power("wmse^0.5"), loss_power("mse")
    (('wmse', 0.5), ('mse', None))
    """
    base, raised, power = loss.partition("^")
    try:
        return base, float(power) if raised else None
    except ValueError:
        raise InputError(f"loss {loss!r}: {power!r} is no power; expected a number, such as wmse^0.5") from None


def write_predictions(
    path: Path,
    expression: pd.DataFrame,
    half: npt.ArrayLike,
    *,
    model: str,
    loss: str | None,
    seed: int,
    task: str,
    run: str,
    dataset_checksum: str,
) -> None:
    """Write predictions of one model, loss and seed as an h5ad file, whole or not at all.

    Parameters
    ----------
    path : Path
        See `prediction_path`.
    expression : DataFrame (perturbations, genes)
        Predicted mean log1p expression; the index names the perturbations, the columns all genes of the data set in
        its order.
    half : int array (perturbations,)
        In which half of the split each was tested.
    model : str
    loss : str or None
        None for a model that has no choice of losses.
    seed : int
    task : str
        One of `TASKS`.
    run : str
        What tells the split and the options of training, other than model, loss and seed, from other ones: the same
        for all files that may be compared.
    dataset_checksum : str
        Of the prepared file that the models were trained on.

    Raises
    ------
    InputError
        Perturbations or genes occur twice, values are not finite, `half` has another length, or no such task. The disk
        is full or the folder cannot be written to.
    """
    import anndata as ad

    halves = np.asarray(half, dtype=np.int64)
    if halves.shape != (len(expression),):
        raise InputError(f"{path.name}: half has shape {halves.shape}; expected ({len(expression)},), one a row")
    values = expression.to_numpy(np.float32)
    labels = label_index(expression.index, path.name)
    _check(path.name, values, labels, expression.columns, task, loss)
    obs = pd.DataFrame({"half": halves, "is_combination": is_combination(labels)}, index=labels)
    facts = {"model": model, "seed": int(seed), "task": task, "run": run, "dataset_checksum": dataset_checksum}
    if loss is not None:
        facts["loss"] = loss
    adata = ad.AnnData(
        values,
        obs=obs,
        var=pd.DataFrame(index=expression.columns.astype(str)),
        uns={_KEY: facts},
    )
    write_anndata(path, adata)


def read_predictions(folder: Path, statistics: PerturbationStatistics, dataset_checksum: str) -> list[Prediction]:
    """Read all predictions in a folder, and check that they are of this data set.

    Parameters
    ----------
    folder : Path
        It need not exist.
    statistics : PerturbationStatistics
        Of the data set.
    dataset_checksum : str
        Of the prepared file.

    Returns
    -------
    list of Prediction
        By model, loss (see `LOSSES`) and seed; empty if there are no files.

    Raises
    ------
    InputError
        A file is no file of predictions, is of another data set, has other genes, unknown perturbations or values that
        are not finite; two files have the same model, loss and seed; or the files are of different tasks or runs.
    """
    paths = _files(folder)
    predictions = [_read(path, statistics, dataset_checksum) for path in paths]
    tasks = sorted({prediction.task for prediction in predictions})
    if len(tasks) > 1:
        raise InputError(
            f"{folder} holds predictions of different tasks ({listed(tasks)}), which are tested on different "
            "perturbations; keep those of one task there"
        )
    by_run: dict[str, list[str]] = {}
    for path, prediction in zip(paths, predictions, strict=True):
        by_run.setdefault(prediction.run, []).append(path.name)
    if len(by_run) > 1:
        files = "; ".join(f"{listed(names)} of run {run!r}" for run, names in by_run.items())
        raise InputError(
            f"{folder} holds predictions of {len(by_run)} runs, whose splits or options of training differ ({files}); "
            "keep those of one run there and move the others away, or run analysis 4 again"
        )
    keys = [(prediction.predictor, prediction.seed) for prediction in predictions]
    repeated = [key for key, n in Counter(keys).items() if n > 1]
    if repeated:
        same = [path.name for path, key in zip(paths, keys, strict=True) if key == repeated[0]]
        raise InputError(f"{folder}: {listed(same)} are all of {repeated[0][0]}, seed {repeated[0][1]}; keep one")
    return sorted(predictions, key=lambda prediction: (prediction.model, _rank(prediction.loss), prediction.seed))


def predicted_by_all(predictions: Sequence[Prediction], labels: pd.Index) -> pd.Index:
    """Those of `labels` that every model predicts, in their order.

    Raises
    ------
    InputError
        There is none.
    """
    common = labels[[all(label in prediction.labels for prediction in predictions) for label in labels]]
    if not len(common):
        sizes = listed(f"{model.predictor} seed {model.seed}: {len(model.labels)}" for model in predictions)
        raise InputError(f"no perturbation is predicted by every model ({sizes}), so that nothing can be compared")
    return common


def _files(folder: Path) -> list[Path]:
    # Files that are being written have names that begin with a dot.
    return sorted(path for path in folder.glob("*.h5ad") if not path.name.startswith("."))


def _rank(loss: str | None) -> tuple[bool, int, float, str]:
    base, power = loss_power(loss or "")
    return power is not None, LOSSES.index(base) if base in LOSSES else len(LOSSES), power or 0.0, base


def _read(path: Path, statistics: PerturbationStatistics, dataset_checksum: str) -> Prediction:
    import anndata as ad

    try:
        adata = ad.read_h5ad(path)
        facts = {"model": _GEARS, **adata.uns[_KEY if _KEY in adata.uns else _GEARS]}
        texts = {name: str(facts[name]) for name in _TEXTS}
        seed, loss = int(facts["seed"]), facts.get("loss")
        half = adata.obs["half"].to_numpy(np.int64)
    except (OSError, KeyError, TypeError, ValueError) as error:
        raise InputError(
            f"{path} is no file of predictions ({type(error).__name__}: {error}); expected an h5ad file with "
            f"uns[{_KEY!r}] ({listed(_TEXTS)}, seed, and a loss if there is a choice) and obs['half'], as analysis 4 "
            "writes it"
        ) from error
    if texts["dataset_checksum"] != dataset_checksum:
        raise InputError(
            f"{path} was made for another data set, or for the same prepared otherwise (checksum "
            f"{texts['dataset_checksum'][:12]}, here {dataset_checksum[:12]}); run analysis 4 again, or move the file "
            "away"
        )
    expression, labels = np.asarray(adata.X, dtype=np.float32), label_index(adata.obs_names, str(path))
    _check(str(path), expression, labels, adata.var_names, texts["task"], loss)
    _require_genes(path, adata.var_names, statistics.genes)
    unknown = labels.difference(statistics.labels)
    if len(unknown):
        raise InputError(
            f"{path} predicts {len(unknown)} perturbation(s) that the data set does not have: {listed(unknown, 5)}; "
            f"it has {listed(statistics.labels, 5)}"
        )
    return Prediction(**texts, loss=loss, seed=seed, labels=labels, expression=expression, half=half)


def _check(
    where: str, values: npt.NDArray[np.float32], labels: pd.Index, genes: pd.Index, task: str, loss: str | None
) -> None:
    """Raise InputError for what neither writing nor reading lets through."""
    loss_power(loss or "")
    if task not in TASKS:
        raise InputError(f"{where}: task is {task!r}; it must be one of: {listed(TASKS)}")
    if not len(labels):
        raise InputError(f"{where} predicts no perturbation")
    errors.unique_names(genes, "gene", where)
    bad = np.argwhere(~np.isfinite(values))
    if len(bad):
        row, column = bad[0]
        raise InputError(
            f"{where} holds {len(bad)} prediction(s) that are not finite, the first {values[row, column]} for "
            f"{labels[row]!r}, gene {genes[column]!r}; leave out what is not predicted"
        )


def _require_genes(path: Path, found: pd.Index, expected: pd.Index) -> None:
    if found.equals(expected):
        return
    lacking, extra = expected.difference(found), found.difference(expected)
    if not len(lacking) and not len(extra):
        raise InputError(f"{path} has the data set's genes in another order; write them in that of the data set")
    raise InputError(
        f"{path} has other genes than the data set: {len(lacking)} are missing ({listed(lacking, 3)}), {len(extra)} "
        f"are unknown ({listed(extra, 3)}); all {len(expected)} of the data set are needed"
    )
