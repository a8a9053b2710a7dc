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
from diversity_by_design.cells import read_blocks
from diversity_by_design.errors import InputError
from diversity_by_design.labels import canonical
from diversity_by_design.threads import available_cores

if TYPE_CHECKING:
    from anndata import AnnData

FloatArray = npt.NDArray[np.float64]

# What differs by less than this part of its size does so by rounding.
ROUNDING = 1e-12


@dataclass(frozen=True, eq=False, repr=False)
class PerturbationStatistics:
    """Number of cells, sum and sum of squares of expression per perturbation and gene.

    Control cells are kept apart: `labels` and the arrays of ``labels x genes`` hold
    perturbations only.

    Attributes
    ----------
    labels : pandas.Index (labels,)
        Perturbations, without control; sorted when made from cells.
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
    n_cells: npt.NDArray[np.int64]
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
            found = np.shape(getattr(self, name))
            if found != expected:
                raise InputError(f"{name} has shape {found}; with {shape[0]} labels and {shape[1]} genes: {expected}")

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
            log1p expression in `X`: dense, CSR or CSC, in memory or backed by a file. A
            backed `X` is read chunk by chunk; memory does not grow with the number of cells.
        perturbation : str
            Column of `obs` with each cell's perturbation.
        control : str or None
            Label of control cells there; None if the data have none.
        layer : str, optional
            Read this layer instead of `X`.
        workers : int, optional
            Threads (default: as many as cores). The result does not depend on it.

        Raises
        ------
        InputError
            `adata` is no AnnData. No such column, layer or control label. A view of a backed file, fewer than two
            perturbations, both A+B and B+A, cells without a label, gene names that are not unique, negative, NaN or
            infinite values, raw counts, values that were not log-transformed.
        """
        if not (hasattr(adata, "obs") and hasattr(adata, "var_names")):
            raise InputError(
                f"expected an AnnData, not a {type(adata).__name__}; read a file with anndata.read_h5ad, and use "
                "from_matrix for a matrix and its labels"
            )
        labels = perturbation_labels(adata, perturbation, control)
        return cls.from_matrix(
            expression_matrix(adata, layer),
            labels,
            adata.var_names,
            control=control,
            cells=adata.obs_names,
            workers=workers,
            where="X" if layer is None else f"layers[{layer!r}]",
        )

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
        matrix : array, sparse matrix, h5py.Dataset or anndata sparse dataset (cells, genes)
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
        from diversity_by_design.moments import GroupedMoments

        genes = pd.Index(genes)
        errors.unique_names(genes, "gene", where)
        perturbations, codes, n_cells = _groups(labels, control)
        if getattr(matrix, "shape", None) is None:
            raise InputError(f"{where} holds no matrix of expression; name the layer that does (layer=...)")
        if matrix.shape != (len(codes), len(genes)):
            raise InputError(f"{where} has shape {matrix.shape}; {len(codes)} labels and {len(genes)} genes were given")
        if not len(genes):
            raise InputError(f"{where} has no genes")
        names = pd.RangeIndex(len(codes)) if cells is None else pd.Index(cells)
        moments = GroupedMoments(len(n_cells), len(genes), workers or available_cores())
        for block in read_blocks(matrix, names, genes, where, "expression"):
            if block.by_gene:
                moments.add_columns(block.values, block.genes.start, codes)
            else:
                moments.add_rows(block.values, codes[block.cells])
        total, total_sq = moments.totals()
        return cls(
            labels=perturbations,
            genes=genes,
            n_cells=n_cells[:-1],
            sum=total[:-1],
            sum_sq=total_sq[:-1],
            control=control,
            n_control=int(n_cells[-1]),
            control_sum=total[-1],
            control_sum_sq=total_sq[-1],
        )

    @cached_property
    def mean(self) -> FloatArray:
        """Mean expression of each perturbation, mu_p (labels, genes)."""
        return self.sum / self.n_cells[:, None]

    @cached_property
    def var(self) -> FloatArray:
        """Variance over cells with n - 1 in the denominator (labels, genes); NaN for a single cell."""
        return sample_variance(self.n_cells[:, None], self.sum, self.sum_sq)

    @cached_property
    def control_mean(self) -> FloatArray:
        """Mean expression of control cells, mu_c (genes,).

        Raises
        ------
        InputError
            There are no control cells.
        """
        self.require_control()
        return self.control_sum / self.n_control

    @cached_property
    def control_var(self) -> FloatArray:
        """Variance over control cells (genes,)."""
        self.require_control()
        return sample_variance(self.n_control, self.control_sum, self.control_sum_sq)

    @property
    def n_perturbed(self) -> int:
        """Number of perturbed cells."""
        return int(self.n_cells.sum())

    @cached_property
    def perturbed_mean(self) -> FloatArray:
        """Mean over all perturbed cells, control excluded, mu_all (genes,).

        Each cell counts the same: a perturbation with more cells weighs more.
        """
        return self.sum.sum(axis=0) / self.n_perturbed

    def merge(self, other: PerturbationStatistics) -> PerturbationStatistics:
        """Statistics of the cells of both, which must not share any.

        Genes must be the same, in any order; labels may overlap. Sums of float32 values are exact, so the order of
        merging does not matter to them; sums of squares are rounded once more by each merge (to 1 part in 10**16).

        Raises
        ------
        InputError
            The genes or the control labels differ.
        """
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

        Raises
        ------
        InputError
            A label or gene is not there.
        """
        rows = slice(None) if labels is None else _positions(self.labels, labels, "perturbation")
        columns = slice(None) if genes is None else _positions(self.genes, genes, "gene")
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

    def require_control(self) -> None:
        """Raise InputError if there are no control cells."""
        if self.n_control == 0:
            raise InputError(f"there are no control cells (label {self.control!r}) in these statistics")


def perturbation_labels(adata: AnnData, perturbation: str, control: str | None) -> pd.Series:
    """Each cell's perturbation as text, checked as `PerturbationStatistics.from_anndata` says."""
    labels = errors.obs_column(adata.obs, perturbation).astype("category").cat.remove_unused_categories()
    # Text is made of each label, not of each cell's: a large file has millions of cells.
    present = [str(name) for name in labels.cat.categories]
    if control is not None:
        errors.control_label(present, control, perturbation)
    forms = pd.Categorical([canonical(label, control) for label in present])
    errors.enough_perturbations(sorted(set(forms.categories) - {control}), f"obs[{perturbation!r}]")
    codes = forms.codes[labels.cat.codes.to_numpy()]
    return pd.Series(pd.Categorical.from_codes(codes, categories=forms.categories), index=labels.index)


