"""Splits: every perturbation is tested once, nothing leaks, and files made by hand are understood or refused."""

import itertools
from functools import partial

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from messages import naming

from diversity_by_design.errors import InputError
from diversity_by_design.labels import canonical, checked_labels, parts
from diversity_by_design.models.split_tables import ROLES
from diversity_by_design.models.splits import (
    Split,
    check_no_leak,
    make_splits,
    read_halves,
    read_splits,
    write_splits,
)

# Names that tables, sorting and coverage may stumble over.
GENES = ["A", "B", "C", "AA", "NA", "nan", "1", "HLA-A", "x,y", 'q"q', "Ärger", "RP11.1", "a", "b"]
SEEDS = st.integers(0, 2**40)
combination_splits, unseen_splits = (partial(make_splits, task) for task in ("combinations", "unseen"))


@st.composite
def designs(draw):
    """Labels of at least four singles and four pairs, and of some triples (their parts in any order), in any order."""
    singles = draw(st.lists(st.sampled_from(GENES), min_size=4, unique=True))
    pairs = draw(st.lists(st.sampled_from(list(itertools.combinations(GENES, 2))), min_size=4, unique=True))
    triples = draw(st.lists(st.sampled_from(list(itertools.combinations(GENES, 3))), max_size=3, unique=True))
    combined = [draw(st.permutations(genes)) for genes in [*pairs, *triples]]
    return draw(st.permutations(singles + ["+".join(genes) for genes in combined]))


def of_size(labels, *sizes):
    return {canonical(label) for label in labels if len(parts(label)) in sizes}


def names(split, *roles):
    return {label for role in roles for label in split.labels(role)}


def table(*rows, header="perturbation,role,task,half,seed"):
    return "\n".join([header, *rows]) + "\n"


COLUMNS = ("perturbation", "role", "task", "half", "seed")
UNSEEN = ["A,train,unseen,0,3", "B,validation,unseen,0,3", "C,test,unseen,0,3"]


@settings(deadline=None)
@given(designs(), SEEDS)
@pytest.mark.parametrize(("function", "sizes"), [(combination_splits, (2, 3)), (unseen_splits, (1,))])
def test_every_perturbation_of_the_task_is_tested_exactly_once(function, sizes, labels, seed):
    splits = function(labels, seed)
    assert [split.half for split in splits] == [0, 1]
    assert sorted([*splits[0].labels("test"), *splits[1].labels("test")]) == sorted(of_size(labels, *sizes))
    n_first, n_second = (len(split.labels("test")) for split in splits)
    assert n_first - n_second in (0, 1)
    for split, other in (splits, splits[::-1]):
        # Halves are swapped: what one tests is what the other has for training and validation, besides singles.
        dealt = names(split, "train", "validation") & of_size(labels, *sizes)
        assert dealt == names(other, "test")
        assert len(split.labels("validation")) == max(1, int(np.floor(0.1 * len(dealt) + 0.5)))
        assert names(split, "validation") <= dealt


@settings(deadline=None)
@given(designs(), SEEDS, st.sets(st.sampled_from(GENES)), st.sampled_from([None, 2]))
@pytest.mark.parametrize("task", ["combinations", "unseen", "auto"])
def test_roles_partition_the_labels_and_nothing_leaks(task, labels, seed, covered, together):
    labels = sorted(map(canonical, labels))
    too_large = of_size(labels, 3) if together else set()
    outside = {label for label in labels if not set(parts(label)) <= covered} - too_large
    usable = [label for label in labels if label not in outside | too_large]
    enough = {"combinations": len(of_size(usable, 2, 3)) >= 4, "unseen": len(of_size(usable, 1)) >= 4}
    expected = task if task != "auto" else "combinations" if enough["combinations"] else "unseen"
    if not enough[expected]:
        with pytest.raises(InputError, match=naming(expected, 4)):
            make_splits(task, labels, seed, covered=covered, together=together)
        return
    for split in make_splits(task, labels, seed, covered=covered, together=together):
        assert split.task == expected
        assert split.roles.index.tolist() == labels
        assert sorted(label for role in ROLES for label in split.labels(role)) == labels
        assert names(split, "not_covered") == outside
        if expected == "combinations":
            assert of_size(usable, 1) <= names(split, "train")
            assert names(split, "left_out") == too_large
        else:
            seen = {gene for label in names(split, "train", "validation") for gene in parts(label)}
            assert seen.isdisjoint(names(split, "test"))
            assert names(split, "left_out") == of_size(usable, 2, 3) | too_large


