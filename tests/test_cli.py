"""What the scripts share: errors without traceback, folders, options."""

import inspect
import os
import subprocess
import sys
from collections.abc import Callable

import pytest
import typer
from typer.testing import CliRunner

from diversity_by_design import cli
from diversity_by_design.datasets.script import Preparation
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
from diversity_by_design.datasets.script import Preparation
from diversity_by_design.errors import InputError
from diversity_by_design.running.project import data_dir

def main(common: cli.Common, place: cli.Place, seed: cli.SeedOption = 0) -> None:
    """What this script does."""
    if seed == 1:
        raise InputError(f"no device {place.device!r}")
    if seed == 2:
        raise ValueError("a mistake")
    print(seed, common.output, common.workers, common.force, data_dir(), sep="|")

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
        "0",
        str(script.root / "results"),
        str(cli.available_cores()),
        "False",
        str(script.root / "data"),
    ]
    assert done.stdout.strip().split("|") == expected
    assert script(DBD_DATA_DIR="/elsewhere").stdout.strip().endswith("|/elsewhere")


def test_script_exits_with_2_without_traceback(script):
    done = script("--seed", "1", "--device", "cuda:1")
    assert (done.returncode, done.stdout, done.stderr) == (2, "", "error: no device 'cuda:1'\n")
    mistake = script("--seed", "2")
    assert mistake.returncode == 1
    assert "Traceback" in mistake.stderr
    assert "ValueError: a mistake" in mistake.stderr


def shown(main: Callable[..., None], *arguments: str) -> tuple[int, str]:
    """Exit code and output of a function run as a script."""
    app = typer.Typer(add_completion=False)
    app.command()(cli.flat(main))
    done = CliRunner().invoke(app, list(arguments), env={"COLUMNS": "200", "TERM": "dumb"})
    return done.exit_code, done.output


def everything(data: Preparation, common: cli.Common, place: cli.Place, seed: cli.SeedOption = 3) -> None:
    """What this script does."""
    print(data, common.workers, place, seed)


@pytest.mark.parametrize(
    "wrong",
    [("--seed", "-1"), ("--workers", "0"), ("--genes", "0"), ("--colour", "red"), ("--device", "tpu")],
)
def test_wrong_options_are_refused(wrong):
    code, output = shown(everything, *wrong)
    assert code == 2
    assert wrong[0] in output


def test_help_explains_every_shared_option():
    _, output = shown(everything, "--help")
    assert "What this script does." in output
    app = typer.Typer(add_completion=False)
    app.command()(cli.flat(everything))
    options = typer.main.get_command(app).params
    assert len(options) == len(inspect.signature(cli.flat(everything)).parameters)
    for option in options:
        assert option.opts[0] in output
        assert option.name == "help" or option.help, option.name
    assert str(cli.RESULTS) not in output  # a folder of this machine says nothing to a reader


def test_fields_of_a_dataclass_are_options():
    code, output = shown(everything, "--genes", "7", "--workers", "2", "--device", "cuda:1")
    assert code == 0
    assert output.split() == [*f"{Preparation(genes=7)} 2 {cli.Place(device='cuda:1')} 3".split()]


def test_library_does_not_import_the_command_line():
    code = "import sys, diversity_by_design; print('typer' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "False"
