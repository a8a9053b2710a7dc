"""Analysis 4: GEARS trained with several losses on the same data (section 3.5).

For each loss and seed two models are trained, so that every combination (or every gene, in the unseen task) is
predicted by the model that has not seen it. Writes the split, the training curves and the predictions, which
analysis 5 compares, into <output>/<dataset>/4_train_gears/.
"""

from __future__ import annotations

import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import pandas as pd
import typer
from tqdm import tqdm

from diversity_by_design import cli, datasets
from diversity_by_design.datasets import PreparedDataset
from diversity_by_design.datasets.expression import read_expression
from diversity_by_design.datasets.gene_ontology import graph_source
from diversity_by_design.errors import InputError, listed
from diversity_by_design.graphs.coexpression import coexpression_graph
from diversity_by_design.graphs.graph import Graph
from diversity_by_design.graphs.sources import perturbation_graph
from diversity_by_design.models import MODELS
from diversity_by_design.models import jobs as training_jobs
from diversity_by_design.models.devices import available_devices, claim
from diversity_by_design.models.gears.options import GEARSOptions
from diversity_by_design.models.jobs import Job, JobResult, JobSetting, run_jobs
from diversity_by_design.models.loss_choice import LossChoice
from diversity_by_design.models.splits import Split, make_splits, read_halves
from diversity_by_design.paper.figures.training_curves import draw_training_curves
from diversity_by_design.predictions import Prediction
from diversity_by_design.running.checksum import sha256
from diversity_by_design.running.executors import Outcome, executor
from diversity_by_design.running.project import data_dir
from diversity_by_design.running.records import code_hash
from diversity_by_design.running.results import ResultFolder
from diversity_by_design.statistics import PerturbationStatistics

NAME, TITLE = "4_train_gears", "Training of GEARS"
MODEL = MODELS["gears"]
LOSSES, LOSSES_OF_MEANS = "gears,mse,wmse", "mse,wmse"
DEFAULTS = GEARSOptions()
HALVES = (0, 1)
FOLDER, PREDICTIONS = "models", Path("predictions")
TRAINING = "How models are trained"


class Task(StrEnum):
    """What is predicted: combinations of perturbations that were seen alone, or unseen genes."""

    AUTO = "auto"
    COMBINATIONS = "combinations"
    UNSEEN = "unseen"


class Messages(StrEnum):
    """Which cells of a batch get messages from the co-expression graph."""

    FIRST_CELL = "first_cell"
    ALL_CELLS = "all_cells"


def option(flag: str, text: str, **settings: Any) -> Any:
    """Declare an option of training."""
    return typer.Option(flag, rich_help_panel=TRAINING, help=text, **settings)


