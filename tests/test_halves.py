"""Random halves of every perturbation's cells, and the technical duplicate."""

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from examples import make_expression
from messages import naming

from diversity_by_design import PerturbationStatistics, Truth, technical_duplicate
from diversity_by_design.errors import InputError
from diversity_by_design.groups import LabelledCells
from diversity_by_design.halves import Halvings, halved, label_generator, sorted_members

N_HALVINGS = 4


def halvings_of(adata, labels=None, seed=1, n=N_HALVINGS, context=None, **options):
    """Statistics and halvings of a data set, or of one of its contexts."""
    cells = LabelledCells.from_anndata(adata, "condition", "control", context=None if context is None else "line")
    present = cells.perturbations()
    chosen = {
        place: counts.index[counts >= 4] if labels is None else pd.Index(labels) for place, counts in present.items()
    }
    statistics, halves = halved(cells, chosen, n, seed, **options)
    return statistics[context or ""], halves[context or ""]


def sums_of(halves: Halvings) -> list[np.ndarray]:
    return [*halves.first, *halves.quarters]


def assert_same(first: Halvings, second: Halvings) -> None:
    assert first.labels.equals(second.labels)
    for ours, theirs in zip(sums_of(first), sums_of(second), strict=True):
        np.testing.assert_array_equal(ours, theirs)


@pytest.fixture(scope="module")
def indicators() -> ad.AnnData:
    """A data set in which each cell expresses a gene of its own, so that sums say which cells they are of."""
    labels = np.repeat(["A", "B", "C+D", "control"], [4, 9, 14, 6])
    values = 0.5 * np.eye(len(labels))
    names = [f"c{number}" for number in np.random.default_rng(0).permutation(len(labels))]
    return ad.AnnData(values, obs=pd.DataFrame({"condition": pd.Categorical(labels)}, index=names))


@pytest.fixture(scope="module")
def made(indicators):
    return halvings_of(indicators)


@pytest.fixture(scope="module")
def cells() -> ad.AnnData:
    adata = make_expression()
    adata.obs["line"] = np.where(np.arange(adata.n_obs) % 2, "b", "a")
    return adata


class TestPartition:
    def cells_of(self, sums) -> list[set[int]]:
        assert set(np.unique(sums)) <= {0.0, 0.5}
        return [set(np.flatnonzero(row)) for row in sums]

    def test_halves_partition_the_cells(self, made, indicators):
        statistics, halves = made
        assert halves.n_first.tolist() == [2, 4, 7] and halves.n_cells.tolist() == [4, 9, 14]
        labels = indicators.obs["condition"].to_numpy()
        for number in range(N_HALVINGS):
            first, second = (halves.half(number, which, statistics) for which in (0, 1))
            assert first.n_cells.tolist() == [2, 4, 7] and second.n_cells.tolist() == [2, 5, 7]
            for row, label in enumerate(halves.labels):
                one, other = self.cells_of(first.sum)[row], self.cells_of(second.sum)[row]
                assert len(one) == first.n_cells[row] and len(other) == second.n_cells[row]
                assert not one & other and one | other == set(np.flatnonzero(labels == label))

    def test_quarters_partition_the_halves(self, made):
        statistics, halves = made
        for number in range(N_HALVINGS):
            for which, sizes in ((0, [(1, 1), (2, 2), (3, 4)]), (1, [(1, 1), (2, 3), (3, 4)])):
                half = halves.half(number, which, statistics)
                means = halves.quarter_means(number, which, half)
                for row, n_cells in enumerate(sizes):
                    parts = [set(np.flatnonzero(mean[row])) for mean in means]
                    assert tuple(map(len, parts)) == n_cells
                    assert not parts[0] & parts[1] and parts[0] | parts[1] == self.cells_of(half.sum)[row]
                    for mean, n in zip(means, n_cells, strict=True):
                        np.testing.assert_allclose(mean[row].max(), 0.5 / n)

    def test_halvings_differ(self, made):
        _, halves = made
        assert len({halves.first[number][0, 2].tobytes() for number in range(N_HALVINGS)}) == N_HALVINGS

    def test_every_cell_is_as_likely_in_the_first_half(self, indicators):
        _, halves = halvings_of(indicators, labels=["B"], n=400)
        share = np.mean([first[0, 0, 4:13] > 0 for first in halves.first], axis=0)
        # Four standard errors of a share of 4/9 over 400 halvings.
        np.testing.assert_allclose(share, 4 / 9, atol=4 * np.sqrt(4 / 9 * 5 / 9 / 400))


