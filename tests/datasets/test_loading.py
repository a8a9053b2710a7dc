"""From a name or a path to a prepared file, and when it is prepared anew."""

import hashlib
import re
from dataclasses import replace

import anndata as ad
import numpy as np
import pytest
from messages import naming
from processes import another_has

from diversity_by_design.datasets import demo, load, loading, registry, sha256
from diversity_by_design.datasets.gene_ontology import graph_source
from diversity_by_design.errors import InputError

OPTIONS = {"cells_per_perturbation": 16, "genes": 100, "min_genes_per_cell": 100}
SMALL_DEMO = demo.DemoParameters(
    n_singles=4,
    n_doubles=2,
    cells_per_perturbation=64,
    spare_cells=4,
    n_rare=1,
    n_control_cells=80,
    n_low_quality_cells=8,
    n_genes=600,
    n_silent_genes=10,
)


@pytest.fixture
def published(server, norman_file, monkeypatch):
    """Publish the small file at the server as norman19."""
    server.content = norman_file.read_bytes()
    checksum = f"md5:{hashlib.md5(server.content).hexdigest()}"
    spec = replace(
        registry.get("norman19"),
        url=server.url,
        size=len(server.content),
        checksum=checksum,
        cells_per_perturbation=16,
        genes=100,
        min_genes_per_cell=100,
    )
    monkeypatch.setitem(registry.DATASETS, "norman19", spec)
    return spec


def test_sha256(tmp_path):
    (tmp_path / "file").write_bytes(b"abc")
    assert sha256(tmp_path / "file") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


def test_unknown_name(tmp_path):
    with pytest.raises(InputError, match=naming("norman20", *registry.DATASETS, ".h5ad")):
        load("norman20", data_dir=tmp_path)


def test_missing_file(tmp_path):
    with pytest.raises(InputError, match=naming("screen.h5ad")):
        load(str(tmp_path / "screen.h5ad"), data_dir=tmp_path)


def test_named_data_set_is_downloaded_and_prepared_once(published, server, tmp_path, capsys):
    first = load("norman19", data_dir=tmp_path / "data")
    assert first.name == "norman19"
    assert first.path == tmp_path / "data" / "norman19" / "processed.h5ad"
    assert first.checksum == sha256(first.path)
    assert first.report.left_out == {"FEV": 5}
    assert "FEV (5)" in capsys.readouterr().out
    assert load("norman19", data_dir=tmp_path / "data") == first
    assert capsys.readouterr().out == ""
    assert server.asked == [None]


def test_options_and_seed_of_a_named_data_set_have_files_of_their_own(published, server, tmp_path, capsys):
    first = load("norman19", data_dir=tmp_path)
    fewer = load("norman19", data_dir=tmp_path, cells_per_perturbation=8, genes=50)
    assert set(ad.read_h5ad(fewer.path).obs["condition"].value_counts().drop("control")) == {8}
    assert (fewer.report.genes, fewer.report.left_out) == (50, {"FEV": 5})
    other_seed = load("norman19", data_dir=tmp_path, seed=1)
    assert other_seed.report.seed == 1
    assert other_seed.checksum != first.checksum
    assert server.asked == [None]
    # All stay as they were, and are found again.
    capsys.readouterr()
    assert load("norman19", data_dir=str(tmp_path)) == first
    assert load("norman19", data_dir=tmp_path, cells_per_perturbation=8, genes=50) == fewer
    assert load("norman19", data_dir=tmp_path, cells_per_perturbation=16, seed=1) == other_seed
    assert capsys.readouterr().out == ""
    assert all(sha256(one.path) == one.checksum for one in (first, fewer, other_seed))
    assert {one.path.parent for one in (first, fewer, other_seed)} == {tmp_path / "norman19"}
    assert first.path.name == "processed.h5ad"
    assert all(re.fullmatch(r"processed-[0-9a-f]{8}\.h5ad", one.path.name) for one in (fewer, other_seed))
    assert fewer.path != other_seed.path


