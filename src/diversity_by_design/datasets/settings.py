"""How a data set is prepared: the choices that, with the seed, decide the result."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, replace
from typing import Any

from diversity_by_design.errors import whole_number

_LEAST_CELLS = {"cells_per_perturbation": 2, "max_control_cells": 2, "min_cells_per_gene": 1}
_LEAST_GENES = {"n_genes": 1, "min_genes_per_cell": 0}


@dataclass(frozen=True, kw_only=True)
class PreparationSettings:
    """What to keep of a file of raw counts (section 3.2 and appendix A of the paper)."""

    perturbation_key: str  # column of obs that names each cell's perturbation
    control_label: str  # label of unperturbed cells there; the prepared file calls them ``control``
    # What stands between the parts of a combination in the file, such as ``_`` in ``A_B``; None if it is ``+``.
    combination_separator: str | None = None
    # Regular expression of an ending that tells guides of one target apart, such as ``g1`` in ``STAT2g1``; it is
    # removed, so that these cells share a label.
    guide_suffix: str | None = None
    # Exactly so many cells are drawn from each perturbation. None: the largest power of two up to 256 that at least
    # three quarters of the perturbations reach.
    cells_per_perturbation: int | None = None
    n_genes: int = 8192  # so many genes are kept, the most variable ones
    max_control_cells: int = 8192  # if there are more control cells, so many are drawn
    # Cells with fewer detected genes are left out. None: 200, or 1 in a file of fewer than 2,000 genes.
    min_genes_per_cell: int | None = None
    min_cells_per_gene: int = 3  # genes detected in fewer cells are left out
    gene_name_column: str | None = None  # column of var with the gene symbols; None if they are the index
    # Columns of obs that may hold each cell's total counts; the first that exists is used. Without any, the totals are
    # summed from the counts.
    library_size_columns: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for name, least in (_LEAST_CELLS | _LEAST_GENES).items():
            value = getattr(self, name)
            if value is not None:
                whole_number(value, name, least)

    def changed(self, options: dict[str, Any]) -> PreparationSettings:
        """Copy in which the options that are not None replace the settings of that name."""
        return replace(self, **{name: value for name, value in options.items() if value is not None})

    def plain(self) -> dict[str, Any]:
        """As JSON holds it: scalars, text and lists."""
        return json.loads(json.dumps(asdict(self)))
