"""Which cells are kept: a seeded draw from each perturbation, in each context."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from diversity_by_design import errors
from diversity_by_design.datasets.settings import PreparationSettings
from diversity_by_design.errors import InputError
from diversity_by_design.labels import CONTROL, shortened

# The paper's number for norman19, and the most that is taken when nothing is said.
MOST_CELLS = 256

Positions = npt.NDArray[np.intp]


def automatic_cells(counts: Mapping[str, int]) -> int:
    """Number of cells per perturbation where none was asked for; `counts` are those of each, control excluded.

    The largest power of two up to 256 that at least three quarters of the perturbations reach.

    >>> automatic_cells({"A": 70, "B": 90, "C": 300, "D": 5})
    64
    """
    n = MOST_CELLS
    while n >= 2:
        if 4 * sum(count >= n for count in counts.values()) >= 3 * len(counts):
            return n
        n //= 2
    single = [name for name, count in counts.items() if count < 2]
    raise InputError(
        f"{len(single)} of {len(counts)} perturbations have fewer than 2 cells "
        f"({errors.listed(map(shortened, single), 5)}), which a mean and a variance need. Is this the column that "
        "names perturbations, and are all cells in the file? If so, --cells-per-perturbation N leaves out those with "
        "fewer than N cells"
    )


@dataclass(frozen=True)
class CellChoice:
    """Cells that are kept, and perturbations that are not."""

    rows: Positions  # row numbers of the kept cells, sorted
    cells_per_perturbation: int
    left_out: dict[str, int]  # perturbations with fewer cells than that, and how many they have
    control_cells: int  # number of kept control cells
    control_cells_found: int  # number of control cells to choose from
    contexts_left_out: dict[str, str]  # contexts that cannot be used, and why


def choose_cells(
    cells: pd.DataFrame, eligible: npt.NDArray[np.bool_], settings: PreparationSettings, seed: int, where: str
) -> CellChoice:
    """Draw exactly the asked number of cells from each perturbation, and at most so many control cells, per context.

    The draw from a condition depends on the seed, the names of the context and the condition, and the names (and
    batches) of its cells only: not on the order of cells in the file, and not on what other conditions there are.

    The index of `cells` holds their names, its columns are `condition` (missing: left out) and, where there are any,
    `context` and `batch`. `eligible` (cells,) says which may be chosen, and `where` what messages call the data.
    """
    groups, filtered = _groups(cells, eligible)
    control = {context: group.pop(CONTROL, np.empty(0, np.intp)) for context, group in groups.items()}
    why = {context: _unusable(control[context], groups[context]) for context in groups}
    unusable = {context: reason for context, reason in why.items() if reason}
    if len(unusable) == len(groups):
        place, reason = next(iter(unusable.items()), ("", "no cell has a perturbation"))
        raise InputError(f"{where}{f', context {place!r}' if place else ''}: {reason} ({filtered})")
    counts = {
        _name(context, name): len(rows)
        for context, group in groups.items()
        if context not in unusable
        for name, rows in group.items()
    }
    n = settings.cells_per_perturbation or automatic_cells(counts)
    chosen: list[Positions] = []
    left_out: dict[str, int] = {}
    found = kept_control = 0
    for context, group in groups.items():
        kept = {name: rows for name, rows in group.items() if len(rows) >= n}
        if context not in unusable and len(kept) < 2:
            unusable[context] = f"{len(kept)} perturbation(s) have {n} cells or more; at least 2 are needed"
        if context in unusable:
            continue
        left_out |= {_name(context, name): len(rows) for name, rows in group.items() if name not in kept}
        n_control = min(len(control[context]), settings.max_control_cells)
        for name, rows in [*kept.items(), (CONTROL, control[context])]:
            size = n if name != CONTROL else n_control
            chosen.append(_draw(cells, rows, size, seed, _name(context, name)))
        found, kept_control = found + len(control[context]), kept_control + n_control
    if not chosen:
        most = sorted(counts.items(), key=lambda item: -item[1])[:5]
        raise InputError(
            f"{where}: {next(iter(unusable.values()))} ({filtered}). Ask for fewer cells per perturbation; those with "
            f"the most cells are: {', '.join(f'{shortened(name)} ({count})' for name, count in most)}"
        )
    return CellChoice(np.sort(np.concatenate(chosen)), n, left_out, kept_control, found, unusable)


def _groups(cells: pd.DataFrame, eligible: npt.NDArray[np.bool_]) -> tuple[dict[str, dict[str, Positions]], str]:
    """Eligible cells of each context and condition, sorted, and how many are not eligible."""
    context = cells["context"] if "context" in cells else pd.Series("", cells.index)
    called = cells["condition"].notna().to_numpy()
    table = pd.DataFrame({"context": context.to_numpy(object), "condition": cells["condition"].to_numpy(object)})
    groups: dict[str, dict[str, Positions]] = {}
    for (place, name), group in table[called].groupby(["context", "condition"], sort=True):
        positions = group.index.to_numpy()
        groups.setdefault(str(place), {})[str(name)] = positions[eligible[positions]]
    n_few = int((called & ~eligible).sum())
    return groups, f"{n_few:,} of {int(called.sum()):,} cells were left out for too few detected genes"


def _unusable(control: Positions, perturbations: Mapping[str, Positions]) -> str:
    """Why a context cannot be used; nothing if it can."""
    if len(control) < 2:
        return f"{len(control)} control cell(s) are left; at least 2 are needed"
    if len(perturbations) < 2:
        return (
            f"{len(perturbations)} perturbation(s) besides control ({errors.listed(map(shortened, perturbations))}); "
            "at least 2 are needed, since every perturbation is compared with the others"
        )
    return ""


def _name(context: str, condition: str) -> str:
    return f"{context}: {condition}" if context else condition


def _draw(cells: pd.DataFrame, rows: Positions, n: int, seed: int, name: str) -> Positions:
    by_name = rows[np.argsort(cells.index[rows].to_numpy(dtype=object))]
    generator = np.random.default_rng(np.random.SeedSequence([seed, *name.encode("utf-8")]))
    if "batch" not in cells:
        return generator.choice(by_name, size=n, replace=False)
    # Round after round one cell of each batch, so that batches differ by one at most unless one has no more.
    shuffled = pd.Series(generator.permutation(by_name))
    batch = cells["batch"].to_numpy(object)[shuffled]
    turn = shuffled.groupby(batch).cumcount().to_numpy()
    return shuffled.to_numpy()[np.argsort(turn, kind="stable")[:n]]