LossesOption = Annotated[
    str | None,
    option(
        "--losses",
        "Losses, separated by commas: gears (its own), mse, wmse (weights from training perturbations), wmse_all_cells "
        "(from all cells), wmse_released (the released scripts' rule), wmse^0.5 (weights to a power).",
        show_default=f"{LOSSES}; {LOSSES_OF_MEANS} with --pseudobulk",
    ),
]
SeedsOption = Annotated[int, option("--seeds", "Models of each loss and half, from seeds --seed and following.", min=1)]
TaskOption = Annotated[
    Task, option("--task", "What is tested; auto: combinations where the data have at least four of them.")
]
SplitOption = Annotated[
    Path | None, option("--split", "Use this split (a splits.csv of an earlier run, or your own).", show_default=False)
]
GraphOption = Annotated[
    Path | None,
    option(
        "--graph",
        "Graph of the perturbed genes: a table of annotations (symbol, go_id) or of edges (source, target, "
        "importance).",
        show_default="what data/gene_ontology/get_data.py downloaded",
        metavar="FILE",
    ),
]
EpochsOption = Annotated[int, option("--epochs", "Epochs; cell-gears' own default is 20.", min=1)]
BatchSizeOption = Annotated[int, option("--batch-size", "Cells (with --pseudobulk: perturbations) of a batch.", min=2)]
LearningRateOption = Annotated[float, option("--learning-rate", "Of Adam.")]
DecayOption = Annotated[float, option("--learning-rate-decay", "Factor of the learning rate after each epoch.")]
ClipOption = Annotated[float, option("--clip", "Largest absolute value of an element of the gradient.")]
DirectionOption = Annotated[
    float, option("--direction-lambda", "Weight of the term for the direction of change in GEARS' own loss.", min=0)
]
HiddenOption = Annotated[int, option("--hidden-size", "Length of embeddings.", min=1)]
GoLayersOption = Annotated[int, option("--go-layers", "Graph convolutions over the perturbed genes' graph.", min=1)]
GeneLayersOption = Annotated[int, option("--gene-layers", "Graph convolutions over the co-expression graph.", min=1)]
WeightDecayOption = Annotated[float, option("--weight-decay", "Of Adam.", min=0)]
MessagesOption = Annotated[
    Messages,
    option(
        "--messages",
        "Cells of a batch that get messages from the co-expression graph: the first, as in cell-gears, or all.",
    ),
]
PseudobulkOption = Annotated[bool, option("--pseudobulk", "Train on the perturbations' means instead of cells.")]
PassesOption = Annotated[int, option("--passes", "How often an epoch goes through the training set.", min=1)]
TrainingCellsOption = Annotated[
    int | None,
    option(
        "--training-cells",
        "Train on so many cells of each perturbation, and of control, instead of all.",
        min=1,
        metavar="N",
        show_default=False,
    ),
]
ThreadsOption = Annotated[
    int, option("--threads", "Threads of a job on the CPU; the last digits of results depend on it.", min=1)
]
TensorBoardOption = Annotated[bool, option("--tensorboard", "Log for TensorBoard.")]


