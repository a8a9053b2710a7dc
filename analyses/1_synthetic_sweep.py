"""Analysis 1: what makes the mean baseline look good, in simulated data (section 3.1).

Estimates the parameters of every gene of a data set, simulates data sets whose eight parameters are drawn at random,
and correlates the scores of the mean of all perturbed cells with each parameter: table 2, figures 2C, 5G and 5K, and
the simulation rows of table 3, beside the paper's numbers. Writes into <output>/<dataset>/1_synthetic_sweep/.
"""

from __future__ import annotations

import sys
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from diversity_by_design import cli
from diversity_by_design.datasets.script import Preparation
from diversity_by_design.errors import InputError
from diversity_by_design.paper.analysis import open_folder

if TYPE_CHECKING:
    from diversity_by_design.datasets import PreparedDataset
    from diversity_by_design.simulator.ranges import SweepRanges

NAME = "1_synthetic_sweep"
N_DATASETS, SEED = 10_000, 42  # of the whole sweep
# Of the metric audit, which scores every metric of every predictor: enough for a picture, small enough for any machine.
N_AUDITED, MAX_ENTRIES_AUDITED = 200, 10_000_000
DEVICES = ("cpu", "cuda")


class Scale(StrEnum):
    """What a parameter is uniform on."""

    LINEAR = "linear"
    LOG = "log"


def range_option(name: str, what: str, default: str, scale: str) -> Any:
    """Option that takes the two ends of a parameter's range."""
    return typer.Option(
        f"--{name}",
        metavar="LOW HIGH",
        show_default=default,
        rich_help_panel="Ranges of the parameters (default: table 1 of the paper)",
        help=f"{what} ({scale} scale).",
    )


Ends = tuple[float, float] | None


@dataclass(frozen=True)
class Ranges:
    """Options of the parameters' ranges; None: those of table 1."""

    g: Annotated[Ends, range_option("g", "Genes", "1000 8192", "linear")] = None
    n_0: Annotated[Ends, range_option("n-0", "Control cells", "10 8192", "log")] = None
    n_p: Annotated[Ends, range_option("n-p", "Cells per perturbation", "10 256", "log")] = None
    k: Annotated[Ends, range_option("k", "Perturbations", "10 2000", "log")] = None
    beta: Annotated[Ends, range_option("beta", "Control bias", "0 2", "linear")] = None
    delta: Annotated[
        Ends, range_option("delta", "Probability that a perturbation affects a gene", "0.001 0.1", "linear")
    ] = None
    epsilon: Annotated[Ends, range_option("epsilon", "Factor of an effect", "1.2 5", "--epsilon-scale")] = None
    epsilon_scale: Annotated[
        Scale,
        typer.Option(
            "--epsilon-scale",
            rich_help_panel="Ranges of the parameters (default: table 1 of the paper)",
            help="Scale that epsilon is drawn on: linear as in the paper's scripts, or log as in its table 1.",
        ),
    ] = Scale.LINEAR
    mu_l: Annotated[Ends, range_option("mu-l", "Mean of the log library factor", "0.2 5", "log")] = None

    def chosen(self) -> SweepRanges:
        """The ranges to simulate."""
        from diversity_by_design.simulator.ranges import Range, SweepRanges

        given = {name: ends for name, ends in asdict(self).items() if ends is not None}
        paper = SweepRanges()
        scale = str(given.pop("epsilon_scale"))
        return paper.replace(epsilon=Range(paper.epsilon.low, paper.epsilon.high, scale)).replace(**given)


