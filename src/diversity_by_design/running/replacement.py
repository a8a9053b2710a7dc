"""A finished run takes the place of the earlier one of its folder, which stays whole until then.

The new run writes into a hidden folder within, under a record of its own. Once that record says that the run is
complete, its files are moved one by one, its record last; then the files go that only the earlier run had. All of this
can be repeated: where the program is killed in the middle, the next one that opens the folder completes it.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from diversity_by_design.running.files import writing
from diversity_by_design.running.records import RECORD, files_of, read_record, write_record

STAGING = ".unfinished"


def obsolete_files(folder: Path, record: Mapping[str, Any]) -> list[str]:
    """Files of the run that is in its place in `folder`, but not of the one of `record`."""
    earlier = read_record(folder)
    return sorted(set(files_of(earlier)) - set(files_of(record))) if earlier else []


def take_place(folder: Path) -> None:
    """Put the run that is complete in the hidden folder, if there is one, where the earlier run was."""
    staging = folder / STAGING
    staged = read_record(staging)
    if staged and staged["complete"]:
        for file in [*files_of(staged), RECORD]:
            with writing(folder / file, staging / file):
                (folder / file).parent.mkdir(parents=True, exist_ok=True)
                if (staging / file).exists():
                    os.replace(staging / file, folder / file)
    if staging.is_dir() and (staged is None or staged["complete"]):
        shutil.rmtree(staging)
    record = read_record(folder)
    if record and record["obsolete"]:
        for file in record["obsolete"]:
            (folder / file).unlink(missing_ok=True)
        write_record(folder, {**record, "obsolete": []})