def expression_matrix(adata: AnnData, layer: str | None = None) -> Any:
    """`X` or a layer, still on disk if the AnnData is backed.

    Raises
    ------
    InputError
        No such layer. `adata` is a view of a backed file, whose `X` anndata would read whole.
    """
    if layer is not None:
        if layer not in adata.layers:
            raise InputError(f"no layer {layer!r}; the layers are: {errors.listed(adata.layers)}")
        return adata.layers[layer]
    if adata.isbacked and adata.is_view:
        raise InputError(
            "this AnnData is a view of a file-backed one; use the whole file and select perturbations or genes from "
            "the statistics (stats.select), or read the view into memory (adata.to_memory())"
        )
    return adata.X


def sample_variance(n: Any, total: FloatArray, total_sq: FloatArray) -> FloatArray:
    """Variance with n - 1 in the denominator from sum and sum of squares; NaN where n < 2."""
    n = np.asarray(n, dtype=float)
    n_or_nan = np.where(n > 1, n, np.nan)
    squares = total_sq - total * (total / n_or_nan)
    # Of a gene that is the same in all cells, rounding leaves a hair above or below zero.
    squares[squares < ROUNDING * total_sq] = 0.0
    return squares / (n_or_nan - 1.0)


def _groups(labels: Any, control: str | None) -> tuple[pd.Index, npt.NDArray[np.intp], npt.NDArray[np.int64]]:
    """Sorted perturbations, each cell's group (control is the last one, -1 for no label), and cells in each group."""
    category = pd.Categorical(labels).remove_unused_categories()
    names = np.array([canonical(str(name), control) for name in category.categories], dtype=object)
    perturbations = np.unique(names[names != control])
    # A cell without a label has the code -1, which takes the last of these.
    group_of_code = np.append(np.searchsorted(perturbations, names), -1)
    group_of_code[:-1][names == control] = len(perturbations)
    codes = group_of_code[category.codes]
    n_cells = np.bincount(codes[codes >= 0], minlength=len(perturbations) + 1).astype(np.int64)
    return pd.Index(perturbations), codes, n_cells


def _positions(index: pd.Index, names: Iterable[str], what: str) -> npt.NDArray[np.intp]:
    names = pd.Index(list(names))
    positions = index.get_indexer(names)
    if (positions < 0).any():
        unknown = [name for name, position in zip(names, positions, strict=True) if position < 0]
        raise InputError(
            f"no {what} called {errors.listed(unknown, 5)}; there are {len(index)}: {errors.listed(index)}"
        )
    return positions
