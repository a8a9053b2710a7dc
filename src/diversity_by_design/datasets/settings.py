"""How a data set is prepared: the choices that, with the seed, decide the result."""

from __future__ import annotations

import json
import re
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

from diversity_by_design.errors import InputError, whole_number

_LEAST = {
    "cells_per_perturbation": 2, "max_control_cells": 2, "min_cells_per_gene": 1, "genes": 1, "min_genes_per_cell": 0,
    "guide_umis": 1,
}  # fmt: skip
_TUPLES = ("control_label", "no_call", "keep_label", "drop_labels", "context_key", "library_size_columns")
# Where guides are called from the guide features of the matrix itself, instead of a table.
FEATURES = "features"


@dataclass(frozen=True, kw_only=True)
class PreparationSettings:
    """What to keep of a file of raw counts (section 3.2 and appendix A of the paper), and what its labels mean.

    Of what may be several, a single text is one.
    """

    perturbation_key: str | None = None  # column of obs, or of the table of calls, that names each cell's perturbation
    control_label: tuple[str, ...] | str = "control"  # labels of unperturbed cells there, or patterns such as ``NT-*``
    # What stands between the parts of a combination in the file, such as ``_`` in ``A_B``; None: ``+``, but where it is
    # part of a name (see `combinations.take_apart`).
    combination_separator: str | None = None
    # Regular expression of an ending that tells guides of one target apart, such as ``g1`` in ``STAT2g1``; it is
    # removed, so that these cells share a label.
    guide_suffix: str | None = None
    target_key: str | None = None  # column with the target of each label, beside the column of labels
    no_call: tuple[str, ...] | str = ()  # labels of cells whose perturbation is not known, besides `NO_CALL`
    keep_label: tuple[str, ...] | str = ()  # labels of perturbations, though they look as if they meant no call
    drop_labels: tuple[str, ...] | str = ()  # labels whose cells are left out
    context_key: tuple[str, ...] | str = ()  # columns of obs that name each cell's context, such as its cell line
    batch_key: str | None = None  # column of obs over whose values a perturbation's cells are drawn evenly
    calls: str | None = None  # path of a table of the guides of each cell, or `FEATURES`
    guide_umis: int = 5  # a guide is called from the guide features where it has so many counts
    modality: str | None = None  # of a MuData file, such as ``rna``
    matrix: str | None = None  # ``X``, ``raw`` or ``layers/NAME``; None: the one that holds whole numbers
    round: bool = False  # whether fractions of counts are rounded
    gene_names: str | None = None  # column of var with the gene symbols; None if they are the index
    # Exactly so many cells are drawn from each perturbation. None: the largest power of two up to 256 that at least
    # three quarters of the perturbations reach.
    cells_per_perturbation: int | None = None
    genes: int = 8192  # so many genes are kept, the most variable ones
    max_control_cells: int = 8192  # if there are more control cells, so many are drawn
    # Cells with fewer detected genes are left out. None: 200, or 1 in a file of fewer than 2,000 genes.
    min_genes_per_cell: int | None = None
    min_cells_per_gene: int = 3  # genes detected in fewer cells are left out
    # Columns of obs that may hold each cell's total counts; the first that exists is used. Without any, the totals are
    # summed from the counts.
    library_size_columns: tuple[str, ...] | str = ()

    def __post_init__(self) -> None:
        for name, least in _LEAST.items():
            value = getattr(self, name)
            if value is not None:
                whole_number(value, name, least)
        for name in _TUPLES:
            value = getattr(self, name)
            object.__setattr__(self, name, (str(value),) if isinstance(value, str | int | float) else tuple(value))
        if self.combination_separator is not None and not self.combination_separator.strip():
            raise InputError(f"combination separator is {self.combination_separator!r}; expected a sign such as + or _")
        if self.guide_suffix is not None:
            try:
                re.compile(self.guide_suffix)
            except re.error as error:
                raise InputError(
                    f"guide suffix {self.guide_suffix!r} is no regular expression ({error}); such as '_[0-9]+$'"
                ) from error

    @property
    def label_column(self) -> str:
        """Column of obs that names each cell's perturbation, where no table of calls does."""
        return self.perturbation_key or "perturbation"

    def changed(self, options: dict[str, Any]) -> PreparationSettings:
        """Copy in which the options that are not None replace the settings of that name.

        Raises InputError for an option of another name.
        """
        names = {field.name for field in fields(PreparationSettings)}
        unknown = sorted(set(options) - names)
        if unknown:
            raise InputError(f"no option {unknown[0]!r}; the options are: {', '.join(sorted(names))}")
        return replace(self, **{name: value for name, value in options.items() if value is not None})

    def plain(self) -> dict[str, Any]:
        """As JSON holds it: scalars, text and lists."""
        return json.loads(json.dumps(asdict(self)))
