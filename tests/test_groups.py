"""Groups of cells, and their sums: several partitions in one pass, in blocks of genes, to the same bits."""

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from examples import make_expression
from messages import naming
from scipy import sparse

from diversity_by_design import cells as reading
from diversity_by_design import groups
from diversity_by_design.errors import InputError
from diversity_by_design.groups import LabelledCells, Partition, expression_matrix, perturbation_labels


@pytest.fixture(scope="module")
def cells() -> ad.AnnData:
    adata = make_expression()
    adata.obs["line"] = np.where(np.arange(adata.n_obs) % 3, "b", "a")
    return adata


def labelled(adata: ad.AnnData, **options) -> LabelledCells:
    return LabelledCells.from_anndata(adata, "condition", "control", **options)


def sums(adata: ad.AnnData, codes: np.ndarray, n_groups: int) -> np.ndarray:
    values = adata.X.toarray().astype(float)
    return np.array([values[codes == group].sum(axis=0) for group in range(n_groups)])


@pytest.fixture
def passes(monkeypatch) -> list[str]:
    """What was read from the beginning to the end."""
    found = []
    original = groups.read_blocks

    def counting(matrix, cells, genes, where, scale):
        found.append(where)
        return original(matrix, cells, genes, where, scale)

    monkeypatch.setattr(groups, "read_blocks", counting)
    return found


def test_groups_are_sorted_with_control_last_in_each_context(cells):
    found = labelled(cells, context="line")
    perturbations = ["P0", "P0+P1", "P1", "P2", "P3", "P4"]
    assert found.groups["context"].tolist() == ["a"] * 7 + ["b"] * 7
    assert found.groups["label"].tolist() == [*perturbations, "control"] * 2
    for code, (context, label) in enumerate(found.groups.itertuples(index=False)):
        own = (cells.obs["line"] == context) & (cells.obs["condition"] == label)
        np.testing.assert_array_equal(found.codes == code, own)
        assert found.n_cells[code] == own.sum()
    counts = found.perturbations()["b"]
    assert counts.index.tolist() == perturbations and counts.tolist() == found.n_cells[7:13].tolist()


def test_cells_without_a_label_are_in_no_group():
    labels = ["B+A", None, "A+B", np.nan, "control", "A+ctrl"]
    found = LabelledCells.from_matrix(np.full((6, 2), 0.5), labels, ["g", "h"], "control")
    assert found.groups["label"].tolist() == ["A", "A+B", "control"]
    assert found.codes.tolist() == [1, -1, 1, -1, 2, 0]
    assert found.n_cells.tolist() == [1, 2, 1]


def test_several_partitions_are_gathered_in_one_pass(cells, passes):
    rng = np.random.default_rng(0)
    first, second = rng.integers(-1, 3, cells.n_obs), rng.integers(-1, 5, cells.n_obs)
    whole, alone = labelled(cells).gather([Partition(first, 3), Partition(second, 5, squares=False)])
    assert passes == ["X"]
    assert whole.shape == (2, 3, 40) and alone.shape == (1, 5, 40)
    np.testing.assert_array_equal(whole[0], sums(cells, first, 3))
    np.testing.assert_array_equal(alone[0], sums(cells, second, 5))
    squared = cells.copy()
    squared.X = cells.X.astype(float).multiply(cells.X.astype(float)).tocsr()
    np.testing.assert_allclose(whole[1], sums(squared, first, 3), rtol=1e-14)


@pytest.mark.parametrize("stored_as", ["csr", "csc", "dense", "backed csr", "backed csc", "backed dense"])
def test_blocks_of_genes_give_the_same_bits(stored_as, cells, tmp_path, monkeypatch, passes):
    rng = np.random.default_rng(0)
    partitions = [
        Partition(rng.integers(-1, 3, cells.n_obs), 3),
        Partition(rng.integers(-1, 5, cells.n_obs), 5, squares=False),
    ]
    expected = labelled(cells).gather(partitions, workers=1)
    layout = {"csr": sparse.csr_matrix, "csc": sparse.csc_matrix, "dense": lambda x: x.toarray()}[stored_as.split()[-1]]
    stored = cells.copy()
    stored.X = layout(cells.X)
    if stored_as.startswith("backed"):
        stored.write_h5ad(tmp_path / "x.h5ad")
        stored = ad.read_h5ad(tmp_path / "x.h5ad", backed="r")
        monkeypatch.setattr(reading, "BLOCK_VALUES", 300)
    per_gene = 3 * 32 + 5 * 16
    # All at once; blocks of 7, with a rest of 5; one gene at a time.
    for sums_bytes, n_passes in ((40 * per_gene, 1), (7 * per_gene, 6), (1, 40)):
        passes.clear()
        found = labelled(stored).gather(partitions, workers=3, sums_bytes=sums_bytes)
        assert len(passes) == n_passes
        for ours, theirs in zip(found, expected, strict=True):
            np.testing.assert_array_equal(ours, theirs)


def test_layer_instead_of_x(cells):
    stored = cells.copy()
    stored.layers["log"] = stored.X
    stored.X = None
    assert labelled(stored, layer="log").matrix is stored.layers["log"]
    assert labelled(stored, layer="log").where == "layers['log']"
    with pytest.raises(InputError, match=naming("lgo", "log")):
        expression_matrix(stored, "lgo")


def test_labels_of_cells_are_canonical_and_keep_their_cells(cells):
    adata = cells.copy()
    adata.obs["condition"] = adata.obs["condition"].astype(str).replace({"P0+P1": "P1+P0", "P3": "P3+ctrl"})
    pd.testing.assert_series_equal(
        perturbation_labels(adata, "condition", "control").astype(str),
        cells.obs["condition"].astype(str),
        check_names=False,
    )


@pytest.mark.parametrize("workers", [0, -1, "2", 1.5])
def test_workers_that_are_none(workers, cells):
    with pytest.raises(InputError, match=naming("workers", repr(workers))):
        labelled(cells).gather([Partition(np.zeros(cells.n_obs, int), 1)], workers)


def test_a_matrix_of_another_shape():
    with pytest.raises(InputError, match=naming("counts", (2, 3), 4, 3)):
        LabelledCells.from_matrix(np.zeros((2, 3)), list("AABB"), list("xyz"), None, where="counts")
    with pytest.raises(InputError, match=naming("counts", 1, "x")):
        LabelledCells.from_matrix(np.zeros((2, 3)), list("AB"), list("xyx"), None, where="counts")
