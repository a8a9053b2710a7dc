"""Names of perturbations: a gene, or two of them such as A+B."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise

from diversity_by_design.errors import InputError, canonical_conditions, listed

# Names of unperturbed cells, here and in cell-gears, where a single perturbation is called A+ctrl.
_CONTROL = ("control", "ctrl")


def genes_of(label: str) -> tuple[str, ...]:
    """Genes that a perturbation perturbs.

    Examples
    --------
    >>> genes_of("KLF1"), genes_of("KLF1+MAP2K6")
    (('KLF1',), ('KLF1', 'MAP2K6'))
    """
    return tuple(label.split("+"))


def checked_labels(labels: Iterable[object], where: str) -> list[str]:
    """Labels, sorted, once it is clear that each is a perturbation of one or two genes and no two are the same.

    Parameters
    ----------
    labels : iterable
        In any order.
    where : str
        What they are the labels of, for the message.

    Raises
    ------
    InputError
        A label is no text, names control, no gene, a gene twice or more than two genes, or two labels are the same but
        for the order of their genes.

    Examples
    --------
    >>> checked_labels(["B", "A+B", "A"], "perturbations")
    ['A', 'A+B', 'B']
    """
    given = [labels] if isinstance(labels, str) else list(labels)
    names = sorted(label for label in given if isinstance(label, str))
    if len(names) < len(given):
        wrong = next(label for label in given if not isinstance(label, str))
        raise InputError(f"{where}: label {wrong!r} is no text; perturbations are named such as A, or A+B")
    # An obs column may well be given, with a label per cell.
    repeated = sorted({one for one, next_one in pairwise(names) if one == next_one})
    if repeated:
        raise InputError(
            f"{where}: {len(repeated)} label(s) occur more than once: {listed(repeated)}; name every perturbation once"
        )
    for label in names:
        genes = genes_of(label)
        if any(gene in _CONTROL for gene in genes):
            raise InputError(
                f"{where}: {label!r} names control, which is no perturbation: leave control out, and call a single "
                "perturbation A (not A+ctrl)"
            )
        if any(not gene or gene != gene.strip() for gene in genes) or len(set(genes)) < len(genes):
            raise InputError(
                f"{where}: label {label!r} is no perturbation; expected one gene (A) or two different ones (A+B), "
                "without spaces around them"
            )
    many = [label for label in names if len(genes_of(label)) > 2]
    if many:
        raise InputError(
            f"{where}: {len(many)} combination(s) of more than two genes: {listed(many)}; GEARS is defined for one or "
            "two, so leave these out"
        )
    canonical_conditions(names)
    return names
