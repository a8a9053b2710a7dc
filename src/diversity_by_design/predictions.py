"""Predictions of trained models as files: one per loss and seed, perturbations by genes."""

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
from diversity_by_design.labels import is_combination
from diversity_by_design.running.checksum import sha256
from diversity_by_design.running.hdf5 import write_anndata
from diversity_by_design.statistics import PerturbationStatistics

# Where training leaves them, inside the results of a data set.
FOLDER = Path("4_train_gears") / "predictions"
PREFIX = "gears_"
TASKS = ("combinations", "unseen")
# The order in which tables and figures have the losses; powers of weights follow.
LOSSES = ("gears", "mse", "wmse", "wmse_all_cells", "wmse_released")

_KEY = "gears"
_FACTS = ("loss", "seed", "task", "run", "dataset_checksum")


@dataclass(frozen=True, eq=False)
class Prediction:
    """What a model predicts that was trained with one loss and one seed.

    Attributes
    ----------
    loss : str
    seed : int
    task : str
        One of `TASKS`.
    run : str
        Of which run: only predictions of the same run may be compared, see `write_predictions`.
    labels : pandas.Index (perturbations,)
        Those that the model predicts.
    expression : float32 array (perturbations, genes)
        Mean log1p expression; genes are those of the data set, in its order.
    half : int64 array (perturbations,)
        In which half of the split each was tested.
    """

    loss: str
    seed: int
    task: str
    run: str
    labels: pd.Index
    expression: npt.NDArray[np.float32]
    half: npt.NDArray[np.int64]

    @property
    def predictor(self) -> str:
        """What the model is called in tables and figures, whatever its seed."""
        return f"{PREFIX}{self.loss}"

    def aligned(self, labels: pd.Index) -> npt.NDArray[np.float32]:
        """The predictions for `labels` (labels, genes); a row of NaN for each that is not predicted."""
        rows = self.labels.get_indexer(labels)
        return np.where((rows >= 0)[:, None], self.expression[rows], np.float32(np.nan))


def prediction_path(folder: Path, loss: str, seed: int) -> Path:
    """The file of a loss and seed.

    Examples
    --------
    >>> prediction_path(Path(), "wmse^0.5", 3).name
    'wmse-power0.5_seed3.h5ad'
    """
    return folder / f"{loss.replace('^', '-power')}_seed{seed}.h5ad"


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
    loss: str,
    seed: int,
    task: str,
    run: str,
    dataset_checksum: str,
) -> None:
    """Write predictions of one loss and seed as an h5ad file, whole or not at all.

    Parameters
    ----------
    path : Path
        See `prediction_path`.
    expression : DataFrame (perturbations, genes)
        Predicted mean log1p expression; the index names the perturbations, the columns all genes of the data set in
        its order.
    half : int array (perturbations,)
        In which half of the split each was tested.
    loss : str
    seed : int
    task : str
        One of `TASKS`.
    run : str
        What tells the split and the options of training, other than loss and seed, from other ones: the same for all
        files that may be compared.
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
    loss_power(loss)
    values = expression.to_numpy(np.float32)
    _check(path.name, values, expression.index, expression.columns, task)
    obs = pd.DataFrame({"half": halves}, index=expression.index.astype(str))
    obs["is_combination"] = is_combination(obs.index)
    facts = {"loss": loss, "seed": int(seed), "task": task, "run": run, "dataset_checksum": dataset_checksum}
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
        By loss (see `LOSSES`), then by seed; empty if there are no files.

    Raises
    ------
    InputError
        A file is no file of predictions, is of another data set, has other genes, unknown perturbations or values that
        are not finite; two files have the same loss and seed; or the files are of different tasks or runs.
    """
    paths = _files(folder)
    found = [_read(path, statistics, dataset_checksum) for path in paths]
    tasks = sorted({prediction.task for prediction in found})
    if len(tasks) > 1:
        raise InputError(
            f"{folder} holds predictions of different tasks ({listed(tasks)}), which are tested on different "
            "perturbations; keep those of one task there"
        )
    by_run: dict[str, list[str]] = {}
    for path, one in zip(paths, found, strict=True):
        by_run.setdefault(one.run, []).append(path.name)
    if len(by_run) > 1:
        files = "; ".join(f"{listed(names)} of run {run!r}" for run, names in by_run.items())
        raise InputError(
            f"{folder} holds predictions of {len(by_run)} runs, whose splits or options of training differ ({files}); "
            "keep those of one run there and move the others away, or run analysis 4 again"
        )
    repeated = [key for key, n in Counter((found.loss, found.seed) for found in found).items() if n > 1]
    if repeated:
        loss, seed = repeated[0]
        same = [path.name for path, one in zip(paths, found, strict=True) if (one.loss, one.seed) == repeated[0]]
        raise InputError(f"{folder}: {listed(same)} are all of loss {loss!r} and seed {seed}; keep one of them")
    return sorted(found, key=lambda prediction: (_rank(prediction.loss), prediction.seed))


