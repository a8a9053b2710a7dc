"""Captions: what is filled in, what is refused, and that none is missing and none left over."""

import ast
import re
from fnmatch import fnmatchcase

import pytest
from conftest import ROOT
from messages import naming

from diversity_by_design.paper.analysis import ANALYSES
from diversity_by_design.running.captions import FILE, TEXTS, caption, placeholders, read_captions
from diversity_by_design.running.imports import closure, source

ENTRIES = {
    TEXTS: {"what": "sweep"},
    "k": {"title": "Along {name}", "caption": ["A {what} of {n:,} points.", "{lost} are undefined."]},
}


def test_values_are_filled_in_and_parts_without_one_left_out():
    values = {"name": "k", "n": 1000}
    assert caption(ENTRIES, "k", {**values, "lost": None}) == {
        "title": "Along k",
        "caption": "A sweep of 1,000 points.",
    }
    assert caption(ENTRIES, "k", {**values, "lost": 0})["caption"].endswith(" 0 are undefined.")


@pytest.mark.parametrize(
    ("name", "values", "named"),
    [
        ("k", {"name": "k", "n": 1}, ["caption", "k", "lost"]),
        ("k", {"name": "k", "n": 1, "lost": 2, "seed": 3}, ["k", "seed"]),
        ("n_0", {}, ["n_0", FILE.name]),
        (TEXTS, {}, [TEXTS]),
    ],
)
def test_what_does_not_fit_is_refused_by_name(name, values, named):
    with pytest.raises(ValueError, match=naming(*named)):
        caption(ENTRIES, name, values)


def written(analysis: str) -> set[str]:
    """Names of results that the programs of an analysis write, as patterns."""
    script = ROOT / "analyses" / f"{analysis}.py"
    results = {module for module in closure(script) if ".paper.writers." in module}
    names = set()
    for path in [script, *map(source, results)]:
        tree = ast.parse(path.read_text())
        for call in ast.walk(tree):
            if isinstance(call, ast.Call) and re.match(r"folder\.(table|figure|cached_table)$", ast.unparse(call.func)):
                names |= patterns(call.args[0], tree)
    return names


def patterns(name: ast.expr, tree: ast.Module) -> set[str]:
    """What the first argument of a call can be: a text, a text with gaps, or a key of TREND_FIGURES."""
    if isinstance(name, ast.Constant):
        return {name.value}
    if isinstance(name, ast.JoinedStr):
        return {"".join(part.value if isinstance(part, ast.Constant) else "*" for part in name.values)}
    [figures] = [
        node.value for node in tree.body if isinstance(node, ast.Assign) and node.targets[0].id == "TREND_FIGURES"
    ]
    return {key.value for key in figures.keys}


@pytest.mark.parametrize("analysis", ANALYSES)
def test_every_result_has_a_caption_and_every_caption_a_result(analysis):
    names, entries = written(analysis), {key for key in read_captions(analysis) if key != TEXTS}
    assert len(names) >= 3
    assert [name for name in names if not any(fits(name, key) for key in entries)] == []
    assert [key for key in entries if not any(fits(name, key) for name in names)] == []


def fits(name: str, key: str) -> bool:
    return fnmatchcase(name, key) or fnmatchcase(key, name)


@pytest.mark.parametrize("analysis", ANALYSES)
def test_no_common_text_is_left_over(analysis):
    entries = dict(read_captions(analysis))
    texts = entries.pop(TEXTS, {})
    used = {name for entry in entries.values() for text in entry.values() for name in placeholders("".join(text))}
    assert set(texts) <= used


def test_only_analyses_have_captions():
    assert set(re.findall(r"^\[(\w+)\.", FILE.read_text(encoding="utf-8"), re.M)) == set(ANALYSES)
