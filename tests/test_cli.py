"""What the scripts share: errors without traceback, folders, options."""

import os
import subprocess
import sys

import pytest
import typer
from typer.testing import CliRunner

from diversity_by_design import cli
from diversity_by_design.errors import InputError


def test_errors_of_input_end_with_a_message(capsys):
    with pytest.raises(SystemExit) as ended, cli.exit_on_error():
        raise InputError("no column 'cell' in obs")
    assert ended.value.code == 2
    assert capsys.readouterr() == ("", "error: no column 'cell' in obs\n")


@pytest.mark.parametrize("mistake", [ZeroDivisionError, ValueError, KeyError, OSError])
def test_mistakes_of_the_program_keep_their_traceback(mistake):
    with pytest.raises(mistake), cli.exit_on_error():
        raise mistake


def test_interruption_says_how_to_go_on(capsys):
    with pytest.raises(SystemExit) as ended, cli.exit_on_error():
        raise KeyboardInterrupt
    assert ended.value.code == 130
    assert "the same command goes on where it was" in capsys.readouterr().err


SCRIPT = '''
from diversity_by_design import cli
from diversity_by_design.errors import InputError
from diversity_by_design.running.project import data_dir

def main(dataset: cli.DatasetOption = cli.DATASET, seed: cli.SeedOption = 0, output: cli.OutputOption = cli.RESULTS,
         workers: cli.WorkersOption = cli.CORES, force: cli.ForceOption = False) -> None:
    """What this script does."""
    if seed == 1:
        raise InputError(f"no data set {dataset!r}")
    if seed == 2:
        raise ValueError("a mistake")
    print(dataset, seed, output, workers, force, data_dir(), sep="|")

if __name__ == "__main__":
    cli.script(main)
'''


@pytest.fixture
def script(tmp_path):
    """Run a script that lies in a project's folder, from another folder."""
    root = tmp_path / "project"
    (root / "analyses").mkdir(parents=True)
    (root / "pyproject.toml").write_text('[project]\nname = "diversity-by-design"\n')
    (root / "analyses" / "try.py").write_text(SCRIPT)

    def run(*arguments: str, **variables: str) -> subprocess.CompletedProcess:
        environment = {key: value for key, value in os.environ.items() if key != "DBD_DATA_DIR"}
        return subprocess.run(
            [sys.executable, str(root / "analyses" / "try.py"), *arguments],
            cwd=tmp_path,
            env={**environment, **variables},
            capture_output=True,
            text=True,
        )

    run.root = root
    return run


def test_defaults_lie_in_the_folder_of_the_script(script):
    done = script()
    assert done.stderr == ""
    expected = [
        "demo",
        "0",
        str(script.root / "results"),
        str(cli.available_cores()),
        "False",
        str(script.root / "data"),
    ]
    assert done.stdout.strip().split("|") == expected
    assert script(DBD_DATA_DIR="/elsewhere").stdout.strip().endswith("|/elsewhere")


def test_script_exits_with_2_without_traceback(script):
    done = script("--seed", "1", "--dataset", "norman")
    assert (done.returncode, done.stdout, done.stderr) == (2, "", "error: no data set 'norman'\n")
    mistake = script("--seed", "2")
    assert mistake.returncode == 1
    assert "Traceback" in mistake.stderr
    assert "ValueError: a mistake" in mistake.stderr


@pytest.mark.parametrize("wrong", [("--seed", "-1"), ("--workers", "0"), ("--genes", "0"), ("--colour", "red")])
def test_wrong_options_are_refused(wrong):
    def main(
        seed: cli.SeedOption = 0, workers: cli.WorkersOption = 1, genes: cli.GenesOption = None
    ) -> None:  # pragma: no cover
        pytest.fail("ran all the same")

    app = typer.Typer()
    app.command()(main)
    done = CliRunner().invoke(app, list(wrong))
    assert done.exit_code == 2
    assert wrong[0] in done.output


def test_help_explains_every_shared_option():
    def main(
        dataset: cli.DatasetOption = cli.DATASET,
        seed: cli.SeedOption = 0,
        output: cli.OutputOption = cli.RESULTS,
        workers: cli.WorkersOption = cli.CORES,
        force: cli.ForceOption = False,
        preparation_seed: cli.PreparationSeedOption = 0,
        perturbation_key: cli.PerturbationKeyOption = None,
        control_label: cli.ControlLabelOption = None,
        cells_per_perturbation: cli.CellsPerPerturbationOption = None,
        genes: cli.GenesOption = None,
        min_genes_per_cell: cli.MinGenesPerCellOption = None,
    ) -> None:
        """What this script does."""

    app = typer.Typer(add_completion=False)
    app.command()(main)
    shown = CliRunner().invoke(app, ["--help"], env={"COLUMNS": "200", "TERM": "dumb"}).output
    assert "What this script does." in shown
    for option in typer.main.get_command(app).params:
        assert option.opts[0] in shown
        assert option.name == "help" or option.help, option.name
    assert str(cli.RESULTS) not in shown  # a folder of this machine says nothing to a reader


def test_library_does_not_import_the_command_line():
    code = "import sys, diversity_by_design; print('typer' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "False"
