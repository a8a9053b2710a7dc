"""What preparing a data set did, in words and numbers."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from diversity_by_design.errors import InputError, listed
from diversity_by_design.labels import shortened

# Key of uns in a prepared file.
RECORD = "diversity_by_design"


@dataclass(frozen=True)
class PreparationReport:
    """What was kept of a file, what was left out, and why."""

    source: str  # name of the file that was prepared
    source_sha256: str
    seed: int
    settings: dict[str, Any]  # as asked for (see `PreparationSettings`)
    cells_found: int  # in the file
    genes_found: int
    min_genes_per_cell: int  # as used, where the settings leave it open; the next too
    cells_per_perturbation: int
    cells_with_few_genes: int  # left out by the filters
    genes_in_few_cells: int
    left_out: dict[str, int]  # perturbations with too few cells, and how many each has
    control_cells_found: int  # control cells to choose from
    cells: int  # in the prepared file, as the next three
    genes: int
    perturbations: int
    control_cells: int
    renamed_genes: int  # genes whose name occurred before, and which got a number
    notes: tuple[str, ...] = ()  # what else a reader should know
    matrix: str = "X"  # where the counts were
    merged: dict[str, list[str]] = field(default_factory=dict)  # labels of each condition with another name, or several
    no_call: dict[str, int] = field(default_factory=dict)  # labels of cells without a call, and how many each has
    dropped: dict[str, int] = field(default_factory=dict)  # labels that were to be left out, likewise
    contexts: tuple[str, ...] = ()  # in the prepared file, where there are any
    contexts_left_out: dict[str, str] = field(default_factory=dict)  # and why

    def to_json(self) -> str:
        """One line of JSON."""
        return json.dumps(asdict(self), sort_keys=True)

    def text(self, list_up_to: int = 30) -> str:
        """Several lines for a reader; at most `list_up_to` of the perturbations left out are named."""
        least, n = self.min_genes_per_cell, self.cells_per_perturbation
        lines = [
            f"{self.source}: {self.cells_found:,} cells x {self.genes_found:,} genes",
            f"  left out: {self.cells_with_few_genes:,} cells with fewer than {least} detected genes, "
            f"{self.genes_in_few_cells:,} genes detected in fewer than {self.settings['min_cells_per_gene']} cells",
            f"  kept: {self.perturbations:,} perturbations x {n} cells, {self.control_cells:,} of "
            f"{self.control_cells_found:,} control cells, {self.genes:,} genes (seed {self.seed})",
        ]
        if self.contexts:
            names = listed(map(shortened, self.contexts))
            lines.append(f"  in {len(self.contexts)} context(s), each with its own control: {names}")
        lines += [f"  context {name!r} left out: {reason}" for name, reason in self.contexts_left_out.items()]
        if self.left_out:
            names = listed((f"{shortened(name)} ({cells})" for name, cells in self.left_out.items()), list_up_to)
            lines.append(f"  {len(self.left_out):,} perturbations with fewer than {n} cells left out: {names}")
        if self.renamed_genes:
            lines.append(f"  {self.renamed_genes:,} gene names occurred more than once and were numbered")
        return "\n".join([*lines, *(f"  note: {note}" for note in self.notes)])


def read_report(path: Path) -> PreparationReport | None:
    """Report of a prepared file; None if the file does not exist."""
    import h5py

    if not path.exists():
        return None
    try:
        with h5py.File(path, "r") as file:
            fields = json.loads(file[f"uns/{RECORD}/report"].asstr()[()])
        given: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value for name, value in fields.items()
        }
        return PreparationReport(**given)
    except (OSError, KeyError, TypeError, ValueError) as error:
        raise InputError(
            f"{path} is not a prepared data set that this version can read ({error}); move it away, and it is "
            "prepared anew"
        ) from error
