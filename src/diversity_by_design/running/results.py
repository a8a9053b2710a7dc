"""A folder of results: tables, figures with the data they were drawn from, and the record of how they were made.

`run.json` in the folder lists every file that was finished, so that an interrupted analysis goes on where it was and
a figure can be traced to its command, seed, versions and input. It is rewritten after each file.
"""

from __future__ import annotations

import dataclasses
import json
import re
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import pandas as pd

from diversity_by_design.errors import InputError, listed
from diversity_by_design.running.files import atomic_path, read_csv, write_csv, write_text
from diversity_by_design.running.records import (
    DPI,
    RECORD,
    FigureRecord,
    TableRecord,
    files_of,
    fingerprint,
    now,
    plain,
    portable,
    read_record,
    versions,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# The date and the version of the drawing library would make two runs of the same command differ.
NO_METADATA: dict[str, dict[str, None]] = {
    "png": {"Software": None},
    "pdf": {"CreationDate": None, "Creator": None, "Producer": None},
}


class Input(Protocol):
    """The prepared data set that an analysis ran on."""

    @property
    def name(self) -> str:
        """Name of the data set."""

    @property
    def path(self) -> Path:
        """Prepared file."""

    @property
    def checksum(self) -> str:
        """Checksum of the prepared file."""

    @property
    def report(self) -> Any:
        """What preparation kept and left out: a mapping or a dataclass of plain values, or None."""


def checked_name(name: str) -> str:
    """Return `name` if it can be part of a file name on every system, else raise InputError."""
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_-]*", name):
        raise InputError(f"{name!r} cannot name a result: use letters, digits, '_' and '-' only")
    return name


