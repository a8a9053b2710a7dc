"""The synthetic demo data set: what it promises about labels, counts and effects."""

from dataclasses import replace
from pathlib import Path

import anndata
import numpy as np
import pytest
from messages import naming
from scipy import sparse

from diversity_by_design.datasets.demo import DemoParameters, generate_demo
from diversity_by_design.errors import InputError

SMALL = DemoParameters(
    n_singles=8,
    n_doubles=3,
    cells_per_perturbation=20,
    spare_cells=4,
    n_rare=1,
    n_control_cells=50,
    n_low_quality_cells=10,
    n_genes=200,
    n_silent_genes=10,
)


@pytest.fixture(scope="module")
def small() -> anndata.AnnData:
    return generate_demo(seed=3, parameters=SMALL)


@pytest.fixture(scope="module")
def demo() -> anndata.AnnData:
    return generate_demo(seed=0)


def good_cells(adata: anndata.AnnData) -> anndata.AnnData:
    return adata[adata.X.getnnz(axis=1) >= 200]


def relative_means(adata: anndata.AnnData) -> dict[str, np.ndarray]:
    """Mean over cells of counts per 10,000, per label."""
    scaled = sparse.diags(1e4 / adata.obs["ncounts"].to_numpy()) @ adata.X
    cells = adata.obs.groupby("perturbation", observed=True).indices
    return {label: np.asarray(scaled[rows].mean(axis=0)).ravel() for label, rows in cells.items()}


def correlation(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.corrcoef(a, b)[0, 1])


def test_same_seed_gives_the_same_set(small):
    again = generate_demo(seed=3, parameters=SMALL)
    assert (small.X != again.X).nnz == 0
    assert small.obs.equals(again.obs)
    assert small.var.equals(again.var)
    np.testing.assert_array_equal(small.varm["effects"], again.varm["effects"])


def test_result_does_not_depend_on_the_global_random_state(small):
    np.random.seed(17)  # noqa: NPY002 - the state that must not matter
    assert (small.X != generate_demo(seed=3, parameters=SMALL).X).nnz == 0


def test_other_seed_gives_another_set(small):
    other = generate_demo(seed=4, parameters=SMALL)
    assert not small.var["control_mean"].equals(other.var["control_mean"])
    assert not np.array_equal(small.obs["ncounts"].to_numpy()[:50], other.obs["ncounts"].to_numpy()[:50])


def test_counts_are_whole_and_nonnegative(demo):
    assert demo.X.format == "csr"
    assert demo.X.dtype == np.float32
    assert demo.X.data.min() >= 0
    assert np.array_equal(demo.X.data, np.floor(demo.X.data))
    np.testing.assert_array_equal(demo.obs["ncounts"], np.asarray(demo.X.sum(axis=1)).ravel())


def test_labels_and_cells_are_as_stated(demo):
    p = DemoParameters()
    assert demo.obs["perturbation"].dtype == "category"
    sizes = good_cells(demo).obs["perturbation"].value_counts()
    perturbations = sizes.drop("control")
    parts = {label: label.split("+") for label in perturbations.index}
    doubles = [label for label, genes in parts.items() if len(genes) == 2]
    usable = perturbations[perturbations >= p.cells_per_perturbation]
    rare = perturbations[perturbations < p.cells_per_perturbation]

    assert sizes["control"] == p.n_control_cells >= 1_000
    assert len(usable) == p.n_singles + p.n_doubles == 60
    assert usable.between(p.cells_per_perturbation + 2, p.cells_per_perturbation + p.spare_cells).all()
    assert len(rare) == p.n_rare
    assert len(doubles) == p.n_doubles
    assert all(genes == sorted(genes) for genes in parts.values())
    assert all(gene in usable.index for label in doubles for gene in parts[label])
    assert {gene for genes in parts.values() for gene in genes} <= set(demo.var_names)
    assert set(demo.uns["demo"]["effect_labels"]) == set(perturbations.index)


