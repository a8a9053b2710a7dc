"""Maximum-likelihood gene parameters: against statsmodels on real cells, against exact arithmetic, and at extremes."""

import re
import warnings
from pathlib import Path

import anndata as ad
import h5py
import numpy as np
import pandas as pd
import pytest
from conftest import Screen
from messages import naming
from scipy import optimize, sparse, stats

from diversity_by_design.errors import InputError
from diversity_by_design.paper.gene_source import estimate_from_file
from diversity_by_design.simulator.count_histograms import GROUPS, count_histograms
from diversity_by_design.simulator.estimation import estimate, is_control_cell


def names(n: int) -> pd.Index:
    return pd.Index([f"gene{i}" for i in range(n)])


def fit_one(values: np.ndarray) -> pd.Series:
    """Fit of one gene, of which two control cells show nothing."""
    counts = np.append([0, 0], values)[:, None]
    return estimate(counts, np.arange(len(counts)) < 2, names(1)).table.iloc[0]


def draw(seed: int = 0, n_cells: int = 600, n_genes: int = 30) -> tuple[np.ndarray, np.ndarray]:
    """Counts (cells, genes), some above 256 and some genes without any, and which cells are control."""
    rng = np.random.default_rng(seed)
    mean = rng.lognormal(0, 2.5, n_genes)
    mean[::7] = 0
    mean[1] = 300
    theta = rng.lognormal(0, 1, n_genes)
    return rng.poisson(rng.gamma(theta, mean / theta, (n_cells, n_genes))), np.arange(n_cells) % 3 == 0


@pytest.fixture(scope="module")
def estimated(screen: Screen) -> tuple[ad.AnnData, np.ndarray, pd.DataFrame]:
    """Raw counts of a screen, which of its cells are control, and the estimates."""
    adata = ad.read_h5ad(screen.path)
    is_control = (adata.obs["perturbation"] == screen.control).to_numpy()
    return adata, is_control, estimate(adata.X, is_control, adata.var_names).table


def test_genes_of_a_screen_agree_with_statsmodels_within_one_per_cent(estimated):
    sm = pytest.importorskip("statsmodels.api")
    adata, is_control, table = estimated
    compared = 0
    for gene in range(0, adata.n_vars, 4):
        column = adata.X[:, [gene]].toarray().ravel().astype(float)
        for cells, rows in (("control", is_control), ("perturbed", ~is_control)):
            values, mu, theta = column[rows], table.loc[gene, f"mu_{cells}"], table.loc[gene, f"theta_{cells}"]
            assert mu == pytest.approx(values.mean(), rel=1e-12)
            if not np.isfinite(theta):
                assert values.var() <= values.mean() * (1 + 1e-9)
                continue
            # Its own start and tolerance leave it far from the maximum of one gene in ten.
            start = [np.log(values.mean()), (values.var() - values.mean()) / values.mean() ** 2]
            with warnings.catch_warnings(), np.errstate(all="ignore"):
                warnings.simplefilter("ignore")
                model = sm.NegativeBinomial(values, np.ones_like(values), loglike_method="nb2")
                log_mean, alpha = model.fit(start_params=start, disp=0, maxiter=1000, gtol=1e-9).params
            assert mu == pytest.approx(np.exp(log_mean), rel=0.01)
            assert 1 / theta == pytest.approx(alpha, rel=0.01)
            compared += 1
    assert compared > 30


def test_genes_of_a_screen_agree_with_fifty_digits(estimated):
    mp = pytest.importorskip("mpmath")
    adata, is_control, table = estimated
    counts = adata.X[~is_control].toarray()
    with mp.workdps(50):
        for gene in range(1, adata.n_vars, 12):
            theta = table.loc[gene, "theta_perturbed"]
            if not np.isfinite(theta):
                continue
            values, cells = (found.tolist() for found in np.unique(counts[:, gene].astype(int), return_counts=True))
            n, mean = sum(cells), mp.mpf(sum(v * c for v, c in zip(values, cells, strict=True))) / sum(cells)

            def score(size, values=values, cells=cells, n=n, mean=mean):
                total = sum(c * mp.digamma(v + size) for v, c in zip(values, cells, strict=True))
                return total - n * mp.digamma(size) - n * mp.log(1 + mean / size)

            assert float(mp.findroot(score, mp.mpf(theta)) / mp.mpf(theta)) == pytest.approx(1, abs=1e-9)


