"""A comparison of losses as independent jobs: one model for each loss, half of the split and seed."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
from tqdm import tqdm

from diversity_by_design.errors import InputError
from diversity_by_design.graphs.graph import Graph
from diversity_by_design.models.loss_choice import LossChoice
from diversity_by_design.models.splits import Split
from diversity_by_design.running.checksum import sha256
from diversity_by_design.running.executors import Executor, Outcome

if TYPE_CHECKING:
    from diversity_by_design.models.training import Log


@dataclass(frozen=True)
class Job:
    """A model to train: with which loss, for which half of the tested perturbations, from which seed."""

    loss: str
    half: int
    seed: int

    @property
    def name(self) -> str:
        """Name of the job's files.

        Examples
        --------
        >>> Job("wmse^0.5", 1, 0).name
        'wmse-power0.5_half1_seed0'
        """
        return f"{LossChoice.parse(self.loss).file_name}_half{self.half}_seed{self.seed}"

    @property
    def model(self) -> str:
        """File of the trained model."""
        return f"{self.name}.safetensors"


@dataclass(frozen=True, eq=False)
class JobSetting:
    """What all jobs share.

    Attributes
    ----------
    data : Path
        Prepared data set.
    checksum : str
        Of that file.
    splits : pair of Split
        Halves 0 and 1.
    ontology : Graph
    coexpression : pair of Graph
        Of the training cells of either half.
    options : dict
        `TrainingOptions` other than the loss and the seed.
    folder : Path
        Checkpoints and logs go here.
    models : Path
        Trained models go here.
    device : str
        "cpu", "cuda" (any GPU that is free), or "cuda:1".
    threads : int
        Of a job on the CPU. The last digits of results depend on it.
    tensorboard : bool
        Whether to log for TensorBoard.
    code : str
        Hash of the program: models of another one are trained anew.
    """

    data: Path
    checksum: str
    splits: tuple[Split, Split]
    ontology: Graph
    coexpression: tuple[Graph, Graph]
    options: dict[str, Any]
    folder: Path
    models: Path
    device: str
    threads: int
    tensorboard: bool
    code: str

    def identity(self, *halves: int) -> str:
        """Hash of all that decides the models of some halves, but for loss and seed."""
        parts = [
            (
                self.splits[half].to_frame().sort_values("perturbation").to_csv(index=False),
                self.coexpression[half].to_frame().to_csv(index=False),
            )
            for half in halves
        ]
        graph = [self.ontology.nodes.tolist(), self.ontology.to_frame().to_csv(index=False)]
        decisive = [self.checksum, parts, graph, self.options, self.device, self.threads, self.code]
        return hashlib.sha256(json.dumps(decisive, sort_keys=True).encode()).hexdigest()[:16]

    def checkpoint(self, job: Job) -> Path:
        """File of a job's checkpoint; jobs that differ in anything that decides the result have different ones."""
        return self.folder / "checkpoints" / f"{job.name}_{self.identity(job.half)[:8]}.safetensors"


@dataclass(frozen=True, eq=False)
class JobResult:
    """What a job leaves.

    Attributes
    ----------
    predictions : DataFrame (tested perturbations, genes)
        Predicted mean expression.
    history : DataFrame
        Measurements after each epoch.
    device : str
    seconds : float
        What training took; interruptions are not counted.
    """

    predictions: pd.DataFrame
    history: pd.DataFrame
    device: str
    seconds: float


def run_job(numbered: tuple[int, Job], setting: JobSetting) -> JobResult:
    """Train the model of a job, or go on from its checkpoint, and predict the perturbations of its half.

    Parameters
    ----------
    numbered : (int, Job)
        The number is the line of the job's progress bar.
    setting : JobSetting

    Raises
    ------
    InputError
        The prepared data set is no longer the one of the setting, or what `fit` refuses.
    """
    import torch

    from diversity_by_design.datasets.expression import read_expression
    from diversity_by_design.models.devices import claim
    from diversity_by_design.models.gears.fitting import fit

    checksum = sha256(setting.data)
    if checksum != setting.checksum:
        raise InputError(
            f"{setting.data} was prepared anew since this analysis began (its checksum was {setting.checksum[:12]} and "
            f"is {checksum[:12]}); run the analysis again"
        )
    line, job = numbered
    split = setting.splits[job.half]
    before = torch.get_num_threads()
    with claim(setting.device) as device:
        torch.set_num_threads(setting.threads)
        try:
            trained = fit(
                read_expression(setting.data),
                split,
                setting.ontology,
                loss=job.loss,
                coexpression=setting.coexpression[job.half],
                device=device,
                checkpoint=setting.checkpoint(job),
                log=_log(setting.folder / "tensorboard" / job.name) if setting.tensorboard else None,
                bar=partial(tqdm, desc=job.name, position=line, leave=False),
                seed=job.seed,
                **setting.options,
            )
            trained.save(setting.models / job.model)
            predictions = trained.predict(split.labels("test"))
        finally:
            torch.set_num_threads(before)
    return JobResult(predictions, trained.history, device, trained.seconds)


def run_jobs(
    jobs: Iterable[Job], setting: JobSetting, executor: Executor, *, together: int = 1
) -> Iterator[tuple[Job, Outcome]]:
    """Run jobs where the executor says, so many together; yield each with what became of it as it is done."""
    jobs = list(jobs)
    numbered = [(1 + index % together, job) for index, job in enumerate(jobs)]
    for index, outcome in executor.run(run_job, numbered, shared=(setting,)):
        yield jobs[index], outcome


def _log(folder: Path) -> Log:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise InputError(
            "logging for TensorBoard needs the package tensorboard: pip install 'diversity-by-design[tensorboard]'"
        ) from error
    return SummaryWriter(str(folder)).add_scalar
