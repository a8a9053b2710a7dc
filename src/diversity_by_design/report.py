"""One static HTML page from sections of figures, tables and facts, complete without a network."""

from __future__ import annotations

import base64
import json
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import pandas as pd

from diversity_by_design.errors import InputError
from diversity_by_design.labels import shortened

MOST_ROWS = 60
MOST_ENTRIES = 100
SCREEN_DPI = 96  # of a CSS pixel
_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"


@dataclass(frozen=True)
class Link:
    """A file beside the page."""

    name: str
    href: str


@dataclass(frozen=True)
class Fact:
    """One line of how something was made; `code` sets it in a typewriter face."""

    name: str
    value: str
    code: bool = False


@dataclass(frozen=True)
class Column:
    """Heading of a table's column."""

    name: str
    number: bool


@dataclass(frozen=True)
class Table:
    """A table, of which the page shows `rows`, if it has `columns`, and else only the link."""

    name: str
    caption: str
    n_rows: int
    link: Link | None = None
    columns: Sequence[Column] = ()
    rows: Sequence[Sequence[str]] = ()

    @property
    def left_out(self) -> int:
        """Number of rows that the page does not show."""
        return self.n_rows - len(self.rows)


@dataclass(frozen=True)
class Figure:
    """A figure: the picture itself, its size in CSS pixels, and links to its files; `paper` is the paper's figure."""

    name: str
    title: str
    caption: str
    source: str
    width: int
    height: int
    links: Sequence[Link] = ()
    paper: str = ""


@dataclass(frozen=True)
class Section:
    """Part of a page; one that has nothing to show is named in the contents alone. `facts`: by their heading."""

    name: str
    title: str
    status: str = ""
    warning: str = ""
    paragraphs: Sequence[str] = ()
    tables: Sequence[Table] = ()
    figures: Sequence[Figure] = ()
    facts: Mapping[str, Sequence[Fact]] = field(default_factory=dict)

    @property
    def shown(self) -> bool:
        """Whether there is anything to show."""
        return bool(self.paragraphs or self.tables or self.figures or self.facts)


def page(title: str, sections: Sequence[Section], *, lead: Sequence[str] = (), warnings: Sequence[str] = ()) -> str:
    """HTML of a page; all text is escaped. `lead` and `warnings`: paragraphs below the title."""
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("diversity_by_design"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
    )
    template = environment.get_template("page.html.j2")
    return template.render(title=title, sections=sections, lead=lead, warnings=warnings) + "\n"


def table(
    name: str, frame: pd.DataFrame, caption: str = "", link: Link | None = None, most_rows: int | None = MOST_ROWS
) -> Table:
    """Show the first rows of a table (all for None) as formatted text."""
    numbers = set(frame.select_dtypes("number").columns)
    columns = [Column(str(column), column in numbers) for column in frame.columns]
    rows = [[_cell_text(value) for value in row] for row in frame.iloc[:most_rows].itertuples(index=False)]
    return Table(name, caption, len(frame), link, columns, rows)


def picture(png: bytes, dpi: int, where: object) -> tuple[str, int, int]:
    """Address that holds a PNG picture itself, and its width and height in CSS pixels.

    Raises
    ------
    InputError
        It is no PNG.
    """
    if png[:8] != _PNG_SIGNATURE or len(png) < 24:
        raise InputError(f"{where} is not a PNG picture; delete it and run the analysis again")
    width, height = (round(size * SCREEN_DPI / dpi) for size in struct.unpack(">II", png[16:24]))
    return f"data:image/png;base64,{base64.b64encode(png).decode()}", width, height


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


def _cell_text(value: str | float | bool | None) -> str:
    """Text of a table's cell: four significant digits, a dash where the value is undefined, and no overlong word.

    Examples
    --------
    >>> [_cell_text(value) for value in (0.123456, 1234567.0, 256, float("nan"), "CEBPE+KLF1")]
    ['0.1235', '1.235e+06', '256', '–', 'CEBPE+KLF1']
    """
    if pd.isna(value):
        return "–"
    return f"{value:.4g}" if isinstance(value, float) else " ".join(map(shortened, str(value).split(" ")))
