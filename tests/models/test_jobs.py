"""Many models as independent jobs, in this process and in others."""

import pandas as pd
import pytest

torch = pytest.importorskip("torch")

from small_gears import COMBINATIONS, SINGLES, ontology, ring, screen  # noqa: E402

from diversity_by_design.models import MODELS, load, make_splits  # noqa: E402
from diversity_by_design.models.jobs import Job, JobSetting, run_jobs  # noqa: E402
from diversity_by_design.running.checksum import sha256  # noqa: E402
from diversity_by_design.running.executors import executor  # noqa: E402

JOBS = [Job(MODELS["gears"], loss, half, 0) for loss in ("mse", "wmse^0.5") for half in (0, 1)]


def setting(folder, **changes) -> JobSetting:
    cells = screen()
    path = folder / "processed.h5ad"
    cells.write_h5ad(path)
    graph = ring(list(cells.var_names))
    values = {
        "data": path,
        "checksum": sha256(path),
        "splits": make_splits("combinations", [*SINGLES, *COMBINATIONS], seed=0),
        "graphs": ({"ontology": ontology(), "coexpression": graph},) * 2,
        "options": {"epochs": 2, "batch_size": 8, "hidden_size": 8},
        "folder": folder,
        "models": folder / "models",
        "device": "cpu",
        "threads": 1,
        "tensorboard": False,
        "code": "of this program",
    }
    return JobSetting(**{**values, **changes})


def outcomes(jobs, chosen, workers) -> dict:
    with executor(workers) as where:
        return dict(run_jobs(jobs, chosen, where))


def test_results_do_not_depend_on_where_jobs_run_and_every_combination_is_tested_once(tmp_path):
    (tmp_path / "one").mkdir()
    (tmp_path / "two").mkdir()
    one, two = (outcomes(JOBS, setting(tmp_path / name), workers) for name, workers in (("one", 1), ("two", 2)))
    for job in JOBS:
        assert not one[job].error and not two[job].error
        pd.testing.assert_frame_equal(one[job].value.predictions, two[job].value.predictions)
        pd.testing.assert_frame_equal(one[job].value.history, two[job].value.history)
        saved = load(tmp_path / "two" / "models" / f"{job.name}.safetensors")
        labels = one[job].value.predictions.index
        pd.testing.assert_frame_equal(saved.predict(labels), one[job].value.predictions)
    tested = [label for half in (0, 1) for label in one[Job(MODELS["gears"], "mse", half, 0)].value.predictions.index]
    assert sorted(tested) == sorted(COMBINATIONS)


def test_a_job_that_fails_is_reported_and_the_others_go_on(tmp_path):
    """The graph of one half is of other genes; a file that is no checkpoint lies where another job has its own."""
    cells = screen()
    graphs = [{"ontology": ontology(), "coexpression": ring(list(cells.var_names[::step]))} for step in (1, -1)]
    chosen = setting(tmp_path, graphs=tuple(graphs))
    damaged = chosen.checkpoint(JOBS[2])
    damaged.parent.mkdir()
    damaged.write_text("nothing")
    done = outcomes(JOBS, chosen, 1)
    assert not done[JOBS[0]].error
    assert "co-expression graph is of other genes" in done[JOBS[1]].error
    assert str(damaged) in done[JOBS[2]].error


def test_a_file_that_was_prepared_anew_is_noticed(tmp_path):
    chosen = setting(tmp_path)
    chosen.data.write_bytes(chosen.data.read_bytes() + b" ")
    done = outcomes(JOBS[:1], chosen, 1)[JOBS[0]]
    assert done.error.startswith("InputError") and str(chosen.data) in done.error
    assert chosen.checksum[:12] in done.error and sha256(chosen.data)[:12] in done.error
    assert not chosen.models.exists() and not chosen.checkpoint(JOBS[0]).exists()


def test_finished_jobs_are_not_trained_again(tmp_path):
    first = outcomes(JOBS[:1], setting(tmp_path), 1)[JOBS[0]].value
    before = setting(tmp_path).checkpoint(JOBS[0]).stat().st_mtime_ns
    again = outcomes(JOBS[:1], setting(tmp_path), 1)[JOBS[0]].value
    pd.testing.assert_frame_equal(first.predictions, again.predictions)
    assert setting(tmp_path).checkpoint(JOBS[0]).stat().st_mtime_ns == before


def test_other_options_have_another_checkpoint(tmp_path):
    paths = {
        setting(tmp_path, **changes).checkpoint(JOBS[0])
        for changes in (
            {},
            {"checksum": "of others"},
            {"options": {"epochs": 3}},
            {"graphs": ({"ontology": ring(SINGLES, 0.4)},) * 2},
            {"threads": 2},
            {"code": "of another"},
        )
    }
    assert len(paths) == 6


def test_tensorboard_logs(tmp_path):
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    done = outcomes(JOBS[:1], setting(tmp_path, tensorboard=True), 1)[JOBS[0]]
    assert not done.error
    events = accumulator.EventAccumulator(str(tmp_path / "tensorboard" / JOBS[0].name))
    events.Reload()
    logged = [event.value for event in events.Scalars("validation_mse_top_degs")]
    assert logged == pytest.approx(done.value.history["validation_mse_top_degs"].tolist(), rel=1e-6)
    assert events.Scalars("step_loss")
