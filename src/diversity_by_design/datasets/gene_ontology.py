"""Gene ontology annotations from NCBI, or the ready graph of cell-gears: downloading, and where they are found."""

from __future__ import annotations

import shutil
import tarfile
import zlib
from pathlib import Path

import pandas as pd

from diversity_by_design.datasets.annotations import (
    ANNOTATIONS_FILE,
    EDGES,
    SYNONYMS,
    SYNONYMS_FILE,
    read_annotations,
    table_header,
    write_table,
)
from diversity_by_design.datasets.demo import of_seed
from diversity_by_design.datasets.download import fetch
from diversity_by_design.datasets.ontology_source import Source
from diversity_by_design.errors import InputError, listed
from diversity_by_design.running.files import atomic_path
from diversity_by_design.running.locks import hold

NAME = "gene_ontology"
RAW = "raw"
EDGES_FILE = "edges.csv"

NCBI = "https://ftp.ncbi.nlm.nih.gov/gene/DATA"
GENE2GO = "gene2go.gz"
GENE_INFO = "GENE_INFO/Mammalia/Homo_sapiens.gene_info.gz"

DATAVERSE = "https://dataverse.harvard.edu/api/access/datafile"
GEARS_FILE = "6934319"
GEARS_ARCHIVE = "go_essential_all.tar.gz"
GEARS_MEMBER = "go_essential_all/go_essential_all.csv"


def get_gene_ontology(data_dir: Path, source: Source = Source.NCBI, *, force: bool = False) -> Path:
    """Download what a graph of genes is made of, unless it is there, and print what was kept of it.

    The results go to ``data_dir/gene_ontology``, the downloaded files to ``raw`` within. Of NCBI these are gene2go and
    gene_info, which change daily; ``annotations.tsv.gz`` (`symbol`, `go_id`) and ``synonyms.tsv.gz`` (`synonym`,
    `symbol`) are made of them, for human genes. Of GEARS, the edges that cell-gears comes with, ``edges.csv``
    (`source`, `target`, `importance`). `force` downloads anew, whatever the checksum was last time. Returns the path of
    the annotations or edges.
    """
    folder = data_dir / NAME
    path = folder / (ANNOTATIONS_FILE if source is Source.NCBI else EDGES_FILE)
    if path.exists() and not force:
        print(f"{path} is there already; --force downloads it anew")
        return path
    with hold(folder):
        return _annotations(folder, force) if source is Source.NCBI else _edges(folder, force)


NO_GRAPH = (
    "there are no annotations from which to make the graph of the perturbed genes: run "
    "`uv run data/gene_ontology/get_data.py`, or give a table of annotations (symbol, go_id) or edges (source, "
    "target, importance) with --graph"
)


def graph_source(data_dir: Path, dataset: str, seed: int = 0) -> Path | None:
    """Find the file that the graph of a data set's genes is made of; `read_graph` reads it.

    Annotations of the data set itself (the demo has some, which depend on the seed of its preparation), else those of
    NCBI, else the edges of cell-gears; None if there are none of these.
    """
    of_dataset, common = data_dir / dataset / ANNOTATIONS_FILE, data_dir / NAME
    candidates = (of_seed(of_dataset, seed), of_dataset, common / ANNOTATIONS_FILE, common / EDGES_FILE)
    return next((path for path in candidates if path.exists()), None)


def _annotations(folder: Path, force: bool) -> Path:
    gene2go = fetch(f"{NCBI}/{GENE2GO}", folder / RAW / GENE2GO, force=force)
    gene_info = fetch(f"{NCBI}/{GENE_INFO}", folder / RAW / Path(GENE_INFO).name, force=force)
    print(f"reading {gene2go}, which takes minutes")
    annotations = read_annotations(gene2go, gene_info)
    others = pd.DataFrame(sorted(annotations.synonyms.items()), columns=list(SYNONYMS))
    # The annotations last: that they are there says that all is done.
    write_table(folder / SYNONYMS_FILE, others)
    write_table(folder / ANNOTATIONS_FILE, annotations.table)
    print(f"{annotations.text()} are in {folder}")
    return folder / ANNOTATIONS_FILE


def _edges(folder: Path, force: bool) -> Path:
    archive = fetch(f"{DATAVERSE}/{GEARS_FILE}", folder / RAW / GEARS_ARCHIVE, force=force)
    path = folder / EDGES_FILE
    with atomic_path(path) as temporary:
        _extract(archive, GEARS_MEMBER, temporary)
        columns, _ = table_header(temporary)
        if not set(EDGES) <= set(columns):
            raise InputError(
                f"{GEARS_MEMBER} of {archive} has the columns {listed(columns)}; expected {listed(EDGES)}. "
                "--force downloads it anew"
            )
    print(f"the edges of cell-gears are in {path}")
    return path


def _extract(archive: Path, member: str, target: Path) -> None:
    """Copy one file out of a compressed archive; nothing else of it is unpacked."""
    try:
        with tarfile.open(archive, "r:gz") as files:
            names = files.getnames()
            found = files.extractfile(member) if member in names and files.getmember(member).isreg() else None
            if found is None:
                raise InputError(f"{archive} holds no file {member}; it holds: {listed(names)}. --force downloads anew")
            with found, target.open("wb") as file:
                shutil.copyfileobj(found, file)
    except (tarfile.TarError, EOFError, zlib.error) as error:
        raise InputError(f"{archive} cannot be unpacked ({error}); --force downloads it anew") from error
