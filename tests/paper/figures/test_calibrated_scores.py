"""The figure of calibrated scores: points, arrows where they are beyond the axis, and metrics that say nothing."""

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest

from diversity_by_design.paper.figures.calibrated_scores import draw_calibrated_scores

mpl.use("Agg")


@pytest.fixture
def summary() -> pd.DataFrame:
    rows = [
        {"metric": metric, "predictor": predictor, "calibrated": value, "ci_low": value - 0.1, "ci_high": value + 0.1,
         "perfect_calibrated": 1.3, "informative": True}
        for metric in ("mse", "wmse")
        for predictor, value in (("perturbed_mean", 0.0), ("technical_duplicate", 1.0), ("mine", -40.0))
    ]  # fmt: skip
    table = pd.DataFrame(rows)
    numbers = ["calibrated", "ci_low", "ci_high", "perfect_calibrated"]
    table.loc[table["metric"] == "wmse", numbers] = np.nan
    table.loc[table["metric"] == "wmse", "informative"] = False
    return table


def test_scores_are_drawn_where_they_are_or_as_arrows(summary):
    figure = draw_calibrated_scores(summary)
    figure.canvas.draw()
    [axes] = figure.axes
    marks = {
        (line.get_marker(), round(float(line.get_xdata()[0]), 6))
        for line in axes.lines
        if len(line.get_xdata()) == 1 and line.get_marker() != "None"
    }
    low, high = axes.get_xlim()
    assert marks == {("o", 0.0), ("o", 1.0), ("<", round(low, 6)), ("d", 1.3)}
    assert low > -40 and high > 1.3


def test_metrics_that_say_nothing_are_named_and_empty(summary):
    [axes] = draw_calibrated_scores(summary).axes
    assert [tick.get_text() for tick in axes.get_yticklabels()] == ["MSE", "WMSE"]
    [text] = axes.texts
    assert text.get_position()[1] == 1 and "not informative" in text.get_text()