@settings(deadline=None)
@given(designs(), SEEDS, st.randoms(use_true_random=False))
@pytest.mark.parametrize("task", ["combinations", "unseen"])
def test_the_order_of_labels_and_genes_does_not_matter(task, labels, seed, random):
    covered = [*GENES, "no perturbation"]
    shuffled = random.sample(labels, len(labels))
    one = make_splits(task, labels, seed, covered=covered)
    other = make_splits(task, pd.Index(shuffled), np.int64(seed), covered=iter(covered[::-1]))
    for split, same in zip(one, other, strict=True):
        pd.testing.assert_frame_equal(split.to_frame(), same.to_frame())


@pytest.mark.parametrize("task", ["combinations", "unseen"])
def test_seeds_differ_and_deal_every_perturbation_alike(task):
    genes = [f"G{i:02}" for i in range(12)]
    labels = genes + [f"{a}+{b}" for a, b in itertools.pairwise(genes)]
    n_seeds = 300
    firsts = [make_splits(task, labels, seed)[0] for seed in range(n_seeds)]
    assert len({tuple(split.roles) for split in firsts}) > 0.9 * n_seeds
    size = 2 if task == "combinations" else 1
    for role, n in (("test", 6), ("validation", 1)):
        counts = pd.Series([label for split in firsts for label in split.labels(role)]).value_counts()
        counts = counts.reindex(sorted(of_size(labels, size)), fill_value=0)
        share = n / len(counts)
        assert counts.sum() == n * n_seeds
        # Five standard deviations of a binomial.
        assert (counts - share * n_seeds).abs().max() < 5 * np.sqrt(n_seeds * share * (1 - share))


@pytest.mark.parametrize(("n", "expected"), [(4, (1, 1)), (28, (1, 1)), (29, (1, 2)), (30, (2, 2)), (131, (7, 7))])
def test_a_tenth_of_the_training_half_is_for_validation(n, expected):
    splits = unseen_splits([f"G{i}" for i in range(n)], 0)
    assert tuple(len(split.labels("validation")) for split in splits) == expected


def test_fewest_perturbations():
    four = ["A+B", "A+C", "B+C", "B+D"]
    # Without any single perturbation: one combination is left to train on.
    for split in combination_splits(four, 0):
        assert split.roles.value_counts().to_dict() == {"test": 2, "train": 1, "validation": 1}
    with pytest.raises(InputError, match=naming("combinations", 4, 3, 6)):
        combination_splits([*four, "A", "B"], 0, covered=list("ABC"))
    with pytest.raises(InputError, match=naming("combinations", 4, 0)):
        combination_splits(["A", "B", "C", "D"], 0)
    with pytest.raises(InputError, match=naming("single", 4, 3, 5)):
        unseen_splits(["A", "B", "C", "D", "A+B"], 0, covered=["A", "B", "C"])
    # Combinations do not make up for missing singles.
    with pytest.raises(InputError, match=naming("single", 4, 1, 5)):
        unseen_splits([*four, "A"], 0)


def test_combinations_of_more_genes_than_a_model_can_do_are_left_out():
    labels = ["A", "B", "A+B", "A+C", "B+C", "B+D", "A+B+C", "X+Y+Z"]
    for split in make_splits("auto", labels, 0, covered=list("ABCD"), together=2):
        assert split.task == "combinations"
        assert names(split, "left_out") == {"A+B+C", "X+Y+Z"}
        assert names(split, "train", "validation", "test") == {"A", "B", "A+B", "A+C", "B+C", "B+D"}
    with pytest.raises(InputError, match=naming("combinations", 4, 1, 0, 6, 8)):
        combination_splits(labels, 0, together=1)
    for together in (0, 1.5, "2"):
        with pytest.raises(InputError, match=naming("together", repr(together), 1)):
            combination_splits(labels, 0, together=together)


