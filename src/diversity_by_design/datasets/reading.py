"""Reading cells of any size, in the forms that people have: the tables whole, the matrices in blocks.

What anndata and scanpy read is read by them; matrices of AnnData files stay on disk.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pandas as pd
from scipy import sparse

from diversity_by_design.cells import Block, Positions, read_blocks, readable
from diversity_by_design.datasets.formats import Form, form_of, matrix_files, resolved
from diversity_by_design.datasets.report import RECORD
from diversity_by_design.errors import InputError, listed

if TYPE_CHECKING:
    from anndata import AnnData

RAW = "raw"
GENES, GUIDES = "Gene Expression", "CRISPR Guide Capture"
# Parts of an AnnData file that hold no matrix of counts.
OTHER_PARTS = ("obsm", "varm", "obsp", "varp")
# Numbers of filters as they are registered with The HDF Group, where the file does not name them.
FILTERS = {32001: "blosc", 32004: "lz4", 32008: "bitshuffle", 32013: "zfp", 32015: "zstd", 32026: "blosc2"}


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
        self.guides: AnnData | None = None
        self._close = lambda: None
        self._memory: AnnData | None = None
        try:
            self._open(modality)
            for table, what in ((self.obs, "cells"), (self.var, "genes")):
                if not len(table):
                    raise InputError(f"{self.path} holds no {what}")
        except BaseException:
            self._close()
            raise

    def __enter__(self) -> CellFile:
        return self

    def __exit__(self, *exception: object) -> None:
        self._close()

    @property
    def matrices(self) -> list[str]:
        """Names of what may hold counts: ``X``, layers (``layers/counts``) and ``raw``."""
        if self._memory is not None:
            return ["X"]
        names = ["X"] if "X" in self._root else []
        names += [f"layers/{name}" for name in sorted(self._root.get("layers", ()))]
        return names + ([RAW] if f"{RAW}/X" in self._root and f"{RAW}/var" in self._root else [])

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
        try:
            matrix = node if hasattr(node, "dtype") else sparse_dataset(node)
            shape, kind = tuple(matrix.shape), matrix.dtype
        except Exception as error:
            raise InputError(
                f"{self.path}: {place} is stored in an unknown way; expected a dense, CSR or CSC matrix "
                "(read the file with anndata and write it again)"
            ) from error
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
            names += [f"{part}/{key}" for part in OTHER_PARTS for key in sorted(self._root.get(part, ()))]
        return names

    def _open(self, modality: str | None) -> None:
        form = form_of(self.path)
        if form == Form.MATRIX_MARKET:
            self._take(_read_matrix_market(self.path), "Matrix Market, as Cell Ranger writes it (read by scanpy)")
            return
        file: Any = _open_hdf5(self.path) if form == Form.HDF5 else _open_zarr(self.path)
        self._close = getattr(file, "close", self._close)
        with damage(str(self.path)):
            attributes, names = dict(file.attrs), set(file)
        if form == Form.HDF5 and ("matrix" in names or _is_cell_ranger_2(file)):
            self._close()
            self._take(_read_cell_ranger(self.path), _written_by("Cell Ranger's HDF5", attributes))
            return
        self._root, kind = file, "AnnData"
        if "mod" in names:
            self._root, kind = self._modality(file, modality)
        elif modality is not None:
            raise InputError(f"{self.path} is no MuData file, so it has no modality {modality!r}; leave out --modality")
        self.form = _written_by(f"{kind} in {form}", attributes)
        if f"uns/{RECORD}" in self._root:
            self.form += ", prepared by this project"
        self.obs, self.var = self._table("obs"), self._table("var")
        if kind != "AnnData":
            self._add_shared_columns(file)

    def _take(self, adata: AnnData, form: str) -> None:
        """Use what another program read into memory; guide features are set apart."""
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
        self._memory.X = sparse.csr_matrix(self._memory.X)
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
        shared = self._read_table(file["obs"], "obs of all modalities") if "obs" in file else pd.DataFrame()
        if shared.index.is_unique:
            new = [name for name in shared.columns if name not in self.obs]
            self.obs = self.obs.join(shared[new])

    def _table(self, name: str) -> pd.DataFrame:
        node = self._root.get(name)
        if node is None or not hasattr(node, "keys"):
            raise InputError(
                f"{self.path} holds no AnnData as anndata 0.7 and later write it: it has no table {name!r} "
                f"(it holds: {listed(self._root)}); read it with the program that wrote it, and write an .h5ad file"
            )
        return self._read_table(node, name)

    def _read_table(self, node: Any, name: str) -> pd.DataFrame:
        from anndata.io import read_elem

        place = f"{self.path}: {name}"
        with damage(place):
            check_filters(node, self.path)
            columns = [str(column) for column in node.attrs.get("column-order", ())]
            values, unread = {}, {}
            if node.attrs.get("encoding-version") == "0.1.0" or "__categories" in node:
                table = read_elem(node)
            else:
                index = pd.Index(read_elem(node[node.attrs["_index"]]))
                for column in columns:
                    try:
                        values[column] = _column(read_elem(node[column]), index)
                    except Exception as error:
                        unread[column] = str(error).splitlines()[0]
                table = pd.DataFrame(values, index=index)
        if unread:
            shown = listed((f"{column!r} ({reason})" for column, reason in unread.items()), 5)
            note = f"{len(unread)} column(s) of {name} cannot be read and were left out: {shown}"
            self.notes += [] if note in self.notes else [note]
        table.index = table.index.astype(str)
        return table


def _column(values: Any, index: pd.Index) -> pd.Series:
    """One column of a table; ValueError where it has another length."""
    return pd.Series(values, index=index) if not isinstance(values, pd.Series) else values.set_axis(index)


@contextmanager
def damage(place: str) -> Iterator[None]:
    """As `cells.readable`; a damaged file makes anndata, scanpy and zarr raise errors of any kind."""
    with readable(place):
        try:
            yield
        except InputError:
            raise
        except Exception as error:
            raise ValueError(f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}") from error


def check_filters(node: Any, path: Path) -> None:
    """Raise InputError where HDF5 data are compressed with a filter that is not installed."""
    import h5py

    missing: dict[int, str] = {}

    def look(_: str, part: Any) -> None:
        if isinstance(part, h5py.Dataset):
            plist = part.id.get_create_plist()
            for number in range(plist.get_nfilters()):
                code, _, _, name = plist.get_filter(number)
                if not h5py.h5z.filter_avail(code):
                    missing[code] = name.decode(errors="replace") or FILTERS.get(code, "unnamed")

    look("", node)
    if isinstance(node, h5py.Group):
        node.visititems(look)
    if missing and not _import_filters():
        names = listed(f"{name} (number {code})" for code, name in missing.items())
        raise InputError(
            f"{path} is compressed with a filter that is not installed: {names}; the package hdf5plugin has the usual "
            "ones (pip install hdf5plugin), or write the file again with gzip"
        )


def _import_filters() -> bool:
    try:
        import hdf5plugin  # noqa: F401 - importing it registers its filters
    except ImportError:
        return False
    return True


def _open_hdf5(path: Path) -> Any:
    import h5py

    try:
        return h5py.File(path, "r")
    except BlockingIOError as error:
        raise InputError(
            f"{path} is locked: another program is writing to it; close it there (or copy the file)"
        ) from error
    except OSError as error:
        reason = str(error)
        if "unable to lock" in reason:
            raise InputError(f"{path} is locked by another program; close it there (or copy the file)") from error
        if "truncated" in reason:
            raise InputError(
                f"{path} was cut short, perhaps by a transfer that broke off ({reason}); fetch or write it again"
            ) from error
        raise InputError(f"{path} cannot be read: it is damaged ({reason}); fetch or write it again") from error


def _open_zarr(path: Path) -> Any:
    import zarr

    with damage(str(path)):
        return zarr.open_group(path, mode="r")


def _is_cell_ranger_2(file: Any) -> bool:
    """Whether groups, one for each genome, hold matrices as Cell Ranger 2 wrote them."""
    parts = {"barcodes", "gene_names", "genes", "indptr"}
    return len(file) > 0 and all(hasattr(node, "keys") and parts <= set(node) for node in file.values())


def _read_cell_ranger(path: Path) -> AnnData:
    import warnings

    import scanpy as sc

    with damage(str(path)), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Variable names are not unique")
        return sc.read_10x_h5(path, gex_only=False)


def _read_matrix_market(folder: Path) -> AnnData:
    import warnings

    import scanpy as sc

    [matrix] = matrix_files(folder)
    prefix = matrix.name.removesuffix(".gz").removesuffix("matrix.mtx")
    with damage(str(folder)), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Variable names are not unique")
        return sc.read_10x_mtx(folder, prefix=prefix or None, gex_only=False, make_unique=False)


def _written_by(form: str, attributes: Mapping[str, Any]) -> str:
    """What a file is, and what it says of the program that wrote it."""
    said = {name: _text(attributes[name]) for name in sorted(attributes) if name in SAID}
    return f"{form} ({', '.join(f'{name} {value}' for name, value in said.items())})" if said else form


SAID = ("encoder", "encoder-version", "encoding-version", "software_version", "chemistry_description", "library_ids")


def _text(value: Any) -> str:
    values = np.atleast_1d(np.asarray(value)).tolist()
    return listed((item.decode(errors="replace") if isinstance(item, bytes) else str(item) for item in values), 3)
