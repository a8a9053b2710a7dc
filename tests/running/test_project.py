"""Where the project and its data are."""

import sys
from pathlib import Path

from diversity_by_design.running.project import data_dir, project_root, running_script


def test_without_a_project_the_current_folder_is_used(tmp_path, monkeypatch):
    script = tmp_path / "script.py"
    script.touch()
    monkeypatch.setattr(sys.modules["__main__"], "__file__", str(script), raising=False)
    monkeypatch.delenv("DBD_DATA_DIR", raising=False)
    monkeypatch.chdir(tmp_path)
    assert running_script() == script
    assert project_root() == Path.cwd()
    assert data_dir() == Path.cwd() / "data"


def test_without_a_script_the_current_folder_is_asked(tmp_path, monkeypatch):
    (tmp_path / "pyproject.toml").write_text('[project]\nname = "diversity-by-design"\n')
    (tmp_path / "notebooks").mkdir()
    monkeypatch.delattr(sys.modules["__main__"], "__file__", raising=False)
    monkeypatch.chdir(tmp_path / "notebooks")
    assert running_script() is None
    assert project_root() == tmp_path
