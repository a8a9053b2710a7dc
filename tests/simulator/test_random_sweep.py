"""The random sweep: the same table wherever, and however often interrupted."""

import re
import signal
import sqlite3
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import sweep_tasks
from dask_cluster import DaskProcesses
from messages import naming
from processes import wait_until
from sweep_tasks import SMALL, failing_metrics, fake_metrics, parameters

from diversity_by_design.errors import InputError
from diversity_by_design.simulator.random_sweep import RESULTS, check_random_sweep, run_random_sweep, sweep_notes
from diversity_by_design.simulator.ranges import SweepRanges
from diversity_by_design.simulator.store import SweepStore

TESTS = Path(__file__).parents[1]
N = 24


def run(path: Path, n_datasets: int = N, **changed) -> pd.DataFrame:
    options = {
        "seed": 1,
        "parameters": parameters(),
        "ranges": SMALL,
        "path": path / "simulations.sqlite",
        "workers": 1,
        "simulate_one": fake_metrics,
    }
    return run_random_sweep(n_datasets, **{**options, **changed})


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory) -> pd.DataFrame:
    return run(tmp_path_factory.mktemp("uninterrupted"))


def stored(path: Path) -> pd.DataFrame:
    """What the file of a sweep holds."""
    connection = sqlite3.connect(path / "simulations.sqlite")
    table = pd.read_sql_query("SELECT * FROM sweep ORDER BY dataset", connection)
    connection.close()
    return table


def test_the_table_holds_configurations_metrics_and_errors(uninterrupted):
    table = uninterrupted
    assert list(table) == [
        *("dataset", "g", "n_0", "n_p", "k", "beta", "delta", "epsilon", "mu_l", "sigma_l"),
        *(
            f"{metric}_{genes}"
            for metric in ("pearson_delta", "mse", "mae")
            for genes in ("all", "affected", "degs_vs_control", "degs_vs_rest")
        ),
        *("fraction_affected", "n_empty_cells", "n_clipped_genes", "error"),
    ]
    assert table["dataset"].tolist() == list(range(N))
    assert [kind.kind for kind in table.dtypes] == list("iiiii" + "f" * 20 + "O")
    for dataset, config in enumerate(SMALL.draw(1, dataset)[0] for dataset in range(N)):
        assert all(table.loc[dataset, name] == value for name, value in vars(config).items())
    assert table["pearson_delta_affected"].isna().tolist() == [dataset % 5 == 0 for dataset in range(N)]
    assert table["mse_all"].nunique() == N
    assert (table["error"] == "").all()
    assert sweep_notes(table, seed=1, ranges=SMALL) == [
        "Data sets in which a metric is undefined for every perturbation: pearson_delta_affected 5."
    ]


def test_cells_without_a_count_and_clipped_genes_are_told(uninterrupted):
    table = uninterrupted.assign(n_empty_cells=[3, 4] + [0] * (N - 2), n_clipped_genes=[0] * (N - 1) + [5])
    assert sweep_notes(table, seed=1, ranges=SMALL)[-2:] == [
        "Cells without a count, whose expression is 0: 7, in 2 of 24 data sets.",
        "Genes whose mean in perturbed cells would have been negative, and was 0 instead: 5, in 1 of 24 data sets.",
    ]


def test_a_sweep_that_is_killed_goes_on(tmp_path, uninterrupted, monkeypatch):
    log = tmp_path / "log"
    log.mkdir()
    monkeypatch.setenv("SWEEP_LOG", str(log))
    monkeypatch.setenv("SWEEP_SECONDS", "0.1")
    program = subprocess.Popen(
        [sys.executable, str(TESTS / "sweep_tasks.py"), str(tmp_path / "simulations.sqlite"), str(N)]
    )

    def done() -> list[int]:
        return [int(line) for file in log.iterdir() for line in file.read_text().split()]

    assert wait_until(lambda: len(done()) >= 8)
    program.send_signal(signal.SIGKILL)
    program.wait()
    assert 0 < len(stored(tmp_path)) < N

    monkeypatch.setenv("SWEEP_SECONDS", "0")
    table = run(tmp_path, simulate_one=sweep_tasks.logged_metrics)

    pd.testing.assert_frame_equal(table, uninterrupted)
    times_done = Counter(done())
    assert sorted(times_done) == list(range(N))
    # Again only what the two workers were at; each may also have been done with one that was not yet stored.
    assert sum(times_done.values()) <= N + 4


def test_a_cluster_of_which_a_worker_is_killed_gives_the_same_table(tmp_path, uninterrupted, monkeypatch):
    with DaskProcesses(tmp_path) as cluster:
        first = cluster.add_worker()
        cluster.add_worker()
        append = SweepStore.append

        def append_and_kill(store, row) -> None:
            append(store, row)
            if len(store.finished) == 5:
                first.kill()

        monkeypatch.setattr(SweepStore, "append", append_and_kill)
        table = run(tmp_path, scheduler=cluster.address, workers=None, simulate_one=sweep_tasks.slow_metrics)
        assert first.wait(10) == -signal.SIGKILL
    pd.testing.assert_frame_equal(table, uninterrupted)


def test_an_unreachable_scheduler_leaves_nothing_behind(tmp_path):
    with pytest.raises(InputError, match=naming("nonsense")):
        run(tmp_path, scheduler="nonsense")
    assert list(tmp_path.iterdir()) == []