@dataclass(frozen=True)
class Sweep:
    """Options of what is simulated."""

    n_datasets: Annotated[int, typer.Option("--n-datasets", min=1, metavar="N", help="Data sets to simulate.")] = (
        N_DATASETS
    )
    parameters: Annotated[
        str | None,
        typer.Option(
            "--parameters",
            metavar="default|fit|FILE.csv",
            show_default="fit if the data set has as many genes as the largest g, else default",
            help="Gene parameters to simulate from: drawn from stated hyper-parameters (default), estimated from the "
            "data set (fit), or those of a table with the columns gene, mu_control, mu_perturbed and theta.",
        ),
    ] = None
    max_entries: Annotated[
        int | None,
        typer.Option(
            "--max-entries",
            min=1,
            metavar="N",
            show_default="no bound",
            help="Draw data sets of more than N entries (cells x genes) anew, for small machines; the results say so.",
        ),
    ] = None
    n_audit: Annotated[
        int | None,
        typer.Option(
            "--n-audit",
            min=0,
            metavar="N",
            show_default=f"{N_AUDITED}, or as many as --n-datasets",
            help=f"Data sets (of at most {MAX_ENTRIES_AUDITED:,} entries) on which all metrics of all predictors are "
            "compared; 0 leaves it out.",
        ),
    ] = None

    def __post_init__(self) -> None:
        if self.parameters not in (None, "default", "fit") and not Path(self.parameters).is_file():
            raise InputError(
                f"--parameters {self.parameters}: no such table of gene parameters; give default, fit or a file"
            )

    @property
    def n_audited(self) -> int:
        """Number of data sets of the metric audit."""
        return min(N_AUDITED, self.n_datasets) if self.n_audit is None else self.n_audit

    @property
    def database(self) -> str:
        """Name of the file of simulations: a sweep of bounded size does not stand in the way of a whole one."""
        bound = "" if self.max_entries is None else f"_of_at_most_{self.max_entries}_entries"
        return f"simulations{bound}.sqlite"

    def differences(self) -> list[str]:
        """What sets the size apart from the paper's, in words."""
        words = []
        if self.n_datasets != N_DATASETS:
            words.append(f"{self.n_datasets:,} data sets instead of {N_DATASETS:,}")
        if self.max_entries is not None:
            words.append(f"none of more than {self.max_entries:,} entries (cells x genes)")
        return words


def main(
    data: Preparation, common: cli.Common, place: cli.Place, sweep: Sweep, ranges: Ranges, seed: cli.SeedOption = SEED
) -> None:
    """Simulate data sets of random parameters, and correlate the mean baseline's scores with each parameter."""
    if place.device not in DEVICES:
        raise InputError(f"--device {place.device}: it must be {' or '.join(DEVICES)}")
    chosen = ranges.chosen()
    failed = {part.name: simulate(part, chosen, common, place, sweep, seed) for part in data.load().by_context()}
    for name, n_failed in failed.items():
        if n_failed:
            print(
                f"{name}: {n_failed:,} of {sweep.n_datasets:,} data sets failed; the same command tries them again",
                file=sys.stderr,
            )
    if any(failed.values()):
        raise SystemExit(1)


def simulate(
    prepared: PreparedDataset, chosen: SweepRanges, common: cli.Common, place: cli.Place, sweep: Sweep, seed: int
) -> int:
    """Run the sweep for a data set, or for one context of it; how many simulations failed."""
    from diversity_by_design.paper.gene_source import gene_source
    from diversity_by_design.paper.writers import gene_parameters, synthetic_sweep
    from diversity_by_design.simulator.random_sweep import check_random_sweep, checksum, run_random_sweep, sweep_notes

    source = gene_source(sweep.parameters, prepared, chosen.g.high, common.workers)
    chosen = chosen.replace(sigma_l=source.sigma_l)
    setting: dict[str, Any] = {
        "seed": seed,
        "parameters": source.parameters,
        "ranges": chosen,
        "workers": common.workers,
        "scheduler": place.scheduler,
    }
    simulated = setting | {
        "path": common.output / prepared.name / NAME / sweep.database,
        "max_entries": sweep.max_entries,
        "device": place.device,
        "force": common.force,
    }
    # Before anything else is done.
    check_random_sweep(sweep.n_datasets, **simulated)
    folder = open_folder(
        NAME,
        prepared,
        common,
        seed,
        {
            "n_datasets": sweep.n_datasets,
            "max_entries": sweep.max_entries,
            "n_audit": sweep.n_audited,
            "device": place.device,
            "gene_parameters": f"{source.name}, {checksum(source.parameters)}",
            **synthetic_sweep.described(chosen),
        },
    )
    if folder is None:
        return 0
    gene_parameters.write_gene_parameters(folder, source, prepared, common.workers)
    if apart := [*sweep.differences(), *synthetic_sweep.differences(chosen)]:
        folder.note(
            f"Unlike the paper's sweep, whose size and ranges {NAME}.py has without options: {'; '.join(apart)}."
        )
    table = run_random_sweep(sweep.n_datasets, **simulated)
    notes = sweep_notes(table, seed=seed, ranges=chosen, max_entries=sweep.max_entries)
    synthetic_sweep.write_sweep(folder, table, chosen, notes)
    if sweep.n_audited:
        bound = min(sweep.max_entries or MAX_ENTRIES_AUDITED, MAX_ENTRIES_AUDITED)
        synthetic_sweep.write_audit(folder, sweep.n_audited, bound, **setting)
    n_failed = int((table["error"] != "").sum())
    if not n_failed:
        folder.finish()
    print(f"results: {folder.work}")
    return n_failed


if __name__ == "__main__":
    cli.script(main)
