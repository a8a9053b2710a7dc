"""Cells that a model is fitted on."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy import sparse

from diversity_by_design.errors import InputError, listed
from diversity_by_design.groups import expression_matrix, perturbation_labels
from diversity_by_design.labels import label_among
from diversity_by_design.statistics import PerturbationStatistics

if TYPE_CHECKING:
    from anndata import AnnData

    from diversity_by_design.models.splits import Split


@dataclass(frozen=True, eq=False)
class Cells:
    """Expression of cells, what was perturbed in each, and the statistics of all.

    Attributes
    ----------
    expression : CSR matrix (cells, genes)
        log1p expression, every entry stored once.
    labels : Series (cells,)
        Perturbations in canonical form.
    statistics : PerturbationStatistics
        Of all cells, control among them.
    """

    expression: sparse.csr_matrix
    labels: pd.Series
    statistics: PerturbationStatistics

    @classmethod
    def of(cls, adata: AnnData, split: Split, *, perturbation: str = "condition", control: str = "control") -> Cells:
        """Take the cells of an AnnData with log1p expression in `X`, in memory; CSR is used as it is.

        Raises
        ------
        InputError
            The data have no such column or control label, no cells of a perturbation that the split is about, or are
            not in memory.
        """
        labels = perturbation_labels(adata, perturbation, control)
        control = label_among(control, adata.obs[perturbation].unique())
        matrix = _csr(expression_matrix(adata))
        statistics = PerturbationStatistics.from_matrix(
            matrix, labels, adata.var_names, control=control, cells=adata.obs_names
        )
        absent = split.labels("train").union(split.labels("validation")).difference(statistics.labels)
        if len(absent):
            raise InputError(f"obs[{perturbation!r}] has no cells of {listed(absent)}, which the split names")
        statistics.require_control()
        return cls(matrix, labels, statistics)

    @property
    def genes(self) -> pd.Index:
        """Names (genes,)."""
        return self.statistics.genes

    @property
    def control(self) -> str:
        """Label of unperturbed cells."""
        return str(self.statistics.control)

    def codes(self, names: Iterable[str]) -> npt.NDArray[np.int64]:
        """Number of each cell's label among some names (cells,); -1 for other labels."""
        return pd.Index(names).get_indexer(pd.Index(self.labels))


def _csr(matrix: Any) -> sparse.csr_matrix:
    if not (isinstance(matrix, np.ndarray) or sparse.issparse(matrix)):
        raise InputError("training needs the expression in memory; read the file without backed=, or use to_memory()")
    rows = sparse.csr_matrix(matrix)
    if not rows.has_canonical_format:
        # An entry may be stored in parts, which are added up; not in the user's matrix.
        rows = rows.copy()
        rows.sum_duplicates()
    return rows
