"""Results of analysis 5 on a calibrated scale."""

from __future__ import annotations

from diversity_by_design.baselines import DUPLICATE
from diversity_by_design.paper.figures.calibrated_scores import draw_calibrated_scores
from diversity_by_design.paper.figures.style import metric_label
from diversity_by_design.paper.writers.words import number, titled
from diversity_by_design.running.results import ResultFolder
from diversity_by_design.scorecard import Scorecard


def write_calibrated(folder: ResultFolder, card: Scorecard) -> None:
    """The scorecard's summary, as a table and as a figure."""
    for note in card.notes:
        folder.note(f"Calibrated scores: {note}")
    summary = card.summary.drop(columns="context")
    of_metrics = summary[summary["predictor"] == DUPLICATE].set_index("metric")
    perfect = of_metrics.loc[of_metrics["informative"], "perfect_calibrated"].dropna()
    n_targets = card.table["n_targets"].max()
    folder.table("calibrated_summary", summary, show=True, n_targets=n_targets)
    folder.figure(
        "calibrated_scores",
        draw_calibrated_scores(summary),
        summary,
        predictors=titled(card.models),
        n=card.table["perturbation"].nunique(),
        n_targets=n_targets,
        n_metrics=len(of_metrics),
        uninformative=int((~of_metrics["informative"]).sum()),
        names="; ".join(map(metric_label, of_metrics.index[~of_metrics["informative"]])) or "none",
        perfect=f"{number(perfect.min())} to {number(perfect.max())}" if len(perfect) else "nothing that is defined",
        references=(
            "references, the rest and baselines are of the perturbations that the models were trained on"
            if card.models
            else "references, the rest and baselines are of all perturbations, since none are known to be for training"
        ),
    )
