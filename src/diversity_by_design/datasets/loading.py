"""From the name of a data set, or the path of a file, to a prepared file; what is missing is made."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from diversity_by_design.datasets import registry
from diversity_by_design.datasets.download import fetch
from diversity_by_design.datasets.formats import dataset_name
from diversity_by_design.datasets.prepare import check_settings, checksum_of, context_paths, prepare
from diversity_by_design.datasets.registry import DatasetSpec
from diversity_by_design.datasets.report import PreparationReport, read_report
from diversity_by_design.datasets.settings import PreparationSettings
from diversity_by_design.running import project
from diversity_by_design.running.checksum import sha256
from diversity_by_design.running.files import read_note, write_text
from diversity_by_design.running.hdf5 import write_anndata
from diversity_by_design.running.locks import hold

PREPARED = "processed.h5ad"
# Beside prepared files: what they were prepared from last, so that it can be prepared again with other options.
ORIGIN = "source.json"
RAW = "raw"


@dataclass(frozen=True)
class PreparedDataset:
    """A prepared data set on disk."""

    name: str  # names its folder of data, and of results
    path: Path  # the h5ad file, as `prepare` describes it
    checksum: str  # SHA-256 of that file
    report: PreparationReport  # what it was made of

    def by_context(self) -> list[PreparedDataset]:
        """The data set of each context, called ``name/context``; this one where there are none."""
        paths = context_paths(self.path, self.report.contexts)
        parts = [
            PreparedDataset(
                f"{self.name}/{path.stem.removeprefix(f'{self.path.stem}-')}", path, sha256(path), self.report
            )
            for path in paths.values()
        ]
        return parts or [self]


def load(
    dataset: str | Path, *, data_dir: Path | str | None = None, seed: int = 0, force: bool = False, **options: Any
) -> PreparedDataset:
    """Return a prepared data set, preparing it first if need be, and print what is done.

    Parameters
    ----------
    dataset : str or Path
        ``demo`` (generated if missing), another name of the registry (downloaded if missing), or the path of a file or
        folder of raw counts (see `CellFile`).
    data_dir : Path or str, optional
        Prepared files are in ``data_dir/<name>``, where the name of a file is that of the file without its ending,
        followed by a part of its checksum if another file has that name. With the default options and seed it is
        ``processed.h5ad``, with others ``processed-<hash of options and seed>.h5ad``. Default: the folder that the
        variable DBD_DATA_DIR names, else ``data`` in the project's folder.
    seed : int
        Of the preparation.
    force : bool
        Whether to prepare it anew, even if that is done.
    **options
        Any of `PreparationSettings`, such as ``perturbation_key``, ``control_label``, ``context_key``, ``matrix`` or
        ``cells_per_perturbation``; None is the default. For a file these are the column ``perturbation`` and the label
        ``control``; for a named data set they are in the registry.

    Raises
    ------
    InputError
        No such data set, option, column or label. No such file. The file is damaged, holds no raw counts, or too little
        of it is left. It cannot be downloaded, or the disk is full or read-only. Another process prepares the data set.
    """
    place = project.data_dir() if data_dir is None else Path(data_dir)
    if registry.is_path(str(dataset)):
        return prepare_file(Path(dataset), place, options, seed, force=force)
    return prepare_named(str(dataset), place, options, seed, force=force)


def prepare_named(
    name: str, data_dir: Path, options: dict[str, Any], seed: int, *, source: Path | None = None, force: bool = False
) -> PreparedDataset:
    """Prepare a data set of the registry, unless it is prepared with these options and this seed.

    `options` that are not None replace the registry's settings; `source` is a raw file to use instead of a download.
    """
    spec = registry.get(name)
    settings = spec.settings().changed(options)
    folder = data_dir / name
    if spec.url is None and source is None:
        from diversity_by_design.datasets.demo_annotations import write_demo_annotations

        # Also where the data set was prepared before it had them.
        write_demo_annotations(folder, seed)
    path = _path(folder, settings, spec.settings(), seed)
    if source is not None:
        checksum = checksum_of(source, settings)
        return _prepared(name, path, settings, seed, lambda: (source, checksum), checksum, force)
    known = None if spec.url is None else _origin(folder).get("sha256")
    return _prepared(name, path, settings, seed, lambda: (_raw_file(spec, folder, seed), None), known, force)


def prepare_file(
    source: Path, data_dir: Path, options: dict[str, Any], seed: int, *, force: bool = False
) -> PreparedDataset:
    """Prepare a file, unless it is prepared with these options and this seed."""
    default = PreparationSettings()
    settings = default.changed(options)
    # Before all of a large file is read.
    check_settings(source, settings)
    checksum = checksum_of(source, settings)
    name = dataset_name(source)
    origin = _origin(data_dir / name)
    of_another = origin and origin["path"] != str(source.resolve()) and origin.get("sha256") != checksum
    if name in registry.DATASETS or of_another:
        name = f"{name}-{checksum[:8]}"
    path = _path(data_dir / name, settings, default, seed)
    return _prepared(name, path, settings, seed, lambda: (source, checksum), checksum, force)


def _path(folder: Path, settings: PreparationSettings, default: PreparationSettings, seed: int) -> Path:
    """File of what is prepared with these settings and this seed."""
    if (settings, seed) == (default, 0):
        return folder / PREPARED
    key = hashlib.sha256(json.dumps([settings.plain(), seed], sort_keys=True).encode()).hexdigest()[:8]
    return folder / f"processed-{key}.h5ad"


def _prepared(
    name: str,
    path: Path,
    settings: PreparationSettings,
    seed: int,
    source: Callable[[], tuple[Path, str | None]],
    checksum: str | None,
    force: bool = False,
) -> PreparedDataset:
    """Return what is at `path`, if it is of the file with this checksum (None: of any); else prepare anew.

    `source` gets the file, and gives its checksum too where that is known.
    """

    def ready() -> PreparationReport | None:
        report = None if force else read_report(path)
        if report is None or checksum not in (None, report.source_sha256):
            return None
        if not all(part.exists() for part in context_paths(path, report.contexts).values()):
            return None
        # Earlier versions had one file for all settings and seeds.
        return report if (report.seed, report.settings) == (seed, settings.plain()) else None

    report = ready()
    if report is None:
        with hold(path.parent):
            report = ready()  # another process may have been at it until now
            if report is None:
                raw, of_source = source()
                print(f"preparing {name} from {raw}{f' anew: {path} is replaced' if path.exists() else ''}")
                report = prepare(raw, path, settings, seed, of_source)
                origin = {"path": str(raw.resolve()), "sha256": report.source_sha256}
                write_text(path.with_name(ORIGIN), json.dumps(origin))
                print(report.text())
    return PreparedDataset(name, path, sha256(path), report)


def _raw_file(spec: DatasetSpec, folder: Path, seed: int) -> Path:
    """Return the raw file of a data set: generated, where it was last time, or downloaded."""
    raw = folder / RAW / spec.filename
    if spec.url is None:
        from diversity_by_design.datasets.demo import generate_demo, of_seed

        print(f"generating the demo data set, which is synthetic (seed {seed})")
        write_anndata(of_seed(raw, seed), generate_demo(seed=seed))
        return of_seed(raw, seed)
    origin = _origin(folder)
    if origin and origin["path"] != str(raw.resolve()) and Path(origin["path"]).exists():
        return Path(origin["path"])
    print(f"{spec.name}: {spec.title}")
    hint = ", or with get_data.py --from FILE"
    return fetch(spec.url, raw, size=spec.size, checksum=spec.checksum, hint=hint)


def _origin(folder: Path) -> dict[str, str]:
    """Path and SHA-256 of the file that a data set was prepared from last; empty if that is not known."""
    return read_note(folder / ORIGIN, "path", "remove it")
