"""Fixtures shared by all tests."""

import os
import sys
from pathlib import Path

import anndata as ad
import numpy as np
import pytest
from browser import open_in_browser  # noqa: F401 - a fixture
from examples import make_expression

from diversity_by_design.labels import canonical

TESTS = Path(__file__).parent
ROOT = TESTS.parent


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder of real data sets that are not part of the project; named by DBD_SHARED_DATA."""
    folder = Path(os.environ.get("DBD_SHARED_DATA", ROOT.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"real data sets not found: {folder} (set DBD_SHARED_DATA to their folder)")
    return folder


REAL_SETS = {"norman19_k562_subset": "control", "papalexi21_thp1": "non-targeting"}


@pytest.fixture(scope="session", params=REAL_SETS)
def real_expression(request: pytest.FixtureRequest, shared_data: Path) -> ad.AnnData:
    """A real data set as float64 log1p expression, with control called "control"."""
    import scanpy as sc

    adata = ad.read_h5ad(shared_data / f"{request.param}.h5ad")
    adata.X = adata.X.astype(np.float64)
    adata.obs["ncounts"] = np.asarray(adata.X.sum(axis=1)).ravel()
    adata = adata[adata.obs["ncounts"] > 0].copy()
    sc.pp.normalize_total(adata, target_sum=1e4)
    sc.pp.log1p(adata)
    labels = adata.obs["perturbation"].astype(str)
    adata.obs["condition"] = labels.replace({REAL_SETS[request.param]: "control"}).map(canonical).astype("category")
    return adata


@pytest.fixture(autouse=True)
def closed_figures():
    """Figures that a test leaves open do not add up."""
    yield
    if plt := sys.modules.get("matplotlib.pyplot"):
        plt.close("all")


@pytest.fixture
def expression() -> ad.AnnData:
    return make_expression()
