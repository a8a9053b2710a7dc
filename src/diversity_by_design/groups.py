"""Cells with their contexts and perturbations, and the sums of groups of them in one pass."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from diversity_by_design import errors
from diversity_by_design.arrays import FloatArray
from diversity_by_design.cells import read_blocks
from diversity_by_design.errors import InputError
from diversity_by_design.labels import canonical, context_names, label_among, label_text
from diversity_by_design.threads import checked_workers

if TYPE_CHECKING:
    from anndata import AnnData

IntArray = npt.NDArray[np.int64]

# What running sums may take at once; more are gathered in several passes over the cells, each for a block of genes.
SUMS_BYTES = 2 * 2**30


@dataclass(frozen=True)
class Partition:
    """Groups of cells whose sums are wanted."""

    codes: npt.NDArray[np.intp]  # (cells,): each cell's group; -1 leaves it out
    n_groups: int
    squares: bool = True  # whether sums of squares are wanted too


@dataclass(frozen=True, eq=False)
class LabelledCells:
    """Expression of cells wherever it is stored, and the context and perturbation of each."""

    matrix: Any  # (cells, genes): array, sparse matrix, h5py.Dataset, dask array or sparse dataset of anndata
    genes: pd.Index
    cells: pd.Index
    codes: npt.NDArray[np.intp]  # (cells,): each cell's group, -1 for a cell without a label
    groups: pd.DataFrame  # `context` (categorical) and `label` of each group, sorted, control last in each context
    n_cells: IntArray  # (groups,)
    control: str | None
    where: str  # what messages call the matrix

    @classmethod
    def from_anndata(
        cls,
        adata: AnnData,
        perturbation: str,
        control: str | None,
        *,
        layer: str | None = None,
        context: str | Sequence[str] | None = None,
    ) -> LabelledCells:
        """See `PerturbationStatistics.from_anndata` and `by_context`."""
        if not (hasattr(adata, "obs") and hasattr(adata, "var_names")):
            raise InputError(
                f"expected an AnnData, not a {type(adata).__name__}; read a file with anndata.read_h5ad, and use "
                "from_matrix for a matrix and its labels"
            )
        labels = perturbation_labels(adata, perturbation, control)
        control = None if control is None else label_among(control, adata.obs[perturbation].unique())
        matrix = expression_matrix(adata, layer)
        where = "X" if layer is None else f"layers[{layer!r}]"
        contexts = None
        if context is not None:
            keys = [context] if isinstance(context, str) else list(context)
            if not keys:
                raise InputError("context names no column of obs; leave it out, to have none")
            contexts = pd.Series(context_names([errors.obs_column(adata.obs, key) for key in keys]))
        cells = cls.from_matrix(
            matrix, labels, adata.var_names, control, cells=adata.obs_names, contexts=contexts, where=where
        )
        if contexts is not None:
            present = cells.perturbations()
            for name in cells.groups["context"].cat.categories:
                errors.enough_perturbations(list(present.get(name, pd.Series()).index), f"context {name!r}")
        return cells

    @classmethod
    def from_matrix(
        cls,
        matrix: Any,
        labels: Any,
        genes: Sequence[str] | pd.Index,
        control: str | None,
        *,
        cells: Sequence[str] | pd.Index | None = None,
        contexts: Any = None,
        where: str = "X",
    ) -> LabelledCells:
        """See `PerturbationStatistics.from_matrix`; `contexts` (cells,) are all "" by default."""
        genes = pd.Index(genes)
        errors.unique_names(genes, "gene", where)
        labels = pd.Categorical(labels)
        control = None if control is None else label_among(control, labels.categories)
        groups, codes = _groups(labels, contexts, control)
        if not isinstance(getattr(matrix, "dtype", None), np.dtype):
            raise InputError(
                f"{where} holds no matrix of expression, but is of type {type(matrix).__name__}; expected an array or "
                "sparse matrix, or the name of the layer that has it (layer=...)"
            )
        if matrix.shape != (len(codes), len(genes)):
            raise InputError(f"{where} has shape {matrix.shape}; {len(codes)} labels and {len(genes)} genes were given")
        if not len(genes):
            raise InputError(f"{where} has no genes")
        names = pd.RangeIndex(len(codes)) if cells is None else pd.Index(cells)
        n_cells = np.bincount(codes[codes >= 0], minlength=len(groups)).astype(np.int64)
        return cls(matrix, genes, names, codes, groups, n_cells, control, where)

    def perturbations(self) -> dict[str, pd.Series]:
        """Number of cells of each perturbation, without control, by context."""
        table = self.groups.assign(n=self.n_cells)
        table = table[table["label"] != self.control]
        return {
            str(place): pd.Series(part["n"].to_numpy(), pd.Index(part["label"].to_numpy(object)))
            for place, part in table.groupby("context", sort=False, observed=False)
        }

    def gather(
        self, partitions: Sequence[Partition], workers: int | None = None, sums_bytes: int = SUMS_BYTES
    ) -> list[FloatArray]:
        """Sums of several partitions of the cells, in one pass over them.

        Of each partition: sums, and sums of squares if these are wanted (1 or 2, groups, genes). The running sums take
        32 bytes per group and gene (16 without squares); where that is more than `sums_bytes`, there is a pass over the
        cells for each of several blocks of genes.
        """
        from diversity_by_design.moments import GroupedMoments

        n_workers = checked_workers(workers)
        per_gene = sum(part.n_groups * (32 if part.squares else 16) for part in partitions)
        step = max(1, sums_bytes // max(1, per_gene))
        totals = [np.empty((1 + part.squares, part.n_groups, len(self.genes))) for part in partitions]
        for start in range(0, len(self.genes), step):
            genes = slice(start, min(start + step, len(self.genes)))
            moments = [GroupedMoments(part.n_groups, genes, n_workers, squares=part.squares) for part in partitions]
            for block in read_blocks(self.matrix, self.cells, self.genes, self.where, "expression"):
                for part, sums in zip(partitions, moments, strict=True):
                    if block.by_gene:
                        sums.add_columns(block.values, block.genes.start, part.codes)
                    else:
                        sums.add_rows(block.values, part.codes[block.cells])
            for total in totals:
                total[:, :, genes] = moments.pop(0).totals()
        return totals


def perturbation_labels(adata: AnnData, perturbation: str, control: str | None) -> pd.Series:
    """Each cell's perturbation in canonical form, checked as `PerturbationStatistics.from_anndata` says."""
    labels = errors.obs_column(adata.obs, perturbation).astype("category").cat.remove_unused_categories()
    # Text is made of each label, not of each cell's: a large file has millions of cells.
    present = [label_text(name) for name in labels.cat.categories]
    if control is not None:
        control = label_among(control, labels.cat.categories)
        errors.control_label(present, control, perturbation)
    forms = pd.Categorical([canonical(label, control) for label in present])
    errors.enough_perturbations(sorted(set(forms.categories) - {control}), f"obs[{perturbation!r}]")
    codes = forms.codes[labels.cat.codes.to_numpy()]
    return pd.Series(pd.Categorical.from_codes(codes, categories=forms.categories), index=labels.index)


