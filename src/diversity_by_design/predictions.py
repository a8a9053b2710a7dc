"""Predictions of models as files: one per model, loss and seed, perturbations by genes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from diversity_by_design.errors import InputError, listed, unique_names
from diversity_by_design.labels import is_combination, label_index
from diversity_by_design.loss_names import LOSSES, loss_power
from diversity_by_design.running.hdf5 import write_anndata
from diversity_by_design.statistics import PerturbationStatistics

# Where training leaves them, inside the results of a data set.
FOLDER = Path("4_train_gears") / "predictions"
TASKS = ("combinations", "unseen")

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
        What tells the split and the options of training, other than model, loss and seed, from other ones: only
        predictions of the same run may be compared.
    dataset_checksum : str
        Of the prepared file that the model was trained on.
    expression : float32 DataFrame (perturbations, genes)
        Predicted mean log1p expression; perturbations in canonical form, genes of the data set in its order.
    half : int64 array (perturbations,)
        In which half of the split each was tested.

    Raises
    ------
    InputError
        Perturbations or genes occur twice, values are not finite, `half` has another length, or there is no such task
        or power of weights.
    """

    model: str
    loss: str | None
    seed: int
    task: str
    run: str
    dataset_checksum: str
    expression: pd.DataFrame
    half: npt.NDArray[np.int64]

    def __post_init__(self) -> None:
        loss_power(self.loss or "")
        where = f"prediction of {self.predictor}, seed {self.seed}"
        labels, genes = label_index(self.expression.index, where), self.expression.columns.astype(str)
        unique_names(genes, "gene", where)
        half = np.asarray(self.half, dtype=np.int64)
        if self.task not in TASKS:
            raise InputError(f"{where}: task is {self.task!r}; it must be one of: {listed(TASKS)}")
        if half.shape != (len(labels),) or not len(labels):
            raise InputError(f"{where}: {len(labels)} perturbations, half of shape {half.shape}; expected one for each")
        values = self.expression.to_numpy(np.float32)
        bad = np.argwhere(~np.isfinite(values))
        if len(bad):
            row, column = bad[0]
            raise InputError(
                f"{where}: {len(bad)} value(s) that are not finite, the first {values[row, column]} for "
                f"{labels[row]!r}, gene {genes[column]!r}; leave out what is not predicted"
            )
        object.__setattr__(self, "expression", pd.DataFrame(values, index=labels, columns=genes))
        object.__setattr__(self, "half", half)

    @property
    def predictor(self) -> str:
        """What the model is called in tables and figures, whatever its seed."""
        return predictor_name(self.model, self.loss)

    @property
    def labels(self) -> pd.Index:
        """Perturbations that the model predicts."""
        return self.expression.index

    def aligned(self, labels: pd.Index) -> npt.NDArray[np.float32]:
        """The predictions for `labels` (labels, genes); a row of NaN for each that is not predicted."""
        return self.expression.reindex(labels).to_numpy(np.float32)

    def write(self, folder: Path) -> Path:
        """Write an h5ad file, whole or not at all, and return its path."""
        import anndata as ad

        facts = {"seed": int(self.seed)} | {name: getattr(self, name) for name in _TEXTS}
        if self.loss is not None:
            facts["loss"] = self.loss
        path = folder / f"{file_stem(self.model, self.loss)}_seed{self.seed}.h5ad"
        obs = pd.DataFrame({"half": self.half, "is_combination": is_combination(self.labels)}, index=self.labels)
        var = pd.DataFrame(index=self.expression.columns)
        write_anndata(path, ad.AnnData(self.expression.to_numpy(), obs=obs, var=var, uns={_KEY: facts}))
        return path

    @classmethod
    def read(cls, path: Path) -> Prediction:
        """Read a file of `write`.

        Raises
        ------
        InputError
            It is something else, or holds what no prediction may have.
        """
        import anndata as ad

        try:
            adata = ad.read_h5ad(path)
            facts = {"model": _GEARS, **adata.uns[_KEY if _KEY in adata.uns else _GEARS]}
            texts = {name: str(facts[name]) for name in _TEXTS}
            seed, half = int(facts["seed"]), adata.obs["half"].to_numpy(np.int64)
        except (OSError, KeyError, TypeError, ValueError) as error:
            raise InputError(
                f"{path} is no file of predictions ({type(error).__name__}: {error}); expected an h5ad file with "
                f"uns[{_KEY!r}] ({listed(_TEXTS)}, seed, and a loss if there is a choice) and obs['half'], as analysis "
                "4 writes it"
            ) from error
        try:
            return cls(**texts, loss=facts.get("loss"), seed=seed, expression=adata.to_df(), half=half)
        except InputError as error:
            raise InputError(f"{path}: {error}") from error


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


