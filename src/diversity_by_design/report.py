"""The page that shows all results of a data set: one static file, complete without a network."""

from __future__ import annotations

import base64
import json
import re
import shlex
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pandas as pd

from diversity_by_design.errors import InputError, listed
from diversity_by_design.running.files import read_csv, write_text
from diversity_by_design.running.records import DPI, FigureRecord, TableRecord, files_of, read_record

INDEX = "index.html"
SYNTHETIC = "demo"
MOST_ROWS = 60
MOST_ENTRIES = 100
PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
SCREEN_DPI = 96  # of a CSS pixel


@dataclass(frozen=True)
class Link:
    """A file beside the page."""

    name: str
    href: str


@dataclass(frozen=True)
class Fact:
    """One line of how an analysis was made; `code` sets it in a typewriter face."""

    name: str
    value: str
    code: bool = False


@dataclass(frozen=True)
class Column:
    """Heading of a shown table's column."""

    name: str
    number: bool


@dataclass(frozen=True)
class TableView:
    """A table as the page shows it; only those that are shown have columns and rows."""

    record: TableRecord
    href: str
    columns: list[Column] = field(default_factory=list)
    rows: list[list[str]] = field(default_factory=list)

    @property
    def left_out(self) -> int:
        """Number of rows that only the file has."""
        return self.record.rows - len(self.rows)


@dataclass(frozen=True)
class FigureView:
    """A figure as the page shows it: the picture itself, its size in CSS pixels, and links to its files."""

    record: FigureRecord
    source: str
    width: int
    height: int
    alt: str
    links: list[Link]


@dataclass(frozen=True)
class InputView:
    """A prepared file that analyses ran on, and how it was prepared."""

    analyses: list[str]
    facts: list[Fact]


@dataclass(frozen=True)
class AnalysisView:
    """One section of the page; without a record the analysis was not run, and the contents alone name it."""

    name: str
    title: str
    status: str
    explanation: str = ""
    record: Mapping[str, Any] | None = None
    figures: list[FigureView] = field(default_factory=list)
    tables: list[TableView] = field(default_factory=list)
    facts: list[Fact] = field(default_factory=list)

    @property
    def shown_tables(self) -> list[TableView]:
        """Tables that the page shows in full or in part."""
        return [table for table in self.tables if table.columns]


def write_index(
    dataset_folder: Path,
    *,
    expected: Mapping[str, str] | None = None,
    failed: Mapping[str, int] | None = None,
) -> Path:
    """Write index.html into a data set's folder of results, from the run.json of each analysis there.

    Parameters
    ----------
    dataset_folder : Path
        ``results/<dataset>``, which holds one folder per analysis.
    expected : mapping of str to str
        Name and title of analyses that the page names as not run where their folder is missing.
    failed : mapping of str to int
        Name and exit code of analyses that ended with an error.

    Returns
    -------
    Path
        The page. It embeds every figure, so that this one file can be passed on.

    Raises
    ------
    InputError
        A run.json or a figure's PNG is not what it should be. The page cannot be written.
    """
    expected, failed = expected or {}, failed or {}
    found = {record.parent.name for record in dataset_folder.glob("*/run.json")}
    analyses = [
        analysis_view(dataset_folder / name, expected.get(name, name), failed.get(name))
        for name in sorted(found | set(expected), key=by_number)
    ]
    page = render(
        dataset=dataset_folder.name,
        synthetic=dataset_folder.name == SYNTHETIC,
        inputs=input_views(analyses),
        analyses=analyses,
    )
    index = dataset_folder / INDEX
    write_text(index, page)
    return index


def render(**context: object) -> str:
    """Fill the page's template; all text is escaped."""
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("diversity_by_design"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
    )
    return environment.get_template("index.html.j2").render(**context) + "\n"


def by_number(name: str) -> tuple[float, str]:
    """Sorting key of analyses: their number, those without one last.

    Examples
    --------
    >>> sorted(["extra", "10_b", "2_a"], key=by_number)
    ['2_a', '10_b', 'extra']
    """
    number = re.match(r"\d+", name)
    return (int(number[0]) if number else float("inf"), name)


def analysis_view(folder: Path, title: str, exit_code: int | None = None) -> AnalysisView:
    """Gather what the page shows of one analysis; `title` is used where the analysis left no record."""
    record = read_record(folder)
    failure = f"failed with exit code {exit_code}" if exit_code else ""
    if record is None:
        return AnalysisView(folder.name, title, failure or "not run")
    missing = [file for file in files_of(record) if not (folder / file).is_file()]
    status = failure or ("incomplete" if missing or not record["complete"] else "")
    shown = "what it had finished is shown, and running it again goes on there."
    explanation = f"This analysis {failure or 'is incomplete'}; {shown}"
    if missing:
        explanation += f" Files that it wrote but that are gone: {listed(missing)}."
    return AnalysisView(
        folder.name,
        record["title"],
        status,
        explanation,
        record,
        [figure_view(folder, figure) for figure in record["figures"] if not set(figure.files) & set(missing)],
        [table_view(folder, table) for table in record["tables"] if table.file not in missing],
        facts(record),
    )


