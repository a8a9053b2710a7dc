"""Each cell's label, as the file has it: in a column of obs, in a table of guide calls, or by the guides' counts."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import pandas as pd

from diversity_by_design.datasets.calls import GuideCalls, calls_of_counts, labels_of, read_calls, targets_of
from diversity_by_design.datasets.conditions import Conditions, conditions_of
from diversity_by_design.datasets.reading import CellFile, check_name
from diversity_by_design.datasets.settings import FEATURES, PreparationSettings
from diversity_by_design.errors import InputError, listed
from diversity_by_design.labels import label_among, labels_as_text

MISSING = "(no label)"
# Settings that name labels.
NAMED = ("control_label", "no_call", "keep_label", "drop_labels")


@dataclass(frozen=True)
class CellLabels:
    """Labels of all cells of a file, and what they stand for."""

    labels: pd.Series  # (cells,): as text; None where missing
    conditions: Conditions
    where: str  # what messages call the labels
    notes: tuple[str, ...]

    def of_cells(self) -> pd.Series:
        """Condition of each cell (cells,); None where the cell is left out."""
        return self.labels.map(self.conditions.of_label).astype(object)


def cell_labels(file: CellFile, settings: PreparationSettings) -> CellLabels:
    """Labels of the cells of a file, and their conditions; see `conditions_of`."""
    targets: dict[str, str] = {}
    notes: list[str] = []
    if settings.calls is None:
        column = obs_column(file, settings.label_column)
        where, labels = f"obs[{settings.label_column!r}]", labels_as_text(column)
        if settings.target_key is not None:
            of_cells = labels_as_text(obs_column(file, settings.target_key))
            called = labels.notna()
            targets = targets_of(labels[called], of_cells[called], f"obs[{settings.target_key!r}]")
        # Where labels are numbers, 3368.0 means 3368.
        settings = settings.changed(
            {name: [label_among(label, column.unique()) for label in getattr(settings, name)] for name in NAMED}
        )
    else:
        where, calls = _calls(file, settings)
        labels, matching = labels_of(calls, file.obs.index, str(file.path))
        targets, notes = calls.targets, [*calls.notes, *matching]
        settings = replace(settings, combination_separator=settings.combination_separator or calls.separator)
    if labels.notna().sum() == 0:
        raise InputError(f"{file.path}: {where} has no value for any of {len(labels):,} cells")
    counts = {str(label): int(n) for label, n in labels.value_counts().items()}
    conditions = conditions_of(counts, settings, where, targets)
    missing = int(labels.isna().sum())
    if missing:
        notes.append(f"{missing:,} cells have no label in {where} and were left out")
        conditions = replace(conditions, no_call={MISSING: missing, **conditions.no_call})
    return CellLabels(labels, conditions, where, (*notes, *conditions.notes))


def obs_column(file: CellFile, key: str) -> pd.Series:
    """Column of obs that an option names; raises InputError that lists the columns if there is none."""
    check_name(file.path, "obs", key, file.obs.columns)
    return file.obs[key]


def _calls(file: CellFile, settings: PreparationSettings) -> tuple[str, GuideCalls]:
    if settings.calls != FEATURES:
        path = Path(str(settings.calls))
        return f"{path.name}", read_calls(path, settings.perturbation_key, settings.target_key)
    if file.guides is None:
        raise InputError(
            f"{file.path} has no guide features (feature type 'CRISPR Guide Capture'); give the table of the guides of "
            "each cell: --calls FILE"
        )
    guides = file.guides
    targets = None
    if settings.target_key is not None:
        if settings.target_key not in guides.var:
            raise InputError(
                f"{file.path}: the guide features have no column {settings.target_key!r}; they have: "
                f"{listed(guides.var.columns)}"
            )
        targets = dict(zip(guides.var_names, guides.var[settings.target_key].astype(str), strict=True))
    calls = calls_of_counts(guides.X, file.obs.index, guides.var_names, settings.guide_umis, targets)
    return f"the guide features (at least {settings.guide_umis} counts)", calls
