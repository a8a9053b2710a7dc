"""Figures 4, 8 and 9 with models, the variance ranks and the dose curve say what their tables say."""

import io

import numpy as np
import pandas as pd
import pytest
from examples import make_paper_truth

from diversity_by_design import Truth
from diversity_by_design.paper import comparison
from diversity_by_design.paper import model_comparison as models
from diversity_by_design.paper.figures import baseline_metrics, deg_count_groups, style, variance_ranks
from diversity_by_design.paper.figures.model_comparison import draw_loss_dose, draw_model_comparison
from diversity_by_design.predictions import Prediction

LOSSES = {"gears": 0.4, "mse": 0.1, "wmse": 0.6, "wmse^0.5": 0.4, "wmse^2": 0.9}


def texts(artist) -> list[str]:
    import matplotlib.text

    return [found.get_text() for found in artist.findobj(matplotlib.text.Text)]


def save(figure) -> None:
    figure.savefig(io.BytesIO())


@pytest.fixture(scope="module")
def truth() -> Truth:
    return make_paper_truth()


def tables(truth, losses, n_seeds) -> dict[str, pd.DataFrame]:
    stats = truth.statistics
    found = []
    for loss, share in losses.items():
        for seed in range(n_seeds):
            values = stats.perturbed_mean + (share + 0.03 * seed) * (stats.mean - stats.perturbed_mean)
            expression = pd.DataFrame(values, index=stats.labels, columns=stats.genes)
            half = np.zeros(len(stats.labels), np.int64)
            found.append(Prediction("gears", loss, seed, "unseen", "run", "", expression, half))
    of_seeds = models.seed_scores(truth, found)
    scores = models.mean_over_seeds(of_seeds)
    profiles = models.variance_profiles(truth, found, stats.labels, n_top=50)
    return {
        "scores": scores,
        "medians": models.seed_medians(of_seeds),
        "tests": models.model_tests(scores),
        "profiles": profiles,
        "ratios": models.variance_ratios(profiles, len(stats.labels)),
    }


@pytest.fixture(scope="module")
def several(truth):
    return tables(truth, LOSSES, 3)


@pytest.fixture(scope="module")
def single(truth):
    return tables(truth, {"gears": 0.4, "mse": 0.1, "wmse": 0.6}, 1)


def test_three_metrics_with_medians_tests_and_seeds(several):
    figure = draw_model_comparison(**several)
    assert [axes.get_title(loc="left") for axes in figure.axes] == list("ABCD")
    wmse = figure.axes[0]
    assert wmse.get_title() == "WMSE, lower is better"
    assert "squared log1p expression" in wmse.get_ylabel()
    scores, tests = several["scores"], several["tests"]
    of_wmse = scores[scores["metric"] == "wmse"]
    median = of_wmse.loc[of_wmse["predictor"] == "gears_wmse", "value"].median()
    assert f"{median:#.2g}" in texts(wmse)
    test = tests.query("metric == 'wmse' and first == 'gears_mse' and second == 'gears_wmse'").iloc[0]
    written = next(text for text in texts(wmse) if text.startswith("paired t"))
    assert written.startswith(f"paired t = {test['t']:.2f}, p = {test['t_p']:.2g}\nWilcoxon p = ")
    assert written.endswith("n = 9 pairs")
    # The bracket goes from the box of MSE to that of WMSE.
    predictors = list(dict.fromkeys(scores["predictor"]))
    places = [predictors.index(name) for name in ("gears_mse", "gears_wmse")]
    assert any(list(line.get_xdata()) == places for line in wmse.lines)
    # Every seed's median is a mark beside its box.
    drawn = [line.get_ydata() for line in wmse.lines if line.get_marker() == "D"]
    medians = several["medians"].query("metric == 'wmse'")["median"]
    np.testing.assert_allclose(np.sort(np.concatenate(drawn)), np.sort(medians))
    assert sum("95 % t interval" in text for text in texts(figure)) == 1
    labels = [tick.get_text() for tick in wmse.get_xticklabels()]
    assert labels[predictors.index("gears_wmse^0.5")] == "GEARS\nWMSE^0.5\nn = 9"
    save(figure)


def test_one_seed_has_no_interval_and_one_loss_no_test(single, truth):
    figure = draw_model_comparison(**single)
    assert not any("interval" in text for text in texts(figure))
    assert not any(line.get_marker() == "D" for line in figure.axes[0].lines)
    assert any(text.startswith("paired t") for text in texts(figure))
    save(figure)
    alone = draw_model_comparison(**tables(truth, {"wmse": 0.6}, 1))
    assert not any("paired t" in text or "no test" in text for text in texts(alone))
    save(alone)


def test_too_few_pairs_are_said(single):
    few = single["tests"].assign(n=2, t=np.nan, t_p=np.nan, wilcoxon_p=np.nan)
    figure = draw_model_comparison(**single | {"tests": few})
    assert texts(figure).count("no test: 2 pairs") == 3
    save(figure)