def input_views(analyses: Sequence[AnalysisView]) -> list[InputView]:
    """Distinct inputs of the analyses; more than one means that their results do not belong together."""
    views: dict[str, InputView] = {}
    for analysis in analyses:
        if analysis.record is None:
            continue
        source = analysis.record["input"]
        report = {"input checksum": source["checksum"], **(source["report"] or {})}
        view = InputView([], [Fact(words(key), plain_text(value)) for key, value in report.items()])
        views.setdefault(source["checksum"], view).analyses.append(analysis.title)
    return list(views.values())


def figure_view(folder: Path, record: FigureRecord) -> FigureView:
    """Read a figure's picture; raise InputError if it is not a PNG."""
    content = (folder / record.png).read_bytes()
    if content[:8] != PNG_SIGNATURE or len(content) < 24:
        raise InputError(f"{folder / record.png} is not a PNG picture; delete it and run the analysis again")
    width, height = (round(size * SCREEN_DPI / DPI) for size in struct.unpack(">II", content[16:24]))
    paper = f", corresponding to the paper's figure {record.paper}" if record.paper else ""
    return FigureView(
        record,
        f"data:image/png;base64,{base64.b64encode(content).decode()}",
        width,
        height,
        f"{record.title}{paper}. {record.caption}",
        [Link(file, href(folder, file)) for file in [record.pdf, *record.data]],
    )


def table_view(folder: Path, record: TableRecord) -> TableView:
    """Read a table if it is to be shown, its first rows as formatted text."""
    if not record.shown:
        return TableView(record, href(folder, record.file))
    frame = read_csv(folder / record.file, record.dtypes)
    numbers = set(frame.select_dtypes("number").columns)
    return TableView(
        record,
        href(folder, record.file),
        [Column(str(name), name in numbers) for name in frame.columns],
        [[cell_text(value) for value in row] for row in frame.head(MOST_ROWS).itertuples(index=False)],
    )


def cell_text(value: str | float | bool | None) -> str:
    """Text of a table's cell: four significant digits, and a dash where the value is undefined.

    Examples
    --------
    >>> [cell_text(value) for value in (0.123456, 1234567.0, 256, float("nan"), "CEBPE+KLF1")]
    ['0.1235', '1.235e+06', '256', '–', 'CEBPE+KLF1']
    """
    if pd.isna(value):
        return "–"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def facts(record: Mapping[str, Any]) -> list[Fact]:
    """How an analysis was made, line by line."""
    source = record["input"]
    lines = [
        Fact("Command", shlex.join(["python", *record["command"]]), code=True),
        Fact("Input", source["name"]),
        Fact("Input checksum", source["checksum"], code=True),
        *(Fact(f"Checksum of {name}", checksum, code=True) for name, checksum in record["reads"].items()),
        Fact("Seed", str(record["seed"])),
        *(Fact(f"Parameter {key}", plain_text(value), code=True) for key, value in record["parameters"].items()),
        Fact(
            "Versions",
            ", ".join(f"{words(name)} {version or 'absent'}" for name, version in record["versions"].items()),
        ),
        Fact("Started", moment(record["started"])),
    ]
    if record["finished"]:
        lines.append(Fact("Finished", moment(record["finished"])))
    return [*lines, Fact("Working time", duration(record["seconds"]))]


def words(name: str) -> str:
    """Name of a field as words."""
    return name.replace("_", " ")


def plain_text(value: object) -> str:
    """Value of a record's field as text; long lists are shortened.

    Examples
    --------
    >>> plain_text([1, 2.5]), plain_text({"genes": 500, "cells": None})
    ('1, 2.5', 'genes: 500; cells: none')
    """
    if isinstance(value, Mapping):
        value = [f"{words(str(key))}: {plain_text(entry)}" for key, entry in value.items()]
    if isinstance(value, list):
        entries = [plain_text(entry) for entry in value]
        if len(entries) > MOST_ENTRIES:
            entries[MOST_ENTRIES:] = [f"and {len(entries) - MOST_ENTRIES} more (run.json has all)"]
        return ("; " if any(" " in entry for entry in entries) else ", ").join(entries) or "none"
    if value is None:
        return "none"
    return value if isinstance(value, str) else json.dumps(value)


def moment(time: str) -> str:
    """Time of a record as a reader sees it.

    Examples
    --------
    >>> moment("2025-03-01T12:30:00+00:00")
    '2025-03-01 12:30:00 UTC'
    """
    return f"{datetime.fromisoformat(time):%Y-%m-%d %H:%M:%S} UTC"


def duration(seconds: float) -> str:
    """Length of time as a reader says it.

    Examples
    --------
    >>> duration(3.21), duration(200)
    ('3.2 s', '3 min 20 s')
    """
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s"


def href(folder: Path, file: str) -> str:
    """Address of a file of an analysis, relative to the page."""
    return f"{quote(folder.name)}/{quote(file)}"
