"""Cells as Cell Ranger writes them, HDF5 or Matrix Market with tables of names; read into memory."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from diversity_by_design.datasets.formats import matrix_files
from diversity_by_design.datasets.opening import damage
from diversity_by_design.errors import InputError, listed

if TYPE_CHECKING:
    from anndata import AnnData


def is_cell_ranger(file: Any) -> bool:
    """Whether there is a matrix as Cell Ranger 3 and later write it, or only groups of genomes, as version 2 did."""
    groups = {name: set(node) if hasattr(node, "keys") else set() for name, node in file.items()}
    if "barcodes" in groups.get("matrix", ()):
        return True
    return len(groups) > 0 and all({"barcodes", "gene_names", "genes", "indptr"} <= parts for parts in groups.values())


def read_cell_ranger(path: Path, genomes: list[str]) -> AnnData:
    """Read an HDF5 file of Cell Ranger's with all features, whose groups are called `genomes` (one, in version 2)."""
    import warnings

    import scanpy as sc

    if "matrix" not in genomes and len(genomes) > 1:
        raise InputError(
            f"{path} holds a matrix of each of several genomes: {listed(genomes)}; write one of them as .h5ad: "
            f"scanpy.read_10x_h5({path.name!r}, genome={genomes[0]!r}).write_h5ad(...)"
        )
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Variable names are not unique")
        return sc.read_10x_h5(path, gex_only=False)


def read_matrix_market(folder: Path) -> AnnData:
    """Read a folder of ``matrix.mtx``, ``barcodes.tsv`` and ``features.tsv`` or ``genes.tsv``, with all features."""
    from anndata.io import read_mtx

    [matrix] = matrix_files(folder)
    barcodes, cells = _names(matrix, "barcodes")
    features, genes = _names(matrix, "features", "genes")
    with damage(str(matrix)):
        adata = read_mtx(matrix).T
    if adata.shape != (len(cells), len(genes)):
        raise InputError(
            f"{matrix} has {adata.n_vars:,} rows and {adata.n_obs:,} columns, but {features.name} has {len(genes):,} "
            f"lines (features) and {barcodes.name} {len(cells):,} (cells); they must be of one data set"
        )
    adata.obs_names = cells[0]
    adata.var_names = genes[min(1, genes.shape[1] - 1)]
    for column, name in enumerate(("gene_ids", None, "feature_types")):
        if name is not None and column < genes.shape[1]:
            adata.var[name] = genes[column].to_numpy()
    return adata


def _names(matrix: Path, *kinds: str) -> tuple[Path, pd.DataFrame]:
    """The table of names beside a matrix, which has one of these names, and its path."""
    prefix = matrix.name.removesuffix(".gz").removesuffix("matrix.mtx")
    names = [f"{prefix}{kind}.tsv{ending}" for kind in kinds for ending in ("", ".gz")]
    path = next((matrix.with_name(name) for name in names if matrix.with_name(name).is_file()), None)
    if path is None:
        raise InputError(f"{matrix.parent} holds {matrix.name}, but none of {listed(names)}, which must lie beside it")
    with damage(str(path)):
        table = pd.read_csv(path, sep="\t", header=None, dtype=str, na_filter=False, quoting=csv.QUOTE_NONE)
    return path, table
