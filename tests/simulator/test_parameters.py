"""Gene parameters: what they accept, tables and files, the default's distribution, and drawing genes."""

import warnings
from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from messages import naming
from scipy import sparse, stats

from diversity_by_design.errors import InputError
from diversity_by_design.simulator.parameters import GeneDistribution, GeneParameters


@pytest.fixture
def parameters() -> GeneParameters:
    return GeneParameters(["A", "NA", "C"], [1.0, 0.0, 2.0], [1.1, 0.4, 0.0], [2.0, 0.3, np.inf])


def table(**changes) -> pd.DataFrame:
    values = {"gene": ["A", "B", "C"], "mu_control": [1.0, 2, 3], "mu_perturbed": [1.0, 2, 3], "theta": [1.0, 2, 3]}
    return pd.DataFrame(values | changes)


def test_means_of_zero_and_infinite_theta_are_allowed(parameters):
    assert len(parameters) == 3
    assert parameters.theta[2] == np.inf
    assert list(parameters.table.columns) == ["gene", "mu_control", "mu_perturbed", "theta"]


def test_arrays_are_copies_that_cannot_change():
    mean = np.ones(2)
    parameters = GeneParameters(pd.Index(["A", "B"]), mean, mean, mean)
    mean[0] = 7
    assert parameters.mu_control[0] == 1
    with pytest.raises(ValueError, match="read-only"):
        parameters.theta[0] = 2


@pytest.mark.parametrize("name", ["genes.csv", "genes.csv.gz"])
def test_a_file_gives_back_what_was_written(parameters, tmp_path: Path, name):
    parameters.to_csv(tmp_path / name)
    again = GeneParameters.from_csv(tmp_path / name)
    pd.testing.assert_frame_equal(again.table, parameters.table)
    if name.endswith("gz"):
        assert (tmp_path / name).read_bytes().startswith(b"\x1f\x8b")


def test_gene_names_that_look_like_numbers_stay_as_they_are(tmp_path: Path):
    (tmp_path / "x.csv").write_text("gene,theta,mu_perturbed,mu_control,note\n007,1,2,3,x\n7,1,2,3,y\n")
    parameters = GeneParameters.from_csv(tmp_path / "x.csv")
    assert list(parameters.genes) == ["007", "7"]
    assert parameters.mu_control[0] == 3


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"mu_control": [1.0, np.nan, 3]}, ("mu_control", "NaN", 1, 3, "'B'")),
        ({"mu_perturbed": [1.0, -2, -3]}, ("mu_perturbed", 2, 3, "'B'", 0)),
        ({"mu_perturbed": [1.0, 2, np.inf]}, ("mu_perturbed", 1, 3, "'C'")),
        ({"theta": [0.0, 2, 3]}, ("theta", 1, 3, "'A'", 0)),
        ({"theta": [1.0, -2, 3]}, ("theta", 1, 3, "'B'", 0)),
        ({"theta": ["high", "2", "3"]}, ("theta", "'high'", "'A'")),
        ({"gene": ["A", "B", "A"]}, (1, "A")),
        ({"gene": ["A", None, "C"]}, (1, 3)),
    ],
)
def test_bad_tables_are_refused(changes, said):
    with pytest.raises(InputError, match=naming("gene parameters", *said)):
        GeneParameters.from_table(table(**changes))


def test_missing_columns_are_named_beside_those_there_are():
    with pytest.raises(InputError, match=naming("mu_perturbed", "theta", "gene", "mu_control", "mu")):
        GeneParameters.from_table(table().rename(columns={"mu_perturbed": "mu"}).drop(columns="theta"))


def test_no_genes_and_lengths_that_differ_are_refused():
    with pytest.raises(InputError, match=naming("genes")):
        GeneParameters.from_table(table().iloc[:0])
    with pytest.raises(InputError, match=naming("theta", (2,), 1)):
        GeneParameters(pd.Index(["A"]), [1.0], [1.0], [1.0, 2.0])


@pytest.mark.parametrize("content", [b"", b"\x00\xff\xfe\x89PNG\r\n" * 9, b"a,b\n1,2,3\n1,2,3,4,5\n"])
def test_what_is_no_csv_file_is_refused(tmp_path: Path, content):
    (tmp_path / "x.csv").write_bytes(content)
    with pytest.raises(InputError, match=naming("x.csv")):
        GeneParameters.from_csv(tmp_path / "x.csv")


def test_a_file_that_is_not_there(tmp_path: Path):
    with pytest.raises(InputError, match=naming("none.csv")):
        GeneParameters.from_csv(tmp_path / "none.csv")


def test_errors_in_a_file_name_the_file(tmp_path: Path):
    table(theta=[1.0, 0, 3]).to_csv(tmp_path / "x.csv", index=False)
    with pytest.raises(InputError, match=naming("x.csv", "theta", 0, 1, 3)):
        GeneParameters.from_csv(tmp_path / "x.csv")


