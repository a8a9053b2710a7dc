"""A comparison of models as independent jobs: one for each model, loss, half of the split and seed."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
from tqdm import tqdm

from diversity_by_design.errors import InputError
from diversity_by_design.graphs.graph import Graph
from diversity_by_design.models.devices import claim
from diversity_by_design.models.protocol import Log, Model, Progress
from diversity_by_design.models.registry import fit
from diversity_by_design.models.splits import Split
from diversity_by_design.predictions import file_stem, predictor_name
from diversity_by_design.running.checksum import sha256
from diversity_by_design.running.executors import Executor, Outcome


@dataclass(frozen=True)
class Job:
    """A model to fit: with which loss (None: it has no choice), for which half of what is tested, from which seed."""

    model: Model
    loss: str | None
    half: int
    seed: int

    @property
    def predictor(self) -> str:
        """What the model is called in tables and figures."""
        return predictor_name(self.model.name, self.loss)

    @property
    def name(self) -> str:
        """Name of the job's files.

        >>> from diversity_by_design.models import MODELS
        >>> Job(MODELS["gears"], "wmse^0.5", 1, 0).name
        'gears_wmse-power0.5_half1_seed0'
        """
        return f"{file_stem(self.model.name, self.loss)}_half{self.half}_seed{self.seed}"

    @property
    def file(self) -> str:
        """Name of the file of the trained model."""
        return f"{self.name}.safetensors"


@dataclass(frozen=True, eq=False)
class JobSetting:
    """What all jobs share."""

    data: Path  # the prepared data set
    checksum: str  # of that file
    splits: tuple[Split, Split]  # halves 0 and 1
    graphs: tuple[Mapping[str, Graph], Mapping[str, Graph]]  # of either half, by the name of the option of `fit`
    options: Mapping[str, Any]  # other options of the models' fit
    folder: Path  # for checkpoints and logs
    models: Path  # for trained models
    device: str  # "cpu", "cuda" (any GPU that is free), or "cuda:1"
    threads: int  # of torch, in a job on the CPU; the last digits of results depend on it
    tensorboard: bool  # whether to log for TensorBoard
    code: str  # hash of the program: models of another one are trained anew

    def identity(self, *halves: int) -> str:
        """Hash of all that decides the models of some halves, but for model, loss and seed."""
        splits = [self.splits[half].to_frame().to_csv(index=False) for half in halves]
        graphs = [
            {name: [*graph.nodes, graph.to_frame().to_csv(index=False)] for name, graph in self.graphs[half].items()}
            for half in halves
        ]
        decisive = [self.checksum, splits, graphs, dict(self.options), self.device, self.threads, self.code]
        return hashlib.sha256(json.dumps(decisive, sort_keys=True).encode()).hexdigest()[:16]

    def checkpoint(self, job: Job) -> Path:
        """File of a job's checkpoint; jobs that differ in anything that decides the result have different ones."""
        return self.folder / "checkpoints" / f"{job.name}_{self.identity(job.half)[:8]}.safetensors"


@dataclass(frozen=True, eq=False)
class JobResult:
    """What a job leaves: predictions (tested perturbations, genes), and of the rest what `FittedModel` has."""

    predictions: pd.DataFrame
    history: pd.DataFrame
    device: str
    seconds: float


def run_job(numbered: tuple[int, Job], setting: JobSetting) -> JobResult:
    """Fit a job's model, or go on from its checkpoint, and predict what its half tests; it has a line for its bar."""
    from diversity_by_design.datasets.expression import read_expression

    checksum = sha256(setting.data)
    if checksum != setting.checksum:
        raise InputError(
            f"{setting.data} was prepared anew since this analysis began (its checksum was {setting.checksum[:12]} and "
            f"is {checksum[:12]}); run the analysis again"
        )
    line, job = numbered
    split = setting.splits[job.half]
    options: dict[str, Any] = {**setting.options, **setting.graphs[job.half]}
    log = _log(setting.folder / "tensorboard" / job.name) if setting.tensorboard else None
    with claim(setting.device) as device, _threads(job.model, setting.threads):
        fitted = fit(
            job.model,
            read_expression(setting.data),
            split,
            loss=job.loss,
            seed=job.seed,
            device=device,
            checkpoint=setting.checkpoint(job),
            progress=Progress(partial(tqdm, desc=job.name, position=line, leave=False), log),
            **options,
        )
        fitted.save(setting.models / job.file)
        predictions = fitted.predict(split.labels("test"))
    return JobResult(predictions, fitted.history, device, fitted.seconds)


def run_jobs(
    jobs: Iterable[Job], setting: JobSetting, executor: Executor, *, together: int = 1
) -> Iterator[tuple[Job, Outcome]]:
    """Run jobs where the executor says, so many together; yield each with what became of it as it is done."""
    jobs = list(jobs)
    numbered = [(1 + index % together, job) for index, job in enumerate(jobs)]
    for index, outcome in executor.run(run_job, numbered, shared=(setting,)):
        yield jobs[index], outcome


@contextmanager
def _threads(model: Model, number: int) -> Iterator[None]:
    """Let torch have so many threads meanwhile, if the model is made of it."""
    if "torch" not in model.packages:
        yield
        return
    model.require_packages()
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(number)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _log(folder: Path) -> Log:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise InputError(
            "logging for TensorBoard needs the package tensorboard: pip install 'diversity-by-design[tensorboard]'"
        ) from error
    return SummaryWriter(str(folder)).add_scalar
