"""Dependencies point one way: no file and no package imports, directly or by others, what imports it."""

import ast
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "src" / "diversity_by_design"
# From the ground floor up; a module may import what stands before it, at the top of a file or within a function.
ORDER = (
    *("errors", "lazy", "registry", "threads", "labels", "loss_names", "arrays", "report", "running", "cli"),
    *("scales",),
    *("cells", "moments", "groups", "statistics", "significance", "halves", "degs", "truth", "metrics", "baselines"),
    *("predictions", "calibration", "paired", "scorecard", "scoring", "correlation", "simulator", "auditing"),
    *("audit_summary", "datasets", "graphs", "models", "gears", "paper"),
)


def name_of(path: Path) -> str:
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {name_of(path): path for path in PACKAGE.rglob("*.py")}


def imported(node: ast.AST) -> set[str]:
    """Modules of the package that code imports, but for the sake of types."""
    if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
        return set()
    names = set()
    if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == PACKAGE.name:
        base = node.module.removeprefix(PACKAGE.name).removeprefix(".")
        names = {f"{base}.{alias.name}".removeprefix(".") for alias in node.names}
        names = {name if name in MODULES else base for name in names}
    return names.union(*(imported(child) for child in ast.iter_child_nodes(node)))


# The package itself gives out names of all modules, on first use.
GRAPH = {name: imported(ast.parse(path.read_text())) - {name, ""} for name, path in MODULES.items() if name}


def test_no_file_is_part_of_a_circle():
    try:
        TopologicalSorter(GRAPH).prepare()
    except CycleError as error:
        pytest.fail(" -> ".join(error.args[1]))


def test_packages_import_only_what_stands_before_them():
    assert sorted(ORDER) == sorted({name.split(".")[0] for name in GRAPH})
    wrong = {
        f"{name} imports {other}"
        for name, others in GRAPH.items()
        for other in others
        if ORDER.index(other.split(".")[0]) > ORDER.index(name.split(".")[0])
    }
    assert not wrong
