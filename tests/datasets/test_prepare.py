"""Preparation of files in the published layouts, against plain scanpy, and of files that cannot be prepared."""

import json
import re
from dataclasses import replace

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import scanpy as sc
from messages import naming
from scipy import sparse

from diversity_by_design.datasets import load, registry
from diversity_by_design.datasets.prepare import PreparationSettings, prepare
from diversity_by_design.datasets.report import read_report
from diversity_by_design.errors import InputError
from diversity_by_design.running.checksum import sha256

LAYOUTS = {"dense": np.asarray, "csr": sparse.csr_matrix, "csc": sparse.csc_matrix}
NORMAN = replace(registry.get("norman19").settings(), cells_per_perturbation=16, genes=100, min_genes_per_cell=100)
REPLOGLE = replace(registry.get("replogle22").settings(), cells_per_perturbation=16, genes=100, min_genes_per_cell=100)
PLAIN = PreparationSettings(perturbation_key="perturbation", control_label="control")


def run(adata, folder, settings=PLAIN, seed=0):
    adata.write_h5ad(folder / "source.h5ad")
    report = prepare(folder / "source.h5ad", folder / "prepared.h5ad", settings, seed)
    return ad.read_h5ad(folder / "prepared.h5ad"), report


def example(n_per_label=6, n_genes=30, labels=("A", "B", "A+B", "control"), seed=0):
    rng = np.random.default_rng(seed)
    names = np.repeat(labels, n_per_label)
    counts = rng.poisson(2.0, (len(names), n_genes)).astype(np.float32)
    obs = pd.DataFrame({"perturbation": pd.Categorical(names)}, index=[f"c{i}" for i in range(len(names))])
    return ad.AnnData(sparse.csr_matrix(counts), obs=obs, var=pd.DataFrame(index=[f"g{i}" for i in range(n_genes)]))


def same(a, b):
    pd.testing.assert_frame_equal(a.obs, b.obs)
    pd.testing.assert_frame_equal(a.var, b.var)
    for x, y in ((a.X, b.X), (a.layers["counts"], b.layers["counts"])):
        assert (x != y).nnz == 0


def test_norman_layout(norman_file, tmp_path):
    report = prepare(norman_file, tmp_path / "prepared.h5ad", NORMAN, 0)
    adata = ad.read_h5ad(tmp_path / "prepared.h5ad")
    source = ad.read_h5ad(norman_file)[adata.obs_names]

    assert adata.obs["condition"].value_counts().to_dict() == {
        "control": 40, "BAK1": 16, "BAK1+KLF1": 16, "CEBPE": 16, "CEBPE+KLF1": 16, "KLF1": 16,
    }  # fmt: skip
    assert report.left_out == {"FEV": 5}
    assert (report.perturbations, report.control_cells, report.control_cells_found) == (5, 40, 40)
    assert report.cells_with_few_genes == 3 * 7
    assert report.genes_in_few_cells == 5
    assert adata.shape == (report.cells, report.genes) == (120, 100)
    np.testing.assert_array_equal(adata.obs["ncounts"], source.obs["nCount_RNA"])
    np.testing.assert_array_equal(adata.layers["counts"].toarray(), source[:, adata.var_names].X.toarray())


def test_replogle_layout(replogle_file, tmp_path):
    report = prepare(replogle_file, tmp_path / "prepared.h5ad", REPLOGLE, 0)
    adata = ad.read_h5ad(tmp_path / "prepared.h5ad")
    source = ad.read_h5ad(replogle_file)[adata.obs_names]

    assert adata.obs["condition"].value_counts().to_dict() == {"control": 40, "CDC16": 16, "HNRNPU": 16, "RPL3": 16}
    np.testing.assert_array_equal(adata.obs["ncounts"], source.obs["UMI_count"])
    assert adata.var["gene_id"].str.startswith("ENSG").all()
    assert adata.var_names.str.startswith("GENE").all() and adata.var_names.is_unique
    assert report.renamed_genes == 1
    assert re.search(naming("1 gene names"), report.text())
    np.testing.assert_array_equal(adata.layers["counts"].toarray(), source[:, adata.var["gene_id"]].X)