def test_preparation_has_cells_and_genes_to_remove(demo):
    p = DemoParameters()
    assert (demo.X.getnnz(axis=1) < 200).sum() == p.n_low_quality_cells
    kept_genes = good_cells(demo).X.getnnz(axis=0) >= 3
    assert demo.n_vars == p.n_genes + p.n_silent_genes
    assert p.n_genes - 5 <= kept_genes.sum() <= p.n_genes + 5


def test_cells_are_in_no_order(small):
    labels = small.obs["perturbation"].to_numpy()
    assert (labels[1:] == labels[:-1]).mean() < 0.5


def test_variance_exceeds_poisson_as_theta_says(demo):
    control = demo[demo.obs["perturbation"] == "control"]
    control = good_cells(control)
    scale = control.obs["ncounts"].to_numpy() / control.obs["ncounts"].mean()
    counts = control.X.toarray() / scale[:, None]
    mean, variance = counts.mean(axis=0), counts.var(axis=0, ddof=1)
    high = mean > 2
    excess = (variance[high] - mean[high] * (1 / scale).mean()) / mean[high] ** 2
    assert (variance[high] > mean[high]).mean() > 0.99
    # The excess of a negative binomial over its Poisson part is mean^2 / theta.
    assert np.median(excess * control.var["theta"].to_numpy()[high]) == pytest.approx(1, abs=0.15)


def test_all_perturbations_share_a_shift_from_control(demo):
    means = relative_means(good_cells(demo))
    control = means.pop("control")
    singles = [mean for label, mean in means.items() if "+" not in label]
    first, second = np.mean(singles[::2], axis=0), np.mean(singles[1::2], axis=0)
    expressed = control > 0.1
    shifts = [np.log(half[expressed] / control[expressed]) for half in (first, second)]
    assert correlation(*shifts) > 0.6
    assert correlation(shifts[0], demo.var["shift"].to_numpy()[expressed]) > 0.7
    assert np.std(np.mean(shifts, axis=0)) == pytest.approx(DemoParameters().shift_sd, abs=0.05)


def test_no_shift_when_its_spread_and_slope_are_zero():
    adata = generate_demo(seed=0, parameters=replace(SMALL, shift_sd=0.0, shift_slope=0.0))
    assert np.all(adata.var["shift"] == 0)


def test_effects_are_near_additive_with_some_interaction(demo):
    labels = list(demo.uns["demo"]["effect_labels"])
    effects = dict(zip(labels, demo.varm["effects"].T, strict=True))
    means = relative_means(good_cells(demo))
    control = means.pop("control")
    overall = np.mean(list(means.values()), axis=0)
    measured = control > 2
    observed_agreement, true_agreement = [], []
    for label in labels:
        if "+" not in label:
            continue
        pair = label.split("+")
        log_change = {name: np.log((means[name] + 0.1) / (overall + 0.1))[measured] for name in (label, *pair)}
        observed_agreement.append(correlation(log_change[label], log_change[pair[0]] + log_change[pair[1]]))
        total = effects[pair[0]] + effects[pair[1]]
        true_agreement.append(correlation(effects[label], total))
        assert not np.allclose(effects[label], DemoParameters().additivity * total)
    assert np.median(observed_agreement) > 0.6
    assert np.median(true_agreement) > 0.85


def test_doubles_are_exactly_additive_when_told_so():
    adata = generate_demo(seed=1, parameters=replace(SMALL, additivity=1.0, interaction=0.0))
    effects = dict(zip(adata.uns["demo"]["effect_labels"], adata.varm["effects"].T, strict=True))
    doubles = [label for label in effects if "+" in label]
    assert len(doubles) == SMALL.n_doubles
    for label in doubles:
        first, second = label.split("+")
        np.testing.assert_allclose(effects[label], effects[first] + effects[second], atol=1e-6)