def test_more_data_sets_continue_fewer(tmp_path, uninterrupted):
    run(tmp_path, 10)
    table = run(tmp_path, simulate_one=lambda task, *shared: fake_metrics(task, *shared) if task.dataset > 9 else {})
    pd.testing.assert_frame_equal(table, uninterrupted)
    pd.testing.assert_frame_equal(run(tmp_path, 5), table.head(5))
    assert len(stored(tmp_path)) == N


def test_data_sets_that_fail_are_reported_and_tried_again(tmp_path, uninterrupted):
    table = run(tmp_path, simulate_one=failing_metrics)
    failed = table["error"] != ""
    assert table.loc[failed, "error"].to_dict() == {
        1: "ValueError: data set 1 cannot be simulated",
        4: "ValueError: data set 4 cannot be simulated",
    }
    assert table.loc[failed, list(RESULTS)].isna().all(axis=None)
    pd.testing.assert_frame_equal(table[~failed], uninterrupted[~failed])
    [note, _] = sweep_notes(table, seed=1, ranges=SMALL)
    assert note.startswith("2 of 24 data sets failed and are left out; the same command tries them again: 1, 4. ")
    assert note.endswith("ValueError: data set 1 cannot be simulated")

    pd.testing.assert_frame_equal(run(tmp_path), uninterrupted)


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"seed": 2}, ("seed", 1, 2)),
        ({"ranges": SMALL.replace(k=(3, 9))}, ("ranges.k.low", 2, 3)),
        ({"parameters": parameters(51)}, ("gene_parameters", "sha256")),
        ({"max_entries": 10_000}, ("max_entries", "None", 10000)),
    ],
)
def test_a_file_of_another_sweep_is_refused(tmp_path, changed, said):
    run(tmp_path, 2)
    with pytest.raises(InputError, match=naming(*said)):
        run(tmp_path, 2, **changed)
    run(tmp_path, 2, **changed, force=True)
    run(tmp_path, 3, **changed)


def test_a_file_of_another_device_is_refused(tmp_path):
    run(tmp_path, 2)
    with pytest.raises(InputError, match=naming("device", "cpu", "cuda")):
        run(tmp_path, 2, device="cuda")


@pytest.mark.parametrize(
    ("place", "error"), [({"scheduler": "tcp://127.0.0.1:9"}, InputError), ({"workers": 0}, InputError)]
)
def test_force_removes_nothing_where_work_cannot_start(tmp_path, place, error):
    table = run(tmp_path, 2)
    with pytest.raises(error):
        run(tmp_path, 2, seed=2, force=True, **place)
    pd.testing.assert_frame_equal(run(tmp_path, 2), table)


def test_a_bound_on_the_size_is_kept_and_told(tmp_path):
    table = run(tmp_path, max_entries=1000)
    assert ((table["n_0"] + table["k"] * table["n_p"]) * table["g"] <= 1000).all()
    n_redrawn = sum(SMALL.draw(1, dataset, 1000)[1] for dataset in range(N))
    assert n_redrawn > 0
    note = sweep_notes(table, seed=1, ranges=SMALL, max_entries=1000)[0]
    assert re.search(naming("1,000", f"{n_redrawn:,}"), note)


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"n_datasets": 0}, ("n_datasets", 0)),
        ({"parameters": parameters(39)}, (40, 39)),
        ({"max_entries": 80}, ("max_entries", 80)),
        ({"workers": 0}, ("workers", 0)),
        ({"workers": -1}, ("workers", -1)),
        ({"workers": "2"}, ("workers", "'2'")),
    ],
)
def test_what_cannot_be_swept_is_refused(tmp_path, changed, said):
    with pytest.raises(InputError, match=naming(*said)):
        run(tmp_path, **changed)
    assert list(tmp_path.iterdir()) == []


def test_a_sweep_can_be_checked_before(tmp_path):
    options = {"seed": 1, "parameters": parameters(), "ranges": SMALL, "path": tmp_path / "simulations.sqlite"}
    check_random_sweep(2, **options)
    assert list(tmp_path.iterdir()) == []
    run(tmp_path, 2)
    check_random_sweep(3, **options)
    with pytest.raises(InputError, match=naming("seed", 1, 2)):
        check_random_sweep(2, **{**options, "seed": 2})
    with pytest.raises(InputError, match=naming("max_entries", 80)):
        check_random_sweep(2, **options, max_entries=80)


def test_ctrl_c_keeps_what_is_done(tmp_path, uninterrupted):
    done = []

    def interrupted(task, *shared):
        done.append(task.dataset)
        if len(done) == 8:
            raise KeyboardInterrupt
        return fake_metrics(task, *shared)

    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, simulate_one=interrupted)
    kept = stored(tmp_path)
    assert kept["dataset"].tolist() == sorted(done[:7])
    entries = (kept["n_0"] + kept["k"] * kept["n_p"]) * kept["g"]
    assert entries.min() >= np.sort([SMALL.draw(1, i)[0].n_entries for i in range(N)])[-8]
    pd.testing.assert_frame_equal(run(tmp_path), uninterrupted)


def test_the_simulator_runs_in_processes_as_it_does_here(tmp_path):
    from diversity_by_design.simulator.random_sweep import simulate_row

    ranges = SweepRanges(g=(20, 50), n_0=(5, 50), n_p=(2, 9), k=(2, 5))
    here = run(tmp_path / "here", 3, ranges=ranges, simulate_one=simulate_row)
    there = run(tmp_path / "there", 3, ranges=ranges, simulate_one=simulate_row, workers=2)
    assert (here["error"] == "").all()
    assert here["mse_all"].notna().all()
    pd.testing.assert_frame_equal(here, there)