def main(
    dataset: cli.DatasetOption = cli.DATASET,
    losses: LossesOption = None,
    seed: cli.SeedOption = 0,
    seeds: SeedsOption = 1,
    output: cli.OutputOption = cli.RESULTS,
    workers: cli.WorkersOption = cli.CORES,
    scheduler: cli.SchedulerOption = None,
    device: cli.DeviceOption = "cpu",
    force: cli.ForceOption = False,
    task: TaskOption = Task.AUTO,
    split: SplitOption = None,
    graph: GraphOption = None,
    epochs: EpochsOption = DEFAULTS.epochs,
    batch_size: BatchSizeOption = DEFAULTS.batch_size,
    learning_rate: LearningRateOption = DEFAULTS.learning_rate,
    learning_rate_decay: DecayOption = DEFAULTS.learning_rate_decay,
    weight_decay: WeightDecayOption = DEFAULTS.weight_decay,
    clip: ClipOption = DEFAULTS.clip,
    direction_lambda: DirectionOption = DEFAULTS.direction_lambda,
    hidden_size: HiddenOption = DEFAULTS.hidden_size,
    go_layers: GoLayersOption = DEFAULTS.num_go_gnn_layers,
    gene_layers: GeneLayersOption = DEFAULTS.num_gene_gnn_layers,
    messages: MessagesOption = Messages.FIRST_CELL,
    pseudobulk: PseudobulkOption = False,
    passes: PassesOption = DEFAULTS.passes,
    training_cells: TrainingCellsOption = None,
    threads: ThreadsOption = 1,
    tensorboard: TensorBoardOption = False,
    preparation_seed: cli.PreparationSeedOption = 0,
    perturbation_key: cli.PerturbationKeyOption = None,
    control_label: cli.ControlLabelOption = None,
    cells_per_perturbation: cli.CellsPerPerturbationOption = None,
    genes: cli.GenesOption = None,
    min_genes_per_cell: cli.MinGenesPerCellOption = None,
) -> None:
    """Train GEARS with each loss on both halves of a split, and predict what each model has not seen."""
    MODEL.require_packages()
    options = {
        "epochs": epochs,
        "batch_size": batch_size,
        "learning_rate": learning_rate,
        "learning_rate_decay": learning_rate_decay,
        "weight_decay": weight_decay,
        "clip": clip,
        "direction_lambda": direction_lambda,
        "hidden_size": hidden_size,
        "num_go_gnn_layers": go_layers,
        "num_gene_gnn_layers": gene_layers,
        "messages": str(messages),
        "pseudobulk": pseudobulk,
        "passes": passes,
        "training_cells": training_cells,
    }
    losses = losses or (LOSSES_OF_MEANS if pseudobulk else LOSSES)
    names = list(dict.fromkeys(LossChoice.parse(name.strip()).name for name in losses.split(",")))
    for name in names:
        GEARSOptions(loss=name, **options)
    # The workers of a cluster see to their own GPUs.
    devices = available_devices(device) if scheduler is None else []
    jobs = [Job(MODEL, name, half, number) for number in range(seed, seed + seeds) for name in names for half in HALVES]

    prepared = datasets.load(
        dataset,
        perturbation_key=perturbation_key,
        control_label=control_label,
        cells_per_perturbation=cells_per_perturbation,
        genes=genes,
        min_genes_per_cell=min_genes_per_cell,
        seed=preparation_seed,
    )
    edges = graph or default_graph(prepared)
    cells = read_expression(prepared.path)
    statistics = PerturbationStatistics.from_anndata(cells, workers=workers)
    ontology = perturbation_graph(edges, statistics)
    splits = (
        make_splits(task, statistics.labels, seed, covered=ontology.nodes)
        if split is None
        else read_halves(split, statistics.labels, ontology.nodes)
    )

    folder = ResultFolder(
        output / prepared.name / NAME,
        analysis=NAME,
        title=TITLE,
        dataset=prepared,
        seed=seed,
        parameters={
            "losses": names,
            "seeds": seeds,
            "task": splits[0].task,
            "split": split_table(splits).to_csv(index=False) if split else None,
            "graph": sha256(edges),
            "threads": threads,
            "device": device,
            **options,
        },
        force=force,
    )
    if folder.complete:
        print(f"{folder.path}: already complete; --force runs it anew")
        return
    describe(folder, splits, ontology, edges)
    # On a cluster, GPUs are the workers'.
    with claim(device if scheduler is None else "cpu") as here:
        coexpression = [
            coexpression_graph(
                cells.X,
                cells.var_names,
                rows=cells.obs["condition"].isin([*part.labels("train"), statistics.control]).to_numpy(),
                device=here,
            )
            for part in splits
        ]
    setting = JobSetting(
        data=prepared.path.resolve(),
        checksum=prepared.checksum,
        splits=splits,
        graphs=tuple({"ontology": ontology, "coexpression": of_half} for of_half in coexpression),
        options=options,
        folder=folder.path.resolve(),
        models=(folder.work / FOLDER).resolve(),
        device=device,
        threads=threads,
        tensorboard=tensorboard,
        code=code_hash(Path(training_jobs.__file__)),
    )
    if force:
        for job in jobs:
            setting.checkpoint(job).unlink(missing_ok=True)
    # One job at a time on each GPU.
    together = min(len(jobs), workers if device == "cpu" or scheduler else len(devices))
    del cells, statistics
    outcomes: dict[Job, Outcome] = {}
    with executor(together, scheduler) as where, tqdm(total=len(jobs), desc="training GEARS", unit="job") as bar:
        for job, outcome in run_jobs(jobs, setting, where, together=together):
            outcomes[job] = outcome
            if outcome.error:
                tqdm.write(f"{job.name} failed; the others go on. {outcome.error}", file=sys.stderr)
            bar.update()
    write_results(folder, jobs, outcomes, setting)
    failed = [job.name for job in jobs if outcomes[job].error]
    if failed:
        print(f"failed: {listed(failed)}; the same command tries these again", file=sys.stderr)
        raise SystemExit(1)
    folder.finish()
    print(f"results: {folder.path}")


def default_graph(prepared: PreparedDataset) -> Path:
    """File of which the perturbed genes' graph is made, where none is given."""
    found = graph_source(data_dir(), prepared.name, prepared.report.seed)
    if found is None:
        raise InputError(
            "there are no annotations from which to make the graph of the perturbed genes: run "
            "`uv run data/gene_ontology/get_data.py`, or give a table of annotations (symbol, go_id) or edges (source, "
            "target, importance) with --graph"
        )
    return found


def split_table(splits: tuple[Split, Split]) -> pd.DataFrame:
    """Both halves in one table."""
    return pd.concat([split.to_frame() for split in splits], ignore_index=True)


