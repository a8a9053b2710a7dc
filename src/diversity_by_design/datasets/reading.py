"""Reading h5ad files of any size: the tables whole, the counts in blocks."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from diversity_by_design.cells import Block, Positions, read_blocks, readable
from diversity_by_design.errors import InputError, listed

if TYPE_CHECKING:
    import h5py


class H5adFile:
    """An h5ad file open for reading; use it in a ``with`` statement. `obs` and `var` have names as text."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file = _open(path)
        try:
            self.obs, self.var = self._table("obs"), self._table("var")
            for table, what in ((self.obs, "cells"), (self.var, "genes")):
                if not len(table):
                    raise InputError(f"{path} holds no {what}")
        except BaseException:
            self._file.close()
            raise

    def __enter__(self) -> H5adFile:
        return self

    def __exit__(self, *exception: object) -> None:
        self._file.close()

    def matrix(self, name: str) -> Any:
        """Return ``X`` or a layer (``layers/counts``) as `cells.read_blocks` takes it; None if there is none."""
        import h5py
        from anndata.io import sparse_dataset

        node = self._file.get(name)
        if node is None:
            return None
        try:
            matrix = node if isinstance(node, h5py.Dataset) else sparse_dataset(node)
            shape = matrix.shape
        except (KeyError, TypeError, ValueError) as error:
            raise InputError(
                f"{self.path}: {name} is stored in an unknown way; expected a dense, CSR or CSC matrix "
                "(read the file with anndata and write it again)"
            ) from error
        if shape != (len(self.obs), len(self.var)):
            raise InputError(
                f"{self.path}: {name} has shape {shape}, but obs and var list {len(self.obs)} cells, "
                f"{len(self.var)} genes"
            )
        return matrix

    def counts(self, name: str, rows: Positions | None = None) -> Iterator[Block]:
        """Yield CSR blocks of the counts in ``X`` or a layer, all or some cells (sorted), and draw a bar."""
        from tqdm import tqdm

        cells, genes = self.obs.index, self.var.index
        where = f"{self.path.name}: {name}"
        blocks = read_blocks(self.matrix(name), cells, genes, where, "counts", rows=rows, as_csr=True)
        n_values = (len(cells) if rows is None else len(rows)) * len(genes)
        with tqdm(total=n_values, desc=f"reading {where}", unit_scale=True, disable=None, leave=False) as bar:
            for block in blocks:
                yield block
                bar.update(block.values.shape[0] * block.values.shape[1])

    def other_content(self, used: str) -> list[str]:
        """Names of what the file holds besides `used` and the tables: further layers, embeddings and the like."""
        names = [
            f"{part}/{key}" for part in ("layers", "obsm", "varm", "obsp", "varp") for key in self._file.get(part, ())
        ]
        names += [name for name in ("X", "raw") if name in self._file]
        return [name for name in names if name != used]

    def _table(self, name: str) -> pd.DataFrame:
        import h5py
        from anndata.io import read_elem

        node = self._file.get(name)
        if not isinstance(node, h5py.Group):
            raise InputError(
                f"{self.path} is no h5ad file as anndata 0.7 and later write it: it has no table {name!r} "
                f"(it holds: {listed(self._file)}); read it with anndata and write it again"
            )
        with readable(f"{self.path}: {name}"):
            table = read_elem(node)
        table.index = table.index.astype(str)
        return table


def _open(path: Path) -> h5py.File:
    import h5py

    if not path.is_file():
        raise InputError(f"{path} is a folder; expected an .h5ad file" if path.is_dir() else f"no file {path}")
    if path.stat().st_size == 0:
        raise InputError(f"{path} is empty (0 bytes); fetch or write it again")
    with readable(str(path)):
        if h5py.is_hdf5(path):
            return h5py.File(path, "r")
    raise InputError(f"{path} is not an HDF5 file, which every .h5ad file is; is it another format, or compressed?")