def test_text_of_the_comparison_does_not_overlap(several):
    figure = draw_model_comparison(**several)
    save(figure)
    renderer = figure.canvas.get_renderer()
    for axes in figure.axes:
        boxes = [
            text.get_window_extent(renderer)
            for text in [*axes.texts, *axes.get_xticklabels(), *axes.get_yticklabels(), axes.title, axes.xaxis.label]
            if text.get_text()
        ]
        assert not [(one, other) for number, one in enumerate(boxes) for other in boxes[:number] if one.overlaps(other)]
    # Nothing is cut off.
    for text in (found for legend in figure.legends for found in legend.get_texts()):
        assert figure.bbox.x0 <= text.get_window_extent(renderer).x0
        assert text.get_window_extent(renderer).x1 <= figure.bbox.x1


def test_variances_are_drawn_with_their_ratios(several):
    axes = draw_model_comparison(**several).axes[3]
    assert axes.get_yscale() == "log"
    labels = axes.get_legend_handles_labels()[1]
    ratios = several["ratios"].query("predictor == 'gears_mse'")["ratio"]
    assert labels[0] == "Truth: 1"
    assert labels[1].startswith("Technical duplicate: ")
    assert f"GEARS MSE: {ratios.mean():.2g} ({ratios.min():.2g} to {ratios.max():.2g}, 3 seeds)" in labels
    assert len(labels) == 2 + len(LOSSES)
    assert "n = 9 perturbations" in texts(axes)
    assert axes.get_title() == "Top 50 genes by variance of the truth"
    profiles = several["profiles"].query("predictor == 'gears_mse'")
    expected = profiles.groupby("rank")["variance"].mean().to_numpy()
    dots = [line.get_ydata() for line in axes.lines if line.get_marker() == "."]
    assert any(np.allclose(drawn, expected) for drawn in dots)


def test_a_model_that_predicts_the_same_for_all_has_no_place_on_the_axis(single):
    from matplotlib import pyplot as plt

    collapsed = single["profiles"].copy()
    collapsed.loc[collapsed["predictor"] == "gears_mse", "variance"] = 0.0
    _, axes = plt.subplots()
    ratios = models.variance_ratios(collapsed, 9)
    colours = baseline_metrics.predictor_colours(single["scores"]["predictor"].unique())
    variance_ranks.draw_variance_ranks(axes, collapsed, ratios, colours)
    assert "50 of value 0 not shown" in texts(axes)
    assert "GEARS MSE: 0" in axes.get_legend_handles_labels()[1]
    save(axes.get_figure())
    plt.close("all")


def test_groups_have_their_test_or_say_why_not(truth, single):
    strength = comparison.strength_table(truth.statistics, single["scores"])
    strength["n_degs"] = [0, 0, 0, 0, 0, 0, 4, 4, 8]
    strength["deg_group"] = comparison.deg_groups(strength["n_degs"])
    ranges = comparison.group_ranges(strength)
    grouped = single["scores"].merge(strength[["perturbation", "deg_group"]], on="perturbation")
    tests = models.group_tests(grouped, ranges["deg_group"])
    figure = deg_count_groups.draw_deg_count_groups(grouped, ranges, tests)
    wmse = [text for text in texts(figure.axes[0]) if text.startswith("MSE vs WMSE")]
    weakest = tests.query("metric == 'wmse' and deg_group == '0-25 %'").iloc[0]
    assert wmse == [
        f"MSE vs WMSE: t = {weakest['t']:.2f}, p = {weakest['t_p']:.2g}",
        "MSE vs WMSE: no test, 2 pairs",
        "MSE vs WMSE: no test, 1 pair",
    ]
    save(figure)


def test_dose_curve_has_a_point_per_seed_and_the_power_of_each_loss(several):
    dose = models.loss_dose(several["medians"], several["ratios"])
    figure = draw_loss_dose(dose)
    assert [axes.get_ylabel().split("\n")[0] for axes in figure.axes] == [
        "median WMSE",
        f"median {style.metric_label('weighted_r2_delta')}",
        "median MSE",
        "median gene variance,",
    ]
    for axes, metric in zip(figure.axes, ("wmse", "weighted_r2_delta", "mse", "variance_ratio"), strict=True):
        ticks = [tick.get_text() for tick in axes.get_xticklabels()]
        assert ticks == ["0\nMSE", "0.5\n", "1\nWMSE", "2\n"]
        points = next(line for line in axes.lines if line.get_marker() == "o")
        of_metric = dose[dose["metric"] == metric]
        np.testing.assert_allclose(points.get_xydata(), of_metric[["power", "value"]])
        assert len(of_metric) == 12
    save(figure)


def test_each_loss_has_its_colour_whatever_else_is_there():
    named = ["gears_gears", "gears_mse", "gears_wmse"]
    baselines = ["control_mean", "perturbed_mean", "additive", "technical_duplicate"]
    others = ["gears_wmse^0.5", "gears_wmse^2", "gears_wmse_all_cells", "gears_wmse_released"]
    colours = baseline_metrics.predictor_colours([*baselines, *others, *named])
    assert len(set(colours.values())) == 11
    assert {name: colours[name] for name in named} == baseline_metrics.predictor_colours(named)
    assert style.TRUTH_COLOUR not in colours.values()
    labels = [baseline_metrics.predictor_label(name) for name in [*named, *others]]
    assert labels == [
        "GEARS\nown loss",
        "GEARS\nMSE",
        "GEARS\nWMSE",
        "GEARS\nWMSE^0.5",
        "GEARS\nWMSE^2",
        "GEARS\nWMSE\nall cells",
        "GEARS\nWMSE\nreleased",
    ]
