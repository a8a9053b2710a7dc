"""Figures 6, 7 and 9 say what their tables say, also for awkward data."""

import io

import numpy as np
import pytest
from examples import make_paper_truth

from diversity_by_design import Truth
from diversity_by_design.baselines import Predictor
from diversity_by_design.paper import comparison
from diversity_by_design.paper.figures import baseline_metrics, deg_count_groups, duplicate_strength, style

PREDICTORS = ["control_mean", "perturbed_mean", "additive", "technical_duplicate"]


def texts(artist) -> list[str]:
    import matplotlib.text

    return [found.get_text() for found in artist.findobj(matplotlib.text.Text)]


def save(figure) -> None:
    figure.savefig(io.BytesIO())


@pytest.fixture(scope="module")
def truth() -> Truth:
    return make_paper_truth()


@pytest.fixture(scope="module")
def scores(truth):
    return comparison.paper_scores(truth)


@pytest.fixture(scope="module")
def strength(truth, scores):
    return comparison.strength_table(truth.statistics, scores)


def test_six_panels_with_every_value_and_its_median(scores):
    figure = baseline_metrics.draw_baseline_metrics(scores)
    assert len(figure.axes) == 6
    panels = {axes.get_title().split(",")[0]: axes for axes in figure.axes}
    wmse = panels["WMSE"]
    drawn = np.concatenate([found.get_offsets()[:, 1] for found in wmse.collections])
    np.testing.assert_allclose(np.sort(drawn), np.sort(scores.loc[scores["metric"] == "wmse", "value"]))
    low, high = wmse.get_ylim()
    assert low < drawn.min() and drawn.max() < high
    median = scores.query("metric == 'wmse' and predictor == 'technical_duplicate'")["value"].median()
    assert f"{median:#.2g}" in texts(wmse)
    labels = [tick.get_text().split("\n")[-1] for tick in wmse.get_xticklabels()]
    assert labels == ["n = 9", "n = 9", "n = 1", "n = 9"]
    save(figure)


def test_the_mean_is_said_to_be_undefined_for_pearson(scores):
    figure = baseline_metrics.draw_baseline_metrics(scores)
    pearson = [axes for axes in figure.axes if "Pearson" in axes.get_title()]
    for axes in pearson:
        assert "undefined" in texts(axes)
        assert "9 undefined" in axes.get_xticklabels()[1].get_text()
    others = [axes for axes in figure.axes if "Pearson" not in axes.get_title()]
    assert not any("undefined" in texts(axes) for axes in others)


def test_very_negative_r2_stays_in_view(scores):
    bad = scores.copy()
    bad.loc[(bad["predictor"] == "control_mean") & (bad["metric"] == "r2_delta"), "value"] = -3000.0
    figure = baseline_metrics.draw_baseline_metrics(bad)
    axes = next(axes for axes in figure.axes if axes.get_title().startswith(style.metric_label("r2_delta")))
    assert axes.get_yscale() == "symlog"
    assert axes.get_ylim()[0] < -3000
    assert "logarithmic below -1" in texts(axes)
    assert -1000 in axes.get_yticks()
    save(figure)


def test_errors_of_zero_are_counted(truth):
    scores = comparison.paper_scores(truth, [Predictor("oracle", lambda target: truth.statistics.mean)])
    figure = baseline_metrics.draw_baseline_metrics(scores)
    assert texts(figure).count("9 of value 0 not shown") == 2
    save(figure)


def test_models_have_a_colour_and_a_label_of_their_own():
    colours = baseline_metrics.predictor_colours([*PREDICTORS, "my_model", "other"])
    assert len(set(colours.values())) == 6
    assert colours["control_mean"] == style.PREDICTOR_COLOURS["control_mean"]
    assert baseline_metrics.predictor_label("my_model") == "my model"


