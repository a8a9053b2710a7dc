"""docs/where.md: every equation, table and figure of the paper is there; every file and name that it gives exists."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
ROWS = re.findall(r"^\| (.+?) \| .+? \| `(.+?)` \| `(.+?)` \|$", (ROOT / "docs" / "where.md").read_text(), re.M)


def numbers(kind: str) -> set[int]:
    """Numbers of the paper's equations, tables or figures that the page names; 9–18 are ten."""
    found = set()
    for first, last in re.findall(rf"\b{kind}s? (\d+)(?:–(\d+))?", "\n".join(row[0] for row in ROWS)):
        found |= set(range(int(first), int(last or first) + 1))
    return found


@pytest.mark.parametrize(("kind", "last"), [("equation", 18), ("table", 3), ("figure", 9)])
def test_whole_paper_is_there(kind, last):
    assert numbers(kind) == set(range(1, last + 1))


@pytest.mark.parametrize(("file", "name"), sorted({row[1:] for row in ROWS}))
def test_file_holds_the_name(file, name):
    path = ROOT / file if file.startswith(("analyses/", "tests/")) else ROOT / "src/diversity_by_design" / file
    definitions = ast.parse(path.read_text()).body
    assert name in {node.name for node in definitions if isinstance(node, ast.FunctionDef | ast.ClassDef)}


def test_every_row_is_read():
    assert len(ROWS) == sum(line.startswith("| ") and "`" in line for line in (ROOT / "docs/where.md").open())
