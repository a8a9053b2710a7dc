"""Small files of cells that tests write, and what is read of them."""

import anndata as ad
import h5py
import numpy as np
import pandas as pd
from scipy import sparse

from diversity_by_design.datasets.prepare import PreparationSettings, prepare
from diversity_by_design.datasets.reading import CellFile

VALUES = np.random.default_rng(0).poisson(0.7, (50, 30)).astype(np.float32)
TEXT = h5py.string_dtype()
LAYOUTS = {"dense": np.asarray, "csr": sparse.csr_matrix, "csc": sparse.csc_matrix}


def h5ad(path, adata=None):
    """Write a small file whose labels are A, B, A+B and control."""
    names = np.repeat(["A", "B", "A+B", "control"], [12, 12, 13, 13])
    if adata is None:
        adata = ad.AnnData(
            sparse.csr_matrix(VALUES),
            obs=pd.DataFrame({"perturbation": pd.Categorical(names)}, index=[f"c{i}" for i in range(50)]),
            var=pd.DataFrame(index=[f"g{i}" for i in range(30)]),
        )
    adata.write_h5ad(path)
    return path


def prepared(path, **settings):
    """What preparing a file gives, and what is said of it."""
    destination = path.parent / "prepared.h5ad"
    report = prepare(path, destination, PreparationSettings(**settings), 0)
    return ad.read_h5ad(destination), report


def replace_x(path, layout, data_type, index_type="<i4", **options):
    """Write X anew, with data and indices of these types, and options of h5py for the data."""
    with h5py.File(path, "r+") as file:
        del file["X"]
        if layout == "dense":
            node = file.create_dataset("X", data=VALUES.astype(data_type), **options)
            node.attrs.update({"encoding-type": "array", "encoding-version": "0.2.0"})
            return
        matrix = LAYOUTS[layout](VALUES)
        group = file.create_group("X")
        group.attrs.update({"encoding-type": f"{layout}_matrix", "encoding-version": "0.1.0", "shape": matrix.shape})
        group.create_dataset("data", data=matrix.data.astype(data_type), **options)
        group["indices"], group["indptr"] = matrix.indices.astype(index_type), matrix.indptr.astype(index_type)


def counts_of(path):
    with CellFile(path) as file:
        (block,) = file.counts("X")
        (some,) = file.counts("X", np.array([0, 31, 49]))
    assert block.values.dtype.isnative and block.values.format == "csr"
    np.testing.assert_array_equal(some.values.toarray(), block.values.toarray()[[0, 31, 49]])
    return block.values.toarray()
