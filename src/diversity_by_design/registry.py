"""Registries: named rows of one kind, to which anyone can add."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from difflib import get_close_matches
from typing import Any, Generic, Protocol, TypeVar

from diversity_by_design.errors import InputError, listed


class Named(Protocol):
    """Anything with a name."""

    @property
    def name(self) -> str:
        """Its name."""


Row = TypeVar("Row", bound=Named)


class Registry(Mapping[str, Row], Generic[Row]):
    """Rows by name, in the order in which they were added.

    Parameters
    ----------
    what : str
        What a row is, for messages.
    make : type
        Makes a row from what `register` is given.

    Examples
    --------
    >>> from diversity_by_design.metrics import METRICS
    >>> METRICS["mse"].higher_is_better
    False
    """

    def __init__(self, what: str, make: type[Row]) -> None:
        self.what = what
        self._make = make
        self._rows: dict[str, Row] = {}

    def register(self, *arguments: Any, **fields: Any) -> Row:
        """Add a row: a finished one, or the fields of one.

        Raises
        ------
        InputError
            Another row has its name.
        """
        whole = len(arguments) == 1 and not fields and isinstance(arguments[0], self._make)
        row = arguments[0] if whole else self._make(*arguments, **fields)
        if self._rows.get(row.name, row) is not row:
            raise InputError(f"there is a {self.what} called {row.name!r} already; choose another name")
        self._rows[row.name] = row
        return row

    def remove(self, name: str) -> None:
        """Take a row out again.

        Raises
        ------
        InputError
            There is none of this name.
        """
        del self._rows[self[name].name]

    def chosen(self, given: str | Row | Iterable[str | Row] | None) -> list[Row]:
        """Rows by name, or rows that need not be registered; all of them for None.

        Raises
        ------
        InputError
            There is none of a name, something is no row, a name occurs twice, or nothing was given.
        """
        if given is None:
            return list(self._rows.values())
        rows: list[Row] = []
        for item in [given] if isinstance(given, str) or not isinstance(given, Iterable) else given:
            row = self[item] if isinstance(item, str) else item
            if not isinstance(row, self._make):
                raise InputError(
                    f"{row!r} is no {self.what}; give a name ({listed(self, 30)}) or a {self._make.__name__}"
                )
            rows.append(row)
        names = [row.name for row in rows]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice or not rows:
            what = f"{listed(twice)} occurs more than once" if twice else "none was given"
            raise InputError(f"{self.what}s: {what}; give each once: {listed(self, 30)}")
        return rows

    def __repr__(self) -> str:
        return f"<{self.what}s: {', '.join(self)}>"

    def __getitem__(self, name: str) -> Row:
        if name not in self._rows:
            near = get_close_matches(str(name), self._rows, n=1)
            hint = f" (did you mean {near[0]!r}?)" if near else ""
            raise InputError(f"no {self.what} is called {name!r}{hint}; there are: {listed(self._rows, 60)}")
        return self._rows[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._rows)

    def __len__(self) -> int:
        return len(self._rows)

    def __contains__(self, name: object) -> bool:
        return name in self._rows
