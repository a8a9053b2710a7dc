"""Fixtures shared by all tests."""

import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import anndata as ad
import numpy as np
import pytest
from browser import open_in_browser  # noqa: F401 - a fixture
from examples import make_demo, make_expression
from hypothesis import settings

from diversity_by_design.labels import canonical

TESTS = Path(__file__).parent
ROOT = TESTS.parent

# Compiling a function, and a machine that others use as well, take time of an example that says nothing.
settings.register_profile("project", deadline=None)
settings.load_profile("project")


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder of real data sets that are not part of the project; named by DBD_SHARED_DATA."""
    folder = Path(os.environ.get("DBD_SHARED_DATA", ROOT.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"real data sets not found: {folder} (set DBD_SHARED_DATA to their folder)")
    return folder


@dataclass(frozen=True)
class Screen:
    """A file of raw counts with the perturbation of each cell in ``obs["perturbation"]``."""

    name: str
    path: Path
    control: str


@pytest.fixture(scope="session")
def demo_screen(tmp_path_factory: pytest.TempPathFactory) -> Screen:
    """A small demo data set, which stands in where there are no real ones."""
    path = tmp_path_factory.mktemp("demo") / "demo.h5ad"
    make_demo().write_h5ad(path)
    return Screen("demo", path, "control")


REAL_SETS = {"norman19_k562_subset": "control", "papalexi21_thp1": "non-targeting"}


@pytest.fixture(scope="session", params=["demo", *REAL_SETS])
def screen(request: pytest.FixtureRequest) -> Screen:
    """The demo data set, and the real ones where they are there."""
    if request.param == "demo":
        return request.getfixturevalue("demo_screen")
    folder = request.getfixturevalue("shared_data")
    return Screen(request.param, folder / f"{request.param}.h5ad", REAL_SETS[request.param])


@pytest.fixture(scope="session")
def screen_expression(screen: Screen) -> ad.AnnData:
    """A screen as float64 log1p expression, with control called "control"; not to be changed."""
    import scanpy as sc

    adata = ad.read_h5ad(screen.path)
    adata.X = adata.X.astype(np.float64)
    adata.obs["ncounts"] = np.asarray(adata.X.sum(axis=1)).ravel()
    adata = adata[adata.obs["ncounts"] > 0].copy()
    sc.pp.normalize_total(adata, target_sum=1e4)
    sc.pp.log1p(adata)
    labels = adata.obs["perturbation"].astype(str)
    adata.obs["condition"] = labels.replace({screen.control: "control"}).map(canonical).astype("category")
    return adata


@pytest.fixture(autouse=True)
def closed_figures() -> Iterator[None]:
    """Figures that a test leaves open do not add up."""
    yield
    if plt := sys.modules.get("matplotlib.pyplot"):
        plt.close("all")


@pytest.fixture
def expression() -> ad.AnnData:
    return make_expression()