def predicted_by_all(predictions: Sequence[Prediction], labels: pd.Index) -> pd.Index:
    """Those of `labels` that every model predicts, in their order.

    Raises
    ------
    InputError
        There is none.
    """
    common = labels[[all(label in prediction.labels for prediction in predictions) for label in labels]]
    if not len(common):
        sizes = listed(f"{one.predictor} seed {one.seed}: {len(one.labels)}" for one in predictions)
        raise InputError(f"no perturbation is predicted by every model ({sizes}), so that nothing can be compared")
    return common


def _files(folder: Path) -> list[Path]:
    # Files that are being written have names that begin with a dot.
    return sorted(path for path in folder.glob("*.h5ad") if not path.name.startswith("."))


def _rank(loss: str) -> tuple[bool, int, float, str]:
    base, power = loss_power(loss)
    return power is not None, LOSSES.index(base) if base in LOSSES else len(LOSSES), power or 0.0, loss


def _read(path: Path, statistics: PerturbationStatistics, dataset_checksum: str) -> Prediction:
    import anndata as ad

    try:
        adata = ad.read_h5ad(path)
        facts = {name: adata.uns[_KEY][name] for name in _FACTS}
        half = adata.obs["half"].to_numpy(np.int64)
    except (OSError, KeyError, TypeError, ValueError) as error:
        raise InputError(
            f"{path} is no file of predictions ({type(error).__name__}: {error}); expected an h5ad file with "
            f"uns[{_KEY!r}] ({listed(_FACTS)}) and obs['half'], as analysis 4 writes it"
        ) from error
    if facts["dataset_checksum"] != dataset_checksum:
        raise InputError(
            f"{path} was made for another data set, or for the same prepared otherwise (checksum "
            f"{str(facts['dataset_checksum'])[:12]}, here {dataset_checksum[:12]}); run analysis 4 again, or move the "
            "file away"
        )
    expression = np.asarray(adata.X, dtype=np.float32)
    _check(str(path), expression, adata.obs_names, adata.var_names, str(facts["task"]))
    _require_genes(path, adata.var_names, statistics.genes)
    unknown = adata.obs_names.difference(statistics.labels)
    if len(unknown):
        raise InputError(
            f"{path} predicts {len(unknown)} perturbation(s) that the data set does not have: {listed(unknown, 5)}; "
            f"it has {listed(statistics.labels, 5)}"
        )
    loss = str(facts["loss"])
    loss_power(loss)
    task, run = str(facts["task"]), str(facts["run"])
    return Prediction(loss, int(facts["seed"]), task, run, pd.Index(adata.obs_names), expression, half)


def _check(where: str, values: npt.NDArray[np.float32], labels: pd.Index, genes: pd.Index, task: str) -> None:
    """Raise InputError for what neither writing nor reading lets through."""
    if task not in TASKS:
        raise InputError(f"{where}: task is {task!r}; it must be one of: {listed(TASKS)}")
    if not len(labels):
        raise InputError(f"{where} predicts no perturbation")
    errors.unique_names(labels, "perturbation", where)
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
