"""Losses over cells that know each cell's perturbation: weighted mean squared error, and GEARS' own."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch
from torch import Tensor, nn

from diversity_by_design.arrays import as_array
from diversity_by_design.errors import InputError, listed, unique_names
from diversity_by_design.labels import canonical, label_index

Reduction = Literal["mean", "none"]

# How far weights may be from summing to one: they may have been scaled in float32, over some thousand genes.
_WEIGHT_TOLERANCE = 1e-5


class CellLoss(nn.Module):
    """A mean over cells of what a subclass makes of each cell, its target and the row of its perturbation.

    The table by perturbation has `n_rows` rows, or only one for all cells if this is None; `labels` name the rows, in
    canonical form.
    """

    def __init__(self, n_genes: int, n_rows: int | None, labels: pd.Index | None) -> None:
        super().__init__()
        self.n_genes, self.n_rows = n_genes, n_rows
        self.labels: tuple[str, ...] | None = None if labels is None else tuple(labels)
        self._row_of = {label: row for row, label in enumerate(self.labels or ())}
        if labels is not None and n_rows not in (None, len(labels)):
            raise InputError(f"{len(labels)} labels for {n_rows} rows; expected one label for each row")

    def rows(self, names: Iterable[str]) -> Tensor:
        """Rows of perturbations, as `forward` takes them: a LongTensor (names,), on the device of the loss.

        A combination may be written in any order, and A as A+ctrl.

        Raises
        ------
        InputError
            A name is none of the labels. The loss was made without labels.
        """
        if self.labels is None:
            raise InputError("this loss was made without labels, so it knows rows only; give it labels=[...]")
        names = [names] if isinstance(names, str) else [str(name) for name in names]
        # What is written in another way is looked up once, not for every cell.
        form_of = {name: name if name in self._row_of else canonical(name) for name in set(names)}
        unknown = sorted(name for name, form in form_of.items() if form not in self._row_of)
        if unknown:
            raise InputError(
                f"no perturbation called {listed(unknown, 5)} in this loss; it knows {len(self.labels)}: "
                f"{listed(self.labels)}"
            )
        device = next(self.buffers()).device
        return torch.tensor([self._row_of[form_of[name]] for name in names], dtype=torch.long, device=device)

    def forward(
        self,
        prediction: Tensor,
        target: Tensor,
        labels: Tensor | Sequence[str] | None = None,
        reduction: Reduction = "mean",
    ) -> Tensor:
        """Loss of a batch.

        Parameters
        ----------
        prediction, target : float tensor (cells, genes)
            Half precision is computed with in float32.
        labels : LongTensor (cells,) or names
            Row of each cell's perturbation. Names are looked up first, which takes longer: see `rows`. Needed unless
            one row serves all cells.
        reduction : "mean" or "none"
            "none": the contribution of each cell (cells,), of which the loss is the mean.

        Raises
        ------
        InputError
            Shapes do not agree, rows are no whole numbers or not there (on a GPU, CUDA reports a row that is not
            there), or `reduction` is unknown. An unknown name.
        """
        if reduction not in get_args(Reduction):
            raise InputError(f"reduction is {reduction!r}; it must be one of: {listed(get_args(Reduction))}")
        if prediction.shape != target.shape:
            raise InputError(f"prediction has shape {tuple(prediction.shape)}, target {tuple(target.shape)}")
        if prediction.ndim != 2 or prediction.shape[0] == 0 or prediction.shape[1] != self.n_genes:
            raise InputError(
                f"prediction has shape {tuple(prediction.shape)}; expected (cells, {self.n_genes}), since the loss was "
                f"made for {self.n_genes} genes"
            )
        rows = None if self.n_rows is None else self._checked_rows(labels, prediction.shape[0], self.n_rows)
        prediction, target = (
            values.to(torch.promote_types(values.dtype, torch.float32)) for values in (prediction, target)
        )
        per_cell = self.per_cell(prediction, target, rows)
        return per_cell.mean() if reduction == "mean" else per_cell

    def per_cell(self, prediction: Tensor, target: Tensor, rows: Tensor | None) -> Tensor:
        """Contribution of each cell (cells,); `rows` is None if one row serves all cells."""
        raise NotImplementedError

    def _checked_rows(self, labels: Tensor | Sequence[str] | None, n_cells: int, n_rows: int) -> Tensor:
        if labels is None:
            raise InputError("labels are missing: this loss depends on each cell's perturbation")
        rows = labels if isinstance(labels, Tensor) else self.rows(labels)
        if rows.shape != (n_cells,):
            raise InputError(f"labels have shape {tuple(rows.shape)}; expected one for each of {n_cells} cells")
        if rows.dtype not in (torch.int64, torch.int32):
            raise InputError(f"labels are {rows.dtype}; expected rows as whole numbers (torch.long), or names")
        # On a GPU the comparison would wait for all that is queued there; compiled code cannot raise.
        unchecked = torch.compiler.is_compiling() or rows.device.type != "cpu"
        if not unchecked and not 0 <= rows.min() <= rows.max() < n_rows:
            raise InputError(
                f"labels are rows {int(rows.min())} to {int(rows.max())}; the loss has rows 0 to {n_rows - 1}"
            )
        return rows

    def _named(self, chosen: Tensor) -> str:
        """The chosen rows by name, or by number where there are no names."""
        if self.n_rows is None:
            return "all cells"
        rows: list[int] = chosen.nonzero().flatten().tolist()
        return listed(self.labels[row] if self.labels else f"row {row}" for row in rows)


class WMSELoss(CellLoss):
    """Weighted mean squared error (equation 8), averaged over cells.

    The mean over cells of ``sum over genes of w[p, gene] * (prediction - target)**2``, p being the cell's
    perturbation. Any module of which prediction and target are cells by genes can be trained with it; it
    compiles (``torch.compile``) without a break.

    Parameters
    ----------
    weights : array, tensor or DataFrame (labels, genes), or (genes,)
        Non-negative, each row summing to one: see `diversity_by_design.deg_weights`. A single vector holds for all
        cells, whose labels are then not looked at. Kept as float32, in no state dict.
    labels : names, optional
        Perturbations, in the order of the rows; those of a DataFrame are found by its index, which is taken if there
        are no labels. Without either, `forward` takes rows only.
    normalised : bool
        Whether rows must sum to one. False is for weights that are scaled otherwise on purpose, such as
        those of the paper's scripts.

    Raises
    ------
    InputError
        Weights are undefined (NaN), infinite, negative, do not sum to one, or do not fit the labels. A label occurs
        twice, or a DataFrame of weights has no row for it.

    Examples
    --------
    >>> loss = WMSELoss([[0.75, 0.25], [0.5, 0.5]], ["A", "control"])
    >>> prediction, target = torch.tensor([[1.0, 4.0], [1.0, 4.0]]), torch.tensor([[1.0, 2.0], [1.0, 2.0]])
    >>> loss(prediction, target, ["A", "control"], reduction="none")
    tensor([1., 2.])
    >>> loss(prediction, target, torch.tensor([0, 1]))
    tensor(1.5000)
    """

    weights: Tensor

    def __init__(
        self, weights: npt.ArrayLike | Tensor, labels: Iterable[str] | None = None, *, normalised: bool = True
    ) -> None:
        values, index = _table(weights, labels, "weights")
        table = _numbers(values, "weights")
        if table.ndim not in (1, 2) or 0 in table.shape:
            raise InputError(f"weights have shape {tuple(table.shape)}; expected (labels, genes) or (genes,)")
        super().__init__(table.shape[-1], table.shape[0] if table.ndim == 2 else None, index)
        self.register_buffer("weights", table.float(), persistent=False)
        table = torch.atleast_2d(table)
        undefined = table.isnan().any(dim=1)
        if undefined.any():
            raise InputError(
                f"the weights of {self._named(undefined)} are undefined (NaN); leave these perturbations out, or "
                f"give them equal weights explicitly: weights[row] = 1 / {self.n_genes}"
            )
        wrong = (~table.isfinite() | (table < 0)).any(dim=1)
        if wrong.any():
            raise InputError(f"weights must be finite and not negative; those of {self._named(wrong)} are not")
        totals = table.sum(dim=1)
        wrong = (totals - 1.0).abs() > _WEIGHT_TOLERANCE
        if normalised and wrong.any():
            raise InputError(
                f"weights must sum to one for each perturbation; those of {self._named(wrong)} do not (the first to "
                f"{float(totals[wrong][0]):g}): divide each row by its sum, or say normalised=False if this is meant"
            )

    @classmethod
    def mse(cls, n_genes: int, labels: Iterable[str] | None = None) -> WMSELoss:
        """The case of equal weights, which is the mean squared error: `torch.nn.functional.mse_loss`.

        Parameters
        ----------
        n_genes : int
        labels : names, optional
            For `rows` only, so that it can take the place of a loss that depends on perturbations.

        Examples
        --------
        >>> WMSELoss.mse(4)(torch.zeros(3, 4), torch.full((3, 4), 2.0))
        tensor(4.)
        """
        return cls(np.full(n_genes, 1.0 / n_genes), labels)

    def per_cell(self, prediction: Tensor, target: Tensor, rows: Tensor | None) -> Tensor:
        """Weighted sum over genes of each cell's squared errors (cells,)."""
        # Unlike an index in brackets, index_select takes no negative row for one from the end.
        weights = self.weights if rows is None else self.weights.index_select(0, rows)
        return (weights * (prediction - target).square()).sum(dim=1)