def test_second_gene_of_a_name_is_numbered(tmp_path):
    adata = example()
    adata.var["symbol"] = ["TP53", "TP53", None, *adata.var_names[3:]]
    prepared, report = run(adata, tmp_path, replace(PLAIN, gene_names="symbol"))
    assert list(prepared.var_names[:3]) == ["TP53", "TP53-1", "g2"]
    assert report.renamed_genes == 1
    assert any("1 genes without a symbol" in note for note in report.notes)


def test_equals_plain_scanpy(norman_file, tmp_path):
    """The same steps in memory, with the same cells: equal to the last bit."""
    prepare(norman_file, tmp_path / "prepared.h5ad", NORMAN, 0)
    ours = ad.read_h5ad(tmp_path / "prepared.h5ad")

    plain = ad.read_h5ad(norman_file)
    plain.X = sparse.csr_matrix(plain.X)
    sc.pp.filter_cells(plain, min_genes=100)
    sc.pp.filter_genes(plain, min_cells=3)
    plain = plain[ours.obs_names].copy()
    plain.layers["counts"] = plain.X.copy()
    sc.pp.normalize_total(plain, target_sum=1e4)
    sc.pp.log1p(plain)
    sc.pp.highly_variable_genes(plain, n_top_genes=100, subset=True)

    assert list(ours.var_names) == list(plain.var_names)
    assert ours.X.dtype == ours.layers["counts"].dtype == np.float32
    for mine, theirs in ((ours.X, plain.X), (ours.layers["counts"], plain.layers["counts"])):
        assert isinstance(mine, sparse.csr_matrix) and mine.has_sorted_indices
        np.testing.assert_array_equal(mine.toarray(), theirs.toarray())


@pytest.mark.parametrize("name", ["norman19_k562_subset", "papalexi21_thp1"])
def test_real_files_with_automatic_settings(shared_data, tmp_path, name):
    control = {"papalexi21_thp1": "non-targeting"}.get(name, "control")
    n_genes = 150
    settings = PreparationSettings(perturbation_key="perturbation", control_label=control, genes=n_genes)
    report = prepare(shared_data / f"{name}.h5ad", tmp_path / "prepared.h5ad", settings, 0)
    ours = ad.read_h5ad(tmp_path / "prepared.h5ad")

    plain = ad.read_h5ad(shared_data / f"{name}.h5ad")
    sc.pp.filter_cells(plain, min_genes=1)
    sc.pp.filter_genes(plain, min_cells=3)
    plain = plain[ours.obs_names].copy()
    sc.pp.normalize_total(plain, target_sum=1e4)
    sc.pp.log1p(plain)
    sc.pp.highly_variable_genes(plain, n_top_genes=n_genes, subset=True)
    assert list(ours.var_names) == list(plain.var_names)
    np.testing.assert_array_equal(ours.X.toarray(), plain.X.toarray())

    sizes = ours.obs["condition"].value_counts()
    assert set(sizes.drop("control")) == {report.cells_per_perturbation}
    assert report.cells_per_perturbation == {"papalexi21_thp1": 256}.get(name, 64)
    assert report.min_genes_per_cell == 1
    assert sum("(automatic)" in note for note in report.notes) == 2


def test_layouts_give_the_same(tmp_path):
    prepared = []
    for name, layout in LAYOUTS.items():
        adata = example()
        adata.X = layout(adata.X.toarray())
        (tmp_path / name).mkdir()
        prepared.append(run(adata, tmp_path / name, replace(PLAIN, genes=20))[0])
    same(prepared[0], prepared[1])
    same(prepared[0], prepared[2])


