"""Folders that one program at a time has."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from messages import naming
from processes import another_has

from diversity_by_design.errors import InputError
from diversity_by_design.running.files import atomic_path
from diversity_by_design.running.locks import hold

HOLD = "from pathlib import Path; from diversity_by_design.running.locks import hold\n"


def held_elsewhere(folder: Path) -> str:
    """What another process that tries to hold the folder says."""
    code = f"{HOLD}with hold(Path({str(folder)!r})): pass"
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stderr


def test_another_process_is_refused_until_the_block_has_ended(tmp_path):
    folder = tmp_path / "new"
    with hold(folder), hold(folder):  # the same process may have it twice
        said = held_elsewhere(folder)
        assert f"InputError: {folder} is in use" in said and f"(process {os.getpid()})" in said
    assert held_elsewhere(folder) == ""


def test_a_lock_ends_with_its_process_and_a_forgotten_one_at_once(tmp_path):
    with another_has(tmp_path) as process, pytest.raises(InputError, match=naming(tmp_path, process)):
        hold(tmp_path)
    held = hold(tmp_path)
    del held
    assert held_elsewhere(tmp_path) == ""


def test_what_a_killed_process_had_half_written_is_removed(tmp_path):
    code = (
        "import os, signal, sys\nfrom pathlib import Path\nfrom diversity_by_design.running.files import atomic_path\n"
        "with atomic_path(Path(sys.argv[1])) as path:\n"
        "    path.write_text('half')\n    os.kill(os.getpid(), signal.SIGKILL)"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path / "processed.h5ad")])
    (tmp_path / ".mine.csv").touch()
    assert len(list(tmp_path.iterdir())) == 2
    with hold(tmp_path), atomic_path(tmp_path / "table.csv") as path:
        path.write_text("whole")
        hold(tmp_path)
    assert {file.name for file in tmp_path.iterdir()} == {".lock", ".mine.csv", "table.csv"}


def test_a_folder_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "taken").write_text("a file")
    with pytest.raises(InputError, match="taken"):
        hold(tmp_path / "taken" / "results")
