"""Which perturbations a model is trained on, and which it has to predict (section 3.5)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

import numpy as np
import pandas as pd

from diversity_by_design.errors import InputError, listed, whole_number
from diversity_by_design.labels import canonical, checked_labels, is_combination, label_index, parts
from diversity_by_design.models.split_tables import COLUMNS, ROLES, check_choice, read_roles
from diversity_by_design.predictions import TASKS
from diversity_by_design.running.files import write_csv

# Two halves, each of at least one perturbation for training and one for validation.
_FEWEST = 4


@dataclass(frozen=True, eq=False)
class Split:
    """The role of every perturbation in one training.

    Attributes
    ----------
    task : str
        What is tested: "combinations" of genes that are seen one by one, or "unseen" genes.
    half : int
        0 or 1: which half of the task's perturbations is tested.
    seed : int
        Of the random halves.
    roles : pandas.Series
        Index `perturbation`, sorted; values "train", "validation", "test", "not_covered" (a gene of it is not in the
        graph: neither trained on nor tested) or "left_out" (neither: a combination in the task "unseen", or one of more
        genes than the model can do together). Control is not among them, its cells are used in every training. Any
        order may be given.

    Raises
    ------
    InputError
        A label is no perturbation or occurs twice (also as A+B and B+A), a role, task, half or seed is not among those
        possible, nothing is left for training, validation or test, or a tested perturbation leaks:
        in the task "combinations" only combinations may be tested, in the task "unseen" no gene of a tested
        perturbation may be in one for training or validation.

    Examples
    --------
    >>> split = Split("unseen", 0, 7, pd.Series({"C": "train", "B": "validation", "A": "test", "D": "test"}))
    >>> split.labels("test").tolist()
    ['A', 'D']
    """

    task: str
    half: int
    seed: int
    roles: pd.Series

    def __post_init__(self) -> None:
        checked_labels(self.roles.index, str(self))
        index = pd.Index([canonical(label) for label in self.roles.index], dtype=object, name="perturbation")
        roles = pd.Series(self.roles.to_numpy(dtype=object), index=index, dtype=object, name="role")
        object.__setattr__(self, "roles", roles.sort_index())
        _check(self)
        # NumPy's whole numbers are accepted, and are not kept.
        object.__setattr__(self, "half", int(self.half))
        object.__setattr__(self, "seed", int(self.seed))

    def __str__(self) -> str:
        return f"split (task {self.task}, half {self.half}, seed {self.seed})"

    def labels(self, role: str) -> pd.Index:
        """Perturbations of a role, sorted; InputError if there is no such role."""
        check_choice("role", role, ROLES)
        return self.roles.index[self.roles == role]

    def to_frame(self) -> pd.DataFrame:
        """Table with a row per perturbation: `perturbation`, `role`, `task`, `half`, `seed`."""
        return self.roles.reset_index().assign(task=self.task, half=self.half, seed=self.seed)


def make_splits(
    task: str,
    labels: Iterable[str],
    seed: int,
    *,
    covered: Iterable[str] | None = None,
    together: int | None = None,
) -> tuple[Split, Split]:
    """Train on half of what a task tests, and test the other half; then swap the halves.

    "combinations": half of the combinations is tested, all single perturbations are trained on. By our reading
    (the paper does not say) validation is of combinations too, so that every single stays in training and the best
    epoch is chosen by what the task is about. "unseen": half of the single perturbations is tested. A combination is
    left out of both splits: not trained on, since it may tell about an unseen gene, and not tested, since it may hold a
    seen one. In either task validation is 10 % of the training half (rounded half up, at least one), and over both
    splits every covered perturbation of the task is tested exactly once.

    Parameters
    ----------
    task : "combinations", "unseen" or "auto"
        With "auto", combinations if at least four of them are covered, else unseen; the splits say which it is.
    labels : strings
        Perturbations, without control. Their order does not matter.
    seed : int
        Of the halves.
    covered : strings, optional
        Genes whose perturbation can be predicted, such as the nodes of the gene-ontology graph, or perturbations of
        them (default: all). Perturbations of other genes have the role "not_covered".
    together : int, optional
        Most genes that the model can do together, such as ``MODELS["gears"].together`` (default: any number).
        Combinations of more have the role "left_out" in both splits, whether or not their genes are covered.

    Returns
    -------
    tuple of two Split
        The first tests half 0, the second half 1. Of an odd number of perturbations, half 0 has one more.

    Raises
    ------
    InputError
        There is no such task, a label is not valid (see `Split`), `together` is no whole number of at least 1, or fewer
        than four of the task's perturbations are covered.

    Examples
    --------
    >>> first, second = make_splits("combinations", ["A", "B", "A+B", "A+C", "A+D", "B+C"], seed=0)
    >>> first.labels("test").tolist(), second.labels("test").tolist()
    (['A+B', 'A+D'], ['A+C', 'B+C'])
    >>> first, second = make_splits("unseen", ["A", "B", "C", "D", "A+B"], seed=0, covered=["A", "B", "C", "D"])
    >>> first.labels("test").tolist(), second.labels("test").tolist()
    (['A', 'C'], ['B', 'D'])
    >>> first, second = make_splits("unseen", ["A", "B", "C", "D", "A+B+C"], seed=0, together=2)
    >>> first.labels("left_out").tolist(), second.labels("left_out").tolist()
    (['A+B+C'], ['A+B+C'])
    """
    check_choice("task", task, (*TASKS, "auto"))
    _check_seed(seed)
    names = checked_labels(labels, "perturbations")
    genes = _genes(names if covered is None else covered)
    most = np.inf if together is None else whole_number(together, "together", 1)
    doable = [label for label in names if len(parts(label)) <= most]
    usable = [label for label in doable if genes.issuperset(parts(label))]
    if task == "auto":
        task = "combinations" if is_combination(usable).sum() >= _FEWEST else "unseen"
    combined = task == "combinations"
    tested = [label for label in usable if (len(parts(label)) > 1) == combined]
    if len(tested) < _FEWEST:
        n_all = int((is_combination(names) == combined).sum())
        size = "" if together is None else f" of at most {together} gene(s)"
        what = f"combinations (A+B){size} whose genes are" if combined else "single perturbations whose gene is"
        raise InputError(
            f"the task {task!r} needs at least {_FEWEST} {what} covered by the graph; there are {len(tested)} (of "
            f"{n_all} in all, among {len(names)} perturbations)"
            + ("; use the task 'unseen', which tests single perturbations" if combined else "")
        )
    others = dict.fromkeys(names, "left_out") | dict.fromkeys(doable, "not_covered")
    others |= dict.fromkeys(usable, "train" if combined else "left_out")
    generator = np.random.default_rng(np.random.SeedSequence(int(seed)))
    shuffled = [tested[position] for position in generator.permutation(len(tested))]
    middle = (len(shuffled) + 1) // 2

    def split(half: int, test: list[str], train: list[str]) -> Split:
        validation = train[: max(1, (len(train) + 5) // 10)]
        roles = others | dict.fromkeys(test, "test") | dict.fromkeys(train, "train")
        return Split(task, half, seed, pd.Series(roles | dict.fromkeys(validation, "validation")))

    return split(0, shuffled[:middle], shuffled[middle:]), split(1, shuffled[middle:], shuffled[:middle])


def check_no_leak(splits: Sequence[Split]) -> None:
    """Raise InputError unless no split leaks (see `Split`) and those of one task and seed fit each other.

    They do if no perturbation is tested in both halves (else it has two predictions) and both name the same
    perturbations.
    """
    for split in splits:
        _check(split)
    for one, other in combinations(splits, 2):
        if (one.task, one.seed) != (other.task, other.seed):
            continue
        if one.half == other.half:
            raise InputError(f"{one} occurs twice; give one of them another half or seed")
        twice = one.labels("test").intersection(other.labels("test"))
        if len(twice):
            raise InputError(
                f"{len(twice)} perturbation(s) are tested in both halves of task {one.task}, seed {one.seed}: "
                f"{listed(twice)}; test each in one of them"
            )
        for having, lacking in ((one, other), (other, one)):
            missing = having.roles.index.difference(lacking.roles.index)
            if len(missing):
                raise InputError(
                    f"{lacking} has no role for {len(missing)} perturbation(s) of half {having.half}: "
                    f"{listed(missing)}; give each a role, 'left_out' for neither training nor test"
                )


def write_splits(path: Path | str, splits: Sequence[Split]) -> None:
    """Write splits as one CSV table, with the columns of `Split.to_frame`.

    Raises
    ------
    InputError
        There is no split, one leaks, or two do not fit each other (see `check_no_leak`).
    """
    if not splits:
        raise InputError(f"no splits to write to {path}")
    check_no_leak(splits)
    write_csv(Path(path), pd.concat([split.to_frame() for split in splits], ignore_index=True))


def read_splits(path: Path | str) -> list[Split]:
    """Read splits from a CSV table, as `write_splits` wrote it or as made by hand.

    Rows may be in any order; blank lines and further columns are not read. Splits come in the order of their first
    rows.

    Raises
    ------
    InputError
        There is no such file. A row is not valid, a split leaks, or two do not fit each other; the message names the
        line or the label.
    """
    path = Path(path)
    try:
        splits = [Split(*key, roles) for key, roles in read_roles(path).items()]
        check_no_leak(splits)
    except FileNotFoundError:
        raise InputError(
            f"no file of splits at {path}; write_splits makes one, with columns {listed(COLUMNS)}"
        ) from None
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: not UTF-8 text ({error}); save it as CSV in UTF-8") from error
    except ValueError as error:
        raise InputError(f"{path}: {error}") from error
    return splits


def read_halves(path: Path | str, labels: Iterable[str], covered: Iterable[str]) -> tuple[Split, Split]:
    """Read both halves of a split of a data set's perturbations `labels`, the graph being of the genes `covered`."""
    splits = sorted(read_splits(path), key=lambda split: split.half)
    kinds = sorted({(split.task, split.seed) for split in splits})
    if [split.half for split in splits] != [0, 1] or len(kinds) > 1:
        raise InputError(f"{path}: holds {listed(splits)}; expected the halves 0 and 1 of one task and seed")
    present, genes = label_index(labels, "perturbations"), _genes(covered)
    for split in splits:
        used = split.roles.index[split.roles.isin(["train", "validation", "test"])]
        outside = [label for label in used if not genes.issuperset(parts(label))]
        for wrong, what in (
            (split.roles.index.difference(present), "not in the data; take out these rows"),
            (present.difference(split.roles.index), "without a role; give them one, such as left_out"),
            (outside, "of genes outside the graph: call these not_covered"),
        ):
            if len(wrong):
                raise InputError(f"{path}, half {split.half}: {listed(wrong)}: {what}")
    return splits[0], splits[1]


