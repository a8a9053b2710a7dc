import subprocess
import sys
from dataclasses import replace

import numpy as np
import numpy_simulator
import pandas as pd
import pytest
from messages import naming
from scipy import stats

import diversity_by_design as dbd
from diversity_by_design.errors import InputError
from diversity_by_design.simulator import GeneParameters, SimulationConfig, simulate, simulate_anndata
from diversity_by_design.simulator.simulation import simulate_statistics
from diversity_by_design.simulator.truth import child, draw_truth

SMALL = SimulationConfig(g=200, n_0=60, n_p=16, k=12, delta=0.05)
GENE_SETS = ("all", "affected", "degs_vs_control", "degs_vs_rest")
KEYS = [f"{metric}_{genes}" for metric in ("pearson_delta", "mse", "mae") for genes in GENE_SETS]


@pytest.fixture(scope="module")
def parameters():
    return GeneParameters.default(1500, seed=0)


@pytest.mark.parametrize(
    "config",
    [
        SimulationConfig(g=400, n_0=60, n_p=20, k=15, delta=0.05, mu_l=1.0),
        SimulationConfig(g=300, n_0=500, n_p=30, k=10, delta=0.1, mu_l=3.0, epsilon=2.0, beta=0.3),
        SimulationConfig(g=500, n_0=20, n_p=50, k=11, delta=0.01, mu_l=0.2, epsilon=5.0, beta=2.0),
    ],
)
def test_metrics_are_those_of_plain_numpy(config, parameters):
    """Medians of all metrics within their sampling error, over 40 data sets of each implementation."""
    ours = pd.DataFrame([simulate(config, parameters, seed).metrics for seed in range(40)])
    plain = pd.DataFrame([numpy_simulator.simulate(config, parameters, 1000 + seed) for seed in range(40)])
    assert ours.columns.tolist() == [*KEYS, "fraction_affected"]
    for column in ours:
        # 39 comparisons, many of them of much the same thing.
        assert stats.ttest_ind(ours[column], plain[column], equal_var=False).pvalue > 1e-3, column
        assert stats.ks_2samp(ours[column], plain[column]).pvalue > 1e-3, column


def test_a_seed_gives_one_result_whatever_the_number_of_workers(parameters):
    config = replace(SMALL, n_0=3000, n_p=100, k=60)
    first = simulate(config, parameters, seed=7, workers=1)
    pd.testing.assert_frame_equal(first.table, simulate(config, parameters, seed=7, workers=3).table, check_exact=True)
    assert first.metrics != simulate(config, parameters, seed=8).metrics


def test_a_seed_sequence_can_be_used_again(parameters):
    seed = np.random.SeedSequence(3, spawn_key=(1,))
    first = simulate(SMALL, parameters, seed)
    seed.spawn(2)
    assert simulate(SMALL, parameters, seed).metrics == first.metrics
    assert simulate(SMALL, parameters, 3).metrics != first.metrics
    assert child(seed, 4).spawn_key == (1, 4)


def test_table_and_medians(parameters):
    result = simulate(SMALL, parameters, seed=0)
    assert result.table.columns.tolist() == ["perturbation", "n_affected", *KEYS]
    assert len(result.table) == SMALL.k
    assert result.metrics["mse_all"] == np.median(result.table["mse_all"])
    truth = draw_truth(SMALL, parameters, 0)
    affected = truth.effects.directions(SMALL.g) != 0
    assert result.table["n_affected"].tolist() == affected.sum(axis=1).tolist()
    assert result.metrics["fraction_affected"] == affected.any(axis=0).mean()
    assert not any(result.n_undefined.values())


def test_nothing_affected(parameters):
    result = simulate(replace(SMALL, delta=0.0), parameters, seed=0)
    assert result.metrics["fraction_affected"] == 0.0
    undefined = {name for name in KEYS if np.isnan(result.metrics[name])}
    assert undefined == {name for name in KEYS if not name.endswith("_all")}
    assert result.n_undefined == {name: SMALL.k if name in undefined else 0 for name in KEYS}


