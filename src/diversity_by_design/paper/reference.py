"""The paper's own numbers, which come with the scripts in ``analyses/paper_reference``."""

from __future__ import annotations

import pandas as pd

from diversity_by_design.running.files import read_csv
from diversity_by_design.running.project import project_root


def paper_numbers(name: str) -> pd.DataFrame:
    """A table: "correlations" (tables 2 and 3) or "claims" (what sections 4.4 and 4.5 say about models)."""
    return read_csv(project_root() / "analyses" / "paper_reference" / f"{name}.csv")