class ResultFolder:
    """Results of one analysis of one data set.

    Opening the folder of an earlier run with the same fingerprint goes on where that run was; any other run, or
    `force`, starts anew and removes the files that the earlier run recorded, nothing else.

    Parameters
    ----------
    path : Path
        The folder, made if needed.
    analysis : str
        Name of the analysis, that of its script.
    title : str
        What the analysis is, for the report.
    dataset : Input
        The prepared data set; its name and checksum are recorded.
    seed : int
        Seed of the run.
    parameters : mapping of str to plain values
        All else that the results depend on (not the number of workers).
    force : bool
        Start anew in any case.

    Raises
    ------
    InputError
        The folder holds the results of another analysis, or a run.json of something else. The folder cannot be written
        to.
    """

    def __init__(
        self,
        path: Path,
        *,
        analysis: str,
        title: str,
        dataset: Input,
        seed: int,
        parameters: Mapping[str, object],
        force: bool = False,
    ) -> None:
        self.path = path
        self._began = time.perf_counter()
        self._tables: dict[str, TableRecord] = {}
        self._figures: dict[str, FigureRecord] = {}
        earlier = read_record(path)
        if earlier and earlier["analysis"] != analysis:
            raise InputError(
                f"{path} holds results of the analysis {earlier['analysis']!r}, not of {analysis!r}; "
                "choose another folder with --output"
            )
        self._record: dict[str, Any] = {
            "analysis": analysis,
            "title": title,
            "complete": False,
            "command": [portable(argument) for argument in sys.argv],
            "seed": seed,
            "parameters": dict(parameters),
            "input": {"name": dataset.name, "checksum": dataset.checksum, "report": getattr(dataset, "report", None)},
            "versions": versions(),
            "started": now(),
            "finished": None,
            "seconds": 0.0,
            "fingerprint": fingerprint(analysis, dataset.checksum, seed, parameters),
            "notes": [],
        }
        if earlier and not force and earlier["fingerprint"] == self._record["fingerprint"]:
            self._resume(earlier)
        else:
            if earlier:
                self._remove(earlier)
            self._save()

    @property
    def complete(self) -> bool:
        """Whether the analysis was finished and all its files are still there."""
        return self._record["complete"] and all(self._present(record) for record in self._records())

    def table(self, name: str, frame: pd.DataFrame, *, caption: str = "", show: bool = False) -> Path:
        """Write `frame` as ``<name>.csv`` and return its path; with `show` the report shows it, not just links it."""
        dtypes = {str(column): str(dtype) for column, dtype in frame.dtypes.items()}
        record = TableRecord(checked_name(name), f"{name}.csv", caption, show, len(frame), dtypes)
        self._claim(record)
        path = self.path / record.file
        write_csv(path, frame)
        self._tables[name] = record
        self._save()
        return path

    def cached_table(
        self, name: str, make: Callable[[], pd.DataFrame], *, caption: str = "", show: bool = False
    ) -> pd.DataFrame:
        """Return the table `name` of an interrupted run, or else make and write it.

        The table is read back from its file in both cases, so that what is computed from it does not depend on
        whether the run was interrupted. Text in a column of mixed type comes back as text.
        """
        finished = self._tables.get(name)
        if finished is None or not self._present(finished):
            self.table(name, make(), caption=caption, show=show)
        record = self._tables[name]
        return read_csv(self.path / record.file, record.dtypes)

    def figure(
        self,
        name: str,
        figure: Figure,
        data: pd.DataFrame | Mapping[str, pd.DataFrame],
        *,
        title: str,
        caption: str,
        paper: str,
    ) -> Path:
        """Write a figure as ``<name>.png`` and ``<name>.pdf``, and beside them the data it was drawn from.

        Parameters
        ----------
        name : str
            Name of the files, without ending.
        figure : matplotlib Figure
            Is closed, whether it could be written or not.
        data : DataFrame, or mapping of str to DataFrame
            Written as ``<name>.csv``, or as ``<name>_<key>.csv`` each.
        title, caption : str
            What the figure is, and what to see in it.
        paper : str
            The paper's figure it corresponds to, such as ``"2D/E"``; empty if none.

        Returns
        -------
        Path
            Path of the PNG file.
        """
        import matplotlib as mpl
        import matplotlib.pyplot as plt

        frames = (
            {f"{name}.csv": data}
            if isinstance(data, pd.DataFrame)
            else {f"{name}_{checked_name(key)}.csv": frame for key, frame in data.items()}
        )
        record = FigureRecord(checked_name(name), f"{name}.png", f"{name}.pdf", list(frames), title, caption, paper)
        self._claim(record)
        try:
            for file, frame in frames.items():
                write_csv(self.path / file, frame)
            settle_layout(figure)
            for kind, nothing in NO_METADATA.items():
                # Fonts of type 42 keep the text of a PDF as text, which can be searched and edited.
                with atomic_path(self.path / f"{name}.{kind}") as temporary, mpl.rc_context({"pdf.fonttype": 42}):
                    figure.savefig(temporary, dpi=DPI, metadata=nothing)
        finally:
            plt.close(figure)
        self._figures[name] = record
        self._save()
        return self.path / record.png

    def note(self, text: str) -> None:
        """Record what a reader of the results must know (such as which perturbations were left out)."""
        if text not in self._record["notes"]:
            self._record["notes"].append(text)
            self._save()

    def finish(self) -> None:
        """Record that the analysis is complete."""
        self._record["complete"] = True
        self._record["finished"] = now()
        self._save()

    def _records(self) -> list[TableRecord | FigureRecord]:
        return [*self._tables.values(), *self._figures.values()]

    def _present(self, record: TableRecord | FigureRecord) -> bool:
        return all((self.path / file).is_file() for file in record.files)

    def _claim(self, record: TableRecord | FigureRecord) -> None:
        """Raise InputError if another result of this folder has a file of the same name."""
        for other in self._records():
            shared = set(record.files) & set(other.files)
            if shared and (type(other), other.name) != (type(record), record.name):
                raise InputError(f"{self.path}: two results would be written to {listed(sorted(shared))}; rename one")

    def _resume(self, earlier: dict[str, Any]) -> None:
        self._record.update({key: earlier[key] for key in ("complete", "started", "finished", "seconds", "notes")})
        self._tables = {record.name: record for record in earlier["tables"]}
        self._figures = {record.name: record for record in earlier["figures"]}
        if self.complete:
            # What is finished stays as it is, the command that made it included.
            self._record["command"] = earlier["command"]
        else:
            self._record["complete"] = False

    def _remove(self, earlier: dict[str, Any]) -> None:
        for file in files_of([*earlier["tables"], *earlier["figures"]]):
            # A record that was tampered with must not reach files elsewhere.
            if Path(file).name == file:
                (self.path / file).unlink(missing_ok=True)

    def _save(self) -> None:
        record = {
            **self._record,
            "seconds": round(self._record["seconds"] + time.perf_counter() - self._began, 3),
            "tables": [dataclasses.asdict(table) for table in self._tables.values()],
            "figures": [dataclasses.asdict(figure) for figure in self._figures.values()],
        }
        write_text(self.path / RECORD, json.dumps(record, indent=2, default=plain, ensure_ascii=False) + "\n")


def settle_layout(figure: Figure) -> None:
    """Carry out a figure's automatic layout, and round the positions it leads to.

    The solver behind it adds up in an order that changes from run to run, which the last digits show; without this
    the same figure would not be the same file.
    """
    if figure.get_layout_engine() is None:
        return
    from matplotlib.transforms import Bbox

    figure.draw_without_rendering()
    figure.set_layout_engine("none")
    for axes in figure.axes:
        in_layout = axes.get_in_layout()
        axes.set_position(Bbox(axes.get_position(original=True).get_points().round(6)))
        axes.set_in_layout(in_layout)  # which setting a position ends