def test_a_text_is_no_collection_of_genes_and_tasks_are_named():
    with pytest.raises(InputError, match=naming("covered", "ABCD")):
        unseen_splits(["A", "B", "C", "D"], 0, covered="ABCD")
    with pytest.raises(InputError, match=naming("task", "single", "combinations", "unseen", "auto")):
        make_splits("single", ["A", "B", "C", "D"], 0)


@pytest.mark.parametrize("seed", [-1, 0.5, "0", None, True])
def test_wrong_seeds(seed):
    with pytest.raises(InputError, match=naming("seed", repr(seed), 0)):
        unseen_splits(["A", "B", "C", "D"], seed)
    with pytest.raises(InputError, match=naming("seed", repr(seed), 0)):
        Split("unseen", 0, seed, pd.Series({"A": "train", "B": "validation", "C": "test"}))


BAD_LABELS = [
    (["A", "B", "A"], (1, "A")),
    (["A+B", "B+A"], (1, "A+B")),
    (["A", "A+ctrl"], (1, "A")),
    (["A", "A+A"], (1, "A")),
    (["A", "control"], ("'control'",)),
    (["A", "ctrl"], ("'ctrl'",)),
    (["A", "B+"], ("'+B'",)),
    (["A", ""], ("''",)),
    (["A", "B + C"], ("' C+B '",)),
    (["A", np.nan], ("nan",)),
    (["A", 7], (7,)),
]


@pytest.mark.parametrize(("labels", "said"), BAD_LABELS)
def test_wrong_labels_are_named(labels, said):
    good = ["W", "X", "Y", "Z", "W+X", "W+Y", "W+Z", "X+Y"]
    for function in (combination_splits, unseen_splits):
        with pytest.raises(InputError, match=naming(*said)):
            function([*good, *labels], 0)
    roles = {"W": "train", "X": "validation", "Y+Z": "test"}
    with pytest.raises(InputError, match=naming("combinations", "half 1", "seed 2", *said)):
        Split("combinations", 1, 2, pd.Series([*roles.values(), *["train"] * len(labels)], [*roles, *labels]))


def test_genes_and_labels_may_be_written_in_any_form(tmp_path):
    labels = ["A", "B", "C", "D", *(f"{a}+{b}" for a, b in ("AB", "AC", "AD", "BC", "BD", "CD"))]
    other = [*(f"{gene}+ctrl" for gene in "ABCD"), *(label[::-1] for label in labels[4:])]
    for task in ("combinations", "unseen"):
        expected = make_splits(task, labels, 0, covered=list("ABCD"))
        for covered in (["A+ctrl", "control+B", "C", "D"], ["B+A", "C", "D"]):
            for split, same in zip(make_splits(task, other, 0, covered=covered), expected, strict=True):
                pd.testing.assert_frame_equal(split.to_frame(), same.to_frame())
    write_splits(tmp_path / "splits.csv", make_splits("combinations", labels, 0))
    assert len(read_halves(tmp_path / "splits.csv", other, [f"{gene}+ctrl" for gene in "ABCD"])) == 2


def test_a_single_text_is_one_label():
    assert checked_labels("AB", "here") == ["AB"]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"C": "train"}, ("'test'", 3, "2 train", "1 validation", "0 test")),
        ({"B": "not_covered"}, ("'validation'", 3, "1 train", "0 validation", "1 test", "1 not_covered")),
        ({"A": "left_out"}, ("'train'", 3)),
        ({"A": "training"}, ("'A'", "'training'", *ROLES)),
        ({"A": np.nan}, ("'A'", "nan")),
        ({"C+D": "train"}, ("'C'", "'C+D'", "'train'")),
        ({"C+D": "validation"}, ("'C'", "'C+D'", "'validation'")),
        ({"A+D": "test"}, ("'A+D'", "'A'")),
    ],
)
def test_splits_that_leak_or_lack_are_refused(changes, said):
    roles = {"A": "train", "B": "validation", "C": "test"}
    Split("unseen", 0, 0, pd.Series(roles))
    with pytest.raises(InputError, match=naming("unseen", "half 0", "seed 0", *said)):
        Split("unseen", 0, 0, pd.Series(roles | changes))