def prediction_files(folder: Path) -> list[Path]:
    """Files of predictions, sorted; those that are being written have names that begin with a dot."""
    return sorted(folder.glob("[!.]*.h5ad"))


def read_predictions(folder: Path, statistics: PerturbationStatistics, dataset_checksum: str) -> list[Prediction]:
    """Read all predictions in a folder, and check that they are of this data set and fit each other.

    By model, loss (see `LOSSES`) and seed; none if there is no folder. `dataset_checksum` is that of the prepared file.
    Raises InputError where a file is no file of predictions, is of another data set, or has other genes or unknown
    perturbations; two files have the same model, loss and seed; or the files are of different tasks or runs.
    """
    predictions = {path: Prediction.read(path) for path in prediction_files(folder)}
    for path, prediction in predictions.items():
        _require_data_set(path, prediction, statistics, dataset_checksum)
    tasks = sorted({prediction.task for prediction in predictions.values()})
    if len(tasks) > 1:
        raise InputError(
            f"{folder} holds predictions of different tasks ({listed(tasks)}), which are tested on different "
            "perturbations; keep those of one task there"
        )
    by_run: dict[str, list[str]] = {}
    for path, prediction in predictions.items():
        by_run.setdefault(prediction.run, []).append(path.name)
    if len(by_run) > 1:
        files = "; ".join(f"{listed(names)} of run {run!r}" for run, names in by_run.items())
        raise InputError(
            f"{folder} holds predictions of {len(by_run)} runs, whose splits or options of training differ ({files}); "
            "keep those of one run there and move the others away, or run analysis 4 again"
        )
    keys = {path: f"{prediction.predictor}, seed {prediction.seed}" for path, prediction in predictions.items()}
    (key, n), *_ = Counter(keys.values()).most_common(1) or [("", 0)]
    if n > 1:
        same = [path.name for path in keys if keys[path] == key]
        raise InputError(f"{folder}: {listed(same)} are all of {key}; keep one of them")
    return sorted(predictions.values(), key=lambda one: (one.model, _rank(one.loss), one.seed))


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


def _rank(loss: str | None) -> tuple[bool, int, float, str]:
    base, power = loss_power(loss or "")
    return power is not None, LOSSES.index(base) if base in LOSSES else len(LOSSES), power or 0.0, base


def _require_data_set(
    path: Path, prediction: Prediction, statistics: PerturbationStatistics, dataset_checksum: str
) -> None:
    """Raise InputError unless a prediction is of this data set."""
    if prediction.dataset_checksum != dataset_checksum:
        raise InputError(
            f"{path} was made for another data set, or for the same prepared otherwise (checksum "
            f"{prediction.dataset_checksum[:12]}, here {dataset_checksum[:12]}); run analysis 4 again, or move it away"
        )
    genes, expected = prediction.expression.columns, statistics.genes
    if not genes.equals(expected):
        lacking, extra = expected.difference(genes), genes.difference(expected)
        raise InputError(
            f"{path} has other genes than the data set, or has them in another order: {len(lacking)} are missing "
            f"({listed(lacking, 3)}), {len(extra)} are unknown ({listed(extra, 3)}); all {len(expected)} are needed"
        )
    unknown = prediction.labels.difference(statistics.labels)
    if len(unknown):
        raise InputError(
            f"{path} predicts {len(unknown)} perturbation(s) that the data set does not have: {listed(unknown, 5)}; "
            f"it has {listed(statistics.labels, 5)}"
        )
