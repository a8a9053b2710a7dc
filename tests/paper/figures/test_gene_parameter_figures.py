"""Diagnostic figures of gene parameters show what their tables say, and say what has no place on the axes."""

import io

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from scipy import sparse, stats

from diversity_by_design.paper.figures import gene_parameters as figures
from diversity_by_design.simulator.estimation import ParameterEstimates, estimate
from diversity_by_design.simulator.parameters import GeneParameters

mpl.use("Agg")


def texts(figure) -> str:
    import matplotlib.text

    return "\n".join(found.get_text() for found in figure.findobj(matplotlib.text.Text))


@pytest.fixture(scope="module")
def estimates() -> ParameterEstimates:
    rng = np.random.default_rng(0)
    mean = np.exp(np.linspace(-4, 5, 60))
    mean[::20] = 0
    counts = rng.poisson(rng.gamma(1.5, mean / 1.5, (900, 60)))
    # A gene that only perturbed cells show, and one without overdispersion.
    counts[:300, 5] = 0
    counts[:, 6] = np.arange(900) % 2
    return estimate(sparse.csr_matrix(counts), np.arange(900) < 300, pd.Index([f"g{i}" for i in range(60)]))


def test_histograms_count_every_gene(estimates):
    table = estimates.gene_table()
    histograms = figures.parameter_histograms(table)
    assert (histograms.groupby("parameter")["genes"].sum() == len(table)).all()
    apart = histograms[~(histograms["bin_right"] > histograms["bin_left"])].set_index("parameter")
    assert apart.loc["mu_control"].tolist() == [0, 0, 1]
    assert apart.loc["theta"].tolist() == [np.inf, np.inf, np.isinf(table["theta"]).sum()]
    assert apart.loc[figures.RATIO].tolist() == [np.inf, np.inf, 1]
    for parameter in ("mu_control", "theta"):
        bins = histograms[(histograms["parameter"] == parameter) & (histograms["bin_right"] > histograms["bin_left"])]
        inside = table.loc[np.isfinite(table[parameter]), parameter]
        third = bins.iloc[2]
        assert third["genes"] == inside.between(third["bin_left"], third["bin_right"], inclusive="left").sum()


def test_histograms_say_what_has_no_place(estimates):
    table = estimates.gene_table()
    figure = figures.draw_parameter_histograms(table)
    assert [axes.get_xscale() for axes in figure.axes] == ["log"] * 4
    assert "1 at 0" in texts(figure) and f"{np.isinf(table['theta']).sum()} at inf" in texts(figure)
    assert "n = 56 genes" in texts(figure) and "n = 57 genes" in texts(figure)
    assert f"log: mean {np.log(table['mu_perturbed']).mean():.2f}" in texts(figure)
    figure.savefig(io.BytesIO())


def test_a_ratio_of_two_zeros_is_counted_as_undefined():
    table = GeneParameters(["A", "B", "C"], [0.0, 1, 2], [0.0, 2, 3], [1.0, 2, 3]).table
    ratios = figures.parameter_histograms(table).query("parameter == @figures.RATIO")
    assert ratios["genes"].sum() == 3
    assert ratios.iloc[-1].isna()["bin_left"]


def test_parameters_of_one_gene_can_be_drawn():
    figure = figures.draw_parameter_histograms(GeneParameters(["A"], [1.0], [2.0], [np.inf]).table)
    assert "1 at inf" in texts(figure)
    figure.savefig(io.BytesIO())


def test_chosen_genes_are_spread_over_the_range_of_means(estimates):
    chosen = figures.choose_genes(estimates.table, 20)
    mean = estimates.table.loc[chosen, "mu_control"]
    assert len(set(chosen)) == 20
    assert mean.is_monotonic_increasing
    fitted = estimates.table.loc[estimates.table["theta_control"].notna(), "mu_control"]
    assert (mean.iloc[0], mean.iloc[-1]) == (fitted.min(), fitted.max())
    steps = np.diff(np.log(mean))
    assert steps.max() < 4 * np.median(steps)
    assert len(figures.choose_genes(estimates.table, 1000)) == len(fitted)


@pytest.mark.parametrize("cells", ["control", "all_cells"])
def test_fits_are_shares_of_all_cells(estimates, cells):
    fits = figures.gene_fits(estimates, 20, cells)
    assert fits["gene"].nunique() == 20
    assert set(fits["n_cells"]) == {300 if cells == "control" else 900}
    for _, table in fits.groupby("gene"):
        assert table["observed"].sum() == pytest.approx(1)
        assert table["fitted"].sum() == pytest.approx(1)
        assert table["count_to"].iloc[-1] == np.inf
        # Without gaps.
        np.testing.assert_array_equal(table["count_from"].iloc[1:], table["count_to"].iloc[:-1] + 1)
        assert 4 <= len(table) <= 42