def describe(folder: ResultFolder, splits: tuple[Split, Split], ontology: Graph, edges: Path) -> None:
    """Write the split, and say what it leaves out."""
    folder.table(
        "splits", split_table(splits), caption="What each perturbation is used for in either half of the split."
    )
    counts = listed(
        f"half {split.half}: {len(split.labels('train'))} train, {len(split.labels('validation'))} validation, "
        f"{len(split.labels('test'))} test"
        for split in splits
    )
    unused = "".join(f"; not used: {number:,} {what}" for what, number in ontology.left_out.items() if number)
    folder.note(
        f"Task {splits[0].task}; {counts}. Graph of {len(ontology.nodes):,} genes and {ontology.n_edges:,} edges from "
        f"{edges.name}{unused}."
    )
    for role, why in (
        ("not_covered", "a perturbed gene is not in the graph"),
        ("left_out", "not part of this task"),
    ):
        labels = splits[0].labels(role)
        if len(labels):
            folder.note(f"Neither trained on nor tested, {len(labels)} in number ({why}): {', '.join(labels)}.")


def write_results(
    folder: ResultFolder,
    jobs: list[Job],
    outcomes: dict[Job, Outcome],
    setting: JobSetting,
) -> None:
    """Write the table of jobs, the training curves and predictions of each loss and seed; keep the models."""
    done: dict[Job, JobResult] = {job: outcomes[job].value for job in jobs if not outcomes[job].error}
    folder.table("jobs", job_table(jobs, outcomes), caption="What became of each job.", show=True)
    if done:
        history = pd.concat(
            [
                result.history.assign(predictor=job.predictor, loss=job.loss, half=job.half, seed=job.seed)
                for job, result in done.items()
            ],
            ignore_index=True,
        )
        folder.figure(
            "training_curves",
            draw_training_curves(history),
            history,
            title="Errors during training",
            caption=(
                f"Error of the predicted means after each epoch, for {len(done)} models. The parameters of the epoch "
                "with the least error of the validation perturbations' top 20 DEGs are kept, as GEARS does. Losses "
                "differ in what they weigh: compare a loss's error on the top DEGs with that on all genes."
            ),
            paper="",
        )
    for job in done:
        folder.keep(f"{FOLDER}/{job.file}")
    for loss, seed in dict.fromkeys((job.loss, job.seed) for job in done):
        parts = [(job, done[job].predictions) for job in done if (job.loss, job.seed) == (loss, seed)]
        prediction = Prediction(
            model=MODEL.name,
            loss=loss,
            seed=seed,
            task=setting.splits[0].task,
            run=setting.identity(*HALVES),
            dataset_checksum=setting.checksum,
            expression=pd.concat([part for _, part in parts]),
            half=np.array([job.half for job, part in parts for _ in range(len(part))]),
        )
        folder.keep(PREDICTIONS / prediction.write(folder.work / PREDICTIONS).name)


def job_table(jobs: list[Job], outcomes: dict[Job, Outcome]) -> pd.DataFrame:
    """Return a row per job: its loss, half and seed, whether it was done, the best epoch, time and error."""
    rows = []
    for job in jobs:
        row: dict[str, Any] = {"loss": job.loss, "half": job.half, "seed": job.seed}
        outcome = outcomes[job]
        if outcome.error:
            row |= {"status": "failed", "error": outcome.error}
        else:
            result: JobResult = outcome.value
            best = result.history.loc[result.history["validation_mse_top_degs"].idxmin()]
            row |= {
                "status": "done",
                "epochs": len(result.history),
                "best_epoch": int(best["epoch"]),
                "validation_mse_top_degs": best["validation_mse_top_degs"],
                "device": result.device,
                "seconds": round(result.seconds, 1),
            }
        rows.append(row)
    columns = [
        "loss",
        "half",
        "seed",
        "status",
        "epochs",
        "best_epoch",
        "validation_mse_top_degs",
        "device",
        "seconds",
        "error",
    ]
    return pd.DataFrame(rows).reindex(columns=columns)


if __name__ == "__main__":
    cli.script(main)