@pytest.mark.parametrize("theta", [0.05, 0.5, 3.0, 100.0])
@pytest.mark.parametrize("mean", [0.2, 5.0, 400.0])
def test_the_fit_is_where_the_likelihood_is_largest(theta, mean):
    rng = np.random.default_rng(4)
    values = rng.negative_binomial(theta, theta / (theta + mean), 2000)
    found = fit_one(values)
    if np.isinf(found["theta_perturbed"]):
        assert values.var() <= values.mean()
        return

    def loss(log_alpha):
        size = np.exp(-log_alpha)
        return -stats.nbinom.logpmf(values, size, size / (size + values.mean())).sum()

    best = optimize.minimize_scalar(loss, bounds=(-12, 8), method="bounded", options={"xatol": 1e-8})
    assert found["fit_perturbed"] == "converged"
    assert loss(-np.log(found["theta_perturbed"])) <= best.fun + 1e-7
    assert np.log(found["theta_perturbed"]) == pytest.approx(-best.x, abs=1e-3)


def test_a_gene_without_overdispersion_is_poisson():
    found = fit_one(np.tile([0, 1, 2, 1], 50))
    assert found["mu_perturbed"] == 1
    assert found["theta_perturbed"] == np.inf
    assert found["fit_perturbed"] == "no overdispersion"
    # Variance equal to the mean: still none.
    assert fit_one(np.array([0, 2]))["theta_perturbed"] == np.inf


@pytest.mark.parametrize("pairs", [10**2, 10**4, 10**6])
def test_theta_is_right_where_there_is_hardly_any_overdispersion(pairs):
    # Nearly as many twos as zeros: the variance exceeds the mean by about 1 / pairs. With alpha so small the equation
    # is linear in it.
    zeros, twos = pairs + 1, pairs - 1
    n, mean = zeros + twos, 2 * twos / (zeros + twos)
    excess = 2 * twos / n - mean**2
    alpha = n / 2 * excess / (twos - n * mean**3 / 3)
    found = fit_one(np.repeat([0, 2], [zeros, twos]))
    assert found["fit_perturbed"] == "converged"
    assert 1 / found["theta_perturbed"] == pytest.approx(alpha, rel=2 * alpha)


def test_one_cell_with_all_counts_converges():
    values = np.zeros(5000, int)
    for count in (2, 300, 100_000):
        values[0] = count
        found = fit_one(values)
        assert found["fit_perturbed"] == "converged"
        assert 0 < found["theta_perturbed"] < 1e-3


def test_large_counts_are_fitted_like_small_ones():
    """Of a negative binomial distribution of large mean, alpha is that of the gamma distribution behind it."""
    values = np.random.default_rng(0).poisson(np.random.default_rng(1).gamma(4.0, 50_000.0, 300))
    shape, _, _ = stats.gamma.fit(values, floc=0)
    assert fit_one(values)["theta_perturbed"] == pytest.approx(shape, rel=1e-3)


