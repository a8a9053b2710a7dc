"""Files as people have them: what becomes of each, and what is said of it before."""

import csv
import json
import re
import shlex
from collections import Counter
from collections.abc import Iterable, Mapping
from importlib.util import find_spec
from pathlib import Path

import anndata as ad
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from inputs import INPUTS, TO_FILL_IN, cells_of
from messages import naming
from typer.testing import CliRunner

from diversity_by_design.commands import app
from diversity_by_design.datasets.cell_labels import cell_labels
from diversity_by_design.datasets.inspection import REFUSED
from diversity_by_design.datasets.prepare import prepare
from diversity_by_design.datasets.reading import CellFile
from diversity_by_design.datasets.report import PreparationReport, read_report
from diversity_by_design.datasets.settings import PreparationSettings
from diversity_by_design.labels import CONTROL


@pytest.fixture(autouse=True)
def data_dir(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("DBD_DATA_DIR", str(tmp_path / "data"))


def dbd(*arguments: str) -> tuple[int, str]:
    """Exit code of `dbd`, and all that it printed; any exception but those of input is raised."""
    done = CliRunner().invoke(app, arguments)
    if not isinstance(done.exception, SystemExit | None):
        raise done.exception
    return done.exit_code, done.output


def prepared_by(output: str) -> Path:
    return Path(output.strip().splitlines()[-1].split(" are in ", 1)[1])


def conditions_in(path: Path, report: PreparationReport) -> dict[str, int]:
    """Number of cells of each condition of a raw file, by the settings of a report."""
    with CellFile(path, report.settings["modality"]) as file:
        return Counter(cell_labels(file, PreparationSettings(**report.settings)).of_cells().dropna())


def check_numbers(prepared: Path, report: PreparationReport, conditions: Mapping[str, int]) -> None:
    """A report says what the prepared file holds, and what became of each cell of the raw one."""
    obs = ad.read_h5ad(prepared).obs
    context = obs["context"] if report.contexts else pd.Series("all", obs.index)
    n_control, names = 0, set()
    for _, group in obs.groupby(context, observed=True):
        found = Counter(group["condition"])
        n_control += found.pop(CONTROL)
        assert set(found.values()) == {report.cells_per_perturbation}
        names |= found.keys()
    assert (len(obs), n_control, len(names)) == (report.cells, report.control_cells, report.perturbations)
    if not report.contexts:
        assert names | report.left_out.keys() | {CONTROL} == conditions.keys()
    assert sum(conditions.values()) + sum(report.no_call.values()) + sum(report.dropped.values()) == report.cells_found


def check_prepared(path: Path, options: str, conditions: Mapping[str, int]) -> str:
    """What preparing said, once it is right."""
    code, output = dbd("prepare", str(path), *shlex.split(options))
    assert code == (0 if conditions else 2), output
    if conditions:
        report = read_report(prepared_by(output))
        assert conditions_in(path, report) == conditions
        check_numbers(prepared_by(output), report, conditions)
    return output


def check_inspected(path: Path) -> tuple[str, str]:
    """What `dbd inspect` says, and its command, once it is clear that this works or what is to be filled in."""
    code, text = dbd("inspect", str(path))
    assert code == 0, text
    told = json.loads(dbd("inspect", str(path), "--json")[1], parse_constant=pytest.fail)
    assert told["command"] in text
    program, *arguments = shlex.split(told["command"])
    to_fill_in = [word for word in TO_FILL_IN if word in arguments]
    code, output = dbd(*arguments)
    assert program == "dbd" and code == (2 if to_fill_in or told["outcome"].startswith(REFUSED) else 0), output
    assert all(any(word in choice for choice in told["to_choose"]) for word in to_fill_in)
    assert not to_fill_in or any(word in output for word in to_fill_in)
    if not code:
        report = read_report(prepared_by(output))
        said = (report.perturbations, report.cells_per_perturbation, report.control_cells)
        assert are_named(said, told["outcome"])
    return text, told["command"]


def are_named(names: Iterable[object], text: str) -> bool:
    return re.search(naming(*names), text) is not None


@pytest.mark.parametrize("name", INPUTS)
def test_files_of_every_kind(name, tmp_path):
    case = INPUTS[name]
    path = case.write(tmp_path)
    said = check_prepared(path, case.options, case.conditions)
    assert are_named(case.said, said), said
    assert case.conditions or not list(tmp_path.rglob("processed*.h5ad"))
    text, command = check_inspected(path)
    suggested = case.options if case.suggested is None else case.suggested
    assert shlex.split(command) == shlex.split(f"dbd prepare {path} {suggested}")
    assert are_named(case.shown, text), text


SINGLES = {"control": 60, "BAK1": 24, "CEBPE": 24, "FEV": 24, "KLF1": 24, "MAP2K6": 24, "STAT2": 24}
COMBINATIONS = {**SINGLES, "BAK1+KLF1": 24, "BAK1+FEV": 24, "CEBPE+KLF1": 24}
GUIDES = ("AAAS_-_53715438.23-P1P2", "AAMP_plus_219134851.23-P1P2", "AARS2_plus_44281027.23-P1P2")
LONG = "_top_two_".join(f"chr{number}.{1000 + number}" for number in range(1, 60)) + "_top_two"
ODD = ("7SK", "=SUM(A1)", "AMIGO3/GMPPB", "EGFP (protospacer name: EGFP-NT2)", "HLA-A", "Mar-01", "NKX2-5")
# Of each file of cases.csv: cells of each condition, none if it is refused, and what is said.
SHARED = {
    "01_gears_both_orders.h5ad": (
        {"control": 60, "BAK1": 48, "CEBPE": 24, "CEBPE+KLF1": 24, "FEV": 24, "KLF1": 48},
        ("BAK1+ctrl", "ctrl+BAK1", "KLF1+ctrl", "ctrl+KLF1"),
    ),
    "02_gears_ctrl_labels.h5ad": (
        {"control": 60, "BAK1": 24, "BAK1+CEBPE": 24, "CEBPE": 24, "CEBPE+KLF1": 24, "KLF1": 24},
        (),
    ),
    "03_underscore_combinations.h5ad": (
        {**SINGLES, "BAK1_FEV": 24, "BAK1_KLF1": 24, "CEBPE_FEV": 24, "KLF1_CEBPE": 24},
        (4, "BAK1_FEV", "--combination-separator '_'"),
    ),
    "05_label_nan_text.h5ad": (SINGLES, (40, "'nan'")),
    "08_many_control_names.h5ad": (
        {**SINGLES, "control": 20, **{f"NT-{number}": 20 for number in range(2, 6)}},
        (4, "NT-2", "NT-5", "--control-label", "'NT-*'"),
    ),
    "10_labels_floats.h5ad": ({"control": 60, **dict.fromkeys(["0", "1", "2", "591", "854"], 24)}, ()),
    "11_guide_ids_with_plus.h5ad": (
        {
            "control": 60,
            **dict.fromkeys(GUIDES, 24),
            "AHR_-_17338164.23-P1P2": 24,
            "ARID1A_plus_27022167.23-P1P2": 24,
        },
        (3, "AAMP_+_219134851.23-P1P2", "--combination-separator +"),
    ),
    "12_guide_level_labels.h5ad": (
        {
            "control": 30,
            "CTRL00696": 30,
            **{f"Tcrlibrary_{gene}_{n}": 12 for gene in ("BACH2", "JUND", "NFKB2") for n in (1, 2, 3)},
        },
        ("guides", 4, "--guide-suffix", "--target-key", "CTRL00696"),
    ),
    "14_three_gene_combinations.h5ad": ({**COMBINATIONS, "FEV+KLF1": 24, "BAK1+CEBPE+KLF1": 24}, ()),
    "15_same_gene_twice.h5ad": ({**COMBINATIONS, "FEV+KLF1": 24, "KLF1": 48}, (1, "KLF1+KLF1", "twice")),
    "17_very_long_labels.h5ad": ({**SINGLES, LONG: 24, f"{LONG}_x": 24}, ()),
    "18_odd_gene_labels.h5ad": (
        {"control": 60, **dict.fromkeys([*ODD, "RP11-34P13.7", 'a"b, c', "Ünï-1"], 24)},
        ("EGFP (protospacer name: EGFP-NT2)", "--control-label"),
    ),
    "19_control_other_case.h5ad": ({}, ("'non-targeting'", "'Non-Targeting'")),
    "20_drug_dose_tuples.h5ad": (
        {"control": 60, **{f"[('Drug{n}', {dose}, 'uM')]": 24 for n in (0, 1, 2) for dose in (0.05, 5.0)}},
        (),
    ),
    "26_two_cell_lines_control_in_one.h5ad": (SINGLES, ("cell_line", "RPE1", "--context-key", "gem_group")),
    "31_ensembl_versions.h5ad": (SINGLES, ("Ensembl", "--gene-names gene_name")),
    "43_column_called_index.h5ad": (SINGLES, ("obs['_index']", "obs['source_index']")),
    "46_strings_of_anndata_013.h5ad": (SINGLES, ()),
    "51_unknown_encoding_in_obs.h5ad": (SINGLES, ("'clonotype'",)),
    "63_counts_in_raw_only.h5ad": (SINGLES, ("counts are those of raw",)),
    "66_fractional_counts.h5ad": ({}, ("SoupX", "alevin", "--round")),
    "72_anndata_called_h5.h5": (SINGLES, ()),
    "75_mudata.h5mu": (SINGLES, ("MuData", "rna")),
}


@pytest.fixture(scope="module")
def cases(shared_data) -> dict[str, str]:
    """Options of each file of public reports."""
    folder = shared_data / "inputs"
    if not folder.is_dir():
        pytest.skip(f"files of public reports not found: {folder}")
    with (folder / "cases.csv").open(newline="") as file:
        return {row["file"]: row["options"] for row in csv.DictReader(file)}


@pytest.mark.parametrize("name", SHARED)
def test_files_of_public_reports(cases, shared_data, name):
    conditions, said = SHARED[name]
    path = shared_data / "inputs" / name
    assert are_named(said, check_prepared(path, cases[name], conditions))
    check_inspected(path)


def test_all_files_of_public_reports_are_tested(cases):
    assert cases.keys() - SHARED.keys() == {"62_zstd_filter.h5ad"}


def test_file_compressed_with_a_filter(cases, shared_data):
    path = shared_data / "inputs/62_zstd_filter.h5ad"
    output = check_prepared(path, cases[path.name], SINGLES if find_spec("hdf5plugin") else {})
    assert find_spec("hdf5plugin") or are_named(("zstd", "hdf5plugin"), output)


LABELS = st.sampled_from(
    ["A", "B", "C", "A+B", "B+A", "A+C+B", "A+ctrl", "ctrl+C", "A+A", " B", "nan", "unassigned", "C+NA", "x", "y_+_1"]
)


@settings(max_examples=12, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    cells=st.dictionaries(LABELS, st.integers(2, 9), min_size=4),
    n=st.integers(2, 4),
    dropped=st.sets(st.sampled_from("xy"), max_size=1),
    seed=st.integers(0, 99),
)
def test_numbers_of_the_report_are_those_of_the_file(tmp_path, cells, n, dropped, seed):
    path = tmp_path / "screen.h5ad"
    cells_of({"ctrl": 5, "A": 4, "D": 4, "x": 3, **cells}, seed=seed).write_h5ad(path)
    settings = PreparationSettings(control_label="ctrl", cells_per_perturbation=n, drop_labels=tuple(dropped & {"x"}))
    report = prepare(path, tmp_path / "prepared.h5ad", settings, seed)
    check_numbers(tmp_path / "prepared.h5ad", report, conditions_in(path, report))
