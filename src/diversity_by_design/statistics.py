"""Sufficient statistics of a perturbation data set: what everything else is computed from."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from diversity_by_design import errors
from diversity_by_design.arrays import ROUNDING, FloatArray, read_only
from diversity_by_design.errors import InputError
from diversity_by_design.groups import IntArray, LabelledCells, Partition
from diversity_by_design.labels import label_index

if TYPE_CHECKING:
    from anndata import AnnData


@dataclass(frozen=True, eq=False, repr=False)
class PerturbationStatistics:
    """Number of cells, sum and sum of squares of expression per perturbation and gene.

    Control cells are kept apart: `labels` and the arrays of ``labels x genes`` hold perturbations only. Arrays cannot
    be written to. They take 16 bytes per perturbation and gene.

    Attributes
    ----------
    labels : pandas.Index (labels,)
        Perturbations in their canonical form, without control; sorted when made from cells.
    genes : pandas.Index (genes,)
    n_cells : int array (labels,)
    sum, sum_sq : float64 array (labels, genes)
        Of log1p expression over a perturbation's cells.
    control : str or None
        The label of control cells; None for data without any.
    n_control : int
    control_sum, control_sum_sq : float64 array (genes,)

    Examples
    --------
    >>> import numpy as np, pandas as pd
    >>> cells = np.array([[0.5, 0.0], [1.5, 2.5], [3.5, 0.0], [0.5, 1.5]])
    >>> stats = PerturbationStatistics.from_matrix(cells, ["A", "A", "B", "control"], ["g1", "g2"], control="control")
    >>> stats.labels.tolist(), stats.n_cells.tolist()
    (['A', 'B'], [2, 1])
    >>> stats.mean
    array([[1.  , 1.25],
           [3.5 , 0.  ]])
    """

    labels: pd.Index
    genes: pd.Index
    n_cells: IntArray
    sum: FloatArray
    sum_sq: FloatArray
    control: str | None
    n_control: int
    control_sum: FloatArray
    control_sum_sq: FloatArray

    def __repr__(self) -> str:
        return (
            f"PerturbationStatistics({len(self.labels):,} perturbations ({errors.listed(self.labels, 3)}), "
            f"{len(self.genes):,} genes, {self.n_perturbed:,} perturbed and {self.n_control:,} control cells)"
        )

    def __post_init__(self) -> None:
        errors.unique_names(self.labels, "perturbation", "PerturbationStatistics")
        errors.unique_names(self.genes, "gene", "PerturbationStatistics")
        shape = (len(self.labels), len(self.genes))
        for name, expected in (
            ("n_cells", shape[:1]),
            ("sum", shape),
            ("sum_sq", shape),
            ("control_sum", shape[1:]),
            ("control_sum_sq", shape[1:]),
        ):
            array = np.asarray(getattr(self, name))
            if array.shape != expected:
                raise InputError(
                    f"{name} has shape {array.shape}; with {shape[0]} labels and {shape[1]} genes: {expected}"
                )
            object.__setattr__(self, name, read_only(array))

    @classmethod
    def from_anndata(
        cls,
        adata: AnnData,
        perturbation: str = "condition",
        control: str | None = "control",
        *,
        layer: str | None = None,
        workers: int | None = None,
    ) -> PerturbationStatistics:
        """Gather the statistics in one pass over the cells.

        Parameters
        ----------
        adata : AnnData
            log1p expression in `X`: dense, CSR or CSC, in memory, backed by a file, or a dask array. A
            backed `X` is read block by block; memory does not grow with the number of cells.
        perturbation : str
            Column of `obs` with each cell's perturbation. Labels take their canonical form: B+A is A+B, A+ctrl is A.
            Numbers become text, whole ones without ".0".
        control : str, number or None
            Label of control cells there; None if the data have none. Of labels that are numbers, 3, 3.0, "3" and "3.0"
            are the same.
        layer : str, optional
            Read this layer instead of `X`.
        workers : int, optional
            Threads (default: as many as cores). The result does not depend on it.

        Raises
        ------
        InputError
            `adata` is no AnnData. No such column, layer or control label. A view of a backed file, fewer than two
            perturbations, cells without a label, gene names that are not unique, negative, NaN or infinite values, raw
            counts, values that were not log-transformed.
        """
        return statistics_of(LabelledCells.from_anndata(adata, perturbation, control, layer=layer), workers)[""]

    @classmethod
    def by_context(
        cls,
        adata: AnnData,
        context: str | Sequence[str],
        perturbation: str = "condition",
        control: str | None = "control",
        *,
        layer: str | None = None,
        workers: int | None = None,
    ) -> dict[str, PerturbationStatistics]:
        """Statistics of each context (cell line, treatment, batch, ...), in one pass over all cells.

        Parameters
        ----------
        context : str or sequence of str
            Column of `obs`, or several, whose values are joined by " | ". Control is the context's own.
        adata, perturbation, control, layer, workers
            As for `from_anndata`.

        Returns
        -------
        dict of context to PerturbationStatistics
            Sorted; a context has the perturbations that it has cells of.

        Raises
        ------
        InputError
            As `from_anndata`; a context has fewer than two perturbations.
        """
        cells = LabelledCells.from_anndata(adata, perturbation, control, layer=layer, context=context)
        return statistics_of(cells, workers)

    @classmethod
    def from_matrix(
        cls,
        matrix: Any,
        labels: Sequence[str] | npt.NDArray[Any] | pd.Series | pd.Categorical,
        genes: Sequence[str] | pd.Index,
        *,
        control: str | None = "control",
        cells: Sequence[str] | pd.Index | None = None,
        workers: int | None = None,
        where: str = "X",
    ) -> PerturbationStatistics:
        """As `from_anndata`, from a matrix and its labels.

        Parameters
        ----------
        matrix : array, sparse matrix, h5py.Dataset, dask array or anndata sparse dataset (cells, genes)
        labels : (cells,)
            Each cell's perturbation; a cell whose label is missing (None or NaN) is left out.
        genes : (genes,)
        control : str or None
            Label of control cells; they may be absent.
        cells : (cells,), optional
            Their names, for error messages (default: their positions).
        workers : int, optional
        where : str
            What to call the matrix in error messages.
        """
        labelled = LabelledCells.from_matrix(matrix, labels, genes, control, cells=cells, where=where)
        return statistics_of(labelled, workers)[""]

    @cached_property
    def mean(self) -> FloatArray:
        """Mean expression of each perturbation, mu_p (labels, genes)."""
        return read_only(self.sum / self.n_cells[:, None])

    @cached_property
    def var(self) -> FloatArray:
        """Variance over cells with n - 1 in the denominator (labels, genes); NaN for a single cell."""
        return read_only(sample_variance(self.n_cells[:, None], self.sum, self.sum_sq))

    @cached_property
    def control_mean(self) -> FloatArray:
        """Mean expression of control cells, mu_c (genes,).

        Raises
        ------
        InputError
            There are no control cells.
        """
        self.require_control()
        return read_only(self.control_sum / self.n_control)

    @cached_property
    def control_var(self) -> FloatArray:
        """Variance over control cells (genes,)."""
        self.require_control()
        return read_only(sample_variance(self.n_control, self.control_sum, self.control_sum_sq))

    @property
    def n_perturbed(self) -> int:
        """Number of perturbed cells."""
        return int(self.n_cells.sum())

    @cached_property
    def perturbed_mean(self) -> FloatArray:
        """Mean over all perturbed cells, control excluded, mu_all (genes,).

        Each cell counts the same: a perturbation with more cells weighs more.
        """
        return read_only(self.sum.sum(axis=0) / self.n_perturbed)

    def merge(self, other: PerturbationStatistics) -> PerturbationStatistics:
        """Statistics of the cells of both, which must not share any.

        Genes must be the same, in any order; labels may overlap. Sums of float32 values are exact, so the order of
        merging does not matter to them; sums of squares are rounded once more by each merge (to 1 part in 10**16).

        Raises
        ------
        InputError
            The genes or the control labels differ.
        """
        errors.of_type(other, PerturbationStatistics, "other", "PerturbationStatistics.from_anndata(adata)")
        if self.control != other.control:
            raise InputError(f"control is {self.control!r} in one and {other.control!r} in the other; rename one")
        if len(self.genes) != len(other.genes) or not self.genes.isin(other.genes).all():
            only = self.genes.difference(other.genes), other.genes.difference(self.genes)
            raise InputError(
                f"genes differ: {len(only[0])} only in the first ({errors.listed(only[0], 3)}), {len(only[1])} only in "
                f"the second ({errors.listed(only[1], 3)}); select the common genes in both first"
            )
        columns = other.genes.get_indexer(self.genes)
        labels = self.labels.union(other.labels)
        n_cells = np.zeros(len(labels), np.int64)
        total, total_sq = np.zeros((2, len(labels), len(self.genes)))
        for part, order in ((self, slice(None)), (other, columns)):
            rows = labels.get_indexer(part.labels)
            n_cells[rows] += part.n_cells
            total[rows] += part.sum[:, order]
            total_sq[rows] += part.sum_sq[:, order]
        return PerturbationStatistics(
            labels=labels,
            genes=self.genes,
            n_cells=n_cells,
            sum=total,
            sum_sq=total_sq,
            control=self.control,
            n_control=self.n_control + other.n_control,
            control_sum=self.control_sum + other.control_sum[columns],
            control_sum_sq=self.control_sum_sq + other.control_sum_sq[columns],
        )

    def select(self, labels: Iterable[str] | None = None, genes: Iterable[str] | None = None) -> PerturbationStatistics:
        """Statistics of some perturbations and genes, in the order given; control cells stay.

        Parameters
        ----------
        labels, genes : str or iterable of str, optional
            A single text is one name. Labels may be given in any form, such as B+A.

        Raises
        ------
        InputError
            A label or gene is not there, or is given twice.
        """
        rows: Any = slice(None)
        columns: Any = slice(None)
        if labels is not None:
            rows = self.positions(labels)
        if genes is not None:
            columns = _positions(self.genes, pd.Index([genes] if isinstance(genes, str) else list(genes)), "gene")
        return PerturbationStatistics(
            labels=self.labels[rows],
            genes=self.genes[columns],
            n_cells=self.n_cells[rows],
            sum=self.sum[rows][:, columns],
            sum_sq=self.sum_sq[rows][:, columns],
            control=self.control,
            n_control=self.n_control,
            control_sum=self.control_sum[columns],
            control_sum_sq=self.control_sum_sq[columns],
        )

    def positions(self, labels: Iterable[str]) -> npt.NDArray[np.intp]:
        """Rows of some perturbations, in the order given; see `select`."""
        return _positions(self.labels, label_index(labels, "labels", self.control), "perturbation")

    def require_control(self) -> None:
        """Raise InputError if there are no control cells."""
        if self.n_control == 0:
            raise InputError(f"there are no control cells (label {self.control!r}) in these statistics")


def statistics_of(
    cells: LabelledCells, workers: int | None = None, totals: FloatArray | None = None
) -> dict[str, PerturbationStatistics]:
    """Statistics of each context; `totals` (2, groups, genes) are the sums of all groups, if they were gathered
    already.
    """
    if totals is None:
        [totals] = cells.gather([Partition(cells.codes, len(cells.groups))], workers)
    result = {}
    for context in cells.groups["context"].cat.categories:
        rows = np.flatnonzero(cells.groups["context"] == context)
        is_control = (cells.groups["label"].iloc[rows] == cells.control).to_numpy()
        own, control = rows[~is_control], rows[is_control]
        # Groups of a context lie side by side, so that these are views.
        span = slice(own[0], own[-1] + 1) if len(own) else slice(0, 0)
        result[str(context)] = PerturbationStatistics(
            labels=pd.Index(cells.groups["label"].iloc[own].to_numpy(object)),
            genes=cells.genes,
            n_cells=cells.n_cells[span],
            sum=totals[0, span],
            sum_sq=totals[1, span],
            control=cells.control,
            n_control=int(cells.n_cells[control].sum()),
            control_sum=totals[0, control].sum(axis=0),
            control_sum_sq=totals[1, control].sum(axis=0),
        )
    return result


def sample_variance(n: Any, total: FloatArray, total_sq: FloatArray) -> FloatArray:
    """Variance with n - 1 in the denominator from sum and sum of squares; NaN where n < 2."""
    n = np.asarray(n, dtype=float)
    n_or_nan = np.where(n > 1, n, np.nan)
    squares = total_sq - total * (total / n_or_nan)
    # Of a gene that is the same in all cells, rounding leaves a hair above or below zero.
    squares[squares < ROUNDING * total_sq] = 0.0
    return squares / (n_or_nan - 1.0)


def without(total: FloatArray, part: FloatArray) -> FloatArray:
    """Sums over all cells minus those over some of them; exactly zero where nothing but rounding is left."""
    rest = total - part
    rest[rest < ROUNDING * total] = 0.0
    return rest


def _positions(index: pd.Index, names: pd.Index, what: str) -> npt.NDArray[np.intp]:
    errors.unique_names(names, what, "select")
    positions = index.get_indexer(names)
    if (positions < 0).any():
        raise InputError(
            f"no {what} called {errors.listed(names[positions < 0], 5)}; there are {len(index)}: {errors.listed(index)}"
        )
    return positions
