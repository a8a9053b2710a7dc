"""The error that a user can mend, and checks of names: what is wrong, where, and what would have been right."""

from __future__ import annotations

import operator
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd


class InputError(ValueError):
    """Something that was given is wrong: an argument, a file, a place to write to.

    Scripts print its message in one line and exit with code 2. Any other exception is a fault of the program.
    """


def listed(names: Iterable[object], limit: int = 10) -> str:
    """Names as one readable phrase, shortened after `limit` of them.

    Examples
    --------
    >>> listed(["A", "B", "C"], limit=2)
    'A, B and 1 more'
    """
    shown = [str(name) for name in names]
    if not shown:
        return "none"
    if len(shown) <= limit:
        return ", ".join(shown)
    return f"{', '.join(shown[:limit])} and {len(shown) - limit} more"


def of_type(value: Any, kind: type, name: str, instead: str) -> None:
    """Raise InputError unless `value` is of a type; `instead` says how one is made."""
    if not isinstance(value, kind):
        raise InputError(f"{name} is of type {type(value).__name__}; expected {kind.__name__}: {instead}")


def whole_number(value: Any, name: str, least: int) -> int:
    """A whole number of at least `least`.

    Raises
    ------
    InputError
        It is something else, such as a text or a fraction.

    Examples
    --------
    >>> whole_number(3, "halvings", 1)
    3
    """
    try:
        number = operator.index(value)
    except TypeError:
        number = least - 1
    if number < least:
        raise InputError(f"{name} is {value!r}; it must be a whole number of at least {least}")
    return number


def obs_column(obs: pd.DataFrame, key: str) -> pd.Series:
    """Return the column `key` of `obs`; every cell must have a value there.

    Raises
    ------
    InputError
        There is no such column (the message lists those that exist), or some cells have no value.
    """
    if not isinstance(key, str) or key not in obs.columns:
        raise InputError(f"no column {key!r} in obs; its columns are: {listed(obs.columns, 30)}")
    column = obs[key]
    blank = [label for label in column.unique() if isinstance(label, str) and not label.strip()]
    missing = column.isna() | column.isin(blank)
    if missing.any():
        raise InputError(
            f"obs[{key!r}] has no value for {int(missing.sum())} of {len(column)} cells "
            f"(first: {listed(column.index[missing.to_numpy()], 3)}); label them or remove them"
        )
    return column


def control_label(labels: Iterable[object], control: str, key: str) -> None:
    """Raise InputError unless `control` is among `labels`, the values of ``obs[key]``."""
    present = sorted({str(label) for label in labels})
    if control not in present:
        near = similar(control, present)
        hint = f" (did you mean {' or '.join(map(repr, near))}?)" if near else ""
        raise InputError(
            f"control label {control!r} does not occur in obs[{key!r}]{hint}; its labels are: {listed(present, 30)}"
        )


def similar(label: str, labels: Iterable[str]) -> list[str]:
    """Labels that differ from one in case, in spaces at the ends or in a final ``.0`` only.

    Examples
    --------
    >>> similar("non-targeting", ["KLF1", "Non-Targeting ", "non"])
    ['Non-Targeting ']
    """

    def form(text: str) -> str:
        return text.strip().removesuffix(".0").casefold()

    return [other for other in labels if form(other) == form(label)]


def enough_perturbations(labels: Sequence[object] | pd.Index, where: str) -> None:
    """Raise InputError unless there are at least two perturbations (control not counted)."""
    if len(labels) < 2:
        raise InputError(
            f"{where}: {len(labels)} perturbation(s) besides control ({listed(labels)}); at least 2 are needed, "
            "since every perturbation is compared with the others"
        )


def unique_names(names: Iterable[object], what: str, where: str) -> None:
    """Raise InputError if a name occurs twice; `what` is "gene", "cell" or "perturbation"."""
    import pandas as pd

    index = names if isinstance(names, pd.Index) else pd.Index(list(names))
    if not index.is_unique:
        repeated = index[index.duplicated()].unique()
        raise InputError(
            f"{where}: {len(repeated)} {what} name(s) occur more than once: {listed(repeated, 5)}; give each once"
            + (" (AnnData has obs_names_make_unique and var_names_make_unique)" if what in ("gene", "cell") else "")
        )