def test_perturbations_range_from_null_to_strong(demo):
    p = DemoParameters()
    effects = dict(zip(demo.uns["demo"]["effect_labels"], demo.varm["effects"].T, strict=True))
    singles = {label: effect for label, effect in effects.items() if "+" not in label}
    null = [label for label, effect in singles.items() if not effect.any()]
    size = sorted(np.linalg.norm(effect) for effect in singles.values() if effect.any())
    assert len(null) == round(p.null_share * p.n_singles)
    assert size[-1] > 5 * size[0]
    for label in singles.keys() - set(null):
        assert singles[label][demo.var_names.get_loc(label)] > 0  # activation raises its target


def test_targets_rise_in_the_counts(demo):
    means = relative_means(good_cells(demo))
    effects = demo.varm["effects"]
    rises = []
    for column, label in enumerate(demo.uns["demo"]["effect_labels"]):
        if "+" in label or not effects[:, column].any():
            continue
        gene = demo.var_names.get_loc(label)
        rises.append(means[label][gene] > means["control"][gene])
    assert np.mean(rises) > 0.9


def test_modules_are_shared_between_perturbations(demo):
    labels = demo.uns["demo"]["effect_labels"]
    effects = demo.varm["effects"][:, [("+" not in label) for label in labels]].T
    effects = effects[effects.any(axis=1)]
    agreement = np.abs(np.corrcoef(effects))[np.triu_indices(len(effects), k=1)]
    # Effects on genes drawn independently, 50 of 1,000, never agree so well.
    assert (agreement > 0.3).mean() > 0.05
    assert np.median(agreement) < 0.2


def test_states_that_it_is_synthetic_and_survives_a_file(small, tmp_path: Path):
    small.write_h5ad(tmp_path / "demo.h5ad")
    read = anndata.read_h5ad(tmp_path / "demo.h5ad")
    note = read.uns["demo"]
    assert note["synthetic"]
    assert "synthetic" in note["description"].lower()
    assert note["seed"] == 3
    assert DemoParameters(**note["parameters"]) == SMALL
    assert (read.X != small.X).nnz == 0
    assert list(note["effect_labels"]) == list(small.uns["demo"]["effect_labels"])
    np.testing.assert_array_equal(read.varm["effects"], small.varm["effects"])


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"n_singles": 4, "n_doubles": 7}, ("n_doubles", 7, 4, 6)),
        ({"n_singles": 1}, ("n_singles", 1, 2)),
        ({"cells_per_perturbation": 0}, ("cells_per_perturbation", 0, 4)),
        ({"n_control_cells": -5}, ("n_control_cells", -5, 1)),
        ({"spare_cells": 1}, ("spare_cells", 1, 2)),
        ({"counts_per_cell": 0.0}, ("counts_per_cell", 0.0)),
        ({"library_sd": float("nan")}, ("library_sd", "nan")),
        ({"null_share": 1.5}, ("null_share", 1.5, 0, 1)),
        ({"smallest_module": 61}, ("largest_module", 60, 61)),
        ({"strength_mean": 3.0}, ("strength_mean", 3.0, "strength_max", 2.0)),
        ({"n_genes": 40}, ("n_singles", 40, "n_rare", 2, 38)),
        ({"largest_module": 1_000}, ("largest_module", 1000, 950)),
    ],
)
def test_impossible_parameters_are_refused(changes, named):
    with pytest.raises(InputError, match=naming(*named)):
        DemoParameters(**changes)


def test_as_many_doubles_as_there_are_pairs():
    adata = generate_demo(parameters=replace(SMALL, n_singles=4, n_doubles=6))
    assert sum("+" in label for label in adata.obs["perturbation"].cat.categories) == 6


def test_negative_seed_is_refused():
    with pytest.raises(InputError, match=naming("seed", -1)):
        generate_demo(seed=-1, parameters=SMALL)
