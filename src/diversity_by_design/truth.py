"""What predictions are compared with, and the only place that knows what may be looked at."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cache, cached_property
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np
import numpy.typing as npt
import pandas as pd

from diversity_by_design.arrays import BoolArray, FloatArray, read_only
from diversity_by_design.degs import DegScores, deg_scores, deg_weights
from diversity_by_design.errors import InputError, listed, of_type, whole_number
from diversity_by_design.groups import LabelledCells
from diversity_by_design.halves import FEWEST_CELLS, Halvings, halved
from diversity_by_design.labels import label_index
from diversity_by_design.statistics import PerturbationStatistics
from diversity_by_design.threads import checked_workers

if TYPE_CHECKING:
    from anndata import AnnData

Mode = Literal["calibrated", "paper"]

HALVINGS = 10


class Target:
    """One comparison: the means that predictions are measured against, and what metrics and predictors may know.

    Arrays cannot be written to.

    Parameters
    ----------
    labels, genes : pandas.Index
    mean : float64 array (labels, genes)
        What a prediction is compared with.
    perturbed_mean, control_mean : float64 array (genes,)
        The references mu_all and mu_c; mu_c may be None.
    degs : DegScores, or function without arguments that makes it
    weights, is_deg : float64 and bool array (labels, genes), or functions without arguments that make them, optional
        By default from `degs`.
    training : PerturbationStatistics, optional
        Of the perturbations that predictors may look at.
    duplicate : float64 array (labels, genes), optional
        Mean of other cells of the same perturbations.
    quarters : arrays (labels, genes), optional
        Means of the halves of these cells.

    Examples
    --------
    >>> genes, mean = pd.Index(["g1", "g2"]), np.array([[1.0, 2.0]])
    >>> target = Target(pd.Index(["A"]), genes, mean, perturbed_mean=np.array([1.0, 1.0]))
    >>> target.mean - target.perturbed_mean
    array([[0., 1.]])
    """

    def __init__(
        self,
        labels: pd.Index,
        genes: pd.Index,
        mean: FloatArray,
        *,
        perturbed_mean: FloatArray,
        control_mean: FloatArray | None = None,
        degs: DegScores | Callable[[], DegScores] | None = None,
        weights: FloatArray | Callable[[], FloatArray] | None = None,
        is_deg: BoolArray | Callable[[], BoolArray] | None = None,
        training: PerturbationStatistics | None = None,
        duplicate: FloatArray | None = None,
        quarters: tuple[FloatArray, ...] = (),
    ) -> None:
        self.labels = labels
        self.genes = genes
        self.mean = read_only(mean)
        self.perturbed_mean = read_only(perturbed_mean)
        self._control_mean = control_mean
        self._degs, self._weights, self._is_deg = degs, weights, is_deg
        self.training = training
        self.duplicate = None if duplicate is None else read_only(duplicate)
        self.quarters = tuple(map(read_only, quarters))
        # What is known of simulated data, see `diversity_by_design.audit`.
        self.simulation: Any = None

    @property
    def has_control(self) -> bool:
        """Whether there are control cells."""
        return self._control_mean is not None

    @property
    def control_mean(self) -> FloatArray:
        """Mean of control cells, mu_c (genes,).

        Raises
        ------
        InputError
            There are no control cells.
        """
        if self._control_mean is None:
            raise InputError(
                "the truth has no control cells; leave out what needs them, or name their label (control=...)"
            )
        return read_only(self._control_mean)

    @cached_property
    def degs(self) -> DegScores:
        """Differential expression of the target's cells."""
        if self._degs is None:
            raise InputError("this target has no differential expression, which a metric or predictor asked for")
        return self._degs() if callable(self._degs) else self._degs

    @cached_property
    def weights(self) -> FloatArray:
        """Weights of genes (labels, genes), rows summing to one; see `diversity_by_design.deg_weights`."""
        weights = self._weights() if callable(self._weights) else self._weights
        return read_only(deg_weights(self.degs) if weights is None else weights)

    @cached_property
    def is_deg(self) -> BoolArray:
        """Whether a gene is differentially expressed (labels, genes)."""
        is_deg = self._is_deg() if callable(self._is_deg) else self._is_deg
        return read_only(self.degs.is_deg if is_deg is None else is_deg)

    def rows(self, rows: slice | npt.NDArray[Any]) -> Target:
        """The same of some perturbations."""
        part = Target(
            self.labels[rows],
            self.genes,
            self.mean[rows],
            perturbed_mean=self.perturbed_mean,
            control_mean=self._control_mean,
            degs=lambda: self.degs.select(rows),
            weights=lambda: self.weights[rows],
            is_deg=lambda: self.is_deg[rows],
            training=self.training,
            duplicate=None if self.duplicate is None else self.duplicate[rows],
            quarters=tuple(quarter[rows] for quarter in self.quarters),
        )
        part.simulation = self.simulation
        return part

    def with_genes(self, is_deg: BoolArray) -> Target:
        """The same with other genes in place of the DEGs, such as those that a sweep or a simulation chooses."""
        changed = self.rows(slice(None))
        changed._is_deg = is_deg
        return changed