class TestDependsOnSeedLabelAndNamesOnly:
    def test_not_on_the_order_of_cells_or_workers(self, cells):
        expected = halvings_of(cells)[1]
        order = np.random.default_rng(0).permutation(cells.n_obs)
        assert_same(halvings_of(cells[order].copy(), workers=3)[1], expected)

    def test_not_on_other_perturbations_or_how_many_halvings_there_are(self, cells):
        whole = halvings_of(cells, labels=["P1", "P3"])[1]
        fewer = cells[cells.obs["condition"].isin(["P1", "P3", "control"])]
        assert_same(halvings_of(fewer)[1], whole)
        one = halvings_of(cells, labels=["P1", "P3"], n=1)[1]
        np.testing.assert_array_equal(one.first[0], whole.first[0])

    def test_on_the_seed_and_on_names(self, cells):
        expected = halvings_of(cells)[1]
        assert not np.array_equal(halvings_of(cells, seed=2)[1].first[0], expected.first[0])
        renamed = cells.copy()
        renamed.obs_names = [f"{name[::-1]}" for name in cells.obs_names]
        assert not np.array_equal(halvings_of(renamed)[1].first[0], expected.first[0])

    def test_contexts_give_what_each_contexts_cells_alone_give(self, cells):
        for line in "ab":
            statistics, halves = halvings_of(cells, context=line)
            alone_statistics, alone = halvings_of(cells[cells.obs["line"] == line], context=line)
            assert_same(halves, alone)
            np.testing.assert_array_equal(statistics.sum_sq, alone_statistics.sum_sq)

    def test_labels_in_another_form_have_the_same_halves(self, cells):
        other = cells.copy()
        other.obs["condition"] = other.obs["condition"].astype(str).replace({"P0+P1": "P1+P0"})
        assert_same(halvings_of(other)[1], halvings_of(cells)[1])


def test_statistics_are_those_of_all_cells(expression):
    statistics, _ = halvings_of(expression, labels=["P2"])
    expected = PerturbationStatistics.from_anndata(expression)
    for name in ("n_cells", "sum", "sum_sq", "control_sum", "control_sum_sq"):
        np.testing.assert_array_equal(getattr(statistics, name), getattr(expected, name))


class TestTechnicalDuplicate:
    def test_halves_share_no_cell_and_leave_none_out(self, expression):
        first, second = technical_duplicate(expression, seed=1)
        whole = PerturbationStatistics.from_anndata(expression)
        np.testing.assert_array_equal(first.n_cells, whole.n_cells // 2)
        merged = first.merge(second)
        np.testing.assert_array_equal(merged.n_cells, whole.n_cells)
        np.testing.assert_array_equal(merged.sum, whole.sum)
        assert (first.n_control, second.n_control) == (15, 15)
        assert not np.array_equal(first.sum, second.sum)

    def test_is_the_first_halving(self, expression):
        statistics, halves = halvings_of(expression, seed=3)
        first, second = technical_duplicate(expression, seed=3)
        for which, half in enumerate((first, second)):
            found = halves.half(0, which, statistics)
            np.testing.assert_array_equal(found.sum, half.sum)
            np.testing.assert_array_equal(found.n_cells, half.n_cells)
            np.testing.assert_allclose(found.sum_sq, half.sum_sq, rtol=1e-13)
        truth = Truth.from_anndata(expression, mode="paper", seed=3)
        np.testing.assert_array_equal(truth.target(0, half=True).duplicate, first.mean)
        np.testing.assert_array_equal(truth.target(0, half=True).mean, second.mean)

    def test_depends_on_seed_and_names_only(self, expression):
        first, _ = technical_duplicate(expression, seed=1)
        again, _ = technical_duplicate(expression[::-1].copy(), seed=1, workers=3)
        np.testing.assert_array_equal(first.sum, again.sum)
        other, _ = technical_duplicate(expression, seed=2)
        assert not np.array_equal(first.sum, other.sum)
        fewer, _ = technical_duplicate(expression[~expression.obs["condition"].isin(["P0", "P3"])], seed=1)
        np.testing.assert_array_equal(fewer.sum, first.select(labels=fewer.labels).sum)

    def test_of_a_backed_file(self, tmp_path, expression):
        expression.write_h5ad(tmp_path / "x.h5ad")
        backed, _ = technical_duplicate(ad.read_h5ad(tmp_path / "x.h5ad", backed="r"), seed=1)
        np.testing.assert_array_equal(backed.sum, technical_duplicate(expression, seed=1)[0].sum)

    def test_one_cell(self, expression):
        keep = np.flatnonzero((expression.obs["condition"] != "P0").to_numpy())
        one = np.flatnonzero((expression.obs["condition"] == "P0").to_numpy())[:1]
        with pytest.raises(InputError, match=naming("P0")):
            technical_duplicate(expression[np.concatenate([keep, one])])

    @pytest.mark.filterwarnings("ignore:Observation names are not unique")
    def test_repeated_cell_names(self, expression):
        expression.obs_names = ["cell1", *expression.obs_names[1:]]
        with pytest.raises(InputError, match=naming(1, "cell1")):
            technical_duplicate(expression)

    def test_no_such_column_or_control(self, expression):
        with pytest.raises(InputError, match=naming("guide", "condition")):
            technical_duplicate(expression, perturbation="guide")
        with pytest.raises(InputError, match=naming("ctrl", "condition", "P0")):
            technical_duplicate(expression, control="ctrl")

    @pytest.mark.parametrize("workers", [0, "2"])
    def test_workers_that_are_none(self, workers, expression):
        with pytest.raises(InputError, match=naming("workers", repr(workers))):
            technical_duplicate(expression, workers=workers)


def test_members_are_sorted_by_the_names_of_their_cells():
    members = dict(sorted_members(["b", None, "a", "b", "b"], pd.Index(["z", "y", "x", "10", "9"])))
    assert list(members) == ["a", "b"]
    assert members["a"].tolist() == [2] and members["b"].tolist() == [3, 4, 0]


def test_random_numbers_of_a_label_are_its_own():
    first, again, other, seed = (label_generator(*key).random() for key in ((1, "A"), (1, "A"), (1, "B"), (2, "A")))
    assert first == again
    assert len({first, other, seed}) == 3
