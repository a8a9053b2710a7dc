"""A folder of results: tables, figures with the data they were drawn from, and the record of how they were made.

`run.json` in the folder lists every file that was finished, so that an interrupted analysis goes on where it was and
a figure can be traced to its command, seed, versions and input. It is rewritten after each file.
"""

from __future__ import annotations

import re
import shutil
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Any, Protocol

import pandas as pd

from diversity_by_design.errors import InputError, listed
from diversity_by_design.running.captions import caption, read_captions
from diversity_by_design.running.checksum import sha256
from diversity_by_design.running.files import atomic_path, read_csv, write_csv
from diversity_by_design.running.locks import hold
from diversity_by_design.running.records import (
    DPI,
    KINDS,
    FigureRecord,
    FileRecord,
    Result,
    TableRecord,
    fingerprint,
    now,
    portable,
    read_record,
    versions,
    write_record,
)
from diversity_by_design.running.replacement import STAGING, obsolete_files, take_place

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

    Opening the folder of an earlier run with the same fingerprint goes on where that run was. Any other run, and one
    with `force`, leaves the earlier results as they are until it is complete (see `finish`); then it takes their place,
    and the files go that only the earlier run recorded. Other files in the folder are left alone.

    One process at a time has the folder: until `finish`, until the object is forgotten, or until the process ends.

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
    reads : paths
        Files of other analyses that the results are made of; their checksums are recorded, and a run for which they
        differ is another run.
    force : bool
        Start anew in any case.
    captions : mapping, optional
        What is said of each result, see `diversity_by_design.running.captions` (default: the entries of the analysis in
        ``templates/captions.toml``).

    Attributes
    ----------
    path : Path
        The folder.
    work : Path
        Where this run's files are: a hidden folder within while the results of an earlier run are kept, else `path`.

    Raises
    ------
    InputError
        The folder holds the results of another analysis, or a run.json of something else. It is in use by another
        process, or cannot be written to.
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
        reads: Iterable[Path] = (),
        force: bool = False,
        captions: Mapping[str, Any] | None = None,
    ) -> None:
        self.path = path
        self._captions = read_captions(analysis) if captions is None else captions
        self._began = time.perf_counter()
        self._results: dict[tuple[str, str], Result] = {}  # by kind and name
        self._held = hold(path)
        take_place(path)
        earlier = read_record(path)
        if earlier and earlier["analysis"] != analysis:
            raise InputError(
                f"{path} holds results of the analysis {earlier['analysis']!r}, not of {analysis!r}; "
                "choose another folder with --output"
            )
        checksums = {portable(str(file.resolve()), path.parent.resolve()): sha256(file) for file in reads}
        self._record: dict[str, Any] = {
            "analysis": analysis,
            "title": title,
            "complete": False,
            "command": [portable(argument) for argument in sys.argv],
            "seed": seed,
            "parameters": dict(parameters),
            "reads": checksums,
            "input": {"name": dataset.name, "checksum": dataset.checksum, "report": getattr(dataset, "report", None)},
            "versions": versions(),
            "started": now(),
            "finished": None,
            "seconds": 0.0,
            "fingerprint": fingerprint(
                analysis, dataset.checksum, seed, {**parameters, "captions": self._captions}, checksums
            ),
            "notes": [],
            "obsolete": [],
        }
        in_place = earlier is None or self._goes_on(earlier, force)
        self.work = path if in_place else path / STAGING
        begun = earlier if in_place else read_record(self.work)
        if begun and self._goes_on(begun, force):
            self._resume(begun)
        else:
            if not in_place and self.work.exists():
                shutil.rmtree(self.work)
            self._save()

    @property
    def complete(self) -> bool:
        """Whether the analysis was finished and all its files are still there."""
        return self._record["complete"] and all(map(self._present, self._results.values()))

    def table(self, name: str, frame: pd.DataFrame, *, show: bool = False, **values: object) -> Path:
        """Write `frame` as ``<name>.csv`` and return its path.

        With `show` the report shows it, not just links it; `values` are those of the caption's placeholders.
        """
        dtypes = {str(column): str(dtype) for column, dtype in frame.dtypes.items()}
        said = caption(self._captions, name, values)["caption"]
        record = TableRecord(checked_name(name), f"{name}.csv", said, show, len(frame), dtypes)
        self._claim(record)
        path = self.work / record.file
        write_csv(path, frame)
        self._add(record)
        return path

    def cached_table(
        self, name: str, make: Callable[[], pd.DataFrame], *, show: bool = False, **values: object
    ) -> pd.DataFrame:
        """Return the table `name` of an interrupted run, or else make and write it.

        The table is read back from its file in both cases, so that what is computed from it does not depend on
        whether the run was interrupted. Text in a column of mixed type comes back as text.
        """
        finished = self._results.get((TableRecord.kind, name))
        if finished is None or not self._present(finished):
            self.table(name, make(), show=show, **values)
        record = self._results[TableRecord.kind, name]
        assert isinstance(record, TableRecord)
        return read_csv(self.work / record.file, record.dtypes)

    def figure(
        self,
        name: str,
        figure: Figure,
        data: pd.DataFrame | Mapping[str, pd.DataFrame],
        **values: object,
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
        **values
            Of the placeholders of its title and caption.

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
        try:
            said = {"paper": "", **caption(self._captions, name, values)}
            record = FigureRecord(checked_name(name), f"{name}.png", f"{name}.pdf", list(frames), **said)
            self._claim(record)
            for file, frame in frames.items():
                write_csv(self.work / file, frame)
            settle_layout(figure)
            for kind, nothing in NO_METADATA.items():
                # Fonts of type 42 keep the text of a PDF as text, which can be searched and edited.
                with atomic_path(self.work / f"{name}.{kind}") as temporary, mpl.rc_context({"pdf.fonttype": 42}):
                    figure.savefig(temporary, dpi=DPI, metadata=nothing)
        finally:
            plt.close(figure)
        self._add(record)
        return self.work / record.png

    @contextmanager
    def file(self, name: str | PurePath) -> Iterator[Path]:
        """Give a temporary path; what is written there becomes the file `name`, such as ``predictions/mse.h5ad``."""
        record = self._file_record(name)
        with atomic_path(self.work / record.name) as temporary:
            yield temporary
        self._add(record)

    def keep(self, name: str | PurePath) -> None:
        """Make a file one of the results that was written to ``work / name``, by another process for instance."""
        self._add(self._file_record(name))

    def note(self, text: str) -> None:
        """Record what a reader of the results must know (such as which perturbations were left out)."""
        if text not in self._record["notes"]:
            self._record["notes"].append(text)
            self._save()

    def finish(self) -> None:
        """Record that the analysis is complete; its results take the place of an earlier run's."""
        self._record |= {"complete": True, "finished": now()}
        if self.work != self.path:
            self._record["obsolete"] = obsolete_files(self.path, self._whole_record())
        self._save()
        take_place(self.path)
        self.work, self._record["obsolete"] = self.path, []
        self._held.lock.release()

    def _file_record(self, name: str | PurePath) -> FileRecord:
        path = PurePath(name)
        for part in [*path.parent.parts, *path.name.split(".")]:
            checked_name(part)
        record = FileRecord(path.as_posix())
        self._claim(record)
        return record

    def _present(self, record: Result) -> bool:
        return all((self.work / file).is_file() for file in record.files)

    def _claim(self, record: Result) -> None:
        """Raise InputError if another result of this folder has a file of the same name."""
        for key, other in self._results.items():
            shared = set(record.files) & set(other.files)
            if shared and key != (record.kind, record.name):
                raise InputError(f"{self.path}: two results would be written to {listed(sorted(shared))}; rename one")

    def _add(self, record: Result) -> None:
        self._results[record.kind, record.name] = record
        self._save()

    def _goes_on(self, begun: Mapping[str, Any], force: bool) -> bool:
        """Whether this run is the one that has begun."""
        return not force and begun["fingerprint"] == self._record["fingerprint"]

    def _resume(self, begun: Mapping[str, Any]) -> None:
        self._record.update({key: begun[key] for key in ("complete", "started", "finished", "seconds", "notes")})
        self._results = {(kind, result.name): result for kind in KINDS for result in begun[kind]}
        if self.complete:
            # What is finished stays as it is, the command that made it included.
            self._record["command"] = begun["command"]
        else:
            self._record["complete"] = False

    def _whole_record(self) -> dict[str, Any]:
        results = {kind: [result for result in self._results.values() if result.kind == kind] for kind in KINDS}
        seconds = round(self._record["seconds"] + time.perf_counter() - self._began, 3)
        return {**self._record, "seconds": seconds, **results}

    def _save(self) -> None:
        write_record(self.work, self._whole_record())


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