def test_another_source_replaces_what_was_prepared_from_the_earlier_one(published, norman_file, tmp_path, capsys):
    first, seeded = (load("norman19", data_dir=tmp_path, seed=seed) for seed in (0, 1))
    other = tmp_path / "other.h5ad"
    ad.read_h5ad(norman_file)[10:].copy().write_h5ad(other)
    again = loading.prepare_named("norman19", tmp_path, {}, 0, source=other)
    assert again.path == first.path and again.report.source_sha256 == sha256(other)
    assert f"{first.path} is replaced" in capsys.readouterr().out
    # What is prepared with other options is so too, once it is asked for.
    assert sha256(seeded.path) == seeded.checksum
    assert load("norman19", data_dir=tmp_path, seed=1).report.source_sha256 == sha256(other)


def test_file_of_an_earlier_version_with_another_seed_is_replaced(published, tmp_path):
    seeded = load("norman19", data_dir=tmp_path, seed=1)
    first = seeded.path.rename(seeded.path.with_name("processed.h5ad"))
    assert load("norman19", data_dir=tmp_path).report.seed == 0
    assert load("norman19", data_dir=tmp_path).path == first


def test_a_second_preparation_at_the_same_time_is_refused(published, server, tmp_path):
    folder = tmp_path / "norman19"
    with another_has(folder) as process, pytest.raises(InputError, match=naming(folder, process)):
        load("norman19", data_dir=tmp_path)
    assert server.asked == []
    prepared = load("norman19", data_dir=tmp_path)
    with another_has(folder):
        assert load("norman19", data_dir=tmp_path) == prepared  # what is there can be used meanwhile


def test_the_folder_of_data_has_a_default(norman_file, tmp_path, monkeypatch):
    monkeypatch.setenv("DBD_DATA_DIR", str(tmp_path / "data"))
    assert load(str(norman_file)).path == tmp_path / "data" / norman_file.stem / "processed.h5ad"


def test_source_given_once_is_used_again(published, server, norman_file, tmp_path):
    loading.prepare_named("norman19", tmp_path / "data", {}, 0, source=norman_file)
    again = load("norman19", data_dir=tmp_path / "data", seed=2)
    assert again.report.source == norman_file.name
    assert server.asked == []


def test_same_seed_gives_the_same_file(published, tmp_path):
    assert load("norman19", data_dir=tmp_path / "a").checksum == load("norman19", data_dir=tmp_path / "b").checksum


def test_own_file_is_prepared_again_only_when_something_changed(norman_file, tmp_path, capsys):
    first = load(str(norman_file), data_dir=tmp_path / "data", **OPTIONS)
    assert (first.name, first.path.parent.name) == (norman_file.stem, norman_file.stem)
    assert "preparing" in capsys.readouterr().out
    assert load(str(norman_file), data_dir=tmp_path / "data", **OPTIONS) == first
    assert capsys.readouterr().out == ""
    for changed in ({"seed": 1}, {"cells_per_perturbation": 12}, {"genes": 60}):
        assert load(str(norman_file), data_dir=tmp_path / "data", **{**OPTIONS, **changed}).checksum != first.checksum
        assert "preparing" in capsys.readouterr().out


def test_own_file_that_changed_is_prepared_again_in_its_place(norman_file, tmp_path):
    first = load(str(norman_file), data_dir=tmp_path / "data", **OPTIONS)
    adata = ad.read_h5ad(norman_file)
    adata[10:].copy().write_h5ad(norman_file)
    second = load(str(norman_file), data_dir=tmp_path / "data", **OPTIONS)
    assert second.path == first.path
    assert second.report.source_sha256 != first.report.source_sha256


