"""Which guides each cell has: read from a table of calls, or called from counts of guides."""

from __future__ import annotations

import csv
import gzip
import io
import re
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import islice, pairwise
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from diversity_by_design.errors import InputError, listed, unique_names, whole_number

# Between the guides of a cell: the first that is part of no guide's name.
SEPARATORS = ("+", "|", ";", " & ", ",", "/", "~", "^", "#", "@")

# Usual names of the columns, in lower case.
CELL_COLUMNS = (
    *("cell_barcode", "cell_barcodes", "barcode", "barcodes", "cell", "cells", "cell_id", "cell_ids", "cell_name"),
    *("cell_names", "cbc"),
)
GUIDE_COLUMNS = (
    *("feature_call", "guide_identity", "guide", "guides", "guide_id", "guide_ids", "guide_name", "grna", "grna_id"),
    *("grna_name", "sgrna", "sgrna_id", "sgrna_name", "sgid", "protospacer", "perturbation", "gene", "target"),
)

# Cell Ranger: how many guides a cell has, and what stands between them.
_NUMBER, _JOINED_BY = "num_features", "|"
_GOOD = "good_coverage"

_FIELD_SEPARATORS = ("\t", ",", ";")
_ROWS = 500_000  # read at once
# How files of other kinds begin.
_KINDS = {
    b"PK\x03\x04": "an Excel workbook or another zip archive; save the table as CSV",
    b"\xd0\xcf\x11\xe0": "an Excel workbook; save the table as CSV",
    b"PAR1": "a parquet file; write the table as CSV (pandas: read_parquet and to_csv)",
    b"\x89HDF": "an HDF5 file; write the table of calls as CSV",
    b"\xff\xfe": "UTF-16 text; save it as UTF-8",
    b"\xfe\xff": "UTF-16 text; save it as UTF-8",
}
_DAMAGED = (EOFError, zlib.error, gzip.BadGzipFile, csv.Error, pd.errors.ParserError)

_TRUTH = {"true": True, "1": True, "false": False, "0": False}
_COUNT = re.compile(r"\d+(\.\d+)?")
# As in AAACCCAAGGAGAGTA-1: which sample, or which file, a cell is of.
_ENDING = r"[-_.]\d+$"


@dataclass(frozen=True, eq=False)
class GuideCalls:
    """The guides of cells.

    Attributes
    ----------
    labels : object Series (cells with a guide,)
        Guide of each cell; several guides of a cell are sorted and joined by `separator`. The index holds the names
        of the cells, each once.
    separator : str
        Is part of no guide's name.
    targets : dict of str to str
        What guides target, as far as a column names it.
    notes : tuple of str
        What was left out or assumed, with numbers.
    """

    labels: pd.Series
    separator: str
    targets: dict[str, str]
    notes: tuple[str, ...]


