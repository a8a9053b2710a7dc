"""Tables of splits, written by `diversity_by_design.models.splits` or by hand."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from diversity_by_design.errors import InputError, listed
from diversity_by_design.predictions import TASKS

# What a perturbation's cells are for. Not covered: a gene of it is not in the graph, so that nothing can be said about
# it. Left out: it would tell about genes that are tested (a combination, in the task of unseen genes).
ROLES = ("train", "validation", "test", "not_covered", "left_out")
COLUMNS = ("perturbation", "role", "task", "half", "seed")


def check_choice(what: str, value: object, possible: Sequence[object]) -> None:
    """Raise InputError unless `value` is one of those possible; `what` it is begins the message."""
    if value not in possible:
        raise InputError(f"{what} is {value!r}; it must be one of {', '.join(map(repr, possible))}")


def read_table(path: Path) -> pd.DataFrame:
    """Read a CSV table as text, without spaces around the fields; the index names the lines, blank ones are not read.

    Raises
    ------
    InputError
        A line has more or fewer fields than the first, or quotes do not match.
    """
    rows, lines = [], []
    # Spreadsheets mark UTF-8 by three bytes at the start.
    with path.open(encoding="utf-8-sig", newline="") as file:
        reader = csv.reader(file, strict=True)
        try:
            header = [field.strip() for field in next(reader, [])]
            for fields in reader:
                row = [field.strip() for field in fields]
                if not any(row):
                    continue
                if len(row) != len(header):
                    raise InputError(
                        f"line {reader.line_num} has {len(row)} fields (separated by commas), the first line has "
                        f"{len(header)}"
                    )
                rows.append(row)
                lines.append(f"line {reader.line_num}")
        except csv.Error as error:
            raise InputError(f"line {reader.line_num} is no CSV ({error}); look for a quote too many") from error
    return pd.DataFrame(rows, index=lines, columns=header, dtype=object)


def grouped_roles(frame: pd.DataFrame) -> dict[tuple[str, int, int], pd.Series]:
    """Roles by task, half and seed, in the order of their first rows.

    Parameters
    ----------
    frame : DataFrame
        With `COLUMNS`; numbers may be text. The index is named in errors.

    Raises
    ------
    InputError
        A column is missing or occurs twice, there are no rows, or a field is not among those possible.
    """
    columns = list(frame.columns)
    missing = [column for column in COLUMNS if column not in columns]
    if missing:
        raise InputError(
            f"the table of splits has no column {listed(missing)}; expected the columns {listed(COLUMNS)}, "
            f"found {listed(columns, 30)}"
        )
    twice = [column for column in COLUMNS if columns.count(column) > 1]
    if twice:
        raise InputError(f"the table of splits has column {listed(twice)} more than once")
    if frame.empty:
        raise InputError("the table of splits has no rows; expected one for each perturbation")
    groups: dict[tuple[str, int, int], list[tuple[str, str]]] = {}
    for row, label, role, task, half, seed in frame.loc[:, list(COLUMNS)].itertuples():
        where = row if isinstance(row, str) else f"row {row}"
        if not isinstance(label, str) or not label:
            raise InputError(f"{where}: perturbation is {label!r}; expected a label such as A, or A+B")
        check_choice(f"{where}: role of {label!r}", role, ROLES)
        check_choice(f"{where}: task of {label!r}", task, TASKS)
        key = (task, _number(half, "half", label, where), _number(seed, "seed", label, where))
        groups.setdefault(key, []).append((label, role))
    return {
        key: pd.Series([role for _, role in rows], index=[label for label, _ in rows], dtype=object)
        for key, rows in groups.items()
    }


def _number(value: object, column: str, label: str, where: str) -> int:
    text = str(value).strip()
    if not (text.isascii() and text.isdigit()) or (column == "half" and int(text) > 1):
        expected = "0 or 1" if column == "half" else "a whole number, 0 or larger"
        raise InputError(f"{where}: {column} of {label!r} is {value!r}; it must be {expected}")
    return int(text)
