"""Zarr folders, HDF5 files of other programs, and what cannot be opened."""

import json
import subprocess
import sys

import anndata as ad
import h5py
import numpy as np
import pandas as pd
import pytest
import zarr
from anndata.io import write_elem
from cell_files import LAYOUTS, TEXT, VALUES, counts_of, h5ad, prepared
from messages import naming

from diversity_by_design.datasets.reading import CellFile
from diversity_by_design.errors import InputError

pytestmark = pytest.mark.filterwarnings(
    "ignore:zarr v3 autosharding",
    "ignore:Consolidated metadata",
    # Of files that are made without anndata here.
    "ignore::anndata.OldFormatWarning",
)


@pytest.fixture(params=[2, 3])
def zarr_folder(request, tmp_path):
    def write(layout="csr", adata=None):
        adata = ad.read_h5ad(h5ad(tmp_path / "x.h5ad")) if adata is None else adata
        adata.X = LAYOUTS[layout](VALUES)
        path = tmp_path / "x.zarr"
        write_elem(zarr.open_group(path, mode="w", zarr_format=request.param), "/", adata)
        return path

    return write


@pytest.mark.parametrize("layout", LAYOUTS)
def test_zarr(zarr_folder, layout):
    path = zarr_folder(layout)
    np.testing.assert_array_equal(counts_of(path), VALUES)
    with CellFile(path) as file:
        assert "AnnData in zarr" in file.form
    mine, report = prepared(path)
    other, _ = prepared(path.with_name("x.h5ad"))
    pd.testing.assert_frame_equal(mine.obs, other.obs)
    assert (mine.X != other.X).nnz == 0
    assert report.source == "x.zarr"


def chunk_files(path):
    """Files of zarr's chunks, which are called by numbers, and in version 3 lie in folders `c`."""
    return sorted(file for file in path.rglob("*") if file.is_file() and file.name.replace(".", "").isdigit())


def test_zarr_chunk_that_is_cut(zarr_folder):
    path = zarr_folder()
    for file in chunk_files(path / "X" / "data"):
        file.write_bytes(file.read_bytes()[:10])
    with CellFile(path) as file, pytest.raises(InputError, match=naming("x.zarr/X", "cut short")):
        list(file.counts("X"))


def test_zarr_chunk_that_was_not_copied(zarr_folder):
    """Zarr would read it as zeros."""
    path = zarr_folder()
    chunk_files(path / "X" / "data")[0].unlink()
    with CellFile(path) as file, pytest.raises(InputError, match=naming("x.zarr/X", 1, "data", "missing")):
        list(file.counts("X"))


@pytest.mark.parametrize("table", ["obs", "var"])
def test_names_that_were_not_copied(zarr_folder, table):
    path = zarr_folder()
    for file in chunk_files(path / table / "_index"):
        file.unlink()
    with pytest.raises(InputError, match=naming("x.zarr", table, "empty", {"obs": 50, "var": 30}[table])):
        CellFile(path)


@pytest.mark.parametrize("place", ["X/data", "X/indptr"])
def test_zarr_codec_that_is_not_there(zarr_folder, place):
    path = zarr_folder()
    old, new = path / place / ".zarray", path / place / "zarr.json"
    description = json.loads((old if old.exists() else new).read_text())
    if old.exists():
        old.write_text(json.dumps(description | {"compressor": {"id": "unheard-of"}}))
    else:
        codecs = [*description["codecs"], {"name": "unheard-of", "configuration": {}}]
        new.write_text(json.dumps(description | {"codecs": codecs}))
    with pytest.raises(InputError, match=naming("x.zarr", "codec", "unheard-of", "not installed")):
        counts_of(path)


def test_zarr_that_is_not_installed(zarr_folder, monkeypatch):
    path = zarr_folder()
    monkeypatch.setattr(zarr, "__version__", "2.18.7")
    if (path / "zarr.json").exists():
        with pytest.raises(InputError, match=naming("x.zarr", "zarr 2.18.7", "pip install 'zarr>=3'")):
            CellFile(path)
    else:
        np.testing.assert_array_equal(counts_of(path), VALUES)
    monkeypatch.setitem(sys.modules, "zarr", None)
    with pytest.raises(InputError, match=naming("x.zarr", "pip install zarr")):
        CellFile(path)


def test_zarr_of_something_else(tmp_path):
    zarr.open_group(tmp_path / "x.zarr", mode="w")["images"] = np.zeros((4, 4))
    zarr.save_array(tmp_path / "y.zarr", np.zeros((4, 4)))
    with pytest.raises(InputError, match=naming("x.zarr", "obs", "images")):
        CellFile(tmp_path / "x.zarr")
    with pytest.raises(InputError, match=naming("y.zarr", "array")):
        CellFile(tmp_path / "y.zarr")


