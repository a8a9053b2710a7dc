"""The get_data.py scripts, run as a user runs them."""

import runpy
import sys
from pathlib import Path

import pytest

from diversity_by_design.datasets import registry

DATA = Path(__file__).parents[2] / "data"
SETTINGS = ["--cells-per-perturbation", "16", "--genes", "100", "--min-genes-per-cell", "100"]


@pytest.fixture
def get_data(monkeypatch, tmp_path, capsys):
    monkeypatch.setenv("DBD_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("COLUMNS", "200")

    def run(name, *arguments):
        monkeypatch.setattr(sys, "argv", ["get_data.py", *map(str, arguments)])
        with pytest.raises(SystemExit) as end:
            runpy.run_path(str(DATA / name / "get_data.py"), run_name="__main__")
        return end.value.code or 0, capsys.readouterr()

    return run


@pytest.mark.parametrize("name", registry.DATASETS)
def test_every_data_set_has_a_script(get_data, name):
    code, said = get_data(name, "--help")
    assert code == 0
    assert name in said.out
    for option in ("--from", "--seed", "--preparation-seed", "--cells-per-perturbation", "--genes", "--force"):
        assert option in said.out


def test_prepares_a_file_and_reports(get_data, norman_file, tmp_path):
    code, said = get_data("norman19", "--from", norman_file, "--seed", 3, *SETTINGS)
    assert code == 0
    assert "kept: 5 perturbations x 16 cells, 40 of 40 control cells, 100 genes (seed 3)" in said.out
    assert "1 perturbations with fewer than 16 cells left out: FEV (5)" in said.out
    [path] = (tmp_path / "data" / "norman19").glob("processed-*.h5ad")
    assert str(path) in said.out
    made = path.stat().st_mtime_ns

    code, said = get_data("norman19", "--from", norman_file, "--preparation-seed", 3, *SETTINGS)
    assert (code, path.stat().st_mtime_ns) == (0, made)
    code, said = get_data("norman19", "--from", norman_file, "--seed", 3, *SETTINGS, "--force")
    assert code == 0 and path.stat().st_mtime_ns > made


def test_another_file_is_not_mistaken_for_the_prepared_one(get_data, norman_file, tmp_path):
    get_data("norman19", "--from", norman_file, *SETTINGS)
    other = tmp_path / "other.h5ad"
    other.write_bytes(norman_file.read_bytes() + b" ")
    code, said = get_data("norman19", "--from", other, *SETTINGS)
    assert code == 0
    assert "is replaced" in said.out and "other.h5ad: " in said.out


@pytest.mark.parametrize(
    ("content", "message"), [(None, "no file"), (b"", "is empty (0 bytes)"), (b"gene,cell", "is not an HDF5 file")]
)
def test_errors_have_no_traceback_and_exit_with_2(get_data, tmp_path, content, message):
    if content is not None:
        (tmp_path / "raw.h5ad").write_bytes(content)
    code, said = get_data("replogle22", "--from", tmp_path / "raw.h5ad")
    assert code == 2
    assert message in said.err and "raw.h5ad" in said.err
    assert "Traceback" not in said.err


def test_download_that_fails_names_the_way_out(get_data, monkeypatch, tmp_path):
    from dataclasses import replace

    offline = replace(registry.get("papalexi21"), url="http://127.0.0.1:9/papalexi.h5ad")
    monkeypatch.setitem(registry.DATASETS, "papalexi21", offline)
    code, said = get_data("papalexi21")
    assert code == 2
    assert "http://127.0.0.1:9/papalexi.h5ad" in said.err and "--from FILE" in said.err
