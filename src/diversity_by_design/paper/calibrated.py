"""All predictors in the mode "calibrated": models against references of the perturbations they were trained on."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import pandas as pd

from diversity_by_design.errors import InputError, listed
from diversity_by_design.models.splits import Split
from diversity_by_design.predictions import Prediction
from diversity_by_design.scorecard import Scorecard
from diversity_by_design.scoring import score
from diversity_by_design.truth import Truth

if TYPE_CHECKING:
    from anndata import AnnData


def calibrated_scores(
    cells: AnnData,
    predictions: Sequence[Prediction] = (),
    splits: Sequence[Split] = (),
    compared: pd.Index | None = None,
    *,
    seed: int = 0,
    workers: int | None = None,
) -> Scorecard:
    """Score the baselines, and models beside them, with all metrics.

    `cells` are a prepared data set, `splits` the halves that the models were trained on: a perturbation is scored
    against references of the training perturbations of the half that it was tested in. Without predictions, they are of
    all perturbations. `compared` are the perturbations that are scored (default: all); with predictions, those that
    every model predicts. `seed` is that of the halvings. Raises InputError where models were trained with other splits.
    """
    models: dict[str, dict[int, pd.DataFrame]] = {}
    for prediction in predictions:
        models.setdefault(prediction.predictor, {})[prediction.seed] = prediction.expression
    halves = list(_tested(predictions[0], splits, compared)) if predictions else [(None, compared)]
    truths = [
        Truth.from_anndata(cells, train=train, labels=labels, seed=seed, workers=workers) for train, labels in halves
    ]
    return score(truths, models, seed=seed, workers=workers)


def _tested(
    prediction: Prediction, splits: Sequence[Split], compared: pd.Index | None
) -> Iterator[tuple[pd.Index, pd.Index]]:
    """Of each half: the training perturbations, and those that are scored."""
    wanted = prediction.labels if compared is None else compared
    half = pd.Series(prediction.half, prediction.labels)[wanted]
    roles = {split.half: split.roles.reindex(wanted) for split in splits}
    wrong = [label for label in wanted if half[label] not in roles or roles[half[label]][label] != "test"]
    if wrong:
        raise InputError(
            f"{prediction.predictor} predicts {len(wrong)} perturbation(s) that its half of the split does not test: "
            f"{listed(wrong, 5)}; the table of splits is of another training: run analysis 4 again"
        )
    for split in splits:
        labels = wanted[(half == split.half).to_numpy()]
        if len(labels):
            yield split.labels("train"), labels
