"""Results of analysis 4: the split, what became of each job, training curves, models and predictions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from diversity_by_design.errors import listed
from diversity_by_design.graphs.graph import Graph
from diversity_by_design.models.jobs import Job, JobResult, JobSetting
from diversity_by_design.models.splits import Split
from diversity_by_design.paper.figures.training_curves import draw_training_curves
from diversity_by_design.predictions import Prediction
from diversity_by_design.running.executors import Outcome
from diversity_by_design.running.results import ResultFolder

MODELS, PREDICTIONS = "models", Path("predictions")
JOB_COLUMNS = ["loss", "half", "seed", "status", "epochs", "best_epoch", "validation_mse_top_degs", "device"]
JOB_COLUMNS += ["seconds", "error"]


def split_table(splits: Sequence[Split]) -> pd.DataFrame:
    """Both halves in one table."""
    return pd.concat([split.to_frame() for split in splits], ignore_index=True)


def write_split(folder: ResultFolder, splits: Sequence[Split], ontology: Graph, edges: Path) -> None:
    """Write the split, and say what it leaves out."""
    folder.table("splits", split_table(splits))
    counts = listed(
        f"half {split.half}: "
        + ", ".join(f"{len(split.labels(role))} {role}" for role in ("train", "validation", "test"))
        for split in splits
    )
    unused = "".join(f"; not used: {number:,} {what}" for what, number in ontology.left_out.items() if number)
    folder.note(
        f"Task {splits[0].task}; {counts}. Graph of {len(ontology.nodes):,} genes and {ontology.n_edges:,} edges from "
        f"{edges.name}{unused}."
    )
    for role, why in (
        ("not_covered", "a perturbed gene is not in the graph"),
        ("left_out", "not part of this task, or of more genes than the model takes together"),
    ):
        labels = splits[0].labels(role)
        if len(labels):
            folder.note(f"Neither trained on nor tested, {len(labels)} in number ({why}): {', '.join(labels)}.")


def write_training(
    folder: ResultFolder, jobs: Sequence[Job], outcomes: Mapping[Job, Outcome], setting: JobSetting
) -> None:
    """Write the table of jobs, the training curves and predictions of each loss and seed; keep the models."""
    done: dict[Job, JobResult] = {job: outcomes[job].value for job in jobs if not outcomes[job].error}
    folder.table("jobs", job_table(jobs, outcomes), show=True)
    if done:
        histories = [
            result.history.assign(predictor=job.predictor, loss=job.loss, half=job.half, seed=job.seed)
            for job, result in done.items()
        ]
        history = pd.concat(histories, ignore_index=True)
        folder.figure("training_curves", draw_training_curves(history), history, n_models=len(done))
    for job in done:
        folder.keep(f"{MODELS}/{job.file}")
    for model, loss, seed in dict.fromkeys((job.model, job.loss, job.seed) for job in done):
        parts = [(job, done[job].predictions) for job in done if (job.loss, job.seed) == (loss, seed)]
        prediction = Prediction(
            model=model.name,
            loss=loss,
            seed=seed,
            task=setting.splits[0].task,
            run=setting.identity(0, 1),
            dataset_checksum=setting.checksum,
            expression=pd.concat([part for _, part in parts]),
            half=np.array([job.half for job, part in parts for _ in range(len(part))]),
        )
        folder.keep(PREDICTIONS / prediction.write(folder.work / PREDICTIONS).name)


def job_table(jobs: Sequence[Job], outcomes: Mapping[Job, Outcome]) -> pd.DataFrame:
    """A row per job: its loss, half and seed, whether it was done, the best epoch, time and error."""
    rows = []
    for job in jobs:
        row: dict[str, Any] = {"loss": job.loss, "half": job.half, "seed": job.seed}
        if outcomes[job].error:
            row |= {"status": "failed", "error": outcomes[job].error}
        else:
            result: JobResult = outcomes[job].value
            best = result.history.iloc[result.history["validation_mse_top_degs"].argmin()]
            row |= {
                "status": "done",
                "epochs": len(result.history),
                "best_epoch": int(best["epoch"]),
                "validation_mse_top_degs": best["validation_mse_top_degs"],
                "device": result.device,
                "seconds": round(result.seconds, 1),
            }
        rows.append(row)
    return pd.DataFrame(rows).reindex(columns=JOB_COLUMNS)
