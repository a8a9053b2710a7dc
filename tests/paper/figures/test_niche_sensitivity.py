"""Figure 3 and the weight histograms say what their tables say."""

import io

import numpy as np
import pytest
from examples import make_expression

from diversity_by_design import PerturbationStatistics, deg_scores, deg_weights
from diversity_by_design.paper import niche
from diversity_by_design.paper.figures import niche_sensitivity
from diversity_by_design.paper.figures.baseline_metrics import short


def texts(figure) -> str:
    import matplotlib.text

    return "\n".join(found.get_text() for found in figure.findobj(matplotlib.text.Text))


@pytest.fixture(scope="module")
def stats() -> PerturbationStatistics:
    return PerturbationStatistics.from_anndata(make_expression(seed=3, n_labels=9, n_genes=80, effect=1.0))


def test_niche_sensitivity_draws_each_metric_on_a_logarithmic_axis(stats):
    scores = niche.niche_scores(stats)
    summary = niche.niche_summary(scores)
    figure = niche_sensitivity.draw_niche_sensitivity(scores, summary)
    assert [axes.get_yscale() for axes in figure.axes] == ["log", "log"]
    for axes, (_, row) in zip(figure.axes, summary.iterrows(), strict=True):
        assert f"median {row['fold_of_medians']:.3g} times smaller" in axes.get_title()
        assert f"Wilcoxon p = {row['wilcoxon_p']:.2g}" in axes.get_title()
        points = np.concatenate(
            [found.get_offsets()[:, 1] for found in axes.collections if len(found.get_offsets()) > 1]
        )
        drawn = scores[scores["metric"] == row["metric"]]
        expected = np.concatenate([drawn["perturbed_mean"], drawn["perturbed_mean_star"]])
        np.testing.assert_allclose(np.sort(points), np.sort(expected))
    assert "n = 9 perturbations" in texts(figure)
    figure.savefig(io.BytesIO())


def test_errors_of_zero_are_counted(stats):
    scores = niche.niche_scores(stats, n_top=80)
    figure = niche_sensitivity.draw_niche_sensitivity(scores, niche.niche_summary(scores))
    assert "9 of value 0 not shown" in texts(figure)
    assert "median inf times smaller" in texts(figure)
    figure.savefig(io.BytesIO())


def test_weight_histograms_name_examples_and_what_lies_off_the_axis(stats):
    degs = deg_scores(stats)
    without = deg_weights(degs)
    without[4] = np.nan
    histogram = niche.weight_histogram(stats.labels, without, ["P0", "P1"])
    figure = niche_sensitivity.draw_weight_histograms(histogram, niche.weight_summary(degs, without))
    found = texts(figure)
    for label in ("P0", "P1"):
        assert f"{label}: {degs.n_degs[stats.labels.get_loc(label)]:,.0f} DEGs" in found
    # One gene of each perturbation has the smallest score, hence no weight.
    assert "1.2% below 1e-10" in found
    assert "n = 640 weights" in found
    assert "1 undefined" in found and "n = 8 perturbations" in found
    figure.savefig(io.BytesIO())


def test_one_perturbation_has_points_but_no_violin(stats):
    scores = niche.niche_scores(stats)
    one = scores[scores["perturbation"] == "P1"]
    figure = niche_sensitivity.draw_niche_sensitivity(one, niche.niche_summary(one))
    assert "p = undefined" in texts(figure)
    figure.savefig(io.BytesIO())


@pytest.mark.parametrize("label", ["A" * 1000, r"$\frac$", "$x$", 'a"b, <b>c</b>', "IFNγ, 10 µM"])
def test_odd_and_long_labels_fit_into_the_figure(stats, label):
    degs = deg_scores(stats)
    weights = deg_weights(degs)
    histogram = niche.weight_histogram(stats.labels, weights, ["P0", "P1"]).replace({"group": {"P0": label}})
    summary = niche.weight_summary(degs, weights).replace({"perturbation": {"P0": label}})
    figure = niche_sensitivity.draw_weight_histograms(histogram, summary)
    figure.savefig(io.BytesIO())
    legend = next(axes.get_legend() for axes in figure.axes if axes.get_legend())
    first, _ = legend.get_texts()
    assert first.get_text().startswith(short(label)) and len(first.get_text()) < 80
    box, whole = first.get_window_extent(), figure.bbox
    assert whole.x0 <= box.x0 < box.x1 <= whole.x1
