"""Analysis 3: does a metric notice when the few genes that a perturbation changes become right? (section 4.3).

Writes figure 3, the distribution of the weights and their tables into <output>/<dataset>/3_niche_sensitivity/.
"""

from __future__ import annotations

from tqdm import tqdm

from diversity_by_design.errors import listed
from diversity_by_design.paper.analysis import Run, script


def analyse(run: Run) -> None:
    """Measure how far MSE and WMSE fall when the top DEGs of the mean baseline are set to the truth."""
    import numpy as np

    from diversity_by_design.datasets.expression import read_expression
    from diversity_by_design.degs import deg_scores, deg_weights
    from diversity_by_design.paper import niche
    from diversity_by_design.paper.comparison import spread_by_strength
    from diversity_by_design.paper.writers.niche_sensitivity import write_sensitivity, write_weights
    from diversity_by_design.statistics import PerturbationStatistics

    with tqdm(total=4, desc="niche sensitivity", unit="step") as bar:
        statistics = PerturbationStatistics.from_anndata(read_expression(run.prepared.path), workers=run.workers)
        bar.update()
        degs = deg_scores(statistics, workers=run.workers)
        weights = deg_weights(degs)
        undefined = statistics.labels[np.flatnonzero(np.isnan(weights).any(axis=1))]
        if len(undefined):
            run.folder.note(
                f"The weights of {len(undefined)} of {len(statistics.labels)} perturbations are undefined (all genes "
                f"have the same absolute t score), and so is their WMSE: {listed(undefined)}."
            )
        bar.update()
        write_sensitivity(run.folder, niche.niche_scores(statistics, workers=run.workers), len(statistics.genes))
        bar.update()
        examples = spread_by_strength(degs.labels, degs.n_degs, 3)
        histogram = niche.weight_histogram(degs.labels, weights, examples)
        write_weights(run.folder, histogram, niche.weight_summary(degs, weights), examples)
        bar.update()


if __name__ == "__main__":
    script(analyse, "3_niche_sensitivity")
