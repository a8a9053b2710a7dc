"""The figure of the metric audit shows the numbers of its tables, and says what is undefined."""

import matplotlib as mpl
import numpy as np
import pytest

from diversity_by_design import audit, audit_summary
from diversity_by_design.metrics import Metric
from diversity_by_design.paper.figures.metric_audit import draw_metric_audit
from diversity_by_design.paper.figures.style import metric_label
from diversity_by_design.simulator import GeneParameters
from diversity_by_design.simulator.config import SIMULATION_PARAMETERS
from diversity_by_design.simulator.ranges import SweepRanges

mpl.use("Agg")


@pytest.fixture(scope="module")
def tables():
    table = audit(
        4,
        parameters=GeneParameters.default(300),
        ranges=SweepRanges(g=(60, 120), n_0=(20, 60), n_p=(11, 31), k=(6, 15)),
        metrics=[
            "mse",
            "weighted_r2_delta",
            "pearson_delta",
            Metric("nowhere", lambda target, prediction: np.full(len(target.labels), np.nan), True),
        ],
        workers=1,
        progress=False,
    )
    return (
        audit_summary.parameter_correlations(table),
        audit_summary.scaled_scores(table),
        audit_summary.dial_summary(table),
    )


@pytest.fixture(scope="module")
def axes(tables):
    figure = draw_metric_audit(*tables)
    figure.canvas.draw()
    heat_map, *rest = figure.axes
    return heat_map, [panel for panel in rest if panel.get_ylabel()]


def texts(panel) -> str:
    return "\n".join(text.get_text() for text in panel.texts)


def test_heat_map_shows_every_correlation(tables, axes):
    correlations, _, summary = tables
    heat_map, _ = axes
    shown = heat_map.collections[0].get_array().filled(np.nan)
    assert shown.shape == (4, 8)
    for row in correlations.itertuples():
        place = summary["metric"].tolist().index(row.metric), SIMULATION_PARAMETERS.index(row.parameter)
        assert shown[place] == pytest.approx(row.r, nan_ok=True)
    written = {text.get_position(): text.get_text() for text in heat_map.texts}
    assert [written[column + 0.5, 0.5] for column in range(8)] == [f"{r:z.2f}" for r in correlations["r"][:8]]
    assert list(written.values()).count("–") == correlations["r"].isna().sum()
    labels = [label.get_text() for label in heat_map.get_yticklabels()]
    assert labels[0] == f"{metric_label('mse')}\nlower is better\nn = 4 data sets"
    assert labels[3] == "nowhere\nhigher is better\nn = 0 data sets"


def test_panels_show_the_dial_with_the_good_end_up(tables, axes):
    _, scores, _ = tables
    _, (mse, r2, pearson, nowhere) = axes
    for panel, metric in ((mse, "mse"), (r2, "weighted_r2_delta"), (pearson, "pearson_delta")):
        dial = scores[(scores["metric"] == metric) & scores["alpha"].notna()]
        np.testing.assert_array_equal(panel.lines[0].get_xdata(), dial["alpha"])
        np.testing.assert_array_equal(panel.lines[0].get_ydata(), dial["median"])
    assert mse.yaxis_inverted() and not r2.yaxis_inverted()
    # Nothing is in view that would make a level course look like a fall.
    assert min(pearson.get_ylim()) <= 0
    assert "undefined everywhere" in texts(nowhere) and not nowhere.lines


def test_findings_are_written_beside_the_dial(tables, axes):
    _, _, summary = tables
    _, (mse, r2, pearson, _) = axes
    better = summary.set_index("metric").loc["weighted_r2_delta", "share_duplicate_better"]
    assert "worse at each step: 100 % of 4" in texts(mse)
    assert f"duplicate beats mean: {100 * better:.0f} % of 4" in texts(r2)
    assert "worse at each step: 0 % of 4" in texts(pearson)
    assert "undefined along the dial: 0, 0, 0, 0, 4" in texts(pearson)
    assert "mean –" in texts(pearson) and "duplicate beats mean" not in texts(pearson)


def test_levels_far_from_the_dial_are_written_not_drawn(tables):
    correlations, scores, summary = tables
    far = scores.copy()
    duplicate = (far["metric"] == "weighted_r2_delta") & (far["predictor"] == "technical_duplicate")
    far.loc[duplicate, "median"] = -40.0
    panel = draw_metric_audit(correlations, far, summary).axes[3]
    assert "duplicate -40.00" in texts(panel)
    assert len(panel.lines) == 2
    assert panel.get_ylim()[0] > -2


@pytest.fixture(autouse=True, scope="module")
def close_figures():
    yield
    from matplotlib import pyplot as plt

    plt.close("all")