def test_files_of_the_same_name_do_not_overwrite_each_other(norman_file, tmp_path):
    first = load(str(norman_file), data_dir=tmp_path / "data", **OPTIONS)
    other = tmp_path / "other" / norman_file.name
    other.parent.mkdir()
    ad.read_h5ad(norman_file)[10:].copy().write_h5ad(other)
    second = load(str(other), data_dir=tmp_path / "data", **OPTIONS)
    assert second.name == f"{norman_file.stem}-{sha256(other)[:8]}"
    assert sha256(first.path) == first.checksum
    assert load(str(other), data_dir=tmp_path / "data", **OPTIONS) == second


def test_own_file_that_was_moved_keeps_its_folder(norman_file, tmp_path):
    first = load(str(norman_file), data_dir=tmp_path / "data", **OPTIONS)
    moved = tmp_path / "elsewhere" / norman_file.name
    moved.parent.mkdir()
    norman_file.rename(moved)
    assert load(str(moved), data_dir=tmp_path / "data", **OPTIONS) == first


def test_own_file_called_like_a_known_data_set(norman_file, tmp_path):
    own = norman_file.rename(tmp_path / "norman19.h5ad")
    assert load(str(own), data_dir=tmp_path / "data", **OPTIONS).name == f"norman19-{sha256(own)[:8]}"


def test_columns_and_labels_of_an_own_file(replogle_file, tmp_path):
    with pytest.raises(InputError, match=naming("perturbation", "gene", "UMI_count")):
        load(str(replogle_file), data_dir=tmp_path, **OPTIONS)
    with pytest.raises(InputError, match=naming("control", "non-targeting")):
        load(str(replogle_file), data_dir=tmp_path, perturbation_key="gene", **OPTIONS)
    prepared = load(
        str(replogle_file), data_dir=tmp_path, perturbation_key="gene", control_label="non-targeting", **OPTIONS
    )
    assert prepared.report.perturbations == 3


def test_demo_is_generated(tmp_path, monkeypatch, capsys):
    generate = demo.generate_demo
    monkeypatch.setattr(demo, "generate_demo", lambda seed: generate(seed=seed, parameters=SMALL_DEMO))
    prepared = load("demo", data_dir=tmp_path, seed=3)
    assert "synthetic" in capsys.readouterr().out
    adata = ad.read_h5ad(prepared.path)
    assert set(adata.obs["condition"].value_counts().drop("control")) == {64}
    np.testing.assert_array_equal(adata.obs["ncounts"] > 0, True)
    assert prepared.report.perturbations == 6
    assert load("demo", data_dir=tmp_path, seed=4).report.source_sha256 != prepared.report.source_sha256
    load("demo", data_dir=tmp_path)
    # Each seed has its files, none of which another one changes.
    kinds = ("annotations{}.tsv.gz", "raw/demo{}.h5ad")
    files = [tmp_path / "demo" / kind.format(seed) for kind in kinds for seed in ("", "-seed3", "-seed4")]
    assert len({sha256(file) for file in files}) == 6
    assert load("demo", data_dir=tmp_path, seed=3) == prepared
    assert graph_source(tmp_path, "demo", 3) == files[1]
    assert graph_source(tmp_path, "demo") == files[0]


def test_prepared_file_that_is_damaged(norman_file, tmp_path):
    first = load(str(norman_file), data_dir=tmp_path / "data", **OPTIONS)
    first.path.write_bytes(first.path.read_bytes()[:5000])
    with pytest.raises(InputError, match=naming(first.path)):
        load(str(norman_file), data_dir=tmp_path / "data", **OPTIONS)


def test_prepared_file_of_another_program_is_not_overwritten(norman_file, tmp_path):
    path = load(str(norman_file), data_dir=tmp_path / "data", **OPTIONS).path
    ad.read_h5ad(norman_file).write_h5ad(path)
    content = path.read_bytes()
    with pytest.raises(InputError, match=naming(path)):
        load(str(norman_file), data_dir=tmp_path / "data", **OPTIONS)
    assert path.read_bytes() == content