class Truth:
    """What predictions are scored against: targets, references, DEGs and weights.

    Two modes:

    - "calibrated": each scored perturbation's cells are halved at random, `halvings` times. A halving gives two
      targets: the mean of one half, predicted by the other (the technical duplicate), and the reverse. Every predictor
      is compared with the same half; DEGs and weights are those of its cells against the rest. mu_all, the rest and all
      baselines are of the training perturbations only, the perturbation itself left out of its own rest; without
      training labels they are of all perturbations.
    - "paper": figures 6 to 9 of the paper. Predictors are compared with the mean of all cells of a perturbation, the
      technical duplicate (one half of the cells) with that of the other half; references, DEGs and weights are of all
      cells of all perturbations.

    Parameters
    ----------
    statistics : PerturbationStatistics
        Of all cells.
    train : labels, optional
        Perturbations that models were trained on, the only ones that references and baselines look at.
    labels : labels, optional
        Perturbations that are scored (default: those that are not in `train`; all without it).
    halves : Halvings, optional
        Of the scored perturbations, see `from_anndata`. Without them there is no technical duplicate, hence no
        calibrated score: predictors are compared with the mean of all cells.
    mode : "calibrated" or "paper"
    workers : int, optional
        Threads (default: as many as cores). The result does not depend on it.

    Attributes
    ----------
    labels : pandas.Index
        Scored perturbations.
    train : pandas.Index or None
    left_out : dict of str to str
        Perturbations that are not scored though asked for, and why.

    Raises
    ------
    InputError
        A label is no perturbation of the statistics, nothing is left to be scored, `train` is given in the mode
        "paper", or the mode is unknown.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> labels = np.repeat(["A", "B", "control"], 8)
    >>> cells = rng.random((24, 5)) + np.where(labels == "A", 1.0, 0.0)[:, None]
    >>> statistics = PerturbationStatistics.from_matrix(cells, labels, list("vwxyz"))
    >>> Truth(statistics).labels.tolist()
    ['A', 'B']
    """

    def __init__(
        self,
        statistics: PerturbationStatistics,
        train: Any = None,
        *,
        labels: Any = None,
        halves: Halvings | None = None,
        mode: Mode = "calibrated",
        workers: int | None = None,
    ) -> None:
        of_type(statistics, PerturbationStatistics, "statistics", "of cells it is Truth.from_anndata(adata, ...)")
        check_mode(mode, train)
        self.statistics = statistics
        self.mode = mode
        self.workers = checked_workers(workers)
        # In the order of the statistics, on which the rounding of sums depends.
        self.train = None if train is None else statistics.labels[np.sort(statistics.positions(train))]
        fewest = FEWEST_CELLS if mode == "calibrated" and halves is not None else 2
        self.labels, self.left_out = _scored(statistics, self.train, labels, fewest)
        if halves is not None and not halves.labels.equals(self.labels):
            raise InputError(
                f"the halves are of {len(halves.labels)} perturbations ({listed(halves.labels, 3)}), but "
                f"{len(self.labels)} are scored ({listed(self.labels, 3)}); make them with Truth.from_anndata"
            )
        self.halves = halves
        self._cache: dict[int, tuple[FloatArray, BoolArray]] = {}

    def __repr__(self) -> str:
        seen = "all perturbations" if self.train is None else f"{len(self.train):,} training perturbations"
        n_targets = len(list(self.numbers()))
        return (
            f"Truth({self.mode}: {len(self.labels):,} perturbations scored ({listed(self.labels, 3)}), "
            f"{len(self.genes):,} genes, {n_targets} target(s), references of {seen})"
        )

    @classmethod
    def from_anndata(
        cls,
        adata: AnnData,
        perturbation: str = "condition",
        control: str | None = "control",
        *,
        train: Any = None,
        labels: Any = None,
        halvings: int = HALVINGS,
        seed: int = 0,
        mode: Mode = "calibrated",
        layer: str | None = None,
        context: str | list[str] | None = None,
        workers: int | None = None,
    ) -> Any:
        """Make the truth of cells, in one pass over them.

        The sums take 16 bytes per perturbation and gene, and 32 more per halving; while they are gathered about twice
        as much, or two GiB more at most (see `diversity_by_design.groups.SUMS_BYTES`).

        Parameters
        ----------
        adata, perturbation, control, layer, workers
            As for `PerturbationStatistics.from_anndata`; cell names must be unique.
        train, labels, mode
            As for `Truth`.
        halvings : int
            Random halvings of each perturbation's cells; one in the mode "paper".
        seed : int
            Of the halves. A perturbation's depend on the seed, its label and its cells' names only.
        context : str or list of str, optional
            Column of `obs` (or several) that names each cell's context, such as its cell line; control, references and
            weights are the context's own.

        Returns
        -------
        Truth, or with `context` a dict of context to Truth

        Raises
        ------
        InputError
            As `PerturbationStatistics.from_anndata` and `Truth`; cell names are not unique, or `halvings` or `seed` is
            no whole number of at least 1, or 0.
        """
        check_mode(mode, train)
        halvings, seed = whole_number(halvings, "halvings", 1), whole_number(seed, "seed", 0)
        cells = LabelledCells.from_anndata(adata, perturbation, control, layer=layer, context=context)
        train, labels = (
            None if given is None else _known(label_index(given, name, cells.control), cells, name)
            for given, name in ((train, "train"), (labels, "labels"))
        )
        fewest = 2 if mode == "paper" else FEWEST_CELLS
        chosen, options = {}, {}
        for place, present in cells.perturbations().items():
            # A perturbation need not be there in every context.
            seen, asked = (None if given is None else given[given.isin(present.index)] for given in (train, labels))
            try:
                chosen[place] = _chosen(present, seen, asked, fewest)[0]
            except InputError as error:
                raise InputError(f"context {place!r}: {error}" if place else str(error)) from error
            options[place] = {"train": seen, "labels": asked}
        statistics, halves = halved(cells, chosen, 1 if mode == "paper" else halvings, seed, workers)
        truths = {
            place: cls(part, **options[place], halves=halves[place], mode=mode, workers=workers)
            for place, part in statistics.items()
        }
        return truths[""] if context is None else truths

    @property
    def genes(self) -> pd.Index:
        """Genes that are compared."""
        return self.statistics.genes

    @cached_property
    def training(self) -> PerturbationStatistics:
        """Statistics of the perturbations that may be looked at."""
        return self.statistics if self.train is None else self.statistics.select(labels=self.train)

    @cached_property
    def own(self) -> PerturbationStatistics:
        """Statistics of all cells of the scored perturbations."""
        if self.labels.equals(self.statistics.labels):
            return self.statistics
        return self.statistics.select(labels=self.labels)

    @property
    def control_mean(self) -> FloatArray | None:
        """Mean of control cells, mu_c (genes,); None if there are none."""
        return self.statistics.control_mean if self.statistics.n_control else None

    @property
    def has_quarters(self) -> bool:
        """Whether targets have the halves of their duplicate's cells."""
        return self.mode == "calibrated" and self.halves is not None

    def first_quarter_share(self, number: int) -> FloatArray:
        """Part of the cells of a target's duplicate that the first of its quarters is made of (labels,)."""
        assert self.halves is not None
        n_cells = self.halves.n_half(number % 2)
        return np.asarray(n_cells // 2 / n_cells)

    def numbers(self) -> range:
        """Numbers of the targets that predictors are compared with."""
        return range(2 * len(self.halves) if self.has_quarters and self.halves is not None else 1)

    def targets(self, *, half: bool = False) -> Iterator[Target]:
        """What predictors are compared with, one after the other.

        Parameters
        ----------
        half : bool
            The targets of a predictor that learns from one half of each perturbation's cells, such as the technical
            duplicate: in the mode "paper" the other half, else those of all predictors.
        """
        for number in self.numbers():
            yield self.target(number, half=half)

    def target(self, number: int, *, half: bool = False) -> Target:
        """One of the targets, see `targets`."""
        if self.halves is None:
            return self._target(0, self.own, self.own)
        if self.mode == "paper":
            first, second = (self.halves.half(0, which, self.own) for which in (0, 1))
            return self._target(0, second if half else self.own, self.own, first.mean if half else None)
        number, which = divmod(number, 2)
        duplicate, own = (self.halves.half(number, place, self.own) for place in (which, 1 - which))
        quarters = self.halves.quarter_means(number, which, duplicate)
        return self._target(2 * number + which, own, own, duplicate.mean, quarters)

    def _target(
        self,
        number: int,
        cells: PerturbationStatistics,
        weighed: PerturbationStatistics,
        duplicate: FloatArray | None = None,
        quarters: tuple[FloatArray, ...] = (),
    ) -> Target:
        """Target whose mean is that of some cells, with the DEGs and weights of others."""

        @cache
        def degs() -> DegScores:
            reference = "rest" if self.train is None else self.train
            return deg_scores(weighed, reference, pool=self.statistics, workers=self.workers)

        def genes() -> tuple[FloatArray, BoolArray]:
            # Only what metrics need is kept of the scores, which take five times as much.
            if number not in self._cache:
                self._cache[number] = deg_weights(degs()), degs().is_deg
            return self._cache[number]

        return Target(
            self.labels,
            self.genes,
            cells.mean,
            perturbed_mean=self.training.perturbed_mean,
            control_mean=self.control_mean,
            degs=degs,
            weights=lambda: genes()[0],
            is_deg=lambda: genes()[1],
            training=self.training,
            duplicate=duplicate,
            quarters=quarters,
        )


def check_mode(mode: str, train: Any) -> None:
    """Raise InputError unless there is such a mode, and it knows training labels if there are any."""
    if mode not in get_args(Mode):
        raise InputError(f"mode is {mode!r}; it must be one of: {listed(get_args(Mode))}")
    if mode == "paper" and train is not None:
        raise InputError(
            'in the mode "paper" references are of all cells; training labels are for the mode "calibrated"'
        )


def _scored(
    statistics: PerturbationStatistics, train: pd.Index | None, labels: Any, fewest: int
) -> tuple[pd.Index, dict[str, str]]:
    asked = None if labels is None else statistics.labels[statistics.positions(labels)]
    return _chosen(pd.Series(statistics.n_cells, statistics.labels), train, asked, fewest)


def _chosen(
    n_cells: pd.Series, train: pd.Index | None, labels: pd.Index | None, fewest: int
) -> tuple[pd.Index, dict[str, str]]:
    """Perturbations that are scored, in the order of `n_cells` (perturbations,), and why others are not."""
    present = n_cells.index
    if train is not None and not len(train):
        raise InputError(
            f"train names none of the {len(present)} perturbations ({listed(present, 5)}); leave it out, to use all"
        )
    seen = pd.Index([]) if train is None else train
    asked = present[~present.isin(seen)] if labels is None else present[present.isin(labels)]
    if not len(asked) and labels is not None:
        raise InputError(f"labels names none of the {len(present)} perturbations ({listed(present, 5)})")
    if not len(asked):
        raise InputError(
            f"none of {len(present)} perturbations is left to be scored: all are training perturbations; name those to "
            "score (labels=...)"
        )
    few = (n_cells[asked] < fewest).to_numpy()
    if few.all():
        raise InputError(f"none of {len(asked)} perturbations to score has {fewest} cells: {listed(asked, 5)}")
    return asked[~few], {str(label): f"fewer than {fewest} cells" for label in asked[few]}


def _known(names: pd.Index, cells: LabelledCells, what: str) -> pd.Index:
    present = cells.groups.loc[cells.groups["label"] != cells.control, "label"].unique()
    unknown = names[~names.isin(present)]
    if len(unknown):
        raise InputError(
            f"{what}: {len(unknown)} label(s) are none of the perturbations: {listed(unknown, 5)}; there are "
            f"{len(present)}, besides control: {listed(present)}"
        )
    return names