def test_combinations_of_unseen_genes_alone_may_be_tested_by_hand():
    split = Split("unseen", 0, 0, pd.Series({"A": "train", "B": "validation", "C": "test", "C+D": "test"}))
    assert split.labels("test").tolist() == ["C", "C+D"]


def test_only_combinations_are_tested_in_their_task():
    with pytest.raises(InputError, match=naming("combinations", 1, "C")):
        Split("combinations", 0, 0, pd.Series({"A": "train", "B": "validation", "C": "test", "A+B": "test"}))


def test_wrong_task_half_and_role():
    roles = pd.Series({"A": "train", "B": "validation", "C": "test"})
    with pytest.raises(InputError, match=naming("task", "auto", "combinations", "unseen")):
        Split("auto", 0, 0, roles)
    with pytest.raises(InputError, match=naming("half", 2, 0, 1)):
        Split("unseen", 2, 0, roles)
    with pytest.raises(InputError, match=naming("role", "val", *ROLES)):
        Split("unseen", 0, 0, roles).labels("val")


def test_what_is_given_is_sorted_copied_and_plain():
    roles = pd.Series({"C": "test", "B": "validation", "A": "train"}, name="any")
    split = Split("unseen", np.int64(1), np.int32(5), roles)
    roles["A"] = "test"
    assert split.roles.to_dict() == {"A": "train", "B": "validation", "C": "test"}
    assert (split.roles.name, split.roles.index.name) == ("role", "perturbation")
    assert (type(split.half), type(split.seed)) == (int, int)
    frame = split.to_frame()
    assert frame.columns.tolist() == ["perturbation", "role", "task", "half", "seed"]
    assert frame.iloc[0].tolist() == ["A", "train", "unseen", 1, 5]


@settings(deadline=None)
@given(designs(), SEEDS, st.sampled_from(["combinations", "unseen"]))
def test_round_trip(tmp_path_factory, labels, seed, task):
    path = tmp_path_factory.mktemp("splits") / "splits.csv"
    splits = [*make_splits(task, labels, seed)[::-1], *make_splits("unseen", labels, seed + 1)]
    write_splits(path, splits)
    before = path.read_bytes()
    found = read_splits(path)
    assert len(found) == len(splits)
    for split, again in zip(splits, found, strict=True):
        pd.testing.assert_frame_equal(split.to_frame(), again.to_frame())
    write_splits(path, found)
    assert path.read_bytes() == before


def test_a_table_made_by_hand(tmp_path):
    path = tmp_path / "splits.csv"
    rows = ["C, test, 0, 3, unseen, why not", "", "B,validation,0,3,unseen,", " A ,train,0,3,unseen,", ",,,,,"]
    text = table(*rows, header="perturbation, role, half, seed, task, comment")
    # With a byte-order mark and the line ends of Windows, as spreadsheets write it.
    path.write_bytes(b"\xef\xbb\xbf" + text.replace("\n", "\r\n").encode())
    [split] = read_splits(path)
    assert split.roles.to_dict() == {"A": "train", "B": "validation", "C": "test"}
    assert (split.task, split.half, split.seed) == ("unseen", 0, 3)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", COLUMNS),
        (table(), ("rows",)),
        (table("A;train", header="perturbation;role"), ("perturbation;role", *COLUMNS)),
        (table("A,train,A", header="perturbation,role,role"), ("task", "half", "seed")),
        (table("A,train,unseen,0,0,A", header="perturbation,role,task,half,seed,role"), ("role",)),
        (table(*UNSEEN, "D,train,unseen,0"), ("line 5", 4, 5)),
        (table(*UNSEEN, "", "D,trian,unseen,0,3"), ("line 6", "role", "'D'", "'trian'", *ROLES)),
        (table(*UNSEEN, "D,train,seen,0,3"), ("line 5", "task", "'D'", "'seen'", "combinations", "unseen")),
        (table(*UNSEEN, "D,train,unseen,2,3"), ("line 5", "half", "'D'", "'2'", 0, 1)),
        (table(*UNSEEN, "D,train,unseen,0.0,3"), ("line 5", "half", "'D'", "'0.0'", 0, 1)),
        (table(*UNSEEN, "D,train,unseen,0,-3"), ("line 5", "seed", "'D'", "'-3'")),
        (table(*UNSEEN, "D,train,unseen,0,"), ("line 5", "seed", "'D'", "''")),
        (table(*UNSEEN, ",train,unseen,0,3"), ("line 5", "perturbation", "''")),
        (table(*UNSEEN, '"D,train,unseen,0,3'), ("line 5", "CSV")),
        (table(*UNSEEN, "D,train,unseen,1,3"), ("unseen", "half 1", "seed 3", "'validation'")),
        (table(*UNSEEN, "A,test,unseen,0,3"), ("unseen", "half 0", "seed 3", 1, "A")),
    ],
)
def test_files_that_are_wrong(tmp_path, text, said):
    path = tmp_path / "mine.csv"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(InputError, match=naming(path, *said)):
        read_splits(path)