def _check(split: Split) -> None:
    """Raise InputError unless `split` is what `Split` promises; its labels are checked already."""
    check_choice("task", split.task, TASKS)
    check_choice("half", split.half, (0, 1))
    _check_seed(split.seed)
    for label, role in split.roles.items():
        check_choice(f"{split}: role of {label!r}", role, ROLES)
    counts = split.roles.value_counts().reindex(ROLES, fill_value=0)
    for role in ("train", "validation", "test"):
        if not counts[role]:
            raise InputError(
                f"{split} has no perturbation of role {role!r} (of {len(split.roles)}: "
                f"{', '.join(f'{n} {name}' for name, n in counts.items())}); at least 1 more is needed"
            )
    tested = split.labels("test")
    if split.task == "combinations":
        singles = tested[~is_combination(tested)]
        if len(singles):
            raise InputError(
                f"{split} tests {len(singles)} single perturbation(s): {listed(singles)}; in this task the singles are "
                "for training (the task 'unseen' tests singles)"
            )
        return
    seen = {gene: label for role in ("validation", "train") for label in split.labels(role) for gene in parts(label)}
    for label in tested:
        for gene in parts(label):
            if gene in seen:
                raise InputError(
                    f"{split}: {label!r} is tested as unseen, but its gene {gene} is also in {seen[gene]!r}, whose "
                    f"role is {split.roles[seen[gene]]!r}; give the latter the role 'left_out'"
                )


def _check_seed(seed: object) -> None:
    if isinstance(seed, bool) or not isinstance(seed, (int, np.integer)) or seed < 0:
        raise InputError(f"seed is {seed!r}; it must be a whole number, 0 or larger")


def _genes(covered: Iterable[str]) -> frozenset[str]:
    if isinstance(covered, str):
        raise InputError(f"covered is the text {covered!r}; expected a collection of genes")
    return frozenset(gene for label in covered for gene in parts(canonical(label)))
