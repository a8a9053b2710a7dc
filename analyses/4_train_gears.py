"""Analysis 4: GEARS trained with several losses on the same data (section 3.5).

For each loss and seed two models are trained, so that every combination (or every gene, in the unseen task) is
predicted by the model that has not seen it. Writes the split, the training curves and the predictions, which
analysis 5 compares, into <output>/<dataset>/4_train_gears/.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from tqdm import tqdm

from diversity_by_design import cli
from diversity_by_design.datasets.script import Preparation
from diversity_by_design.errors import InputError, listed
from diversity_by_design.paper.analysis import open_folder

if TYPE_CHECKING:
    from diversity_by_design.datasets import PreparedDataset

NAME = "4_train_gears"
LOSSES, LOSSES_OF_MEANS = "gears,mse,wmse", "mse,wmse"


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
    return typer.Option(flag, rich_help_panel="How models are trained", help=text, **settings)


@dataclass(frozen=True)
class Design:
    """Options of which models are trained, on what."""

    losses: Annotated[
        str | None,
        option(
            "--losses",
            "Losses, separated by commas: gears (its own), mse, wmse (weights from training perturbations), "
            "wmse_all_cells (from all cells), wmse_released (the scripts' rule), wmse^0.5 (weights to a power).",
            show_default=f"{LOSSES}; {LOSSES_OF_MEANS} with --pseudobulk",
        ),
    ] = None
    seeds: Annotated[
        int, option("--seeds", "Models of each loss and half, from seeds --seed and following.", min=1)
    ] = 1
    task: Annotated[
        Task, option("--task", "What is tested; auto: combinations where the data have at least four of them.")
    ] = Task.AUTO
    split: Annotated[
        Path | None,
        option("--split", "Use this split (a splits.csv of an earlier run, or your own).", show_default=False),
    ] = None
    graph: Annotated[
        Path | None,
        option(
            "--graph",
            "Graph of the perturbed genes: a table of annotations (symbol, go_id) or of edges (source, target, "
            "importance).",
            show_default="what data/gene_ontology/get_data.py downloaded",
            metavar="FILE",
        ),
    ] = None
    threads: Annotated[
        int, option("--threads", "Threads of a job on the CPU; the last digits of results depend on it.", min=1)
    ] = 1
    tensorboard: Annotated[bool, option("--tensorboard", "Log for TensorBoard.")] = False


@dataclass(frozen=True)
class Training:
    """Options of one training; names and defaults are those of `GEARSOptions`."""

    epochs: Annotated[int, option("--epochs", "Epochs; cell-gears' own default is 20.", min=1)] = 10
    batch_size: Annotated[
        int, option("--batch-size", "Cells (with --pseudobulk: perturbations) of a batch.", min=2)
    ] = 32
    learning_rate: Annotated[float, option("--learning-rate", "Of Adam.")] = 1e-3
    learning_rate_decay: Annotated[
        float, option("--learning-rate-decay", "Factor of the learning rate after each epoch.")
    ] = 0.5
    weight_decay: Annotated[float, option("--weight-decay", "Of Adam.", min=0)] = 5e-4
    clip: Annotated[float, option("--clip", "Largest absolute value of an element of the gradient.")] = 1.0
    direction_lambda: Annotated[
        float, option("--direction-lambda", "Weight of the term for the direction of change in GEARS' own loss.", min=0)
    ] = 0.1
    hidden_size: Annotated[int, option("--hidden-size", "Length of embeddings.", min=1)] = 64
    num_go_gnn_layers: Annotated[
        int, option("--go-layers", "Graph convolutions over the perturbed genes' graph.", min=1)
    ] = 1
    num_gene_gnn_layers: Annotated[
        int, option("--gene-layers", "Graph convolutions over the co-expression graph.", min=1)
    ] = 1
    messages: Annotated[
        Messages,
        option(
            "--messages",
            "Cells of a batch that get messages from the co-expression graph: the first, as in cell-gears, or all.",
        ),
    ] = Messages.FIRST_CELL
    pseudobulk: Annotated[bool, option("--pseudobulk", "Train on the perturbations' means instead of cells.")] = False
    passes: Annotated[int, option("--passes", "How often an epoch goes through the training set.", min=1)] = 1
    training_cells: Annotated[
        int | None,
        option(
            "--training-cells",
            "Train on so many cells of each perturbation, and of control, instead of all.",
            min=1,
            metavar="N",
            show_default=False,
        ),
    ] = None


def main(
    data: Preparation,
    common: cli.Common,
    place: cli.Place,
    design: Design,
    training: Training,
    seed: cli.SeedOption = 0,
) -> None:
    """Train GEARS with each loss on both halves of a split, and predict what each model has not seen."""
    from diversity_by_design.models.devices import available_devices
    from diversity_by_design.models.gears.options import GEARSOptions
    from diversity_by_design.models.loss_choice import LossChoice

    options = asdict(training) | {"messages": str(training.messages)}
    losses = design.losses or (LOSSES_OF_MEANS if training.pseudobulk else LOSSES)
    names = list(dict.fromkeys(LossChoice.parse(name.strip()).name for name in losses.split(",")))
    for name in names:
        GEARSOptions(loss=name, **options)
    # The workers of a cluster see to their own GPUs.
    devices = available_devices(place.device) if place.scheduler is None else []

    from diversity_by_design.models import MODELS

    MODELS["gears"].require_packages()
    failed = [
        f"{part.name}: {name}"
        for part in data.load().by_context()
        for name in train(part, names, options, devices, common, place, design, seed)
    ]
    if failed:
        print(f"failed: {listed(failed)}; the same command tries these again", file=sys.stderr)
        raise SystemExit(1)


def train(
    prepared: PreparedDataset,
    names: Sequence[str],
    options: Mapping[str, Any],
    devices: Sequence[str],
    common: cli.Common,
    place: cli.Place,
    design: Design,
    seed: int,
) -> list[str]:
    """Train on a data set, or on one context of it, with the losses `names`; the names of jobs that failed."""
    from diversity_by_design.datasets.expression import read_expression
    from diversity_by_design.graphs.coexpression import coexpression_graph
    from diversity_by_design.graphs.sources import perturbation_graph
    from diversity_by_design.models import MODELS
    from diversity_by_design.models import jobs as training_jobs
    from diversity_by_design.models.devices import claim
    from diversity_by_design.models.splits import make_splits, read_halves
    from diversity_by_design.paper.writers import training as writers
    from diversity_by_design.running.checksum import sha256
    from diversity_by_design.running.executors import executor
    from diversity_by_design.running.records import code_hash
    from diversity_by_design.statistics import PerturbationStatistics

    gears = MODELS["gears"]
    edges = design.graph or default_graph(prepared)
    cells = read_expression(prepared.path)
    statistics = PerturbationStatistics.from_anndata(cells, workers=common.workers)
    ontology = perturbation_graph(edges, statistics)
    splits = (
        make_splits(str(design.task), statistics.labels, seed, covered=ontology.nodes, together=gears.together)
        if design.split is None
        else read_halves(design.split, statistics.labels, ontology.nodes)
    )
    for part in splits:
        reason = gears.reason_against(part, {"ontology": ontology})
        if reason:
            raise InputError(f"{part}: {reason}")
    parameters = {
        "losses": names,
        "seeds": design.seeds,
        "task": splits[0].task,
        "split": writers.split_table(splits).to_csv(index=False) if design.split else None,
        "graph": sha256(edges),
        "threads": design.threads,
        "device": place.device,
        **options,
    }
    folder = open_folder(NAME, prepared, common, seed, parameters)
    if folder is None:
        return []
    writers.write_split(folder, splits, ontology, edges)
    too_large = gears.too_large(splits[0].roles.index)
    if too_large:
        print(f"left out, of more than {gears.together} genes, which {gears.label} cannot do: {listed(too_large)}")
    with claim(place.device if place.scheduler is None else "cpu") as here:
        used = [cells.obs["condition"].isin([*part.labels("train"), statistics.control]).to_numpy() for part in splits]
        coexpression = [coexpression_graph(cells.X, cells.var_names, rows=rows, device=here) for rows in used]
    setting = training_jobs.JobSetting(
        data=prepared.path.resolve(),
        checksum=prepared.checksum,
        splits=splits,
        graphs=tuple({"ontology": ontology, "coexpression": graph} for graph in coexpression),
        options=options,
        folder=folder.path.resolve(),
        models=(folder.work / writers.MODELS).resolve(),
        device=place.device,
        threads=design.threads,
        tensorboard=design.tensorboard,
        code=code_hash(Path(training_jobs.__file__)),
    )
    numbers = range(seed, seed + design.seeds)
    jobs = [training_jobs.Job(gears, name, half, number) for number in numbers for name in names for half in (0, 1)]
    if common.force:
        for job in jobs:
            setting.checkpoint(job).unlink(missing_ok=True)
    # One job at a time on each GPU.
    together = min(len(jobs), common.workers if place.device == "cpu" or place.scheduler else len(devices))
    del cells, statistics
    outcomes = {}
    with executor(together, place.scheduler) as where, tqdm(total=len(jobs), desc="training GEARS", unit="job") as bar:
        for job, outcome in training_jobs.run_jobs(jobs, setting, where, together=together):
            outcomes[job] = outcome
            if outcome.error:
                tqdm.write(f"{job.name} failed; the others go on. {outcome.error}", file=sys.stderr)
            bar.update()
    writers.write_training(folder, jobs, outcomes, setting)
    failed = [job.name for job in jobs if outcomes[job].error]
    if not failed:
        folder.finish()
        print(f"results: {folder.path}")
    return failed


def default_graph(prepared: PreparedDataset) -> Path:
    """File of which the perturbed genes' graph is made, where none is given."""
    from diversity_by_design.datasets.gene_ontology import NO_GRAPH, graph_source
    from diversity_by_design.running.project import data_dir

    path = graph_source(data_dir(), prepared.name, prepared.report.seed)
    if path is None:
        raise InputError(NO_GRAPH)
    return path


if __name__ == "__main__":
    cli.script(main)
