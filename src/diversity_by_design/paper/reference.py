"""The paper's own numbers, which come with the scripts in ``analyses/paper_reference``."""

from __future__ import annotations

import pandas as pd

from diversity_by_design.running.files import read_csv
from diversity_by_design.running.project import project_root


def correlations() -> pd.DataFrame:
    """Tables 2 and 3: `table`, `dataset`, `metric`, `gene_group`, `parameter`, `r`."""
    return _read("correlations")


def claims() -> pd.DataFrame:
    """What sections 4.4 and 4.5 say about models: `key`, `claim`, `dataset`, `task`, `paper`, `unit`."""
    return _read("claims")


def _read(name: str) -> pd.DataFrame:
    return read_csv(project_root() / "analyses" / "paper_reference" / f"{name}.csv")