def read_calls(path: Path, guide_column: str | None = None, target_column: str | None = None) -> GuideCalls:
    r"""Read the guides of cells from a table.

    Accepted are Cell Ranger's ``protospacer_calls_per_cell.csv``, and tables with one row per cell and guide, such as
    Replogle's ``cell_identities.csv``. A table has a header and commas, tabs or semicolons between its columns, is
    UTF-8, and may be compressed by gzip. All is read as text, so that a guide may be called ``007`` or ``NA``.

    Parameters
    ----------
    path : Path
    guide_column : str, optional
        Column of the guides. Default: the one column with a usual name, such as ``feature_call``, ``guide_identity``
        or ``sgRNA`` (see `GUIDE_COLUMNS`).
    target_column : str, optional
        Column of what the guides target.

    Returns
    -------
    GuideCalls
        Where the table has a column ``good_coverage``, rows in which it is false are no calls.

    Raises
    ------
    InputError
        The file is missing, empty, damaged, of another kind or a table of counts. A column is missing, or several may
        be meant. Cell Ranger's ``num_features`` is not the number of guides. A guide has several targets. No call is
        left.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder) / "calls.csv"
    ...     _ = path.write_text("cell,sgRNA,gene\nAAAC-1,KLF1_2,KLF1\nAAAC-1,BAK1_1,BAK1\nAAAG-1,007,KLF1\n")
    ...     calls = read_calls(path, guide_column="sgRNA", target_column="gene")
    >>> calls.labels.to_dict()
    {'AAAC-1': 'BAK1_1+KLF1_2', 'AAAG-1': '007'}
    >>> calls.targets["KLF1_2"]
    'KLF1'
    """
    layout = _layout(path)
    columns = {}
    if target_column is not None:
        columns["target"] = layout.called(target_column, "--target-key")
    if guide_column is not None:
        columns["guide"] = layout.called(guide_column, "--perturbation-key")
    else:
        columns["guide"] = layout.guides(columns)
    columns["cell"] = layout.cells(columns)
    used = {role: layout.names[column] or "without a name" for role, column in columns.items()}
    joined = used["guide"] == "feature_call" and _NUMBER in layout.names
    checked = [name for name in (_NUMBER if joined else None, _GOOD) if name in layout.names]
    table = _read(layout, columns | {name: layout.names.index(name) for name in checked})
    form = "Cell Ranger's calls, one row per cell" if joined else "one row per cell and guide"
    notes = [f"{path.name}: {form} (columns of {', '.join(f'{role}s: {used[role]}' for role in sorted(used))})"]
    if _GOOD in table:
        good = _truth(path, table[_GOOD])
        notes.append(f"rows whose {_GOOD} is false, which are no calls: {int((~good).sum()):,}")
        table = table[good]
    if joined:
        table = _split(path, table)
    table = table.apply(lambda column: column.str.strip())
    for role, what in (("cell", "the name of a cell"), ("guide", "a guide")):
        empty = table[role] == ""
        if empty.any():
            notes.append(f"rows without {what}, which are no calls: {int(empty.sum()):,}")
            table = table[~empty]
    if table.empty:
        raise InputError(f"{path} holds no calls of guides ({'; '.join(notes)})")
    targets: dict[str, str] = {}
    if target_column is not None:
        named = table[table["target"] != ""]
        targets = targets_of(named["guide"], named["target"], f"{path}: column {target_column!r}")
    cell, cells = pd.factorize(table["cell"])
    guide, guides = pd.factorize(table["guide"], sort=True)
    return _calls(cell, pd.Index(cells), guide, pd.Index(guides), targets, notes)


def calls_of_counts(
    counts: Any, cells: pd.Index, guides: pd.Index, least: int, targets: dict[str, str] | None = None
) -> GuideCalls:
    """Call guides in cells by a fixed threshold: a cell has each guide of which it has enough UMIs.

    Parameters
    ----------
    counts : array or scipy.sparse matrix (cells, guides)
        UMIs.
    cells, guides : Index
        Names of the rows and columns, each once.
    least : int
        UMIs of a guide that a cell needs; 5 is the usual number.
    targets : dict of str to str, optional
        What guides target; others than `guides` are ignored.

    Raises
    ------
    InputError
        Shapes differ, a name occurs twice, `least` is no whole number above 0, or no cell has so many UMIs of a guide.

    Examples
    --------
    >>> counts = np.array([[9, 0], [5, 12], [4, 0]])
    >>> calls_of_counts(counts, pd.Index(["c1", "c2", "c3"]), pd.Index(["g2", "g1"]), least=5).labels.to_dict()
    {'c1': 'g2', 'c2': 'g1+g2'}
    """
    whole_number(least, "least number of UMIs of a guide", 1)
    if counts.shape != (len(cells), len(guides)):
        raise InputError(
            f"counts of guides have shape {counts.shape}; expected {len(cells):,} cells x {len(guides):,} guides"
        )
    unique_names(cells, "cell", "counts of guides")
    unique_names(guides, "guide", "counts of guides")
    cell, column = (counts >= least).nonzero()
    if not len(cell):
        raise InputError(
            f"none of {len(cells):,} cells has {least} UMIs of any of the guides {listed(guides, 3)}"
            + (f" (the most is {counts.max():,.0f})" if all(counts.shape) else "")
        )
    order = np.argsort(guides.to_numpy(object), kind="stable")
    rank = np.empty_like(order)
    rank[order] = np.arange(len(guides))
    notes = [f"a cell has a guide if it has {least} UMIs of it or more (fixed threshold)"]
    if len(unseen := guides.delete(np.unique(column))):
        notes.append(f"guides that are in no cell: {len(unseen):,} of {len(guides):,} ({listed(unseen, 5)})")
    known = {guide: targets[guide] for guide in guides if guide in targets} if targets else {}
    return _calls(cell, cells, rank[column], guides[order], known, notes)