def test_files_that_are_no_tables(tmp_path):
    with pytest.raises(InputError, match=naming("none.csv", "write_splits")):
        read_splits(tmp_path / "none.csv")
    (tmp_path / "latin.csv").write_bytes(table("Ä,train,unseen,0,0").encode("latin-1"))
    with pytest.raises(InputError, match=naming("latin.csv", "UTF-8")):
        read_splits(tmp_path / "latin.csv")


def test_halves_must_fit_each_other(tmp_path):
    def split(half, **roles):
        return Split("unseen", half, 0, pd.Series(roles))

    first = split(0, A="train", B="validation", C="test", D="test")
    swapped = split(1, A="test", B="test", C="train", D="validation")
    check_no_leak([first, swapped])
    path = tmp_path / "splits.csv"
    for other, said in [
        (split(1, A="train", B="validation", C="test", D="left_out"), (1, "C")),
        (split(1, A="test", B="train", C="validation"), ("half 1", "seed 0", 1, "half 0", "D")),
        (split(0, A="test", B="test", C="train", D="validation"), ("half 0", "seed 0", "twice")),
    ]:
        with pytest.raises(InputError, match=naming(*said)):
            write_splits(path, [first, other])
    # Another seed is another pair.
    write_splits(path, [first, Split("unseen", 0, 1, first.roles)])
    before = path.read_bytes()
    with pytest.raises(InputError, match=naming(path)):
        write_splits(path, [])
    # Changed after it was made.
    swapped.roles["D"] = "test"
    with pytest.raises(InputError, match=naming("'validation'")):
        write_splits(path, [swapped])
    assert path.read_bytes() == before


def test_the_combinations_of_norman19(shared_data):
    import anndata as ad

    labels = ad.read_h5ad(shared_data / "norman19_semi_synthetic.h5ad", backed="r").obs["perturbation"]
    labels = [label for label in labels.unique() if label != "control"]
    splits = make_splits("auto", labels, 0)
    counts = [split.roles.value_counts().to_dict() for split in splits]
    assert (len(of_size(labels, 1)), len(of_size(labels, 2))) == (104, 130)
    assert counts == [{"train": 104 + 58, "validation": 7, "test": 65}] * 2


def test_halves_of_a_file_fit_the_data_and_the_graph(tmp_path):
    path = tmp_path / "splits.csv"
    labels = ["A", "B", "C", "D", *(f"{a}+{b}" for a, b in ("AB", "AC", "AD", "BC", "BD", "CD"))]
    halves = make_splits("combinations", labels, 0)
    write_splits(path, halves[::-1])
    assert [split.half for split in read_halves(path, labels, list("ABCD"))] == [0, 1]

    with pytest.raises(InputError, match=naming("half 0", "C+D")):
        read_halves(path, labels[:-1], list("ABCD"))
    with pytest.raises(InputError, match=naming("half 0", "E", "left_out")):
        read_halves(path, [*labels, "E"], list("ABCDE"))
    with pytest.raises(InputError, match=naming("A+D", "not_covered")):
        read_halves(path, labels, list("ABC"))
    write_splits(path, halves[:1])
    with pytest.raises(InputError, match=naming(0, 1)):
        read_halves(path, labels, list("ABCD"))
    write_splits(path, [halves[0], make_splits("combinations", labels, 1)[1]])
    with pytest.raises(InputError, match=naming(0, 1)):
        read_halves(path, labels, list("ABCD"))