def test_one_gene_affected_has_an_error_but_no_correlation(parameters):
    result = simulate(replace(SMALL, delta=1 / SMALL.g), parameters, seed=1)
    one = result.table[result.table["n_affected"] == 1]
    assert len(one) > 0
    assert one["pearson_delta_affected"].isna().all()
    assert one["mse_affected"].notna().all()
    assert result.n_undefined["pearson_delta_affected"] == (result.table["n_affected"] < 3).sum()
    assert result.n_undefined["mse_affected"] == (result.table["n_affected"] < 1).sum()


def test_everything_affected(parameters):
    result = simulate(replace(SMALL, delta=1.0), parameters, seed=0)
    assert (result.table["n_affected"] == SMALL.g).all()
    np.testing.assert_allclose(result.table["mse_affected"], result.table["mse_all"], rtol=1e-12)


def test_effects_are_as_likely_as_configured(parameters):
    effects = draw_truth(replace(SMALL, g=1500, k=400, delta=0.03), parameters, 0).effects
    pairs = 1500 * 400
    assert abs(len(effects.genes) - 0.03 * pairs) < 5 * np.sqrt(0.03 * pairs)
    assert abs(effects.upward.mean() - 0.5) < 5 * 0.5 / np.sqrt(len(effects.genes))
    assert stats.chisquare(np.bincount(effects.genes, minlength=1500)).pvalue > 1e-3
    assert stats.kstest(effects.n_affected, stats.binom(1500, 0.03).cdf).pvalue > 1e-6


def test_a_mean_that_would_be_negative_is_zero_and_counted():
    parameters = GeneParameters.from_table(
        pd.DataFrame({"gene": ["a", "b", "c"], "mu_control": [1.0, 1.0, 5.0], "mu_perturbed": 0.4, "theta": 2.0})
    )
    config = SimulationConfig(g=3, n_0=10, n_p=10, k=3, beta=2.0, delta=0.0)
    assert draw_truth(config, parameters, 0).mean_base.tolist() == [0.0, 0.0, 0.0]
    assert simulate(config, parameters).n_clipped_genes == 3
    assert simulate(config, parameters).n_empty_cells == 30


def test_tiny_theta_silent_genes_and_hardly_a_count():
    parameters = GeneParameters.from_table(
        pd.DataFrame(
            {
                "gene": [f"g{i}" for i in range(40)],
                "mu_control": np.where(np.arange(40) < 10, 0.0, 0.05),
                "mu_perturbed": np.where(np.arange(40) < 10, 0.0, 0.06),
                "theta": np.where(np.arange(40) < 25, 0.01, np.inf),
            }
        )
    )
    result = simulate(SimulationConfig(g=40, n_0=200, n_p=100, k=10, delta=0.2, mu_l=-1.0), parameters, seed=0)
    assert 0 < result.n_empty_cells < 1200
    assert np.isfinite(result.metrics["mse_all"])


@pytest.mark.parametrize("config", [replace(SMALL, n_p=17), replace(SMALL, g=40, n_0=5000, n_p=218, k=60)])
def test_statistics_of_parts_add_up_to_those_of_the_whole(parameters, config):
    (whole,) = simulate_statistics(config, parameters, 5).statistics
    first, second = simulate_statistics(config, parameters, 5, parts=2).statistics
    assert set(first.n_cells - second.n_cells) == {config.n_p % 2}
    np.testing.assert_allclose(first.sum + second.sum, whole.sum, rtol=1e-12)
    np.testing.assert_allclose(first.sum_sq + second.sum_sq, whole.sum_sq, rtol=1e-12)
    for part in (first, second):
        np.testing.assert_array_equal(part.control_sum, whole.control_sum)
    with pytest.raises(InputError, match=naming(16, 17)):
        simulate_statistics(SMALL, parameters, 5, parts=17)