def test_groups_of_figure_9_are_named_with_their_size_and_empty_ones_said(scores, strength):
    tied = strength.assign(n_degs=[0] * 6 + [4, 4, 8])
    tied["deg_group"] = comparison.deg_groups(tied["n_degs"])
    ranges = comparison.group_ranges(tied)
    grouped = scores.merge(tied[["perturbation", "deg_group"]], on="perturbation")
    figure = deg_count_groups.draw_deg_count_groups(grouped, ranges)
    assert [axes.get_title().split(", h")[0].split(", l")[0] for axes in figure.axes] == [
        style.metric_label(metric) for metric in ("wmse", "weighted_r2_delta", "pearson_delta_degs")
    ]
    for axes in figure.axes:
        labels = [tick.get_text() for tick in axes.get_xticklabels()]
        assert len(labels) == 5
        assert labels[0].startswith("0-25 %\n0 DEGs\nn = 6")
        assert labels[1].startswith("25-50 %\nempty")
    # Perturbations of which no predictor has a score are counted.
    pearson = grouped[grouped["metric"] == "pearson_delta_degs"].groupby("perturbation")["value"].count()
    weakest = tied.loc[tied["deg_group"] == "0-25 %", "perturbation"]
    undefined = int((pearson[weakest] == 0).sum())
    assert undefined == 1
    assert figure.axes[2].get_xticklabels()[0].get_text().endswith("n = 6, 1 undefined")
    wmse = figure.axes[0]
    assert wmse.get_xticklabels()[0].get_text().endswith("n = 6")
    drawn = np.concatenate([found.get_offsets()[:, 1] for found in wmse.collections])
    assert len(drawn) == (scores["metric"] == "wmse").sum()
    inside = [found.get_offsets()[:, 0] for found in wmse.collections]
    assert all(abs(x - round(x)) < 0.5 and round(x) != 1 for x in np.concatenate(inside))
    save(figure)


def test_strength_figure_shows_both_halves_of_each_example(truth, strength):
    degs = truth.target(0).degs
    examples = comparison.example_labels(strength)
    genes = comparison.duplicate_genes(truth, examples)
    agreement = comparison.duplicate_agreement(genes)
    correlation = comparison.strength_correlation(strength)
    figure = duplicate_strength.draw_duplicate_strength(strength, correlation, genes, agreement)
    relation, *panels = figure.axes
    assert len(panels) == 2 * len(examples)
    assert f"r = {correlation['spearman_r'].iat[0]:.2f}" in relation.get_title(loc="left")
    points = relation.collections[0].get_offsets()
    np.testing.assert_allclose(points, strength[["n_degs", "weighted_r2_delta"]])
    assert [axes.get_title() for axes in panels[: len(examples)]] == examples
    for axes, label in zip(panels[len(examples) :], examples, strict=True):
        n = int(degs.n_degs[truth.labels.get_loc(label)])
        assert len(axes.collections[0].get_offsets()) == n
        assert f"{n} DEGs" in texts(axes)
    save(figure)


def test_strength_figure_without_any_deg(truth, strength):
    none = strength.assign(n_degs=0)
    genes = comparison.duplicate_genes(truth, ["P0", "P1"]).assign(is_deg=False)
    correlation = comparison.strength_correlation(none)
    figure = duplicate_strength.draw_duplicate_strength(none, correlation, genes, comparison.duplicate_agreement(genes))
    assert "Spearman r undefined" in texts(figure)
    assert any("r = undefined" in text for text in texts(figure))
    assert "0 DEGs" in texts(figure)
    save(figure)


def test_missing_scores_of_the_duplicate_are_counted(truth, strength):
    lacking = strength.copy()
    lacking.loc[[1, 3], "weighted_r2_delta"] = np.nan
    genes = comparison.duplicate_genes(truth, ["P0"])
    figure = duplicate_strength.draw_duplicate_strength(
        lacking, comparison.strength_correlation(lacking), genes, comparison.duplicate_agreement(genes)
    )
    assert "2 undefined, not shown" in texts(figure)
    assert "n = 7 perturbations" in texts(figure)
    save(figure)