def labels_of(calls: GuideCalls, cells: pd.Index, where: str) -> tuple[pd.Series, list[str]]:
    """Labels of the cells of a matrix, None for cells without a guide, and what to say of it.

    Cells are matched by their names. Only if none is the same, an ending such as ``-1``, of the names in the matrix or
    of those of the calls, is overlooked, provided that each cell with a call then is one cell of the matrix.

    Parameters
    ----------
    calls : GuideCalls
    cells : Index
        Names of the cells of the matrix.
    where : str
        What the matrix is called in messages, such as the name of its file.

    Raises
    ------
    InputError
        No cell with a call is in the matrix.

    Examples
    --------
    >>> calls = calls_of_counts(np.array([[9], [8]]), pd.Index(["AAAC", "AAAG"]), pd.Index(["KLF1_1"]), least=5)
    >>> labels, notes = labels_of(calls, pd.Index(["AAAG-1", "AAAT-1", "AAAC-1"]), "counts.h5")
    >>> labels.tolist()
    ['KLF1_1', None, 'KLF1_1']
    >>> notes
    ["counts.h5: an ending of the cells' names there was overlooked, as in 'AAAC-1', which is 'AAAC' in the calls",
     'counts.h5: cells with one guide: 2, with several: 0, with none: 1']
    """
    of_calls, of_cells, notes = calls.labels.index, cells, []
    if not of_calls.isin(of_cells).any():
        of_calls, of_cells, note = _without_ending(of_calls, of_cells, where)
        notes.append(note)
    # A cell without a call has position -1, which is that of the None at the end.
    values = np.array([*calls.labels, None], dtype=object)[of_calls.get_indexer(of_cells)]
    labels = pd.Series(values, index=cells, dtype=object)
    absent = int((~of_calls.isin(of_cells)).sum())
    if absent:
        notes.append(f"{where}: cells of the guide calls that are not in it: {absent:,} of {len(of_calls):,}")
    present = labels.dropna()
    several = int(present.str.contains(calls.separator, regex=False).sum())
    notes.append(
        f"{where}: cells with one guide: {len(present) - several:,}, with several: {several:,}, with none: "
        f"{len(labels) - len(present):,}"
    )
    return labels, notes


@dataclass(frozen=True)
class _Layout:
    """How a table of text is laid out."""

    path: Path
    separator: str
    names: list[str]  # of the columns
    rows: list[list[str]] = field(repr=False)  # the first ones

    def called(self, name: str, option: str) -> int:
        """Position of the column that is called as an option says."""
        columns = [position for position, other in enumerate(self.names) if other == name]
        return self._only(columns, f"be called {name!r}", f"correct {option}")

    def guides(self, taken: Mapping[str, int]) -> int:
        """Position of the column of guides, by its name."""
        columns = self._with(GUIDE_COLUMNS, taken)
        return self._only(columns, "name the guides", "give the right one with --perturbation-key")

    def cells(self, taken: Mapping[str, int]) -> int:
        """Position of the column of cells: one with a usual name, or else a first one without."""
        columns = self._with(CELL_COLUMNS, taken)
        if not columns and self.names[0].strip() in ("", "Unnamed: 0"):
            return 0
        return self._only(columns, "name the cells", "call the right one, and no other, cell_barcode")

    def _with(self, usual: tuple[str, ...], taken: Mapping[str, int]) -> list[int]:
        return [
            position
            for position, name in enumerate(self.names)
            if re.sub(r"[ .]", "_", name.strip().lower()) in usual and position not in taken.values()
        ]

    def _only(self, columns: list[int], what: str, remedy: str) -> int:
        if len(columns) == 1:
            return columns[0]
        if columns:
            names = listed(self.names[column] for column in columns)
            raise InputError(f"{self.path}: several columns may {what}: {names}; {remedy}")
        if len(self.names) > 2 and all(_COUNT.fullmatch(value) for value in self.rows[0][1:]):
            raise InputError(
                f"{self.path}: no column seems to {what}, and all {len(self.names) - 1:,} but the first hold numbers, "
                "as in a table of counts (cells x guides); expected one row per cell and guide that was called in it, "
                f"with columns such as cell_barcode and guide (if it is such a table, {remedy})"
            )
        raise InputError(
            f"{self.path}: no column seems to {what}; its columns are: {listed(self.names, 30)}; {remedy} (the first "
            "line holds the names of the columns, with commas, tabs or semicolons between them)"
        )


