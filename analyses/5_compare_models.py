"""Analysis 5: baselines, and models beside them, on metrics with a calibrated scale (sections 4.4 and 4.5).

Writes figures 6, 7 and 9, calibrated scores, and their tables into <output>/<dataset>/5_compare_models/; with
predictions that analysis 4 has left, also figure 4 or 8, and the paper's claims beside ours.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from tqdm import tqdm

from diversity_by_design.paper.analysis import Run, script

SPLITS = Path("4_train_gears") / "splits.csv"


def analyse(run: Run) -> None:
    """Score the baselines, and trained models if there are any, also by strength of the perturbations."""
    from diversity_by_design.datasets.expression import read_expression
    from diversity_by_design.models.splits import read_splits
    from diversity_by_design.paper import comparison, model_comparison
    from diversity_by_design.paper.calibrated import calibrated_scores
    from diversity_by_design.paper.claims import Evidence
    from diversity_by_design.paper.writers import baselines, calibrated, models
    from diversity_by_design.predictions import FOLDER, read_predictions
    from diversity_by_design.statistics import PerturbationStatistics
    from diversity_by_design.truth import Truth

    folder, others = run.folder, run.folder.path.parent
    with tqdm(total=8, desc="comparison", unit="step") as bar:
        cells = read_expression(run.prepared.path)
        statistics = PerturbationStatistics.from_anndata(cells, workers=run.workers)
        predictions = read_predictions(others / FOLDER, statistics, run.prepared.checksum)
        if not predictions:
            tqdm.write(f"no predictions in {others / FOLDER}: baselines only; analysis 4 trains models")
        bar.update()
        truth = Truth.from_anndata(cells, mode="paper", seed=run.seed, workers=run.workers)
        bar.update()
        of_seeds = model_comparison.seed_scores(truth, predictions)
        everything = model_comparison.mean_over_seeds(of_seeds)
        compared = baselines.note_compared(folder, statistics.labels, predictions)
        of_seeds, scores = (table[table["perturbation"].isin(compared)] for table in (of_seeds, everything))
        baselines.write_scores(folder, scores)
        bar.update()
        strength = comparison.strength_table(statistics, scores)
        baselines.write_groups(folder, scores, strength)
        bar.update()
        if predictions:
            task = predictions[0].task
            profiles = model_comparison.variance_profiles(truth, predictions, compared)
            ratios = model_comparison.variance_ratios(profiles, len(compared))
            models.write_models(folder, scores, of_seeds, profiles, ratios, task)
            evidence = Evidence(scores.merge(strength[["perturbation", "deg_group"]], on="perturbation"), ratios)
            models.write_claims(folder, evidence, dataset=run.prepared.name, task=task)
        bar.update()
        strength = comparison.strength_table(statistics, everything)
        examples = comparison.duplicate_genes(truth, comparison.example_labels(strength))
        baselines.write_strength(folder, strength, examples)
        bar.update()
        splits = read_splits(others / SPLITS) if predictions else ()
        card = calibrated_scores(cells, predictions, splits, compared, seed=run.seed, workers=run.workers)
        bar.update()
        calibrated.write_calibrated(folder, card)
        bar.update()


def reads(results: Path) -> Sequence[Path]:
    """Predictions of models, and the split that they were trained on."""
    from diversity_by_design.predictions import FOLDER, prediction_files

    predictions = prediction_files(results / FOLDER)
    return [*predictions, results / SPLITS] if predictions else []


if __name__ == "__main__":
    script(analyse, "5_compare_models", {"truth": "paper, calibrated"}, reads)
