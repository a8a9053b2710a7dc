"""Where a copy of the project lies, and its data."""

from __future__ import annotations

import os
import sys
from pathlib import Path

NAME = "diversity-by-design"


def running_script() -> Path | None:
    """File of the program that runs; None in a notebook, for instance."""
    script = getattr(sys.modules.get("__main__"), "__file__", None)
    return Path(script).resolve() if script and Path(script).is_file() else None


def project_root() -> Path:
    """Folder of the project: the one the running script lies in, else one around the current folder, else that folder.

    The place of the library itself is not asked: it may be installed far from the data and the results.
    """
    script = running_script()
    for start in ([script.parent] if script else []) + [Path.cwd()]:
        for folder in (start, *start.parents):
            marker = folder / "pyproject.toml"
            if marker.is_file() and f'name = "{NAME}"' in marker.read_text(encoding="utf-8"):
                return folder
    return Path.cwd()


def data_dir() -> Path:
    """Folder of the prepared data sets: the variable DBD_DATA_DIR, else ``data`` in the project's folder."""
    named = os.environ.get("DBD_DATA_DIR")
    return Path(named) if named else project_root() / "data"
