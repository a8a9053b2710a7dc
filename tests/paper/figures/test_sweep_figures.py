"""Figures of analysis 2: they show the numbers of their tables, and say so where there is nothing to show."""

import matplotlib as mpl
import numpy as np
import pytest
from examples import make_expression

from diversity_by_design.paper import deg_sharing, sweeps
from diversity_by_design.paper.correlations import sweep_correlations
from diversity_by_design.paper.figures import deg_sharing as sharing_figures
from diversity_by_design.paper.figures import sweep_trends

mpl.use("Agg")


@pytest.fixture(scope="module")
def data():
    return sweeps.SweepData.from_anndata(make_expression(seed=2, n_labels=12, n_genes=60, effect=1.0))


@pytest.fixture(scope="module")
def no_degs():
    return sweeps.SweepData.from_anndata(make_expression(seed=3, n_labels=6, effect=0.0))


@pytest.mark.parametrize("parameter", ["beta", "k"])
def test_trend_shows_every_point_and_the_mean(data, parameter):
    sweep = sweeps.run_sweep(parameter, data)
    axes = sweep_trends.draw_sweep(sweep, "pearson_delta_all", "Pearson", 0.123).axes[0]
    points = axes.collections[0].get_offsets()
    assert np.ma.count(points[:, 1]) == sweep["pearson_delta_all"].notna().sum()
    (line,) = axes.lines
    expected = sweep.groupby("value")["pearson_delta_all"].mean()
    np.testing.assert_allclose(line.get_xdata(), expected.index)
    np.testing.assert_allclose(line.get_ydata(), expected)
    assert (axes.get_xscale() == "log") == (parameter == "k")
    assert axes.get_title(loc="left") == "r = 0.12"
    assert "n = 12 perturbations" in [text.get_text() for text in axes.texts]


def test_trend_interval_is_that_of_the_mean(data):
    sweep = sweeps.run_sweep("n_p", data)
    row = sweep_trends.trend(sweep, "mse_all").iloc[1]
    values = sweep.loc[sweep["value"] == row["value"], "mse_all"]
    half = 1.96 * values.std(ddof=1) / np.sqrt(len(values))
    assert (row["low"], row["high"]) == pytest.approx((values.mean() - half, values.mean() + half))


def test_overview_says_how_many_points_are_out_of_view(data):
    tables = {parameter: sweeps.run_sweep(parameter, data) for parameter in ("g", "beta")}
    columns = {"mse_all": "MSE", "weighted_r2_delta": "R2"}
    correlations = sweep_correlations(tables, columns)
    figure = sweep_trends.draw_overview(tables, columns, correlations)
    r = correlations.set_index(["column", "parameter"])["r"]
    assert len(figure.axes) == 4
    for axes, (column, parameter) in zip(
        figure.axes, [("mse_all", "g"), ("mse_all", "beta"), ("weighted_r2_delta", "g"), ("weighted_r2_delta", "beta")],
        strict=True,
    ):  # fmt: skip
        value = r[column, parameter]
        # MSE does not look at control.
        assert np.isnan(value) == ((column, parameter) != ("mse_all", "g") and parameter == "beta")
        assert axes.get_title(loc="left") == (f"r = {value:.2f}" if np.isfinite(value) else "constant")
        low, high = axes.get_ylim()
        outside = (~tables[parameter][column].dropna().between(low, high)).sum()
        said = [int(text.get_text().split()[0]) for text in axes.texts if "outside" in text.get_text()]
        assert said == ([outside] if outside else [])


def test_trinary_map_shows_the_matrix(data):
    matrix = deg_sharing.trinary_matrix(data.vs_control, 256, 2048, seed=0)
    axes = sharing_figures.draw_trinary(matrix).axes[0]
    np.testing.assert_array_equal(axes.images[0].get_array(), matrix.to_numpy())


def test_frequencies(data):
    table = deg_sharing.deg_frequencies(data.vs_control, data.vs_rest)
    axes = sharing_figures.draw_frequency_rank(table).axes[0]
    assert len(axes.lines[0].get_xdata()) == (table["n_vs_control"] > 0).sum()
    half = (table["percent_vs_control"] > 50).sum()
    assert any(f"of the perturbations: {half}" in text.get_text() for text in axes.texts)
    scatter = sharing_figures.draw_frequency_comparison(table).axes[0]
    assert len(scatter.collections[0].get_offsets()) == len(table)
    histogram = sharing_figures.draw_count_histogram(table["n_vs_rest"], "rest", 60).axes[0]
    assert sum(patch.get_height() for patch in histogram.patches) == len(table)


def test_data_without_any_deg(no_degs):
    assert no_degs.vs_control.n_degs.sum() == 0
    table = deg_sharing.deg_frequencies(no_degs.vs_control, no_degs.vs_rest)
    matrix = deg_sharing.trinary_matrix(no_degs.vs_control, 256, 2048, seed=0)
    for figure in (sharing_figures.draw_trinary(matrix), sharing_figures.draw_frequency_rank(table)):
        figure.canvas.draw()
        assert "no perturbation has a DEG vs control" in [text.get_text() for text in figure.axes[0].texts]
    sharing_figures.draw_frequency_comparison(table).canvas.draw()
    sharing_figures.draw_count_histogram(table["n_vs_rest"], "rest", 40).canvas.draw()
    sweep = sweeps.run_sweep("k", no_degs)
    sweep_trends.draw_sweep(sweep, "pearson_delta_degs_vs_rest", "Pearson on DEGs", np.nan).canvas.draw()


@pytest.fixture(autouse=True)
def close_figures():
    yield
    from matplotlib import pyplot as plt

    plt.close("all")