def test_layers_that_are_no_matrix_are_left_out_and_said(tmp_path):
    path = h5ad(tmp_path / "x.h5ad")
    with h5py.File(path, "r+") as file:
        layers = file["layers"]
        layers["text"], layers["vector"] = "no numbers", np.zeros(50)
        layers["names"] = np.full(VALUES.shape, "x", dtype=TEXT)
        layers.create_group("table")
        layers["counts"] = VALUES
    with CellFile(path) as file:
        assert file.matrices == ["X", "layers/counts"]
    _, report = prepared(path)
    assert any(all(f"layers/{name}" in note for name in ("names", "table", "text", "vector")) for note in report.notes)


def test_x_that_is_said_not_to_be_there(tmp_path):
    path = h5ad(tmp_path / "x.h5ad")
    with h5py.File(path, "r+") as file:
        del file["X"]
        file["X"] = h5py.Empty("f4")
        file["X"].attrs.update({"encoding-type": "null", "encoding-version": "0.1.0"})
        file["layers/counts"] = VALUES
    with CellFile(path) as file:
        assert file.matrices == ["layers/counts"]


@pytest.mark.parametrize(
    ("names", "said"),
    [
        (["matrix", "row_attrs/Gene", "col_attrs/CellID", "layers/x"], ("loom", "read_loom")),
        (["assays/RNA/counts", "cell.names", "meta.data/x"], ("h5Seurat", "SeuratDisk")),
        (["barcode_idx", "barcodes", "count", "features/id"], ("molecule_info.h5", "filtered_feature_bc_matrix.h5")),
        (["images"], ("obs", "images", ".h5ad")),
    ],
)
def test_hdf5_of_other_programs(tmp_path, names, said):
    with h5py.File(tmp_path / "x.h5", "w") as file:
        for name in names:
            file[name] = np.zeros((3, 2))
    with pytest.raises(InputError, match=naming("x.h5", *said)):
        CellFile(tmp_path / "x.h5")


def elsewhere(code, path):
    """Another process that runs this code once it has imported h5py, says so, and waits."""
    code = f"import h5py, os, sys\n{code}\nprint('done', flush=True)\nsys.stdin.read()"
    process = subprocess.Popen([sys.executable, "-c", code, path], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdout is not None and process.stdout.readline() == b"done\n"
    return process


def test_file_that_another_program_writes_to(tmp_path):
    path = h5ad(tmp_path / "x.h5ad")
    with elsewhere("file = h5py.File(sys.argv[1], 'r+')", path) as process:
        with pytest.raises(InputError, match=naming("x.h5ad", "locked", "another program")):
            CellFile(path)
        process.communicate()
    with CellFile(path) as file:
        assert file.matrices == ["X"]


def test_file_that_was_not_closed(tmp_path):
    path = tmp_path / "x.h5ad"
    code = "file = h5py.File(sys.argv[1], 'w', libver='latest'); file['X'] = [1.0]; file.flush()"
    with elsewhere(code, path) as process:
        process.kill()
        process.communicate()
    with pytest.raises(InputError, match=naming("x.h5ad", "closed", "h5clear --status")):
        CellFile(path)


def test_disk_without_locks(tmp_path, monkeypatch):
    def refuse(*_: object) -> None:
        raise OSError("Unable to open file (unable to lock file, errno = 37, error message = 'No locks available')")

    path = h5ad(tmp_path / "x.h5ad")
    monkeypatch.setattr(h5py, "File", refuse)
    with pytest.raises(InputError, match=naming("x.h5ad", "HDF5_USE_FILE_LOCKING=FALSE")):
        CellFile(path)


@pytest.mark.parametrize("place", ["obs", "var", "X", "layers", "obs/perturbation", "uns"])
def test_group_whose_names_are_damaged(tmp_path, place):
    """What HDF5 cannot list is damaged, wherever it is."""
    path = h5ad(tmp_path / "x.h5ad")
    with h5py.File(path) as file:
        offset = h5py.h5o.get_info(file[place].id).addr
    with path.open("r+b") as raw:
        raw.seek(offset)
        raw.write(b"\xff" * 16)
    with pytest.raises(InputError, match=naming("x.h5ad")), CellFile(path) as file:
        file.check_column("obs", "perturbation")
        file.other_content("X")
        list(file.counts("X"))


def test_out_of_memory_is_no_damage(tmp_path, monkeypatch):
    def refuse(*_: object) -> None:
        raise MemoryError("Unable to allocate 8 EiB")

    path = h5ad(tmp_path / "x.h5ad")
    monkeypatch.setattr("anndata.io.read_elem", refuse)
    with pytest.raises(InputError, match=naming("x.h5ad", "memory", "8 EiB")) as error:
        CellFile(path)
    assert "cut short" not in str(error.value)
