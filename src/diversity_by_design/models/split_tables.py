"""Tables of splits, written by `diversity_by_design.models.splits` or by hand."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, TextIO

import pandas as pd

from diversity_by_design.errors import InputError, listed
from diversity_by_design.predictions import TASKS

# What a perturbation's cells are for. Not covered: a gene of it is not in the graph, so that nothing can be said about
# it. Left out: it would tell about genes that are tested (a combination, in the task of unseen genes), or is of more
# genes than the model can do together.
ROLES = ("train", "validation", "test", "not_covered", "left_out")
COLUMNS = ("perturbation", "role", "task", "half", "seed")


def check_choice(what: str, value: object, possible: Sequence[object]) -> None:
    """Raise InputError unless `value` is one of those possible; `what` it is begins the message."""
    if value not in possible:
        raise InputError(f"{what} is {value!r}; it must be one of {', '.join(map(repr, possible))}")


def read_roles(path: Path) -> dict[tuple[str, int, int], pd.Series]:
    """Roles by task, half and seed, in the order of first rows, of a CSV table with `COLUMNS` among its columns."""
    # Spreadsheets mark UTF-8 by three bytes at the start.
    with path.open(encoding="utf-8-sig", newline="") as file:
        lines = _lines(file)
        header = next(lines, ("", []))[1]
        missing = [column for column in COLUMNS if column not in header]
        if missing:
            raise InputError(
                f"the table of splits has no column {listed(missing)}; expected the columns {listed(COLUMNS)}, "
                f"found {listed(header, 30)}"
            )
        twice = [column for column in COLUMNS if header.count(column) > 1]
        if twice:
            raise InputError(f"the table of splits has column {listed(twice)} more than once")
        rows: list[tuple[str, str, str, int, int]] = []
        for where, fields in lines:
            if len(fields) != len(header):
                raise InputError(
                    f"{where} has {len(fields)} fields (separated by commas), the first line has {len(header)}"
                )
            label, role, task, half, seed = (fields[header.index(column)] for column in COLUMNS)
            if not label:
                raise InputError(f"{where}: perturbation is {label!r}; expected a label such as A, or A+B")
            check_choice(f"{where}: role of {label!r}", role, ROLES)
            check_choice(f"{where}: task of {label!r}", task, TASKS)
            check_choice(f"{where}: half of {label!r}", half, ("0", "1"))
            if not (seed.isascii() and seed.isdigit()):
                raise InputError(f"{where}: seed of {label!r} is {seed!r}; it must be a whole number, 0 or larger")
            rows.append((label, role, task, int(half), int(seed)))
    if not rows:
        raise InputError("the table of splits has no rows; expected one for each perturbation")
    splits: Any = pd.DataFrame(rows, columns=COLUMNS).groupby(["task", "half", "seed"], sort=False)
    return {key: table.set_index("perturbation")["role"] for key, table in splits}


def _lines(file: TextIO) -> Iterator[tuple[str, list[str]]]:
    """Lines that are not blank: what to call them, and their fields without spaces around them."""
    reader = csv.reader(file, strict=True)
    try:
        for fields in reader:
            row = [field.strip() for field in fields]
            if any(row):
                yield f"line {reader.line_num}", row
    except csv.Error as error:
        raise InputError(f"line {reader.line_num} is no CSV ({error}); look for a quote too many") from error