def expression_matrix(adata: AnnData, layer: str | None = None) -> Any:
    """`X` or a layer, still on disk if the AnnData is backed."""
    if layer is not None:
        if layer not in adata.layers:
            raise InputError(f"no layer {layer!r}; the layers are: {errors.listed(filter(None, adata.layers))}")
        return adata.layers[layer]
    if adata.isbacked and adata.is_view:
        raise InputError(
            "this AnnData is a view of a file-backed one; use the whole file and select perturbations or genes from "
            "the statistics (stats.select), or read the view into memory (adata.to_memory())"
        )
    return adata.X


def _groups(labels: Any, contexts: Any, control: str | None) -> tuple[pd.DataFrame, npt.NDArray[np.intp]]:
    """Contexts and labels of all groups, sorted, control last in each context; each cell's group, -1 for no label."""
    names, label = _coded(labels, lambda name: canonical(name, control))
    places, context = _coded(np.zeros(len(label)) if contexts is None else contexts, lambda name: name)
    places = np.array([""], dtype=object) if contexts is None else places
    # Control comes after all others.
    order = np.argsort(names == control, kind="stable")
    rank = np.append(np.argsort(order), -1)[label]
    keys = np.where((rank >= 0) & (context >= 0), context * len(names) + rank, -1)
    present, codes = np.unique(keys, return_inverse=True)
    n_missing = int(len(present) > 0 and present[0] < 0)
    present = present[n_missing:]
    groups = pd.DataFrame(
        {
            "context": pd.Categorical.from_codes(
                present // max(1, len(names)), categories=pd.Index(places, dtype=object)
            ),
            "label": names[order][present % max(1, len(names))],
        }
    )
    return groups, codes.reshape(-1) - n_missing


def _coded(values: Any, form: Callable[[str], str]) -> tuple[npt.NDArray[np.object_], npt.NDArray[np.intp]]:
    """Distinct values in a form, sorted, and the number of each value's form; -1 for a missing one."""
    category = pd.Categorical(values).remove_unused_categories()
    forms = np.array([form(label_text(name)) for name in category.categories], dtype=object)
    names, numbers = np.unique(forms, return_inverse=True) if len(forms) else (forms, np.zeros(0, np.intp))
    # A missing value has the code -1, which takes the last of these.
    return names, np.append(numbers.reshape(-1), -1)[category.codes]
