"""Reading what the analyses need of a prepared data set."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from diversity_by_design.errors import InputError

if TYPE_CHECKING:
    from anndata import AnnData


def read_expression(path: Path) -> AnnData:
    """Read `X`, `obs` and `var` of a prepared file into memory; the counts, which double its size, stay on disk."""
    import h5py
    from anndata import AnnData
    from anndata.io import read_elem

    if not path.is_file():
        raise InputError(f"no prepared data set at {path}; run its get_data.py first")
    with h5py.File(path) as file:
        return AnnData(X=read_elem(file["X"]), obs=read_elem(file["obs"]), var=read_elem(file["var"]))