def test_default_has_the_stated_distribution():
    parameters = GeneParameters.default()
    assert len(parameters) == 8192
    log_mean, log_theta = np.log(parameters.mu_control), np.log(parameters.theta)
    shift = np.log(parameters.mu_perturbed / parameters.mu_control)
    # Standard errors are 0.012, 0.016 and 0.06; the bound on the mean takes a little of the last two.
    assert log_mean.mean() == pytest.approx(-0.6, abs=0.05)
    assert log_mean.std() == pytest.approx(1.05, abs=0.06)
    assert stats.skew(log_mean) == pytest.approx(1.5, abs=0.25)
    assert log_theta.mean() == pytest.approx(1.0, abs=0.03)
    assert log_theta.std() == pytest.approx(0.69, abs=0.02)
    assert np.polyfit(log_mean, log_theta, 1)[0] == pytest.approx(-0.1, abs=0.03)
    assert shift.mean() == pytest.approx(0.05, abs=0.01)
    assert shift.std() == pytest.approx(0.2, abs=0.01)
    # Of real K562 cells: 0.16, 0.46 and 3.7 counts.
    np.testing.assert_allclose(np.quantile(parameters.mu_control, [0.05, 0.5, 0.95]), [0.16, 0.46, 3.7], rtol=0.2)


@pytest.mark.parametrize("seed", range(5))
def test_no_gene_of_the_default_dominates(seed):
    mean = GeneParameters.default(seed=seed).mu_control
    assert mean.max() <= 200
    assert mean.max() / mean.sum() < 0.03


def test_default_depends_on_its_seed_only():
    first, again, other = (GeneParameters.default(100, seed) for seed in (1, 1, 2))
    pd.testing.assert_frame_equal(first.table, again.table)
    assert not np.array_equal(first.mu_control, other.mu_control)


def test_genes_that_are_not_expressed_keep_the_centre():
    expressed = np.array([True, False, True, False])
    centre = GeneDistribution(log_mean=2.0, log_theta_sd=0.0, log_theta_slope=0.5, log_shift_sd=0.0)
    log_mean, log_theta, _ = centre.draw(np.random.default_rng(0), expressed)
    np.testing.assert_array_equal(log_mean == 2.0, ~expressed)
    np.testing.assert_allclose(log_theta, 1.0 + 0.5 * (log_mean - 2.0))


def test_genes_are_drawn_without_replacement(parameters):
    drawn = [parameters.draw(3, np.random.default_rng(seed)) for seed in range(20)]
    assert all(sorted(positions) == [0, 1, 2] for positions in drawn)
    assert {positions[0] for positions in drawn} == {0, 1, 2}
    assert parameters.draw(2, np.random.default_rng(0)).shape == (2,)


def test_more_genes_than_there_are_cannot_be_drawn(parameters):
    with pytest.raises(InputError, match=naming("g", 4, 3)):
        parameters.draw(4, np.random.default_rng(0))


def counts_of(seed: int, means: np.ndarray, theta: float) -> ad.AnnData:
    rng = np.random.default_rng(seed)
    rows = rng.negative_binomial(theta, theta / (theta + means), (3000, len(means)))
    return ad.AnnData(
        layers={"counts": sparse.csr_matrix(rows.astype(np.float32))},
        obs=pd.DataFrame(
            {"condition": np.where(np.arange(3000) < 1500, "control", "P")}, index=np.arange(3000).astype(str)
        ),
        var=pd.DataFrame(index=[f"gene{i}" for i in range(len(means))]),
    )


def test_fit_finds_what_counts_were_drawn_from():
    means = np.array([0.5, 2.0, 20.0])
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        fitted = GeneParameters.fit(counts_of(1, means, 1.5))
    np.testing.assert_allclose(fitted.mu_control, means, rtol=0.1)
    np.testing.assert_allclose(fitted.mu_perturbed, means, rtol=0.1)
    np.testing.assert_allclose(fitted.theta, 1.5, rtol=0.2)


def test_fit_says_how_many_genes_it_leaves_out():
    with pytest.warns(UserWarning, match=naming(2, 4)):
        fitted = GeneParameters.fit(counts_of(1, np.array([0.0, 1.0, 0.0, 3.0]), 1.0))
    assert list(fitted.genes) == ["gene1", "gene3"]


def test_fit_needs_its_layer_and_labels():
    adata = counts_of(1, np.array([1.0, 2.0]), 1.0)
    with pytest.raises(InputError, match=naming("raw", "counts")):
        GeneParameters.fit(adata, layer="raw")
    with pytest.raises(InputError, match=naming("NT", "condition", "P")):
        GeneParameters.fit(adata, control="NT")