def test_every_way_of_storing_counts_gives_the_same(tmp_path: Path, monkeypatch):
    counts, is_control = draw()
    expected = estimate(counts, is_control, names(30))
    assert (expected.histograms.perturbed.indices >= 256).any()
    monkeypatch.setattr("diversity_by_design.cells.BLOCK_VALUES", 30 * 70)
    for form, layer in (("csr", sparse.csr_matrix(counts)), ("csc", sparse.csc_matrix(counts)), ("dense", counts)):
        ad.AnnData(X=layer.astype(np.float32)).write_h5ad(tmp_path / f"{form}.h5ad")
    halves = sparse.csr_matrix(np.hstack([counts // 2, counts - counts // 2]))
    halves.indices %= 30
    with h5py.File(tmp_path / "dense.h5ad") as dense:
        for stored in (
            counts.astype(float),
            sparse.csr_matrix(counts.astype(np.float32)),
            sparse.csc_array(counts),
            sparse.csr_matrix((halves.data, halves.indices, halves.indptr), shape=counts.shape),
            ad.read_h5ad(tmp_path / "csr.h5ad", backed="r").X,
            ad.read_h5ad(tmp_path / "csc.h5ad", backed="r").X,
            dense["X"],
        ):
            found = estimate(stored, is_control, names(30), workers=1)
            pd.testing.assert_frame_equal(found.table, expected.table, check_exact=True)
            pd.testing.assert_frame_equal(found.library, expected.library, check_exact=True)


def test_a_matrix_in_memory_stays_as_it_is():
    counts, is_control = draw()
    halves = sparse.csr_matrix(np.hstack([counts // 2, counts - counts // 2]).astype(np.int64))
    halves.indices %= 30
    matrix = sparse.csr_matrix((halves.data, halves.indices, halves.indptr), shape=counts.shape)
    before = matrix.data.copy()
    estimate(matrix, is_control, names(30))
    assert matrix.data.dtype == np.int64
    np.testing.assert_array_equal(matrix.data, before)


def test_histograms_are_those_of_the_counts():
    counts, is_control = draw(seed=3)
    histograms = count_histograms(sparse.csr_matrix(counts), is_control, names(30))
    for cells, rows in (("control", is_control), ("perturbed", ~is_control), ("all_cells", slice(None))):
        found, n_cells = histograms.of(cells)
        assert n_cells == len(counts[rows])
        for gene in range(30):
            expected = np.bincount(counts[rows, gene])
            assert expected[0] + found[gene].sum() == n_cells
            np.testing.assert_array_equal(found[gene].toarray().ravel()[1 : len(expected)], expected[1:])
    np.testing.assert_array_equal(histograms.total_counts, counts.sum(axis=1))


def test_the_number_of_workers_changes_nothing():
    counts, is_control = draw(n_genes=700)
    one, three = (estimate(counts, is_control, names(700), workers=workers) for workers in (1, 3))
    pd.testing.assert_frame_equal(one.table, three.table, check_exact=True)


def test_genes_without_counts_are_counted_and_left_out():
    counts = np.zeros((8, 4), int)
    counts[:4, 1] = [0, 0, 5, 1]
    counts[4:, 2] = [0, 0, 3, 9]
    estimates = estimate(counts, np.arange(8) < 4, pd.Index(["none", "control", "perturbed", "nothing"]))
    table = estimates.table.set_index("gene")
    assert table["fit_control"].tolist() == ["no counts", "converged", "no counts", "no counts"]
    assert np.isnan(table.loc["none", "theta_all_cells"])
    assert table.loc["none", "mu_all_cells"] == 0
    for names_and_numbers in (("2 of 4 genes", "counts"), ("control cells", "0 of 4 genes"), (3, "theta")):
        assert any(re.search(naming(*names_and_numbers), note) for note in estimates.notes)

    parameters = estimates.gene_table()
    assert list(parameters["gene"]) == ["control", "perturbed"]
    # Without counts in control, its theta is that of all cells.
    np.testing.assert_array_equal(
        parameters["theta"], [table.loc["control", "theta_control"], table.loc["perturbed", "theta_all_cells"]]
    )
    np.testing.assert_array_equal(parameters.mu_control, [1.5, 0])
    np.testing.assert_array_equal(parameters.mu_perturbed, [0, 3])


def test_theta_may_be_that_of_other_cells():
    counts, is_control = draw(n_genes=5)
    estimates = estimate(counts, is_control, names(5))
    present = estimates.table[estimates.table["mu_all_cells"] > 0]
    for cells in GROUPS:
        np.testing.assert_array_equal(estimates.gene_table(cells)["theta"], present[f"theta_{cells}"])
    with pytest.raises(InputError, match=naming("theta", "rest", *GROUPS)):
        estimates.gene_table("rest")


def test_no_counts_at_all_give_no_parameters():
    estimates = estimate(np.zeros((6, 2)), np.arange(6) < 3, names(2))
    assert np.isnan(estimates.sigma_l)
    assert any(re.search(naming("all cells", 6, "sigma_l"), note) for note in estimates.notes)
    with pytest.raises(InputError, match=naming("gene", "counts")):
        estimates.gene_table()


def test_fits_that_do_not_converge_are_reported(monkeypatch):
    counts, is_control = draw(n_genes=3)
    estimates = estimate(counts, is_control, names(3))
    assert len(estimates.problems) == 1 and re.search(naming(1, 3), estimates.problems[0])
    estimates.table.loc[1, "fit_perturbed"] = "not converged"
    assert re.search(naming("perturbed", 1, "gene1"), estimates.problems[1])
    assert estimates.notes[-2:] == estimates.problems


def test_sigma_is_the_spread_of_log_library_sizes():
    rng = np.random.default_rng(0)
    sizes = rng.lognormal(7, 0.1714, 40_000)
    sizes[:3] = 0
    counts = sparse.csr_matrix((40_000, 1))
    estimates = estimate(counts, np.arange(40_000) < 10_000, names(1), library_sizes=sizes)
    assert estimates.sigma_l == pytest.approx(0.1714, rel=0.02)
    library = estimates.library.set_index("cells")
    assert library["n_cells"].tolist() == [10_000, 30_000, 40_000]
    assert library["n_empty"].tolist() == [3, 0, 3]
    assert library.loc["perturbed", "sigma_l"] == np.log(sizes[10_000:]).std(ddof=1)
    assert library.loc["control", "log_mean"] == pytest.approx(np.log(sizes[3:10_000]).mean())


def prepared(path: Path, form: type = sparse.csr_matrix) -> tuple[np.ndarray, np.ndarray]:
    counts, is_control = draw(seed=5)
    ad.AnnData(
        obs=pd.DataFrame(
            {"condition": np.where(is_control, "control", "P"), "ncounts": counts.sum(axis=1) + 10.0},
            index=[f"cell{i}" for i in range(len(counts))],
        ),
        var=pd.DataFrame(index=names(30)),
        layers={"counts": form(counts.astype(np.float32))},
    ).write_h5ad(path)
    return counts, is_control


@pytest.mark.parametrize("form", [sparse.csr_matrix, sparse.csc_matrix, np.asarray])
def test_a_prepared_file_gives_what_its_counts_give(tmp_path: Path, monkeypatch, form):
    counts, is_control = prepared(tmp_path / "x.h5ad", form)
    monkeypatch.setattr("diversity_by_design.cells.BLOCK_VALUES", 500)
    found = estimate_from_file(tmp_path / "x.h5ad")
    expected = estimate(counts, is_control, names(30), counts.sum(axis=1) + 10)
    pd.testing.assert_frame_equal(found.table, expected.table, check_exact=True)
    pd.testing.assert_frame_equal(found.library, expected.library, check_exact=True)
    np.testing.assert_array_equal(found.histograms.total_counts, counts.sum(axis=1))


def test_a_file_that_cannot_be_used_is_refused(tmp_path: Path):
    with pytest.raises(InputError, match=naming("none.h5ad")):
        estimate_from_file(tmp_path / "none.h5ad")
    prepared(tmp_path / "x.h5ad")
    with pytest.raises(InputError, match=naming("label", "condition", "ncounts")):
        estimate_from_file(tmp_path / "x.h5ad", perturbation="label")
    with pytest.raises(InputError, match=naming("NT", "condition", "control", "P")):
        estimate_from_file(tmp_path / "x.h5ad", control="NT")
    ad.AnnData(np.ones((4, 2), np.float32)).write_h5ad(tmp_path / "y.h5ad")
    with pytest.raises(InputError, match=naming("y.h5ad", "counts")):
        estimate_from_file(tmp_path / "y.h5ad")


@pytest.mark.parametrize(
    ("value", "said"),
    [(-1, (-1.0, "cell 2", "gene1")), (np.nan, ("nan", "cell 2", "gene1")), (0.5, ()), (2**24 + 2, ("1.67772e+07",))],
)
@pytest.mark.parametrize("form", [np.asarray, sparse.csr_matrix, sparse.csc_matrix])
def test_what_are_no_counts_is_refused(value, said, form):
    counts = np.ones((6, 2))
    counts[2, 1] = value
    with pytest.raises(InputError, match=naming("counts", *said)):
        estimate(form(counts), np.arange(6) < 3, names(2))


def test_inputs_that_do_not_fit_each_other_are_refused():
    counts, is_control = np.ones((6, 2)), np.arange(6) < 3
    with pytest.raises(InputError, match=naming("counts", (6, 2), "is_control", 6, 3)):
        estimate(counts, is_control, names(3))
    with pytest.raises(InputError, match=naming("control", 1, 2)):
        estimate(counts, np.arange(6) < 1, names(2))
    with pytest.raises(InputError, match=naming("perturbed", 0, 2)):
        estimate(counts, np.ones(6, bool), names(2))
    with pytest.raises(InputError, match=naming(1, "A")):
        estimate(counts, is_control, pd.Index(["A", "A"]))
    with pytest.raises(InputError, match=naming("library_sizes", (5,), 6)):
        estimate(counts, is_control, names(2), np.ones(5))
    with pytest.raises(InputError, match=naming("library_sizes")):
        estimate(counts, is_control, names(2), np.array([1, 1, 1, 1, 1, -1]))


@pytest.mark.parametrize("to", [int, float, "Int64", "category", str])
def test_control_cells_of_labels_that_are_numbers(to):
    obs = pd.DataFrame({"guide": pd.Series([3368, 7, 3368, 8]).astype(to)})
    for control in (3368, "3368"):
        assert is_control_cell(obs, "guide", control).tolist() == [True, False, True, False]
    with pytest.raises(InputError, match=naming("guide", "9", "3368")):
        is_control_cell(obs, "guide", 9)
