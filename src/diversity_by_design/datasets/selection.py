"""Which cells are kept: the names of the conditions, and a seeded draw from each."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from diversity_by_design import errors
from diversity_by_design.datasets.settings import PreparationSettings
from diversity_by_design.errors import InputError
from diversity_by_design.labels import CONTROL, JOINER, canonical, parts

# The paper's number for norman19, and the most that is taken when nothing is said.
MOST_CELLS = 256


def condition_names(labels: Iterable[str], settings: PreparationSettings) -> dict[str, str]:
    """Name of the condition that each label of a file stands for.

    The control label becomes ``control``, a guide's ending is removed, and a combination takes its canonical form
    (``B_A`` and ``A+B`` are ``A+B``, ``A+ctrl`` is ``A``). Labels may share a condition.

    >>> settings = PreparationSettings(perturbation_key="gene", control_label="NT", combination_separator="_")
    >>> condition_names(["NT", "B_A", "C"], settings)
    {'B_A': 'A+B', 'C': 'C', 'NT': 'control'}
    """
    separator = settings.combination_separator or JOINER
    conditions: dict[str, str] = {}
    for label in sorted(set(labels)):
        target = label
        if settings.guide_suffix is not None and label != settings.control_label:
            target = re.sub(settings.guide_suffix, "", label)
        if target == settings.control_label:
            conditions[label] = CONTROL
            continue
        joined = target.replace(separator, JOINER)
        if not all(part.strip() for part in parts(joined)):
            raise InputError(
                f"label {label!r} of obs[{settings.perturbation_key!r}] has an empty part; combinations are "
                f"written as A{separator}B, and single perturbations without {separator!r}"
            )
        # As a part of a combination the control label may itself hold the separator.
        form = canonical(joined, settings.control_label.replace(separator, JOINER))
        if form == CONTROL:
            raise InputError(
                f"label {label!r} of obs[{settings.perturbation_key!r}] stands for control beside the control label "
                f"{settings.control_label!r}; give both groups of cells one label, or tell them apart by name"
            )
        conditions[label] = form
    return conditions


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
        f"{len(single)} of {len(counts)} perturbations have fewer than 2 cells ({errors.listed(single, 5)}), which a "
        "mean and a variance need. Is this the column that names perturbations, and are all cells in the file?"
    )


@dataclass(frozen=True)
class CellChoice:
    """Cells that are kept, and perturbations that are not."""

    rows: npt.NDArray[np.intp]  # row numbers of the kept cells, sorted
    cells_per_perturbation: int
    left_out: dict[str, int]  # perturbations with fewer cells than that, and how many they have
    control_cells: int  # number of kept control cells
    control_cells_found: int  # number of control cells to choose from


def choose_cells(
    conditions: pd.Series, eligible: npt.NDArray[np.bool_], settings: PreparationSettings, seed: int, where: str
) -> CellChoice:
    """Draw exactly the asked number of cells from each perturbation, and at most so many control cells.

    The draw from a condition depends on the seed, the condition's name and the names of its cells only: not on the
    order of cells in the file, and not on what other conditions there are.

    The index of `conditions` (cells,) holds the names of the cells; `eligible` (cells,) says which may be chosen, and
    `where` what messages call the data.
    """
    nowhere: npt.NDArray[np.intp] = np.empty(0, np.intp)
    places: dict[str, npt.NDArray[np.intp]] = dict.fromkeys(sorted(conditions.unique()), nowhere)
    rows = np.flatnonzero(eligible)
    for name, group in pd.Series(rows).groupby(conditions.to_numpy(dtype=object)[rows]):
        places[str(name)] = group.to_numpy()
    control = places.pop(CONTROL, nowhere)
    filtered = f"{int((~eligible).sum()):,} of {len(eligible):,} cells were left out for too few detected genes"
    if len(control) < 2:
        raise InputError(f"{where}: {len(control)} control cell(s) are left; at least 2 are needed ({filtered})")
    counts = {name: len(group) for name, group in places.items()}
    errors.enough_perturbations(list(counts), where)
    n = settings.cells_per_perturbation or automatic_cells(counts)
    left_out = {name: count for name, count in counts.items() if count < n}
    kept = [name for name in counts if name not in left_out]
    if len(kept) < 2:
        most = ", ".join(f"{name} ({count})" for name, count in sorted(counts.items(), key=lambda item: -item[1])[:5])
        raise InputError(
            f"{where}: {len(kept)} perturbation(s) have {n} cells or more; at least 2 are needed ({filtered}). Ask for "
            f"fewer cells per perturbation; those with the most cells are: {most}"
        )
    names = conditions.index
    chosen = [_draw(names, places[name], n, seed, name) for name in kept]
    chosen.append(_draw(names, control, min(len(control), settings.max_control_cells), seed, CONTROL))
    return CellChoice(np.sort(np.concatenate(chosen)), n, left_out, len(chosen[-1]), len(control))


def _draw(names: pd.Index, rows: npt.NDArray[np.intp], n: int, seed: int, condition: str) -> npt.NDArray[np.intp]:
    by_name = rows[np.argsort(names[rows].to_numpy(dtype=object))]
    generator = np.random.default_rng(np.random.SeedSequence([seed, *condition.encode("utf-8")]))
    return generator.choice(by_name, size=n, replace=False)