class GEARSLoss(CellLoss):
    """GEARS' own loss: error to the fourth power, and a penalty for changes in the wrong direction.

    Of each distinct perturbation of a batch, the mean over its cells and expressed genes of ``(prediction - target)**4
    + direction_lambda * (sign(target - control_mean) - sign(prediction - control_mean))**2``; the loss is
    the mean of these over the perturbations, so that each counts the same however many cells it has in the batch. The
    penalty has no gradient: it changes the loss, not what is learnt.

    Parameters
    ----------
    is_expressed : bool array, tensor or DataFrame (labels, genes)
        Genes that count: those expressed in any cell of the perturbation; for control, all.
    control_mean : array, tensor or Series (genes,)
        Mean expression of control cells, mu_c. Of a Series beside a DataFrame, genes are found by name.
    labels : names, optional
        Perturbations and control, as for `WMSELoss`.
    direction_lambda : float
        0.1 is what cell-gears trains with.

    Raises
    ------
    InputError
        `is_expressed` is not boolean, has no gene for a perturbation, or does not fit the labels or `control_mean`; a
        gene or label is missing where it is looked for by name;
        `control_mean` or `direction_lambda` is not finite, or the latter negative.

    Examples
    --------
    >>> loss = GEARSLoss([[True, False], [True, True]], [1.0, 1.0], ["A", "control"])
    >>> prediction, target = torch.tensor([[2.0, 9.0], [2.0, 3.0]]), torch.tensor([[4.0, 0.0], [0.0, 3.0]])
    >>> loss(prediction, target, ["A", "control"], reduction="none")  # 2**4 + 0; (2**4 + 0.1 * 2**2) / 2
    tensor([16.0000,  8.2000])
    """

    is_expressed: Tensor
    control_mean: Tensor

    def __init__(
        self,
        is_expressed: npt.ArrayLike | Tensor,
        control_mean: npt.ArrayLike | Tensor,
        labels: Iterable[str] | None = None,
        *,
        direction_lambda: float = 0.1,
    ) -> None:
        if isinstance(control_mean, pd.Series) and isinstance(is_expressed, pd.DataFrame):
            control_mean = _by_name(control_mean, is_expressed.columns, control_mean.index, "control_mean")
        values, index = _table(is_expressed, labels, "is_expressed")
        expressed = values.detach().clone() if isinstance(values, Tensor) else torch.tensor(np.asarray(values))
        if expressed.dtype != torch.bool or expressed.ndim != 2 or 0 in expressed.shape:
            raise InputError(
                f"is_expressed has shape {tuple(expressed.shape)} and type {expressed.dtype}; expected torch.bool "
                "(labels, genes)"
            )
        super().__init__(expressed.shape[1], expressed.shape[0], index)
        control = _numbers(control_mean, "control_mean").float()
        if control.shape != (self.n_genes,) or not control.isfinite().all():
            raise InputError(
                f"control_mean has shape {tuple(control.shape)} and {int((~control.isfinite()).sum())} value(s) that "
                f"are not finite; expected finite values ({self.n_genes},)"
            )
        silent = ~expressed.any(dim=1)
        if silent.any():
            raise InputError(
                f"{self._named(silent)}: no gene is expressed in any cell, so nothing is left of the loss; "
                "leave these perturbations out"
            )
        if not 0 <= direction_lambda < float("inf"):
            raise InputError(f"direction_lambda is {direction_lambda}; expected a finite number that is not negative")
        self.direction_lambda = direction_lambda
        self.register_buffer("is_expressed", expressed, persistent=False)
        self.register_buffer("control_mean", control, persistent=False)

    def per_cell(self, prediction: Tensor, target: Tensor, rows: Tensor | None) -> Tensor:
        """Contribution of each cell (cells,)."""
        assert rows is not None and self.n_rows is not None
        expressed = self.is_expressed.index_select(0, rows)
        error = torch.where(expressed, prediction - target, 0.0).square().square()
        # A sign has no gradient, so none is asked for.
        wrong_way = torch.sign(target - self.control_mean) - torch.sign(prediction.detach() - self.control_mean)
        penalty = torch.where(expressed, wrong_way, 0.0).square()
        mean = (error + self.direction_lambda * penalty).sum(dim=1) / expressed.sum(dim=1)
        ones = torch.ones_like(mean)
        n_cells = torch.zeros(self.n_rows, dtype=mean.dtype, device=mean.device).index_add(0, rows, ones)
        n_perturbations = (n_cells > 0).sum()
        return mean * (rows.shape[0] / (n_cells.index_select(0, rows) * n_perturbations))


def _table(values: Any, labels: Iterable[str] | None, what: str) -> tuple[Any, pd.Index | None]:
    """Values with a row for each label, by name if they are a DataFrame, and the labels."""
    index = None if labels is None else label_index(labels, "labels")
    if not isinstance(values, pd.DataFrame):
        return values, index
    rows = label_index(values.index, what)
    return (values, rows) if index is None else (_by_name(values, index, rows, what), index)


def _by_name(table: pd.DataFrame | pd.Series, names: pd.Index, rows: pd.Index, what: str) -> npt.NDArray:
    """Rows of a table by name, `rows` being what they are called."""
    unique_names(rows, "row", what)
    missing = names.difference(rows)
    if len(missing):
        raise InputError(f"{what} has no row for {listed(missing, 5)}; it has {len(rows)} rows: {listed(rows, 5)}")
    return table.to_numpy()[rows.get_indexer(names)]


def _numbers(values: Any, name: str) -> Tensor:
    """A float64 tensor of its own, so that a later change of what it was made from does not reach the loss."""
    device = values.device if isinstance(values, Tensor) else None
    return torch.tensor(as_array(values, name, infinite=True), device=device)