def test_seed_decides_and_order_of_cells_does_not(tmp_path):
    adata = example(20)
    settings = replace(PLAIN, cells_per_perturbation=8, max_control_cells=10)
    first, _ = run(adata, tmp_path, settings, seed=3)
    again, _ = run(adata, tmp_path, settings, seed=3)
    same(first, again)
    shuffled, _ = run(adata[np.random.default_rng(0).permutation(adata.n_obs)].copy(), tmp_path, settings, seed=3)
    same(first, shuffled[first.obs_names].copy())
    other, _ = run(adata, tmp_path, settings, seed=4)
    assert set(other.obs_names) != set(first.obs_names)


def test_control_cells_are_limited(tmp_path):
    prepared, report = run(example(20), tmp_path, replace(PLAIN, max_control_cells=7))
    assert (prepared.obs["condition"] == "control").sum() == report.control_cells == 7
    assert report.control_cells_found == 20


def test_all_genes_are_kept_where_there_are_not_more(tmp_path):
    prepared, report = run(example(), tmp_path, replace(PLAIN, genes=30))
    assert prepared.n_vars == report.genes == 30
    assert any("all 30 expressed genes were kept" in note for note in report.notes)


def test_normalisation_covers_genes_that_are_not_kept(tmp_path):
    prepared, _ = run(example(), tmp_path, replace(PLAIN, genes=10))
    assert prepared.n_vars < 30
    assert (np.expm1(prepared.X.toarray()).sum(axis=1) < 9000).all()


def test_counts_are_taken_from_the_layer_where_x_is_not_raw(tmp_path):
    adata = example()
    adata.layers["counts"] = adata.X.copy()
    direct, _ = run(adata, tmp_path)
    sc.pp.log1p(adata)
    prepared, report = run(adata, tmp_path)
    same(direct, prepared)
    assert any("counts are those of layers/counts" in note for note in report.notes)


def test_record_names_source_seed_and_settings(tmp_path):
    prepared, report = run(example(), tmp_path, seed=5)
    record = prepared.uns["diversity_by_design"]
    assert record["source"] == "source.h5ad"
    assert record["source_sha256"] == report.source_sha256 == sha256(tmp_path / "source.h5ad")
    assert (record["seed"], record["scale"]) == (5, "log1p_cp10k")
    assert json.loads(record["settings"]) == PLAIN.plain()


def test_other_columns_are_kept_and_none_is_overwritten_in_silence(tmp_path):
    adata = example()
    adata.obs["ncounts"] = 1.0
    adata.obs["condition"] = "stimulated"
    adata.obs["batch"] = pd.Categorical(["b1", "b2"] * 12)
    adata.obsm["X_pca"] = np.zeros((adata.n_obs, 2))
    prepared, report = run(adata, tmp_path)
    assert set(prepared.obs) == {"perturbation", "batch", "source_ncounts", "source_condition", "condition", "ncounts"}
    assert (prepared.obs["source_condition"] == "stimulated").all()
    np.testing.assert_array_equal(prepared.obs["ncounts"], adata[prepared.obs_names].X.sum(axis=1).A1)
    for said in ("obs['source_ncounts']", "obs['source_condition']", "obsm/X_pca"):
        assert any(said in note for note in report.notes)


def test_totals_that_are_no_numbers_are_not_taken(tmp_path):
    adata = example()
    adata.obs["nCount_RNA"] = "many"
    prepared, _ = run(adata, tmp_path, replace(PLAIN, library_size_columns=("nCount_RNA",)))
    np.testing.assert_array_equal(prepared.obs["ncounts"], adata[prepared.obs_names].X.sum(axis=1).A1)


def test_column_called_condition_may_name_the_perturbations(tmp_path):
    adata = example()
    adata.obs = adata.obs.rename(columns={"perturbation": "condition"})
    prepared, _ = run(adata, tmp_path, replace(PLAIN, perturbation_key="condition"))
    assert list(prepared.obs.columns) == ["condition", "ncounts"]