def test_cells_are_those_that_the_metrics_are_of(parameters):
    """Through scanpy and the library's own statistics: counts, truth and metrics agree."""
    import scanpy as sc

    adata = simulate_anndata(SMALL, parameters, seed=2)
    assert adata.shape == (SMALL.n_cells, SMALL.g)
    assert (adata.obs["condition"] == "control").sum() == SMALL.n_0
    assert adata.uns["simulation"]["seed"] == "2"
    effects = pd.DataFrame(adata.varm["effects"], adata.var_names, adata.uns["simulation"]["perturbations"])
    sc.pp.normalize_total(adata, target_sum=1e4)
    sc.pp.log1p(adata)
    measured = dbd.PerturbationStatistics.from_anndata(adata)
    data = simulate_statistics(SMALL, parameters, seed=2)
    (statistics,) = data.statistics
    assert measured.labels.tolist() == statistics.labels.tolist()
    assert measured.genes.tolist() == statistics.genes.tolist()
    np.testing.assert_allclose(measured.sum, statistics.sum, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(measured.control_sum_sq, statistics.control_sum_sq, rtol=1e-5, atol=1e-5)
    np.testing.assert_array_equal(effects[measured.labels].to_numpy().T, data.truth.effects.directions(SMALL.g))
    table = simulate(SMALL, parameters, seed=2).table
    np.testing.assert_allclose(dbd.metrics.mse(measured.mean, measured.perturbed_mean), table["mse_all"], rtol=1e-4)


def test_cells_of_genes_without_overdispersion():
    parameters = GeneParameters(["a", "b"], [3.0, 5.0], [3.0, 5.0], [np.inf, 2.0])
    adata = simulate_anndata(SimulationConfig(g=2, n_0=5, n_p=5, k=2), parameters)
    assert sorted(adata.var["theta"]) == [2.0, np.inf]
    assert len(GeneParameters.fit(adata)) == 2


def test_cells_can_be_written_and_read(parameters, tmp_path):
    import anndata as ad

    simulate_anndata(SMALL, parameters, seed=2).write_h5ad(tmp_path / "cells.h5ad")
    again = ad.read_h5ad(tmp_path / "cells.h5ad")
    assert again.uns["simulation"]["epsilon"] == SMALL.epsilon
    assert (again.X != simulate_anndata(SMALL, parameters, seed=2, workers=1).X).nnz == 0


def test_bad_input(parameters):
    with pytest.raises(InputError, match="1,?500"):
        simulate(replace(SMALL, g=1501), parameters)
    with pytest.raises(InputError, match=naming("device", "gpu", "cpu", "cuda")):
        simulate(SMALL, parameters, device="gpu")
    with pytest.raises(InputError, match=naming("mu_l", 30.0)):
        simulate(replace(SMALL, mu_l=30.0), parameters)
    extreme = GeneParameters(["a"], [3.0], [3.0], [1e-310])
    with pytest.raises(InputError, match=naming("a", 32)):
        simulate(SimulationConfig(g=1, n_0=5, n_p=5, k=2), extreme)
    for seed in (None, 1.5, -1):
        with pytest.raises(InputError, match=naming("seed", seed, 0)):
            simulate(SMALL, parameters, seed)
    with pytest.raises(InputError, match=naming("SimulationConfig", "dict")):
        simulate({}, parameters)
    with pytest.raises(InputError, match=naming("GeneParameters", "DataFrame")):
        simulate(SMALL, parameters.table)


def test_needs_neither_anndata_nor_scanpy():
    code = """
import sys
for missing in ("anndata", "scanpy", "h5py", "dask", "torch"):
    sys.modules[missing] = None
import diversity_by_design as dbd
config = dbd.SimulationConfig(g=50, n_0=10, n_p=5, k=3)
print(dbd.simulate(config, dbd.simulator.GeneParameters.default(100), seed=0).metrics["mse_all"] > 0)
"""
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert run.stdout.strip() == "True", run.stderr
