"""What a model is trained on: batches of cells, each with a control cell, or of perturbations' means."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch
from scipy import sparse
from torch import Tensor

from diversity_by_design.errors import InputError

IntArray = npt.NDArray[np.int64]

# First number of the seeds of what is drawn.
_CONTROLS, _ORDER, _CELLS = range(3)


def to_device(values: npt.NDArray[Any], device: torch.device | str) -> Tensor:
    """A tensor on a device; the program does not wait for a GPU to finish what it is doing.

    Only from page-locked memory can a GPU fetch values while the program goes on.
    """
    tensor = torch.from_numpy(values)
    if torch.device(device).type != "cuda":
        return tensor.to(device)
    return tensor.pin_memory().to(device, non_blocking=True)


class Batch(NamedTuple):
    """Control expression and the expression to be predicted (cells, genes), and the cells' labels, by number."""

    controls: Tensor
    targets: Tensor
    labels: IntArray


class ExpressionRows:
    """Rows of a CSR matrix (cells, genes) on a device, made dense a few at a time; on the CPU they share its memory."""

    def __init__(self, matrix: sparse.csr_matrix, device: str | torch.device = "cpu") -> None:
        self.n_genes = matrix.shape[1]
        self._starts = matrix.indptr.astype(np.int64)
        self._indices = torch.from_numpy(matrix.indices).to(device)
        self._values = torch.from_numpy(matrix.data).to(device)

    def dense(self, rows: IntArray) -> Tensor:
        """Some rows (rows, genes), float32."""
        starts, lengths = self._starts[rows], self._starts[rows + 1] - self._starts[rows]
        total = int(lengths.sum())
        device = self._values.device
        row = torch.repeat_interleave(
            torch.arange(len(rows), device=device), to_device(lengths, device), output_size=total
        )
        # The first value of a row is at the place `starts`, and comes after the values of the rows before it.
        offsets = to_device(starts - (np.cumsum(lengths) - lengths), device)
        places = offsets[row] + torch.arange(total, device=device)
        out = torch.zeros(len(rows), self.n_genes, device=device)
        out[row, self._indices[places].long()] = self._values[places].float()
        return out


class TrainingSet(ABC):
    """`size` cells or perturbations in batches, in an order that depends on the seed and the epoch only.

    An epoch has everything once per pass, each pass in an order of its own, without an incomplete last batch.
    """

    def __init__(self, size: int, *, batch_size: int, passes: int, seed: int) -> None:
        self._size, self._batch_size, self._passes, self._seed = size, batch_size, passes, seed

    @property
    def n_batches(self) -> int:
        """Batches of an epoch."""
        return self._passes * self._size // self._batch_size

    def batches(self, epoch: int) -> Iterator[Batch]:
        """Batches of this epoch."""
        generator = np.random.default_rng([_ORDER, self._seed, epoch])
        order = np.concatenate([generator.permutation(self._size) for _ in range(self._passes)])
        for number in range(self.n_batches):
            yield self.batch(order[number * self._batch_size : (number + 1) * self._batch_size])

    @abstractmethod
    def batch(self, chosen: IntArray) -> Batch:
        """The batch of those chosen, by number."""


class SingleCells(TrainingSet):
    """Cells, each with a control cell that was drawn for it.

    `labels` (cells,) are numbers, -1 for a cell that is not trained on; that of control is `control`. Control cells are
    trained on too, each its own control, as in cell-gears.
    """

    def __init__(
        self,
        expression: ExpressionRows,
        labels: IntArray,
        control: int,
        *,
        batch_size: int,
        passes: int,
        training_cells: int | None,
        seed: int,
    ) -> None:
        rows = _chosen(labels, training_cells, seed)
        if len(rows) < batch_size:
            raise InputError(
                f"{len(rows)} training cells do not fill a batch of {batch_size}; use a smaller batch_size"
            )
        super().__init__(len(rows), batch_size=batch_size, passes=passes, seed=seed)
        self._expression, self._rows, self._labels = expression, rows, labels[rows]
        controls = np.flatnonzero(labels == control)
        drawn = controls[np.random.default_rng([_CONTROLS, seed]).integers(len(controls), size=len(rows))]
        self._controls = np.where(self._labels == control, rows, drawn)

    def batch(self, chosen: IntArray) -> Batch:
        """See `TrainingSet`."""
        controls, targets = (self._expression.dense(rows[chosen]) for rows in (self._controls, self._rows))
        return Batch(controls, targets, self._labels[chosen])


class Pseudobulk(TrainingSet):
    """Means (labels, genes) of perturbations instead of cells, that of control in the last row.

    The model predicts control expression plus what depends on the perturbation only. The gradient of a squared error
    therefore depends on the cells only through their mean: these batches have the gradients of batches with all cells
    of their perturbations.
    """

    def __init__(self, means: Tensor, *, batch_size: int, passes: int, seed: int) -> None:
        super().__init__(len(means), batch_size=min(batch_size, len(means)), passes=passes, seed=seed)
        self._means = means

    def batch(self, chosen: IntArray) -> Batch:
        """See `TrainingSet`."""
        targets = self._means[to_device(chosen, self._means.device)]
        return Batch(self._means[-1].expand_as(targets), targets, chosen)


def _chosen(labels: IntArray, most: int | None, seed: int) -> IntArray:
    """Rows of the cells to train on, at most so many of a label, in ascending order."""
    rows = np.random.default_rng([_CELLS, seed]).permutation(np.flatnonzero(labels >= 0))
    if most is not None:
        rows = rows[pd.Series(rows).groupby(labels[rows]).cumcount().to_numpy() < most]
    return np.sort(rows)
