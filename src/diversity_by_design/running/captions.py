"""What the report says of each table and figure: titles and captions by analysis and name, from one data file."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from fnmatch import fnmatchcase
from pathlib import Path
from string import Formatter
from typing import Any

FILE = Path(__file__).parents[1] / "templates" / "captions.toml"
TEXTS = "texts"


def read_captions(analysis: str) -> Mapping[str, Any]:
    """Entries of an analysis in the data file; none if it is not there."""
    return tomllib.loads(FILE.read_text(encoding="utf-8")).get(analysis, {})


def placeholders(text: str) -> set[str]:
    """Names of the placeholders of a text.

    Examples
    --------
    >>> sorted(placeholders("{n:,} of {total}"))
    ['n', 'total']
    """
    return {field for _, field, _, _ in Formatter().parse(text) if field}


def caption(entries: Mapping[str, Any], name: str, values: Mapping[str, object]) -> dict[str, str]:
    """What is to be said of a result: `caption`, and of a figure `title` and `paper`.

    `entries` are those of an analysis: by the name of a result, or a pattern such as ``sweep_*``, its texts. A text is
    a template of `str.format`, or a list of such, of which those are left out that have a placeholder whose value is
    None. ``texts`` are templates' common parts, which are placeholders in any of them. Raises ValueError where there is
    no such entry, a placeholder has no value, or a value no placeholder.

    >>> entries = {"sweep_*": {"caption": ["Sweep of {parameter}.", "{undefined:,} points are undefined."]}}
    >>> caption(entries, "sweep_k", {"parameter": "k", "undefined": None})
    {'caption': 'Sweep of k.'}
    """
    key = next((key for key in entries if key != TEXTS and fnmatchcase(name, key)), None)
    if key is None:
        raise ValueError(f"no caption of the result {name!r}; there are: {', '.join(entries)} (see {FILE.name})")
    known = {**entries.get(TEXTS, {}), **values}
    said: dict[str, str] = {}
    used: set[str] = set()
    for field, text in entries[key].items():
        templates = {part: placeholders(part) for part in ([text] if isinstance(text, str) else text)}
        wanted = set().union(*templates.values())
        if wanted - set(known):
            raise ValueError(f"{field} of {name!r} has placeholders without a value: {', '.join(wanted - set(known))}")
        used |= wanted
        shown = [part for part, names in templates.items() if all(known[each] is not None for each in names)]
        said[field] = " ".join(part.format_map(known) for part in shown)
    if set(values) - used:
        raise ValueError(f"values that no text of {name!r} has a place for: {', '.join(set(values) - used)}")
    return said
