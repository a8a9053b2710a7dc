"""Figures of analysis 1: they show the numbers of their tables, and say so where there is nothing to show."""

import io

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from conftest import ROOT
from matplotlib.text import Text
from scipy import stats
from small_sweep import small_sweep

from diversity_by_design.paper.correlations import SIMULATION_PARAMETERS, table_2
from diversity_by_design.paper.figures import synthetic_sweep as figures

mpl.use("Agg")

PAPER = pd.read_csv(ROOT / "analyses" / "paper_reference" / "correlations.csv")


@pytest.fixture(scope="module")
def sweep() -> pd.DataFrame:
    table = small_sweep().copy()
    table.loc[[3, 8], "pearson_delta_affected"] = np.nan
    return table


@pytest.fixture(autouse=True)
def close_figures():
    yield
    from matplotlib import pyplot as plt

    plt.close("all")


def texts(figure) -> list[str]:
    return [found.get_text() for found in figure.findobj(Text)]


@pytest.mark.parametrize(
    ("parameter", "column", "n", "scale"),
    [
        ("beta", "pearson_delta_all", 40, "linear"),
        ("n_0", "pearson_delta_all", 40, "log"),
        ("k", "pearson_delta_affected", 38, "log"),
    ],
)
def test_figures_2c_5g_and_5k(sweep, parameter, column, n, scale):
    table = table_2(sweep, PAPER, 50)
    figure = figures.draw_sweep(sweep, parameter, column, table)
    axes = figure.axes[0]
    points = figures.points(sweep, parameter, column)
    np.testing.assert_array_equal(axes.collections[0].get_offsets(), points[[parameter, column]])
    assert len(points) == n and points[parameter].is_monotonic_increasing
    average = figures.moving_average(sweep, parameter, column)
    np.testing.assert_array_equal(axes.lines[0].get_xydata(), average[[parameter, column]])
    assert axes.get_xscale() == scale
    used = sweep[[parameter, column]].dropna()
    expected = stats.pearsonr(np.log(used[parameter]) if scale == "log" else used[parameter], used[column])
    row = table[(table["parameter"] == parameter) & (table["metric"] + "_" + table["gene_group"] == column)].iloc[0]
    title = f"r = {expected.statistic:.2f} ({row['low']:.2f} to {row['high']:.2f})"
    assert axes.get_title(loc="left") == title
    assert {f"n = {n} data sets", "moving average of 10 data sets"} <= set(texts(figure))
    assert axes.get_xlabel() == figures.PARAMETER_LABELS[parameter]
    figure.savefig(io.BytesIO())


@pytest.mark.parametrize("logarithmic", [[], ["k"]])
def test_moving_average(sweep, logarithmic):
    table = figures.moving_average(sweep, "k", "mse_all", logarithmic)
    ordered = sweep.sort_values(["k", "dataset"])
    windows = [ordered.iloc[start : start + 10] for start in range(31)]
    np.testing.assert_allclose(table["mse_all"], [window["mse_all"].mean() for window in windows])
    mean = stats.gmean if logarithmic else np.mean
    np.testing.assert_allclose(table["k"], [mean(window["k"]) for window in windows])
    assert (table["n"] == 10).all()


def test_window_grows_with_the_sweep(sweep):
    large = pd.concat([sweep] * 10, ignore_index=True)
    table = figures.moving_average(large, "beta", "mse_all")
    assert (table["n"] == 40).all()
    assert len(table) == 361


def test_fewer_data_sets_than_a_window(sweep):
    few = sweep.head(9)
    assert figures.moving_average(few, "beta", "mse_all").empty
    figure = figures.draw_sweep(few, "beta", "mse_all", table_2(few, PAPER, 5))
    assert len(figure.axes[0].lines) == 0
    assert "n = 9 data sets" in texts(figure)
    figure.savefig(io.BytesIO())


def test_nothing_to_show_is_said(sweep):
    nothing, level = sweep.assign(mse_all=np.nan), sweep.assign(k=5)
    figure = figures.draw_sweep(nothing, "k", "mse_all", table_2(nothing, PAPER, 5))
    assert {"undefined everywhere", "n = 0 data sets", "r is undefined"} <= set(texts(figure))
    figure.savefig(io.BytesIO())
    constant = figures.draw_sweep(level, "k", "mse_all", table_2(level, PAPER, 5))
    assert "r is undefined" in texts(constant)
    constant.savefig(io.BytesIO())


def test_table_2_as_a_heat_map(sweep):
    sweep = sweep.assign(epsilon=3.0)
    table = table_2(sweep, PAPER, 10)
    figure = figures.draw_table_2(table)
    ours, paper = (axes.collections[0].get_array() for axes in figure.axes[:2])
    assert ours.shape == paper.shape == (12, 8)
    np.testing.assert_array_equal(ours.filled(np.nan).ravel(), table["ours"])
    np.testing.assert_array_equal(paper.filled(np.nan).ravel(), table["paper"])
    left, right = figure.axes[:2]
    assert [tick.get_text() for tick in left.get_xticklabels()][:2] == [r"$\epsilon$", "$g$"]
    assert [tick.get_text() for tick in left.get_yticklabels()][4] == "MSE, all genes"
    assert left.get_title(loc="left") == "ours (n = 38 to 40 data sets)"
    ours, paper = ({text.get_position(): text.get_text() for text in axes.texts} for axes in (left, right))
    assert ours[0.5, 0.5] == "–", "epsilon does not vary"
    assert ours[3.5, 0.5] == f"{table['ours'].iat[3]:.2f}"
    assert paper[3.5, 0.5] == "0.54"
    figure.savefig(io.BytesIO())


def test_overview_shows_every_parameter_and_says_what_is_above(sweep):
    columns = ["pearson_delta_all", "mse_all"]
    sweep = sweep.assign(mse_all=sweep["mse_all"].where(sweep["dataset"] != 7, 100.0))
    figure = figures.draw_overview(sweep, columns, table_2(sweep, PAPER, 5))
    panels = np.array(figure.axes).reshape(2, 8)
    assert [axes.get_xlabel() for axes in panels[0]] == [
        figures.PARAMETER_LABELS[name] for name in SIMULATION_PARAMETERS
    ]
    assert panels[1, 0].get_ylim()[1] < 100
    assert all("1 above" in [text.get_text() for text in axes.texts] for axes in panels[1])
    assert not any("above" in text.get_text() for axes in panels[0] for text in axes.texts)
    table = figures.overview(sweep, columns)
    for (column, parameter), axes in zip(
        [(column, parameter) for column in columns for parameter in SIMULATION_PARAMETERS], panels.flat, strict=True
    ):
        part = table[(table["metric"] == column) & (table["parameter"] == parameter)]
        np.testing.assert_array_equal(axes.lines[0].get_xydata(), part[["value", "mean"]])
    figure.savefig(io.BytesIO())


@pytest.mark.parametrize(
    ("column", "label"),
    [("mse_all", "MSE, all genes"), ("pearson_delta_degs_vs_rest", "Pearson(Δ), DEGs vs rest")],
)
def test_labels(column, label):
    assert figures.column_label(column) == label
