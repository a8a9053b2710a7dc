"""Analysis 1 as a user runs it: small sweeps of a small screen, resumed, refused, and with bad input."""

import importlib.util
import json
import re
import shutil
import sqlite3
import sys
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from conftest import ROOT
from examples import write_counts
from messages import naming

from diversity_by_design import cli
from diversity_by_design.errors import InputError
from diversity_by_design.paper.gene_source import estimate_from_file, gene_source
from diversity_by_design.paper.writers import gene_parameters as gene_results
from diversity_by_design.paper.writers import synthetic_sweep as sweep_results
from diversity_by_design.running.results import ResultFolder
from diversity_by_design.simulator.config import SIGMA_L
from diversity_by_design.simulator.parameters import GeneParameters
from diversity_by_design.simulator.simulation import simulate

mpl.use("Agg")

NAME = "1_synthetic_sweep"
RANGES = {"g": (60, 100), "n-0": (10, 60), "n-p": (4, 12), "k": (3, 9), "delta": (0.05, 0.2)}
SMALL = [text for name, (low, high) in RANGES.items() for text in (f"--{name}", str(low), str(high))]
SMALL += ["--n-datasets", "24", "--workers", "1"]


def load_script():
    spec = importlib.util.spec_from_file_location("synthetic_sweep", ROOT / "analyses" / f"{NAME}.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules["synthetic_sweep"] = module
    spec.loader.exec_module(module)
    return module


script = load_script()


@pytest.fixture(scope="module")
def screen(tmp_path_factory) -> Path:
    """Raw counts of a small screen of 120 genes."""
    return write_counts(tmp_path_factory.mktemp("own") / "own.h5ad", n_genes=120)


class Ended(Exception):
    """The script ended with an exit code."""


def run(screen: Path, output: Path, *options: str) -> Path:
    """Run the script in this process; the folder of results."""
    arguments = ["--dataset", str(screen), "--perturbation-key", "guide", "--min-genes-per-cell", "1"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DBD_DATA_DIR", str(screen.parent / "data"))
        patch.setattr(sys, "argv", [f"{NAME}.py", *arguments, "--output", str(output), *options])
        try:
            cli.script(script.main)
        except SystemExit as ended:
            if ended.code:
                raise Ended(ended.code) from ended
    return output / "own" / NAME


def contents(folder: Path) -> dict[str, bytes]:
    """What is in a folder of results; of the file of simulations, what it holds."""
    files = {file.name: file for file in folder.iterdir() if file.name != "run.json" and file.name[0] != "."}
    return {
        name: stored(file).to_csv(index=False).encode() if file.suffix == ".sqlite" else file.read_bytes()
        for name, file in files.items()
    }


def stored(file: Path) -> pd.DataFrame:
    connection = sqlite3.connect(file)
    table = pd.read_sql_query("SELECT * FROM sweep ORDER BY dataset", connection)
    connection.close()
    return table


def prepared_file(screen: Path) -> Path:
    [path] = (screen.parent / "data" / "own").glob("processed-*.h5ad")
    return path


def record(folder: Path) -> dict:
    return json.loads((folder / "run.json").read_text())


@pytest.fixture(scope="module")
def finished(screen, tmp_path_factory) -> Path:
    return run(screen, tmp_path_factory.mktemp("finished"), *SMALL)


@pytest.fixture
def without_figures(monkeypatch):
    """Leave out what takes most of the time."""
    monkeypatch.setattr(gene_results, "write_gene_parameters", lambda *arguments: None)
    write = lambda folder, sweep, *others: folder.table("simulations", sweep, notes=None)  # noqa: E731
    monkeypatch.setattr(sweep_results, "write_sweep", write)
    monkeypatch.setattr(sweep_results, "write_audit", lambda *arguments, **setting: None)


def test_results(finished):
    sweep = pd.read_csv(finished / "simulations.csv")
    assert sweep["dataset"].tolist() == list(range(24))
    kept = stored(finished / "simulations.sqlite")
    # Text does not tell whole numbers from others.
    pd.testing.assert_frame_equal(sweep.drop(columns="error"), kept.drop(columns="error"), check_dtype=False)
    assert sweep["g"].between(60, 100).all() and sweep["k"].between(3, 9).all()
    assert len(pd.read_csv(finished / "table2.csv")) == 12
    correlations = pd.read_csv(finished / "correlations.csv")
    assert len(correlations) == 96
    beta = correlations.query("metric == 'mse' and gene_group == 'all' and parameter == 'beta'").iloc[0]
    assert beta["ours"] == pytest.approx(sweep["beta"].corr(sweep["mse_all"]))
    n_0 = correlations.query("metric == 'mse' and gene_group == 'all' and parameter == 'n_0'").iloc[0]
    assert n_0["ours"] == pytest.approx(np.log(sweep["n_0"]).corr(sweep["mse_all"]))
    assert len(pd.read_csv(finished / "table3.csv")) == 16
    captions = {figure["name"]: figure["caption"] for figure in record(finished)["figures"]}
    assert re.search(naming(24, 0.54), captions["beta_pearson_delta"])
    assert re.search(naming(10), captions["k_pearson_delta_affected"])


def test_the_data_sets_genes_are_used_where_there_are_enough(finished, screen):
    estimates = estimate_from_file(prepared_file(screen))
    used = GeneParameters.from_csv(finished / "gene_parameters.csv")
    np.testing.assert_allclose(used.theta, estimates.gene_table().theta)
    assert pd.read_csv(finished / "gene_estimates.csv")["gene"].tolist() == estimates.table["gene"].tolist()
    sweep = pd.read_csv(finished / "simulations.csv")
    np.testing.assert_allclose(sweep["sigma_l"], estimates.sigma_l)
    assert estimates.sigma_l != SIGMA_L
    assert record(finished)["parameters"]["gene_parameters"].startswith("fit, sha256:")


def test_what_differs_from_the_paper_is_said(finished):
    notes = " ".join(record(finished)["notes"])
    assert re.search(naming("own", 24, "10,000", "g", 60, 100, 1000, 8192), notes)
    assert "beta" not in notes and "entries" not in notes


def test_an_interrupted_analysis_goes_on_with_the_same_result(finished, screen, tmp_path, monkeypatch):
    """With another number of workers, and after all but the gene parameters was lost."""
    monkeypatch.setattr(gene_results, "write_gene_parameters", lambda *arguments: None)
    folder = tmp_path / "own" / NAME
    shutil.copytree(finished, folder)
    found = record(folder)
    of_genes = {
        "tables": ["gene_estimates", "library_sizes", "gene_parameters"],
        "figures": ["gene_parameter_histograms", "gene_fits", "library_size_histograms", "control_and_perturbed"],
    }
    kept = {kind: [result for result in found[kind] if result["name"] in names] for kind, names in of_genes.items()}
    (folder / "run.json").write_text(json.dumps(found | kept | {"complete": False}))
    stems = {result["name"] for results in kept.values() for result in results} | {"run"}
    for file in folder.iterdir():
        if file.stem not in stems:
            file.unlink()
    run(screen, tmp_path, *SMALL, "--workers", "2")
    again, before = contents(folder), contents(finished)
    assert again.keys() == before.keys()
    assert [name for name in before if again[name] != before[name]] == []
    assert record(folder)["complete"]


@pytest.mark.usefixtures("without_figures")
def test_a_finished_analysis_is_not_run_again(finished, screen, capsys):
    before = contents(finished) | {"run.json": (finished / "run.json").read_bytes()}
    run(screen, finished.parents[1], *SMALL)
    assert "--force" in capsys.readouterr().out
    after = contents(finished) | {"run.json": (finished / "run.json").read_bytes()}
    del before["run.json"], after["run.json"]
    assert after == before


@pytest.mark.parametrize(
    ("options", "named"),
    [
        (["--seed", "7"], ["seed", 42, 7]),
        (["--k", "3", "10"], ["ranges.k.high", 9, 10]),
        (["--parameters", "default"], ["gene_parameters"]),
        (["--epsilon-scale", "log"], ["ranges.epsilon.scale", "linear", "log"]),
    ],
)
@pytest.mark.usefixtures("without_figures")
def test_a_sweep_of_another_configuration_is_refused_and_nothing_lost(options, named, finished, screen, capsys):
    before = {file.name: file.read_bytes() for file in finished.iterdir()}
    with pytest.raises(Ended, match="2"):
        run(screen, finished.parents[1], *SMALL, *options)
    said = capsys.readouterr().err.splitlines()[-1]
    assert said.startswith("error: ") and re.search(naming("--force", *named), said)
    assert {file.name: file.read_bytes() for file in finished.iterdir()} == before


@pytest.mark.usefixtures("without_figures")
def test_more_data_sets_continue_and_force_starts_anew(screen, tmp_path, monkeypatch):
    simulated = []

    def counting(task, *shared, **options):
        simulated.append(task)
        return simulate(task, *shared, **options)

    monkeypatch.setattr("diversity_by_design.simulator.simulation.simulate", counting)
    folder = run(screen, tmp_path, *SMALL, "--n-datasets", "4")
    first = pd.read_csv(folder / "simulations.csv")
    assert (len(first), len(simulated)) == (4, 4)
    run(screen, tmp_path, *SMALL, "--n-datasets", "6")
    second = pd.read_csv(folder / "simulations.csv")
    assert (len(second), len(simulated)) == (6, 6)
    pd.testing.assert_frame_equal(second.head(4), first)
    run(screen, tmp_path, *SMALL, "--n-datasets", "6", "--force")
    assert len(simulated) == 12
    run(screen, tmp_path, *SMALL, "--n-datasets", "6", "--seed", "7", "--force")
    assert not pd.read_csv(folder / "simulations.csv")["beta"].equals(second["beta"])


@pytest.mark.usefixtures("without_figures")
def test_a_bounded_sweep_does_not_stand_in_the_way_of_a_whole_one(screen, tmp_path):
    folder = run(screen, tmp_path, *SMALL, "--n-datasets", "3", "--max-entries", "6000")
    bounded = pd.read_csv(folder / "simulations.csv")
    assert ((bounded["n_0"] + bounded["k"] * bounded["n_p"]) * bounded["g"] <= 6000).all()
    run(screen, tmp_path, *SMALL, "--n-datasets", "3")
    assert sorted(file.name for file in folder.glob("*.sqlite")) == [
        "simulations.sqlite",
        "simulations_of_at_most_6000_entries.sqlite",
    ]


def test_failed_data_sets_are_reported_and_tried_again(screen, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(ResultFolder, "figure", lambda *arguments, **options: None)

    def failing(config, *shared, **options):
        if config.k == 5:
            raise RuntimeError("no luck")
        return simulate(config, *shared, **options)

    monkeypatch.setattr("diversity_by_design.simulator.simulation.simulate", failing)
    with pytest.raises(Ended, match="1"):
        run(screen, tmp_path, *SMALL)
    folder = tmp_path / "own" / NAME
    sweep = pd.read_csv(folder / "simulations.csv", keep_default_na=False, na_values=[""])
    failed = sweep["k"] == 5
    assert 0 < failed.sum() < 24
    assert (sweep.loc[failed, "error"] == "RuntimeError: no luck").all()
    assert re.search(naming(failed.sum(), 24), capsys.readouterr().err)
    assert not record(folder)["complete"]
    captions = {table["name"]: table["caption"] for table in record(folder)["tables"]}
    assert re.search(naming(failed.sum(), 24, "failed"), captions["table2"])
    assert pd.read_csv(folder / "table2.csv")["n"].max() == 24 - failed.sum()

    monkeypatch.setattr("diversity_by_design.simulator.simulation.simulate", simulate)
    run(screen, tmp_path, *SMALL)
    assert record(folder)["complete"]
    captions = {table["name"]: table["caption"] for table in record(folder)["tables"]}
    assert "failed" not in captions["table2"]


def test_all_data_sets_fail(screen, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(gene_results, "write_gene_parameters", lambda *arguments: None)

    def failing(*arguments, **options):
        raise RuntimeError("no luck")

    monkeypatch.setattr("diversity_by_design.simulator.simulation.simulate", failing)
    with pytest.raises(Ended, match="2"):
        run(screen, tmp_path, *SMALL)
    assert re.search(naming("error", 24, "RuntimeError: no luck"), capsys.readouterr().err)


@pytest.mark.parametrize(
    ("options", "named"),
    [
        (["--k", "9", "3"], ["k", 9, 3]),
        (["--g", "60.5", "100"], ["g", 60.5]),
        (["--epsilon", "1", "3"], ["epsilon", "1.0"]),
        (["--delta", "0.5", "1.5"], ["delta", 1.5]),
        (["--beta", "-1", "1"], ["beta", "-1.0"]),
        (["--mu-l", "0", "5"], ["mu_l", 0, "log"]),
        (["--max-entries", "100"], ["max_entries", 100]),
        (["--device", "cuda:0"], ["--device", "cpu", "cuda"]),
        (["--scheduler", "tcp://127.0.0.1:9"], ["tcp://127.0.0.1:9"]),
        (["--parameters", "missing.csv"], ["--parameters", "missing.csv"]),
        (["--parameters", "fit", "--g", "60", "500"], [500]),
        (["--dataset", "norman20"], ["norman20"]),
    ],
)
def test_bad_input_is_explained(options, named, screen, tmp_path, capsys):
    with pytest.raises(Ended, match="2"):
        run(screen, tmp_path, *SMALL, *options)
    said = capsys.readouterr().err.splitlines()[-1]
    assert said.startswith("error: ")
    assert re.search(naming(*named), said)
    assert list(tmp_path.rglob("*.*")) == []


@pytest.mark.parametrize("force", [[], ["--force"]])
@pytest.mark.usefixtures("without_figures")
def test_what_cannot_run_is_refused_and_nothing_lost(force, finished, screen, monkeypatch, capsys):
    def no_gpu():
        raise InputError("no GPU")

    monkeypatch.setattr("diversity_by_design.simulator.cuda.DataSetsInFlight", no_gpu)
    before = {file.name: file.read_bytes() for file in finished.iterdir()}
    with pytest.raises(Ended, match="2"):
        run(screen, finished.parents[1], *SMALL, "--device", "cuda", *force)
    assert "error: no GPU" in capsys.readouterr().err
    assert {file.name: file.read_bytes() for file in finished.iterdir()} == before


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (lambda table: table.drop(columns="theta"), ["theta", "mu_control"]),
        (lambda table: table.assign(mu_control=np.nan), ["mu_control", 120]),
        (lambda table: table.assign(theta=-1.0), ["theta", 120]),
        (lambda table: table.head(99), [100, 99]),
    ],
)
def test_bad_tables_of_gene_parameters_are_explained(change, named, screen, tmp_path, capsys):
    file = tmp_path / "genes.csv"
    change(GeneParameters.default(120).table).to_csv(file, index=False)
    with pytest.raises(Ended, match="2"):
        run(screen, tmp_path / "results", *SMALL, "--parameters", str(file))
    said = capsys.readouterr().err.splitlines()[-1]
    assert said.startswith("error: ")
    assert re.search(naming(*named), said)
    assert not (tmp_path / "results" / "own" / NAME / "run.json").exists()


class Prepared:
    """A prepared data set, as far as `gene_source` looks at it."""

    name = "own"

    def __init__(self, path: Path, genes: int) -> None:
        self.path = path
        self.report = self
        self.genes = genes


@pytest.fixture(scope="module")
def prepared(finished, screen) -> Prepared:
    return Prepared(prepared_file(screen), 120)


@pytest.mark.parametrize(
    ("wanted", "largest_g", "name", "named"),
    [
        (None, 100, "fit", ["own"]),
        ("fit", 500, "fit", ["own"]),
        (None, 500, "default", ["own", 120, 500]),
        ("default", 100, "default", ["own"]),
    ],
)
def test_where_genes_come_from(wanted, largest_g, name, named, prepared):
    source = gene_source(wanted, prepared, largest_g)
    assert source.name == name
    assert re.search(naming(*named), source.note)
    if name == "fit":
        assert len(source.parameters) <= 120
        assert source.sigma_l == source.estimates.sigma_l != SIGMA_L
    else:
        pd.testing.assert_frame_equal(source.parameters.table, GeneParameters.default().table)
        assert source.sigma_l == SIGMA_L


def test_genes_without_counts_do_not_count(prepared):
    """The file is said to have more genes than have counts; the fit is made, and found too small."""
    source = gene_source(None, Prepared(prepared.path, 1000), 1000)
    assert source.name == "default"
    assert source.estimates is not None
    assert re.search(naming(len(source.estimates.gene_table()), "1,000"), source.note)


def test_genes_of_a_table(prepared, tmp_path):
    GeneParameters.default(150, seed=4).to_csv(tmp_path / "genes.csv")
    source = gene_source(str(tmp_path / "genes.csv"), prepared, 100)
    assert source.name == "genes.csv"
    assert "genes.csv" in source.note
    assert source.sigma_l == SIGMA_L
    assert len(source.parameters) == 150
