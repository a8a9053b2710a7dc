"""Which modules of this package a program uses, told from the source: nothing is imported or run.

Imports inside functions count, those for type checking only do not. The package's façades, modules that import their
names on first use, list these under ``if TYPE_CHECKING:``; a name taken from a façade counts as taken from its home.
What a program imports by a name that it puts together is not seen.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

PACKAGE = "diversity_by_design"
_ROOT = Path(__file__).parents[1]


def source(module: str) -> Path | None:
    """File of a module of this package; None if the package has no such module."""
    package, *parts = module.split(".")
    place = _ROOT.joinpath(*parts)
    files = (place / "__init__.py", place.with_name(f"{place.name}.py"))
    return next((file for file in files if package == PACKAGE and file.is_file()), None)


def imports(path: Path) -> set[str]:
    """Modules of this package that the program at `path` imports itself, such as ``diversity_by_design.errors``.

    Examples
    --------
    >>> sorted(imports(source("diversity_by_design.running.checksum")))
    ['diversity_by_design.errors']
    """
    used: set[str] = set()
    for node in _executed(_parsed(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            used.update(module for alias in node.names for module in _whole(alias.name))
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            used.update(module for alias in node.names for module in _homes(node.module, alias.name))
    return used


def closure(path: Path) -> set[str]:
    """Modules of this package that the program at `path` uses: what it imports, what these import, and so on.

    Packages around a module are among them, since importing it runs them, but façades only where they are imported as
    a whole.
    """
    used: set[str] = set()
    waiting = imports(path)
    while waiting:
        module = waiting.pop()
        used.add(module)
        around = module.rpartition(".")[0]
        if source(around) and _facade(around) is None:
            waiting.add(around)
        if file := source(module):
            waiting |= imports(file)
        waiting -= used
    return used


@cache
def _parsed(text: str) -> ast.Module:
    return ast.parse(text)


def _executed(node: ast.AST) -> Iterator[ast.AST]:
    """All nodes within one, but for blocks for type checking."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.If) and _is_type_checking(child):
            child = ast.Module(child.orelse, [])
        yield child
        yield from _executed(child)


def _is_type_checking(node: ast.stmt) -> bool:
    return isinstance(node, ast.If) and ast.unparse(node.test) in ("TYPE_CHECKING", "typing.TYPE_CHECKING")


def _facade(module: str) -> dict[str, tuple[str, str]] | None:
    """Names that a façade offers, each with its home and its name there; None for any other module."""
    file = source(module)
    body = _parsed(file.read_text(encoding="utf-8")).body if file else []
    bound = {node.name for node in body if isinstance(node, ast.FunctionDef)}
    assigned = [name for node in body if isinstance(node, ast.Assign) for name in ast.walk(node)]
    bound |= {name.id for name in assigned if isinstance(name, ast.Name)}
    if "__getattr__" not in bound:
        return None
    return {
        alias.asname or alias.name: (node.module, alias.name)
        for block in filter(_is_type_checking, body)
        for node in ast.walk(block)
        if isinstance(node, ast.ImportFrom) and node.module
        for alias in node.names
    }


def _homes(module: str, name: str) -> set[str]:
    """Modules that ``from module import name`` takes something from."""
    facade = _facade(module) or {}
    if source(f"{module}.{name}"):
        return _whole(f"{module}.{name}")
    return _homes(*facade[name]) if name in facade else _whole(module)


def _whole(module: str) -> set[str]:
    """A module imported as it is: all that it offers, if it is a façade."""
    facade = _facade(module) or {}
    return {module}.union(*(_homes(*home) for home in facade.values())) if source(module) else set()