@contextmanager
def _text(path: Path) -> Iterator[io.TextIOWrapper]:
    """The text of a file, also a compressed one; InputError if it is missing, empty, damaged or of another kind."""
    if not path.is_file():
        raise InputError(f"{path} is a folder; expected a table" if path.is_dir() else f"no file {path}")
    with path.open("rb") as file:
        compressed = file.read(2) == b"\x1f\x8b"
    try:
        with gzip.open(path, "rb") if compressed else path.open("rb") as file:
            start = file.read(4096)
            if not start.strip():
                raise InputError(f"{path} is empty; expected a table of guide calls with a header")
            for magic, kind in _KINDS.items():
                if start.startswith(magic):
                    raise InputError(f"{path} is {kind}")
            if b"\0" in start:
                raise InputError(f"{path} is a binary file; expected a table as text, such as CSV")
            file.seek(0)
            yield io.TextIOWrapper(file, encoding="utf-8-sig", newline="")
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is not UTF-8 text ({error.reason}); save it as UTF-8") from error
    except _DAMAGED as error:
        raise InputError(f"{path} cannot be read as a table: {str(error).strip()}") from error


def _layout(path: Path) -> _Layout:
    """Names of the columns of a table, and what separates them: what gives the most columns."""
    with _text(path) as text:
        line = text.readline().rstrip("\r\n")
        headers = {mark: next(csv.reader([line], delimiter=mark), [""]) for mark in _FIELD_SEPARATORS}
        separator = max(headers, key=lambda mark: len(headers[mark]))
        names = headers[separator]
        rows = list(islice((row for row in csv.reader(text, delimiter=separator) if any(row)), 100))
    if not rows:
        raise InputError(f"{path} has one line only; expected names of columns in the first, and then a row per call")
    # R writes no name above the names of rows.
    if all(len(row) == len(names) + 1 for row in rows) and any(row[-1] for row in rows):
        names = ["", *names]
    return _Layout(path, separator, names, rows)


def _read(layout: _Layout, columns: Mapping[str, int]) -> pd.DataFrame:
    """Some columns of a table as text, by line of the file, without empty lines."""
    width = len(layout.names)
    # More fields than there are columns are read too, so that a line that has them is seen.
    fields = range(max(width, *map(len, layout.rows)) + 1)
    parts = []
    with _text(layout.path) as text:
        chunks = pd.read_csv(
            text,
            sep=layout.separator,
            header=None,
            names=fields,
            index_col=False,
            skiprows=1,
            skip_blank_lines=False,
            dtype=str,
            na_filter=False,
            chunksize=_ROWS,
        )
        for chunk in chunks:
            chunk.index += 2
            if (long := (chunk[list(fields[width:])] != "").any(axis=1)).any():
                raise InputError(
                    f"{layout.path}, line {chunk.index[long][0]}: more fields than the {width} columns of the table; "
                    'put a field that holds the separator in quotation marks (")'
                )
            part = chunk[list(columns.values())].set_axis(list(columns), axis=1)
            parts.append(part[(part != "").any(axis=1)])
    return pd.concat(parts)


def _truth(path: Path, column: pd.Series) -> pd.Series:
    """Truth values of a column of text."""
    values = column.str.strip().str.lower().map(_TRUTH)
    if values.isna().any():
        line = values.index[values.isna()][0]
        raise InputError(f"{path}, line {line}: {column.name} is {column[line]!r}; expected True or False")
    return values.astype(bool)


def _split(path: Path, table: pd.DataFrame) -> pd.DataFrame:
    """One row per cell and guide of Cell Ranger's one row per cell; a cell without guides has one without."""
    number = pd.to_numeric(table[_NUMBER], errors="coerce")
    parted = {}
    for role in ("guide", "target"):
        if role not in table:
            continue
        names = table[role].where(number != 0, "")
        parts = names.str.count(re.escape(_JOINED_BY)) + 1
        if (wrong := parts != number.replace(0, 1)).any():
            line = wrong.index[wrong][0]
            raise InputError(
                f"{path}, line {line}: {_NUMBER} is {table[_NUMBER][line]!r}, but {names[line]!r} is {parts[line]} "
                f"name(s) joined by {_JOINED_BY!r}; expected as many (no name of its own may hold {_JOINED_BY!r})"
            )
        parted[role] = names.str.split(_JOINED_BY, regex=False)
    return table.assign(**parted).explode(list(parted))


