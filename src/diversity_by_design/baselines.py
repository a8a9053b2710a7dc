"""Predictions that no model needs training for: the ends of the scale (section 3.4, figure 6)."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from diversity_by_design import errors
from diversity_by_design.errors import InputError
from diversity_by_design.labels import parts
from diversity_by_design.statistics import (
    FloatArray,
    PerturbationStatistics,
    expression_matrix,
    perturbation_labels,
)

if TYPE_CHECKING:
    from anndata import AnnData


def control_mean(statistics: PerturbationStatistics) -> FloatArray:
    """Predict mu_c for every perturbation (labels, genes): nothing changes."""
    return np.broadcast_to(statistics.control_mean, statistics.mean.shape)


def perturbed_mean(statistics: PerturbationStatistics) -> FloatArray:
    """Predict mu_all for every perturbation (labels, genes): all perturbations do the same."""
    return np.broadcast_to(statistics.perturbed_mean, statistics.mean.shape)


def additive(statistics: PerturbationStatistics) -> FloatArray:
    """Predict a combination by adding the effects of its parts, measured from control.

    ``mu_c + sum over parts s of (mu_s - mu_c)``.

    Returns
    -------
    float64 array (labels, genes)
        NaN for single perturbations, and for combinations of which a part was not measured alone.
    """
    prediction = np.full(statistics.mean.shape, np.nan)
    for row, label in enumerate(statistics.labels):
        positions = statistics.labels.get_indexer(pd.Index(parts(label)))
        if len(positions) > 1 and (positions >= 0).all():
            effects = statistics.mean[positions] - statistics.control_mean
            prediction[row] = statistics.control_mean + effects.sum(axis=0)
    return prediction


def technical_duplicate(
    adata: AnnData,
    seed: int = 0,
    perturbation: str = "condition",
    control: str | None = "control",
    *,
    workers: int | None = None,
) -> tuple[PerturbationStatistics, PerturbationStatistics]:
    """Split every perturbation's cells in random halves, as two runs of the experiment (section 3.4).

    Predicting one half's means by the other's is what a perfect model could reach, given
    this number of cells.

    Parameters
    ----------
    adata : AnnData
        As for `PerturbationStatistics.from_anndata`, with unique cell names.
    seed : int
        A label's halves depend on the seed, the label and its cells' names only: neither on the order
        of the cells nor on the other labels.
    perturbation, control, workers
        As for `PerturbationStatistics.from_anndata`. Control cells are halved as well.

    Returns
    -------
    first, second : PerturbationStatistics
        Of an odd number of cells, the second half has one more.

    Raises
    ------
    InputError
        As `PerturbationStatistics.from_anndata`; also where a label has fewer than two cells or cell names are not
        unique.
    """
    labels = perturbation_labels(adata, perturbation, control)
    errors.unique_names(adata.obs_names, "cell", "obs_names")
    matrix = expression_matrix(adata)
    in_first = halves(labels.to_numpy(), adata.obs_names, seed)
    first, second = (
        PerturbationStatistics.from_matrix(
            matrix,
            labels.where(chosen),
            adata.var_names,
            control=control,
            cells=adata.obs_names,
            workers=workers,
        )
        for chosen in (in_first, ~in_first)
    )
    return first, second


def halves(labels: npt.NDArray[Any], cells: pd.Index, seed: int) -> npt.NDArray[np.bool_]:
    """Whether each cell is in the first half of its label's cells (cells,); see `technical_duplicate`."""
    in_first = np.zeros(len(labels), bool)
    for label, members in sorted_members(labels, cells):
        if len(members) < 2:
            raise InputError(f"{label!r} has one cell, which cannot be halved; leave it out")
        shuffled = label_generator(seed, label).permutation(members)
        in_first[shuffled[: len(members) // 2]] = True
    return in_first


def sorted_members(labels: npt.NDArray[Any], cells: pd.Index) -> list[tuple[str, npt.NDArray[np.intp]]]:
    """Each label with the positions of its cells in the order of their names.

    Drawing from these makes a random choice independent of the order of the cells.
    """
    by_name = np.argsort(cells.astype(str).to_numpy(str), kind="stable")
    codes, names = pd.factorize(labels[by_name], sort=True)
    order = np.argsort(codes, kind="stable")
    order = order[np.searchsorted(codes[order], 0) :]
    groups = np.split(by_name[order], np.cumsum(np.bincount(codes[codes >= 0]))[:-1])
    return list(zip(map(str, names), groups, strict=True))


def label_generator(seed: int, label: str) -> np.random.Generator:
    """Random numbers that depend on the seed and the label only."""
    words = np.frombuffer(hashlib.sha256(label.encode()).digest(), dtype=np.uint32)
    return np.random.default_rng(np.random.SeedSequence([seed, *words.tolist()]))