def test_fits_are_the_distributions_they_say(estimates):
    fits = figures.gene_fits(estimates, 60)
    counts = {}
    for name in ("g3", "g6", "g30", "g59"):
        table = fits[fits["gene"] == name].iloc[:-1]
        mu, theta = table[["mu", "theta"]].iloc[0]
        values = np.arange(table["count_to"].iloc[-1] + 1)
        pmf = (
            stats.poisson.pmf(values, mu) if np.isinf(theta) else stats.nbinom.pmf(values, theta, theta / (theta + mu))
        )
        stored = estimates.histograms.control[estimates.table["gene"].tolist().index(name)]
        observed = stored.toarray().ravel()[: len(values)] / 300
        observed[0] = 1 - stored.sum() / 300
        for row in table.itertuples():
            span = slice(int(row.count_from), int(row.count_to) + 1)
            assert row.fitted == pytest.approx(pmf[span].sum())
            assert row.observed == pytest.approx(observed[span].sum(), abs=1e-12)
        counts[name] = theta
    assert counts["g6"] == np.inf


def test_gene_fits_are_drawn_as_the_table_says(estimates):
    fits = figures.gene_fits(estimates, 7)
    figure = figures.draw_gene_fits(fits)
    shown = [axes for axes in figure.axes if axes.axison]
    assert len(shown) == 7
    assert "n = 300 cells" in texts(figure) and "control cells (%)" in texts(figure)
    table = fits[fits["gene"] == fits["gene"].unique()[4]].iloc[:-1]
    np.testing.assert_allclose([bar.get_height() for bar in shown[4].patches], 100 * table["observed"])
    np.testing.assert_allclose(shown[4].lines[0].get_ydata(), 100 * table["fitted"])
    assert shown[4].get_title().startswith(table["gene"].iat[0])
    figure.savefig(io.BytesIO())


def test_library_sizes_are_drawn_with_their_log_normal_fit():
    sizes = np.random.default_rng(0).lognormal(8, 0.2, 5000)
    sizes[:10] = 0
    table = figures.library_histograms(sizes, np.arange(5000) < 2000)
    by_cells = table.groupby("cells")
    assert by_cells["n"].first().to_dict() == {"control": 1990, "perturbed": 3000}
    np.testing.assert_allclose(by_cells["observed"].sum(), 1)
    np.testing.assert_allclose(by_cells["fitted"].sum(), 1, atol=0.01)
    assert by_cells["sigma_l"].first()["perturbed"] == pytest.approx(np.log(sizes[2000:]).std(ddof=1))
    # What was drawn log-normal fits.
    assert (table["observed"] - table["fitted"]).abs().max() < 0.015
    figure = figures.draw_library_sizes(table)
    assert "n = 1,990 cells" in texts(figure)
    assert rf"$\sigma_l$ = {by_cells['sigma_l'].first()['control']:.4f}" in texts(figure)
    np.testing.assert_allclose(
        figure.axes[1].patches[0].get_data().values, 100 * table.loc[table["cells"] == "perturbed", "observed"]
    )
    figure.savefig(io.BytesIO())


def test_comparison_shows_genes_with_both_values(estimates):
    table = figures.parameter_comparison(estimates.table)
    assert len(table) == 57
    figure = figures.draw_parameter_comparison(table)
    left, right = figure.axes
    assert len(left.collections[0].get_offsets()) == 56
    finite = np.isfinite(table[["theta_control", "theta_perturbed"]]).all(axis=1)
    np.testing.assert_allclose(
        right.collections[0].get_offsets(), table.loc[finite, ["theta_control", "theta_perturbed"]]
    )
    assert f"{57 - finite.sum()} zero, infinite or undefined" in texts(figure)
    expected = np.corrcoef(np.log(table.loc[finite, ["theta_control", "theta_perturbed"]].to_numpy().T))[0, 1]
    assert f"r of logs = {expected:.2f}" in right.get_title(loc="left")
    figure.savefig(io.BytesIO())


def test_comparison_without_anything_to_show():
    table = pd.DataFrame(
        {
            "gene": ["A"],
            "mu_control": [0.0],
            "mu_perturbed": [1.0],
            "theta_control": [np.nan],
            "theta_perturbed": [np.inf],
        }
    )
    figure = figures.draw_parameter_comparison(table)
    assert texts(figure).count("1 zero, infinite or undefined") == 2
    figure.savefig(io.BytesIO())