def targets_of(guides: pd.Series, targets: pd.Series, where: str) -> dict[str, str]:
    """Target of each guide that has one, from pairs of them (a target may be missing: None).

    Raises InputError, calling the targets `where`, if a guide has several, or one in some pairs only.
    """
    pairs = pd.DataFrame({"guide": guides, "target": targets}).drop_duplicates().sort_values(["guide", "target"])
    repeated = pairs[pairs["guide"].duplicated(keep=False)]
    if len(repeated):
        guide = repeated["guide"].iloc[0]
        several = repeated["target"][repeated["guide"] == guide]
        raise InputError(
            f"{where}: {repeated['guide'].nunique()} guide(s) have more than one target, such as {guide!r}: "
            f"{listed(several)}; a guide has one target (if that column names perturbations, --perturbation-key)"
        )
    named = pairs.dropna()
    return dict(zip(named["guide"], named["target"], strict=True))


def _calls(
    cell: npt.NDArray[np.integer],
    cells: pd.Index,
    guide: npt.NDArray[np.integer],
    guides: pd.Index,
    targets: dict[str, str],
    notes: list[str],
) -> GuideCalls:
    """Calls of pairs of a cell and a guide, given by their positions in `cells` and in `guides`, which are sorted."""
    # Positions in sparse matrices are of 32 bits, the number of pairs may not be.
    pairs = np.unique(cell.astype(np.int64) * len(guides) + guide)
    if len(pairs) < len(cell):
        notes = [*notes, f"repeated calls of a guide in a cell, counted once: {len(cell) - len(pairs):,}"]
    without = [name for name in guides if name not in targets]
    if targets and without:
        notes = [*notes, f"guides without a target: {len(without):,} of {len(guides):,} ({listed(without, 5)})"]
    cell, guide = np.divmod(pairs, len(guides))
    separator = _separator(guides)
    names = guides.to_numpy(object)[guide].tolist()
    starts = np.flatnonzero(np.diff(cell, prepend=-1))
    bounds = [*starts.tolist(), len(names)]
    labels = [separator.join(names[start:stop]) for start, stop in pairwise(bounds)]
    index = pd.Index(cells.to_numpy(object)[cell[starts]], dtype=object)
    return GuideCalls(pd.Series(labels, index=index, dtype=object), separator, targets, tuple(notes))


def _separator(guides: pd.Index) -> str:
    """The first separator that is part of no guide's name, nor made by joining, as " & " is after "A &"."""
    names = "\n".join(f" {name} " for name in guides)
    for separator in SEPARATORS:
        if separator not in names:
            return separator
    raise InputError(
        f"names of guides hold all of {''.join(SEPARATORS)}, so that none can stand between the guides of a cell; "
        "rename guides"
    )


def _without_ending(called: pd.Index, cells: pd.Index, where: str) -> tuple[pd.Index, pd.Index, str]:
    """Names of cells with calls and of the matrix without the ending of one side, if all calls match, and a note."""
    bare_called, bare_cells = (names.str.replace(_ENDING, "", regex=True) for names in (called, cells))
    for of_calls, of_cells, side in ((called, bare_cells, "there"), (bare_called, cells, "in the calls")):
        if of_calls.isin(of_cells).all() and of_calls.is_unique and of_cells.is_unique:
            name = cells[of_cells.get_loc(of_calls[0])]
            note = (
                f"{where}: an ending of the cells' names {side} was overlooked, as in {name!r}, which is "
                f"{called[0]!r} in the calls"
            )
            return of_calls, of_cells, note
    shown, of = (", ".join(map(repr, names[:3])) for names in (cells, called))
    raise InputError(
        f"{where}: none of the {len(called):,} cells with a guide call is among its {len(cells):,} cells, which are "
        f"called {shown}; the calls have {of}; {_difference(called, cells)}"
    )


def _difference(called: pd.Index, cells: pd.Index) -> str:
    """What may be the reason that no names are the same: text around barcodes, case, or other cells."""

    def cores(names: pd.Index) -> pd.Series:
        upper = pd.Series(names.to_numpy(object)).str.upper()
        return upper.str.extract(r"([ACGT]{8,})", expand=False).fillna(upper)

    of_calls, of_cells = cores(called), cores(cells)
    shared = of_calls[of_calls.isin(of_cells)]
    if shared.empty:
        return "no barcode is in both; are they of the same sample?"
    position = shared.index[0]
    other = cells[of_cells[of_cells == of_calls[position]].index[0]]
    return (
        f"{len(shared):,} have a barcode that is there, but differ in case or in what stands around it, such as "
        f"{called[position]!r} and {other!r}; give both the same names"
    )
