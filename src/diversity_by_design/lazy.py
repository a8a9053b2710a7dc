"""Names of a package that are imported on first use, so that importing the package costs next to nothing."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any

_ROOT = __name__.rpartition(".")[0]


def lazy_names(package: str, homes: Mapping[str, str]) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """Functions `__getattr__` and `__dir__` of a package.

    Parameters
    ----------
    package : str
        Its name, for messages.
    homes : mapping of str to str
        Where each name is defined: a module, as seen from this project's package. A name that its module calls
        otherwise is ``"module:name"``; ``"module:"`` stands for the module itself.
    """

    def getattribute(name: str) -> Any:
        if name not in homes:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        module, colon, attribute = homes[name].partition(":")
        home = import_module(f"{_ROOT}.{module}")
        return home if colon and not attribute else getattr(home, attribute or name)

    return getattribute, lambda: sorted(homes)
