"""Files are whole or not there, and a disk at fault is named."""

import os
import resource
import shutil
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from messages import naming

from diversity_by_design.errors import InputError
from diversity_by_design.running.files import atomic_path, read_csv, write_csv, write_text


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_nothing_appears_before_the_block_has_ended(tmp_path):
    with atomic_path(tmp_path / "new" / "table.csv") as temporary:
        temporary.write_text("half")
        assert not (tmp_path / "new" / "table.csv").exists()
        assert temporary.suffix == ".csv"
    assert (tmp_path / "new" / "table.csv").read_text() == "half"
    assert names(tmp_path / "new") == ["table.csv"]


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt, OSError])
def test_failure_leaves_the_earlier_file_and_no_temporary(tmp_path, error):
    path = tmp_path / "table.csv"
    write_text(path, "earlier")
    with pytest.raises(error), atomic_path(path) as temporary:
        temporary.write_text("half")
        raise error
    assert path.read_text() == "earlier"
    assert names(tmp_path) == ["table.csv"]


def test_disk_without_room_names_the_file_and_leaves_nothing(tmp_path):
    """The system itself refuses to let a file grow, as a full disk does."""
    path = tmp_path / "table.csv"
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, before[1]))
    try:
        with pytest.raises(InputError, match=naming("table.csv", "File too large")):
            write_text(path, "x" * 100_000)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert names(tmp_path) == []


def test_read_only_folder_names_the_file():
    folder = Path(tempfile.mkdtemp())  # not below tmp_path, which other users cannot enter
    user = os.geteuid()
    try:
        folder.chmod(0o555)
        if user == 0:
            os.seteuid(65534)  # to root no folder is read-only
        with pytest.raises(InputError, match=naming("table.csv", "Permission denied")):
            write_text(folder / "table.csv", "x")
        with pytest.raises(InputError, match=naming("table.csv", "Permission denied")):
            write_text(folder / "new" / "table.csv", "x")
    finally:
        os.seteuid(user)
        folder.chmod(0o755)
        shutil.rmtree(folder)


def test_folder_that_is_a_file_is_named(tmp_path):
    (tmp_path / "results").write_text("a file")
    with pytest.raises(InputError, match=naming("results/table.csv")):
        write_text(tmp_path / "results" / "table.csv", "x")


def test_errors_about_other_files_pass_unchanged(tmp_path):
    with pytest.raises(FileNotFoundError) as caught, atomic_path(tmp_path / "table.csv"):
        (tmp_path / "input.csv").read_text()
    assert caught.value.filename == str(tmp_path / "input.csv")


def test_table_comes_back_as_it_was(tmp_path):
    frame = pd.DataFrame(
        {
            "gene": ["NA", "nan", "1", "CEBPE+KLF1"],
            "n": [1, 2, 3, 4],
            "score": [0.1, np.nan, -np.inf, 1e-300],
            "deg": [True, False, True, True],
        }
    )
    write_csv(tmp_path / "table.csv", frame)
    again = read_csv(tmp_path / "table.csv", frame.dtypes.astype(str).to_dict())
    pd.testing.assert_frame_equal(again, frame)


def test_information_in_the_index_is_not_dropped(tmp_path):
    with pytest.raises(ValueError, match="reset_index"):
        write_csv(tmp_path / "table.csv", pd.DataFrame({"n": [1]}, index=["CEBPE"]))
    with pytest.raises(ValueError, match=naming("table.csv", "n")):
        write_csv(tmp_path / "table.csv", pd.DataFrame([[1, 2]], columns=["n", "n"]))
    assert names(tmp_path) == []
