"""A full disk while an HDF5 file is written: an error and no file, where HDF5 alone would crash."""

import errno
import os

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from messages import naming
from scipy import sparse

from diversity_by_design.datasets.writing import write_prepared
from diversity_by_design.errors import InputError
from diversity_by_design.running import hdf5
from diversity_by_design.running.hdf5 import write_anndata


def tables(n_cells=200, n_genes=50):
    return pd.DataFrame(index=[f"c{i}" for i in range(n_cells)]), pd.DataFrame(index=[f"g{i}" for i in range(n_genes)])


def blocks(n_blocks=20, n_cells=10, n_genes=50):
    for i in range(n_blocks):
        raw = sparse.random(n_cells, n_genes, 0.5, "csr", np.float32, rng=i)
        yield raw.log1p(), raw


@pytest.fixture
def full_disk(monkeypatch):
    """Let the system take so many more bytes."""

    def limit(room):
        def put(self, view):
            nonlocal room
            taken = min(room, len(view))
            if not taken:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            room -= taken
            return super(hdf5.PatientFile, self).write(view[:taken])

        monkeypatch.setattr(hdf5.PatientFile, "put", put)

    return limit


def test_blocks_become_one_file(tmp_path):
    obs, var = tables()
    write_prepared(tmp_path / "out.h5ad", obs, var, {"key": {"a": 1}}, blocks(), 20 * 250)
    adata = ad.read_h5ad(tmp_path / "out.h5ad")
    expected = sparse.vstack([raw for _, raw in blocks()])
    np.testing.assert_array_equal(adata.layers["counts"].toarray(), expected.toarray())
    np.testing.assert_array_equal(adata.X.toarray(), expected.log1p().toarray())
    assert adata.uns["key"]["a"] == 1


@pytest.mark.parametrize("room", [0, 1000, 10_000, 50_000])
def test_full_disk(tmp_path, full_disk, room):
    (tmp_path / "out.h5ad").write_text("earlier")
    full_disk(room)
    obs, var = tables()
    with pytest.raises(InputError, match=naming("out.h5ad", "No space left on device")):
        write_prepared(tmp_path / "out.h5ad", obs, var, {}, blocks(), 20 * 250)
    assert [path.name for path in tmp_path.iterdir()] == ["out.h5ad"]
    assert (tmp_path / "out.h5ad").read_text() == "earlier"


@pytest.mark.parametrize("room", [0, 10_000])
def test_full_disk_for_a_whole_anndata(tmp_path, full_disk, room):
    full_disk(room)
    adata = ad.AnnData(np.random.default_rng(0).random((200, 50)))
    with pytest.raises(InputError, match="No space left on device"):
        write_anndata(tmp_path / "out.h5ad", adata)
    assert not list(tmp_path.iterdir())


def test_error_in_the_middle_leaves_nothing(tmp_path):
    def failing():
        yield from blocks(3)
        raise ValueError("broken")

    with pytest.raises(ValueError, match="broken"):
        write_prepared(tmp_path / "out.h5ad", *tables(), {}, failing(), 20 * 250)
    assert not list(tmp_path.iterdir())
