"""Reading cells of any size, in the forms that people have: the tables whole, the matrices in blocks.

What anndata and scanpy read is read by them; matrices of AnnData files stay on disk.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import nullcontext
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pandas as pd
from scipy import sparse

from diversity_by_design.cells import Block, Positions, native, read_blocks, said_by
from diversity_by_design.datasets.cell_ranger import is_cell_ranger, read_cell_ranger, read_matrix_market
from diversity_by_design.datasets.formats import Form, form_of, resolved
from diversity_by_design.datasets.opening import check_filters, damage, open_hdf5, open_zarr
from diversity_by_design.datasets.report import RECORD
from diversity_by_design.errors import InputError, listed

if TYPE_CHECKING:
    from anndata import AnnData

RAW = "raw"
GENES, GUIDES = "Gene Expression", "CRISPR Guide Capture"
# Parts of an AnnData file that hold no matrix of counts.
OTHER_PARTS = ("obsm", "varm", "obsp", "varp")
# What HDF5 files of other programs hold, what they are, and the way on.
OTHER_HDF5 = {
    "row_attrs": "a loom file; write it as .h5ad: anndata.io.read_loom(...).write_h5ad(...)",
    "meta.data": "Seurat's h5Seurat; write it as .h5ad: SeuratDisk::Convert(..., dest = 'h5ad') in R",
    "barcode_idx": "Cell Ranger's molecule_info.h5; use filtered_feature_bc_matrix.h5, which lies beside it",
}


class CellFile:
    """Cells with their matrices, open for reading; use it in a ``with`` statement.

    Attributes
    ----------
    path : Path
    form : str
        What the file is, and by what it was written.
    modality : str or None
        Of a MuData file, which one this is.
    obs, var : DataFrame
        With names as text.
    matrices : list of str
        Names of what may hold counts: ``X``, layers (``layers/counts``) and ``raw``.
    guides : AnnData or None
        Counts of guide features, where these are part of the same matrix.
    notes : list of str
        What was left out while reading, and why.
    """

    def __init__(self, path: Path, modality: str | None = None, *, any_modality: bool = False) -> None:
        """Open a file; of several modalities one must be named, unless any will do."""
        self.path = resolved(path)
        self.modality: str | None = None
        self._any_modality = any_modality
        self.notes: list[str] = []
        # Columns that are there but cannot be read, by table and name, and why.
        self._unread: dict[tuple[str, str], str] = {}
        self.guides: AnnData | None = None
        self._close = lambda: None
        self._memory: AnnData | None = None
        try:
            self._open(modality)
            for table, what in ((self.obs, "cells"), (self.var, "genes")):
                if not len(table):
                    raise InputError(f"{self.path} holds no {what}")
            self.matrices = self._matrices()
        except BaseException:
            self._close()
            raise

    def __enter__(self) -> CellFile:
        return self

    def __exit__(self, *exception: object) -> None:
        self._close()

    def check_column(self, table: str, name: str) -> None:
        """Raise InputError if a column of ``obs`` or ``var`` is there but cannot be read."""
        if (table, name) in self._unread:
            raise InputError(
                f"{self.path}: {table}[{name!r}] cannot be read ({self._unread[table, name]}): it is damaged (fetch or "
                "write the file again), or of a kind that anndata does not read (write it as text or numbers)"
            )

    def genes(self, name: str) -> pd.DataFrame:
        """Table of the genes of a matrix."""
        return self._raw_var if name == RAW else self.var

    @cached_property
    def _raw_var(self) -> pd.DataFrame:
        return self._table(f"{RAW}/var")

    def matrix(self, name: str) -> Any:
        """One of `matrices` as `cells.read_blocks` takes it."""
        if self._memory is not None:
            return self._memory.X
        from anndata.io import sparse_dataset

        place = f"{RAW}/X" if name == RAW else name
        with damage(f"{self.path}: {place}"):
            node = self._root[place]
            check_filters(node, self.path)
            dense = hasattr(node, "dtype")
            # The second name is that of anndata before 0.7.
            named = {node.attrs.get("encoding-type"), f"{node.attrs.get('h5sparse_format')}_matrix"}
        if not dense and not named & {"csr_matrix", "csc_matrix"}:
            raise InputError(
                f"{self.path}: {place} is stored in an unknown way; expected a dense, CSR or CSC matrix "
                "(read the file with anndata and write it again)"
            )
        with damage(f"{self.path}: {place}"):
            matrix = node if dense else sparse_dataset(node)
            shape, kind = tuple(matrix.shape), matrix.dtype
        expected = (len(self.obs), len(self.genes(name)))
        if shape != expected:
            raise InputError(
                f"{self.path}: {place} has shape {shape}, but obs and var list {expected[0]} cells, {expected[1]} genes"
            )
        if kind.kind not in "biuf":
            raise InputError(f"{self.path}: {place} holds values of type {kind}; expected numbers")
        return matrix

    def counts(self, name: str, rows: Positions | None = None, *, fractions: bool = False) -> Iterator[Block]:
        """Yield CSR blocks of the counts in a matrix, all or some cells (sorted), and draw a bar.

        With `fractions`, values need not be whole, and are rounded (an entry that becomes zero is not stored).
        """
        from tqdm import tqdm

        cells, genes = self.obs.index, self.genes(name).index
        where = f"{self.path.name}: {name}"
        scale: Literal["fractions", "counts"] = "fractions" if fractions else "counts"
        blocks = read_blocks(self.matrix(name), cells, genes, where, scale, rows=rows, as_csr=True)
        n_values = (len(cells) if rows is None else len(rows)) * len(genes)
        with tqdm(total=n_values, desc=f"reading {where}", unit_scale=True, disable=None, leave=False) as bar:
            for block in blocks:
                yield block
                bar.update(block.values.shape[0] * block.values.shape[1])

    def other_content(self, used: str) -> list[str]:
        """Names of what the file holds besides `used` and the tables: further layers, embeddings and the like."""
        names = [name for name in self.matrices if name != used]
        if self._memory is None:
            with damage(str(self.path)):
                names += [f"{part}/{key}" for part in OTHER_PARTS for key in sorted(_part(self._root, part) or ())]
        return names

    def _matrices(self) -> list[str]:
        if self._memory is not None:
            return ["X"]
        with damage(str(self.path)):
            root = self._root
            layers = {f"layers/{name}": root["layers"][name] for name in sorted(_part(root, "layers") or ())}
            others = [name for name, node in layers.items() if not _is_matrix(node)]
            if others:
                self.notes.append(f"layers that are no matrix of numbers were left out: {listed(others)}")
            # anndata may write that there is no X.
            names = ["X"] if "X" in root and root["X"].attrs.get("encoding-type") != "null" else []
            names += [name for name in layers if name not in others]
            return names + ([RAW] if f"{RAW}/X" in root and f"{RAW}/var" in root else [])

    def _open(self, modality: str | None) -> None:
        form = form_of(self.path)
        if form == Form.MATRIX_MARKET:
            self._take(read_matrix_market(self.path), "Matrix Market, as Cell Ranger writes it")
            return
        file: Any = open_hdf5(self.path) if form == Form.HDF5 else open_zarr(self.path)
        self._close = getattr(file, "close", self._close)
        with damage(str(self.path)):
            attributes, names = dict(file.attrs), set(file)
            if form == Form.HDF5 and is_cell_ranger(file):
                check_filters(file, self.path)
                self._close()
                self._take(read_cell_ranger(self.path, sorted(names)), _written_by("Cell Ranger's HDF5", attributes))
                return
        self._root, kind = file, "AnnData"
        if "mod" in names:
            with damage(f"{self.path}: mod"):
                self._root, kind = self._modality(file, modality)
        elif modality is not None:
            raise InputError(f"{self.path} is no MuData file, so it has no modality {modality!r}; leave out --modality")
        self.form = _written_by(f"{kind} in {form}", attributes)
        with damage(f"{self.path}: uns"):
            if f"uns/{RECORD}" in self._root:
                self.form += ", prepared by this project"
        self.obs, self.var = self._table("obs"), self._table("var")
        if kind != "AnnData":
            self._add_shared_columns(file)

    def _take(self, adata: AnnData, form: str) -> None:
        """Use what another program read into memory; guide features are set apart."""
        with damage(str(self.path)):
            adata.X = sparse.csr_matrix(adata.X)
            # Slices read out of bounds where indices are wrong.
            adata.X.check_format(full_check=True)
        self.form, self._memory = form, adata
        kinds = adata.var.get("feature_types", pd.Series(GENES, adata.var_names)).astype(str)
        if (kinds == GUIDES).any():
            self.guides = adata[:, (kinds == GUIDES).to_numpy()].copy()
        others = kinds[~kinds.isin([GENES, GUIDES])]
        if len(others):
            self.notes.append(
                f"{len(others):,} features that are no genes were left out: "
                f"{listed(f'{name} ({n:,})' for name, n in others.value_counts().items())}"
            )
        if (kinds != GENES).any():
            self._memory = adata[:, (kinds == GENES).to_numpy()].copy()
        self.obs, self.var = self._memory.obs, self._memory.var
        self.obs.index, self.var.index = self.obs.index.astype(str), self.var.index.astype(str)

    def _modality(self, file: Any, modality: str | None) -> tuple[Any, str]:
        names = sorted(file["mod"])
        if modality is None and names and (len(names) == 1 or self._any_modality):
            modality = next((name for name in names if name.casefold() in ("rna", "gex")), names[0])
            self.notes.append(f"MuData with the modalities {listed(names)}; this is {modality}")
        if modality not in names:
            what = f"no modality {modality!r}" if modality else "none was chosen"
            raise InputError(
                f"{self.path} is MuData, of which one modality is used; {what}: --modality {'|'.join(names)}"
            )
        self.modality = modality
        return file["mod"][modality], f"MuData (modality {modality})"

    def _add_shared_columns(self, file: Any) -> None:
        """Columns that a MuData file has for the cells of all modalities."""
        with damage(f"{self.path}: obs of all modalities"):
            shared = self._read_table(file["obs"], "obs") if "obs" in file else pd.DataFrame()
        if shared.index.is_unique:
            # Versions of mudata before 0.4 repeat there what modalities have, as `rna:perturbation`.
            new = [name for name in shared if str(name).removeprefix(f"{self.modality}:") not in self.obs]
            self.obs = self.obs.join(shared[new])

    def _table(self, name: str) -> pd.DataFrame:
        with damage(f"{self.path}: {name}"):
            node, names = _part(self._root, name), set(self._root)
        if node is None or not hasattr(node, "keys"):
            if part := next((part for part in OTHER_HDF5 if part in names), None):
                raise InputError(f"{self.path} is {OTHER_HDF5[part]}")
            raise InputError(
                f"{self.path} holds no AnnData as anndata 0.7 and later write it: it has no table {name!r} "
                f"(it holds: {listed(sorted(names))}); read it with the program that wrote it, and write an .h5ad file"
            )
        return self._read_table(node, name)

    def _read_table(self, node: Any, name: str) -> pd.DataFrame:
        from anndata.io import read_elem

        with damage(f"{self.path}: {name}"):
            check_filters(node, self.path)
            # Categories as anndata 0.7 wrote them can be read with the whole table only.
            old = node.attrs.get("encoding-version") == "0.1.0" or "__categories" in node
            whole = read_elem(node) if old else None
            index = pd.Index(read_elem(node[node.attrs["_index"]]) if whole is None else whole.index).astype(str)
            values, unread = {}, {}
            for column in map(_as_text, node.attrs.get("column-order", ())):
                try:
                    values[column] = _column(read_elem(node[column]) if whole is None else whole[column].values, index)
                except Exception as error:
                    unread[column] = said_by(error)
        if (empty := int((index == "").sum())) > 1:
            raise InputError(
                f"{self.path}: {empty:,} of the {len(index):,} names in {name} are empty, as where the copy of a zarr "
                "folder is not complete; fetch or write it again"
            )
        if unread:
            shown = listed((f"{column!r} ({reason})" for column, reason in unread.items()), 5)
            self.notes.append(f"{len(unread)} column(s) of {name} cannot be read and were left out: {shown}")
            self._unread |= {(name, column): reason for column, reason in unread.items()}
        return pd.DataFrame(values, index=index)


def check_name(path: Path, table: str, name: str, columns: Iterable[object]) -> None:
    """Raise InputError that lists the columns of a table unless there is one of this name."""
    names = [str(column) for column in columns]
    if name not in names:
        raise InputError(
            f"{path} has no column {name!r} in {table}; its columns are: {listed(names, 30)} (dbd inspect {path} tells "
            "what they look like)"
        )


def check_names(path: Path, obs: Iterable[str], var: Iterable[str]) -> None:
    """Check names of columns as far as that takes no reading, which of a large file takes long."""
    path = resolved(path)
    form = form_of(path)
    if form == Form.MATRIX_MARKET:
        return
    with open_hdf5(path) if form == Form.HDF5 else nullcontext(open_zarr(path)) as root, damage(str(path)):
        # Of several modalities, and of raw, which is chosen later, the tables are others.
        if "mod" in root:
            return
        for table, names in (("obs", obs), ("var", var if RAW not in root else ())):
            if "column-order" in getattr(_part(root, table), "attrs", ()):
                columns = [*map(_as_text, root[table].attrs["column-order"])]
                for name in names:
                    check_name(path, table, name, columns)


def _column(values: Any, index: pd.Index) -> pd.Series:
    """One column of a table; ValueError where it has another length, or values of a kind that tables do not have."""
    shape = getattr(values, "shape", None)
    if shape != index.shape:
        raise ValueError(f"{'no array' if shape is None else f'shape {shape}'} instead of shape {index.shape}")
    if isinstance(values, pd.Categorical):
        if values.categories.dtype.kind in "iuf":
            values = values.rename_categories(native(values.categories.to_numpy()))
    elif isinstance(values, np.ndarray):
        if values.dtype.kind in "biuf":
            values = native(values)
        elif (kind := pd.api.types.infer_dtype(values, skipna=True)) not in ("string", "empty", "boolean"):
            raise ValueError(f"values of kind {kind}")
    return pd.Series(values, index=index)


def _part(group: Any, name: str) -> Any:
    """What is there by this name, or None; the groups' `get` gives that for what is damaged too."""
    if name not in group:
        return None
    return group[name]


def _is_matrix(node: Any) -> bool:
    """Whether a layer holds numbers, dense or sparse."""
    if hasattr(node, "dtype"):
        return len(node.shape or ()) == 2 and node.dtype.kind in "biuf"
    return "indptr" in node


def _written_by(form: str, attributes: Mapping[str, Any]) -> str:
    """What a file is, and what it says of the program that wrote it."""
    said = {name: _text(attributes[name]) for name in sorted(attributes) if name in SAID}
    return f"{form} ({', '.join(f'{name} {value}' for name, value in said.items())})" if said else form


SAID = ("encoder", "encoder-version", "encoding-version", "software_version", "chemistry_description", "library_ids")


def _text(value: Any) -> str:
    return listed(map(_as_text, np.atleast_1d(np.asarray(value)).tolist()), 3)


def _as_text(value: Any) -> str:
    """A text as HDF5 may hold it, of variable or of fixed length."""
    return value.decode(errors="replace") if isinstance(value, bytes) else str(value)