def in_lines(n_per_label=12):
    """A screen whose cells are of the lines x and y in turn, but for three of which that is not known."""
    adata = example(n_per_label)
    lines = np.array(["x", "y"] * (adata.n_obs // 2), dtype=object)
    lines[[0, 1, 2]] = [None, "nan", " "]
    adata.obs["line"] = lines
    adata.obs["context"] = "as it was"
    return adata


def test_contexts_are_prepared_together_and_one_by_one(tmp_path):
    adata = in_lines()
    prepared, report = run(adata, tmp_path, replace(PLAIN, context_key="line", cells_per_perturbation=4))
    assert report.contexts == ("x", "y") and "source_context" in prepared.obs
    assert prepared.obs["context"].tolist() == adata.obs["line"][prepared.obs_names].tolist()
    assert prepared.obs[["context", "condition"]].value_counts().drop("control", level=1).unique().tolist() == [4]
    assert any(re.search(naming("3 cells", "obs['line']"), note) for note in report.notes)
    for name in report.contexts:
        own = ad.read_h5ad(tmp_path / f"prepared-{name}.h5ad")
        theirs = prepared[prepared.obs["context"] == name].copy()
        assert own.obs["condition"].tolist() == theirs.obs["condition"].tolist()
        np.testing.assert_array_equal(own.X.toarray(), theirs.X.toarray())
        np.testing.assert_array_equal(own.layers["counts"].toarray(), theirs.layers["counts"].toarray())


@pytest.mark.parametrize("other", ["KLF1", None])
def test_a_guide_of_several_targets_is_refused(tmp_path, other):
    adata = example()
    adata.obs["gene"] = adata.obs["perturbation"].astype(object).replace({"A": "BAK1"})
    adata.obs.loc["c0", "gene"] = other
    with pytest.raises(InputError, match=naming("obs['gene']", "'A'", "BAK1", str(other))):
        run(adata, tmp_path, replace(PLAIN, target_key="gene"))


def test_names_of_the_genes_of_raw(tmp_path):
    """Before all of a file is read it is not known of which matrix the genes are."""
    adata = example()
    adata.raw = ad.AnnData(adata.X.copy(), obs=adata.obs, var=adata.var.assign(symbol=adata.var_names + "s"))
    sc.pp.log1p(adata)
    del adata.uns["log1p"]
    adata.write_h5ad(tmp_path / "screen.h5ad")
    prepared = load(tmp_path / "screen.h5ad", data_dir=tmp_path, gene_names="symbol")
    assert prepared.report.matrix == "raw"
    assert all(name.endswith("s") for name in ad.read_h5ad(prepared.path).var_names)


def test_several_columns_make_a_context(tmp_path):
    adata = in_lines()
    adata.obs["day"] = np.arange(adata.n_obs) % 4 // 2 + 1.0
    _, report = run(adata, tmp_path, replace(PLAIN, context_key=("line", "day"), cells_per_perturbation=2))
    assert report.contexts == ("x | 1", "x | 2", "y | 1", "y | 2")
    assert (tmp_path / "prepared-x_1.h5ad").is_file()


def test_cells_without_a_batch_are_a_batch_of_their_own(tmp_path):
    prepared, _ = run(in_lines(), tmp_path, replace(PLAIN, batch_key="line", cells_per_perturbation=8))
    assert prepared.obs["line"].isna().sum() == 1
    assert prepared.obs.query("condition == 'B'")["line"].value_counts()[["x", "y"]].tolist() == [4, 4]


def test_report_lists_perturbations_that_were_left_out(tmp_path):
    adata = example(6)
    adata = adata[[*range(4), *range(6, 24)]].copy()
    _, report = run(adata, tmp_path, replace(PLAIN, cells_per_perturbation=5))
    assert report.left_out == {"A": 4}
    assert re.search(naming("1 perturbations", 5, "A (4)"), report.text())
    assert read_report(tmp_path / "prepared.h5ad") == report


# What cannot be prepared.


def with_value(value):
    adata = example()
    x = adata.X.toarray()
    x[4, 2] = value
    adata.X = x
    return adata


def logged():
    adata = example()
    sc.pp.log1p(adata)
    return adata


def doubled_cell():
    adata = example()
    adata.obs_names = ["c0", *adata.obs_names[:-1]]
    return adata


@pytest.mark.parametrize(
    ("adata", "changes", "named"),
    [
        (example, {"perturbation_key": "gene"}, ("gene", "perturbation")),
        (example, {"control_label": "NT"}, ("NT", "perturbation", "A", "A+B", "B", "control")),
        (example, {"gene_names": "symbol"}, ("symbol", "var")),
        (logged, {}, ("source.h5ad", "X", "raw counts")),
        (lambda: with_value(np.nan), {}, ("nan", "c4", "g2")),
        (lambda: with_value(np.inf), {}, ("inf", "c4", "g2")),
        (lambda: with_value(-1), {}, (-1.0, "c4", "g2")),
        (lambda: with_value(2.0**25), {}, ("source.h5ad", "X", "3.35544e+07")),
        (doubled_cell, {}, (1, "c0")),
        (lambda: example(labels=("A", "control")), {}, (1, "A", 2)),
        (example, {"min_genes_per_cell": 31}, (24, 31, "--min-genes-per-cell")),
        (example, {"min_cells_per_gene": 25}, (25, 24)),
        (example, {"cells_per_perturbation": 7}, (0, 7, 2)),
        (lambda: example(1), {}, (1, 2, "control")),
    ],
)  # fmt: skip
@pytest.mark.filterwarnings("ignore:Observation names are not unique")
def test_bad_input(tmp_path, adata, changes, named):
    with pytest.raises(InputError, match=naming(*named)):
        run(adata(), tmp_path, replace(PLAIN, **changes))
    assert not (tmp_path / "prepared.h5ad").exists()


def test_cells_without_a_label_are_left_out_and_counted(tmp_path):
    adata = example()
    adata.obs["perturbation"] = adata.obs["perturbation"].astype(object)
    adata.obs.iloc[3, 0] = np.nan
    adata.obs["perturbation"] = adata.obs["perturbation"].astype("category")
    prepared, report = run(adata, tmp_path)
    assert "c3" not in prepared.obs_names
    assert report.no_call == {"(no label)": 1}
    assert any(re.search(naming("1 cells", "obs['perturbation']"), note) for note in report.notes)


def test_file_without_a_matrix(tmp_path):
    adata = example()
    with pytest.raises(InputError, match=naming("X", "counts")):
        run(ad.AnnData(obs=adata.obs, var=adata.var), tmp_path)


def test_truncated_file(norman_file, tmp_path):
    content = norman_file.read_bytes()
    norman_file.write_bytes(content[: len(content) // 2])
    with pytest.raises(InputError, match=naming("NormanWeissman2019_filtered.h5ad")):
        prepare(norman_file, tmp_path / "prepared.h5ad", NORMAN, 0)


def test_folder_that_cannot_be_written_to(norman_file, tmp_path):
    (tmp_path / "folder").write_text("a file")
    with pytest.raises(InputError, match=naming(tmp_path / "folder/prepared.h5ad")):
        prepare(norman_file, tmp_path / "folder" / "prepared.h5ad", NORMAN, 0)


def test_prepared_file_can_be_subset(norman_file, tmp_path):
    """Rows of a matrix can be taken only if both of its index arrays have one type."""
    prepare(norman_file, tmp_path / "prepared.h5ad", NORMAN, 0)
    prepared = ad.read_h5ad(tmp_path / "prepared.h5ad")
    every_other = prepared[::2].copy()
    np.testing.assert_array_equal(every_other.X.toarray(), prepared.X.toarray()[::2])
    np.testing.assert_array_equal(every_other.layers["counts"].toarray(), prepared.layers["counts"].toarray()[::2])
