"""From the name of a data set, or the path of a file, to a prepared file; what is missing is made."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from diversity_by_design.datasets import registry
from diversity_by_design.datasets.download import fetch
from diversity_by_design.datasets.prepare import prepare
from diversity_by_design.datasets.registry import DatasetSpec
from diversity_by_design.datasets.report import PreparationReport, read_report
from diversity_by_design.datasets.settings import PreparationSettings
from diversity_by_design.errors import InputError
from diversity_by_design.running.checksum import sha256
from diversity_by_design.running.files import write_text
from diversity_by_design.running.hdf5 import write_anndata

PREPARED = "processed.h5ad"
# Beside a prepared file: where its source is, so that it can be prepared again with other options.
ORIGIN = "source.json"
RAW = "raw"

DEFAULT_KEY = "perturbation"
DEFAULT_CONTROL = "control"


@dataclass(frozen=True)
class PreparedDataset:
    """A prepared data set on disk.

    Attributes
    ----------
    name : str
        Names its folder of data, and of results.
    path : Path
        The h5ad file, as `prepare` describes it.
    checksum : str
        SHA-256 of that file.
    report : PreparationReport
        What it was made of.
    """

    name: str
    path: Path
    checksum: str
    report: PreparationReport


def load(
    dataset: str,
    *,
    data_dir: Path | str,
    perturbation_key: str | None = None,
    control_label: str | None = None,
    cells_per_perturbation: int | None = None,
    genes: int | None = None,
    seed: int = 0,
    min_genes_per_cell: int | None = None,
) -> PreparedDataset:
    """Return a prepared data set, preparing it first if need be, and print what is done.

    Parameters
    ----------
    dataset : str
        ``demo`` (generated if missing), another name of the registry (downloaded if missing), or the path of an h5ad
        file of raw counts.
    data_dir : Path or str
        Prepared files are ``data_dir/<name>/processed.h5ad``, where the name of a file is that of the file without
        its ending, followed by a part of its checksum if another file has that name.
    perturbation_key, control_label : str, optional
        Default for a file: ``perturbation`` and ``control``.
    cells_per_perturbation, genes, min_genes_per_cell : int, optional
        Default for a file: see `PreparationSettings`; for a named data set: see the registry.
    seed : int

    Raises
    ------
    InputError
        No such data set, column or label. No such file. The file is damaged, holds no raw counts, or too little of it
        is left. It cannot be downloaded, or the disk is full or read-only.
    """
    data_dir = Path(data_dir)
    options = {
        "perturbation_key": perturbation_key,
        "control_label": control_label,
        "cells_per_perturbation": cells_per_perturbation,
        "n_genes": genes,
        "min_genes_per_cell": min_genes_per_cell,
    }
    if dataset.lower().endswith(".h5ad"):
        return _load_file(Path(dataset), data_dir, options, seed)
    return prepare_named(dataset, data_dir, options, seed)


def prepare_named(
    name: str,
    data_dir: Path,
    options: dict[str, Any],
    seed: int,
    *,
    source: Path | None = None,
    force: bool = False,
) -> PreparedDataset:
    """Prepare a data set of the registry, unless it is prepared with these options and this seed.

    Parameters
    ----------
    name : str
    data_dir : Path
    options : dict
        Settings that replace the registry's, unless None.
    seed : int
    source : Path, optional
        Raw file to use instead of downloading it.
    force : bool
        Prepare anew in any case.
    """
    spec = registry.get(name)
    settings = spec.settings().changed(options)
    folder = data_dir / name
    path = folder / PREPARED
    if spec.url is None and source is None:
        from diversity_by_design.datasets.demo_annotations import write_demo_annotations

        # Also where the data set was prepared before it had them.
        write_demo_annotations(folder, seed)
    known = None if force else read_report(path)
    if known is not None:
        same_source = source is None or sha256(source) == known.source_sha256
        if same_source and (known.seed, known.settings) == (seed, settings.plain()):
            return PreparedDataset(name, path, sha256(path), known)
        print(f"{name} was prepared with another seed, other options or from another file; it is prepared anew")
    raw = source or _raw_file(spec, folder, seed)
    return _prepare(name, raw, path, settings, seed)


def _load_file(source: Path, data_dir: Path, options: dict[str, Any], seed: int) -> PreparedDataset:
    if not source.exists():
        raise InputError(f"no file {source}")
    if source.is_dir():
        raise InputError(f"{source} is a folder; expected an .h5ad file")
    settings = PreparationSettings(perturbation_key=DEFAULT_KEY, control_label=DEFAULT_CONTROL).changed(options)
    checksum = sha256(source)
    name = source.stem
    if name in registry.DATASETS or _belongs_to_another(data_dir / name, source, checksum):
        name = f"{name}-{checksum[:8]}"
    path = data_dir / name / PREPARED
    known = read_report(path)
    if known is not None and (known.source_sha256, known.seed, known.settings) == (checksum, seed, settings.plain()):
        return PreparedDataset(name, path, sha256(path), known)
    return _prepare(name, source, path, settings, seed, checksum)


def _belongs_to_another(folder: Path, source: Path, checksum: str) -> bool:
    """Whether a folder holds what was prepared from a file with other content, at another place."""
    known = read_report(folder / PREPARED)
    return known is not None and known.source_sha256 != checksum and _origin(folder) != source.resolve()


def _prepare(
    name: str, source: Path, path: Path, settings: PreparationSettings, seed: int, checksum: str | None = None
) -> PreparedDataset:
    print(f"preparing {name} from {source}")
    report = prepare(source, path, settings, seed, checksum=checksum)
    write_text(path.with_name(ORIGIN), json.dumps({"path": str(source.resolve())}))
    print(report.text())
    return PreparedDataset(name, path, sha256(path), report)


def _raw_file(spec: DatasetSpec, folder: Path, seed: int) -> Path:
    """Return the raw file of a data set: generated, where it was last time, or downloaded."""
    raw = folder / RAW / spec.filename
    if spec.url is None:
        return _generate_demo(raw, seed)
    origin = _origin(folder)
    if origin is not None and origin != raw.resolve() and origin.exists():
        return origin
    print(f"{spec.name}: {spec.title}")
    return fetch(spec, raw.parent)


def _generate_demo(path: Path, seed: int) -> Path:
    from diversity_by_design.datasets.demo import generate_demo

    print(f"generating the demo data set, which is synthetic (seed {seed})")
    write_anndata(path, generate_demo(seed=seed))
    return path


def _origin(folder: Path) -> Path | None:
    """Where the file was that the folder's data set was prepared from; None if that is not known."""
    note = folder / ORIGIN
    if not note.exists():
        return None
    try:
        return Path(json.loads(note.read_text(encoding="utf-8"))["path"])
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"{note} does not name a file; remove it") from error
