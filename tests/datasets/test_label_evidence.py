"""What labels look like: real ones of public data sets, and genes that are none of it."""

import pytest

from diversity_by_design.datasets import label_evidence
from diversity_by_design.datasets.label_facts import label_facts, patterns

NO_CALL = """nan|NaN|NA|N/A|n.a.|<NA>|None|NULL|missing|Unassigned|unknown|not assigned|Not_Called|no call|no-call
|nocall|No confident call|No guide molecules|no_gRNA|ambiguous|Doublet|multiplet|multiple|Negative
|empty|*|?|-|--|.||  """
CALLED = "NANOG|NAT1|KLF1|A+NA|non-targeting|control|NT|0|-1|ctrl|NONO|UNK|MULTI2|DOUBLE"
PLAIN = """control|Control|ctrl|CTRL00320|Ctl|NT|NTC|NT-1|NTg3|sgNT2|NegCtrl0|neg_ctrl|negative_control|non-targeting
|Non-Targeting|nontargeting|non targeting|NonTargetingControlGuideForHuman_0001|non-targeting_00035|scramble|Scrambled_2
|DMSO|Vehicle|PBS|untreated|unperturbed|mock|INTERGENIC393453|NO-TARGET"""
OTHERS = """GFP|eGFP|mCherry|lacZ|AAVS1|safe-targeting|safe_harbor|sgSAFE-1|Rosa26|WT|wild-type|Gal4-4(mod)_pBA582
|DMSO_TF|Dimethyl Sulfoxide|EGFP (protospacer name: EGFP-NT2)|m_MouseNTC_100_A_67005|p_INTERGENIC393453|NO_SITE_3
|ONE_NON-GENE_SITE_5|empty vector|KLF1_NegCtrl0|KLF1+ctrl|[('DMSO_TF', 0.0, 'uM')]|luciferase|Media"""
GENES = "KLF1|NT5E|NT5C2|WT1|CTLA4|SAFB|LUC7L|GFPT1|MOCS1|DMSO2X|PBSN|NEGR1|SCRIB|CTRB1|HLA-A|7SK|Mar-01|CONT1|stim"


def of(text: str) -> list[str]:
    return text.replace("\n", "").split("|")


def test_words_for_no_call():
    assert [label for label in of(NO_CALL) if not label_evidence.is_no_call(label)] == []
    assert [label for label in of(CALLED) if label_evidence.is_no_call(label)] == []


def test_names_of_control():
    assert [label for label in of(PLAIN) if not label_evidence.is_plain_control(label)] == []
    assert [label for label in of(PLAIN) + of(OTHERS) if not label_evidence.looks_like_control(label)] == []
    assert [label for label in of(OTHERS) if label_evidence.is_plain_control(label)] == []
    assert [label for label in of(GENES) if label_evidence.looks_like_control(label)] == []


@pytest.mark.parametrize(
    ("labels", "separator", "joined"),
    [
        (["A", "B", "A_B"], "_", ["A_B"]),
        (["A", "B", "A | B"], " | ", ["A | B"]),
        (["A", "B", "C", "A_B", "B_C", "A-B"], "_", ["A_B", "B_C"]),
        (["ctrl", "A_ctrl", "ctrl_B", "A_B"], "_", ["A_B", "A_ctrl", "ctrl_B"]),
        (["non_targeting", "A", "B", "A_B", "A_non_targeting"], "_", ["A_B", "A_non_targeting"]),
        (["A_NegCtrl0__A_NegCtrl0", "NegCtrl0_B__NegCtrl0_B", "A_B__A_B"], "_",
         ["A_B__A_B", "A_NegCtrl0__A_NegCtrl0", "NegCtrl0_B__NegCtrl0_B"]),
        (["NTC-1", "NTC-2", "A-1 || NTC-3", "B-1 || C-2", "D-1", "E-1"], "||", ["A-1 || NTC-3", "B-1 || C-2"]),
    ],
)  # fmt: skip
def test_combinations(labels, separator, joined):
    found = label_evidence.likely_separator(labels)
    assert found is not None and (found[0].strip(), found[1]) == (separator.strip(), joined)


@pytest.mark.parametrize(
    "labels",
    [
        ["A", "B", "C"],
        ["RPS10", "NUDT3", "RPS10-NUDT3", "HLA-A", "NKX2-5"],
        ["control_1", "control_2", "KLF1_1", "KLF1_2"],
        ["control", "ctrl_sg1", "KLF1", "FEV"],
        ["0", "1", "5", "0.1", "1.5"],
        ["KLF1", "safe_harbor", "FEV", "BAK1"],
        ["DMSO_6h", "DMSO_24h", "A_6h", "A_24h"],
        [],
    ],
)
def test_labels_that_are_no_combinations(labels):
    assert label_evidence.likely_separator(labels) is None


@pytest.mark.parametrize(
    ("labels", "n_targets"),
    [
        (["STAT2g1", "STAT2g2", "KLF1g1", "KLF1g3"], 2),
        (["KLF1_sg1", "KLF1_sg2", "FEV_sg1", "FEV_sg2"], 2),
        (["KLF1-gRNA_1", "KLF1-gRNA_2", "FEV-gRNA_1", "FEV-gRNA_2", "BAK1-gRNA_1"], 3),
        (["HLA-B_1", "HLA-B_3", "FEV_1", "FEV_2"], 2),
        (["KLF1-P1", "KLF1-P2", "FEV-P1", "FEV-P2", "BAK1-P1P2"], 3),
        (["KLF1_+_12998017.23-P1P2", "KLF1_-_12997985.23-P1P2", "FEV_+_2198.23-P1", "FEV_-_2199.23-P1"], 2),
        (["KLF1_" + "ACGT" * 5, "KLF1_" + "TTGA" * 5, "FEV_" + "ACGT" * 5, "FEV_" + "ACGTT" * 4], 2),
    ],
)
def test_guides(labels, n_targets):
    found = label_evidence.likely_guide_suffix(labels)
    assert found is not None and len(found[1]) == n_targets
    assert sorted(guide for guides in found[1].values() for guide in guides) == sorted(labels)


@pytest.mark.parametrize(
    "labels",
    [
        ["drug_10", "drug_100", "drug_1000", "other_10", "other_100", "other_1000"],
        ["A_6", "A_24", "B_6", "B_24"],
        ["0.1", "0.2", "0.3", "1.1", "1.2"],
        ["NKX2-1", "NKX2-5", "KLF1", "FEV", "BAK1"],
        ["KLF1_1", "KLF1_2", "FEV"],
        ["_1", "_2", "_3", "_4"],
        [],
    ],
)
def test_labels_that_are_no_guides(labels):
    assert label_evidence.likely_guide_suffix(labels) is None


@pytest.mark.parametrize(
    ("labels", "control", "given"),
    [
        (["control", "A"], ["control"], ["control"]),
        (["NT-1", "NT-2", "NT-3", "NT-4", "A"], ["NT-1", "NT-2", "NT-3", "NT-4"], ["NT-*"]),
        (["NT1", "NT2", "NT3", "NT4", "NT5E"], ["NT1", "NT2", "NT3", "NT4"], ["NT1", "NT2", "NT3", "NT4"]),
        # What names more than control is not given, unless there is nothing else.
        (["control", "GFP", "A"], ["GFP", "control"], ["control"]),
        (["GFP", "A", "B"], ["GFP"], ["GFP"]),
        # Parts of combinations.
        (["A+NT-1", "NT-2+A", "A+B", "B", "NT-1+NT-2"], ["NT-1", "NT-2"], ["NT-1", "NT-2"]),
        (["ctrl", "A+ctrl", "A+control"], ["ctrl"], ["ctrl"]),
        (["A", "B"], [], []),
    ],
)
def test_control_of_a_column(labels, control, given):
    facts = label_facts("gene", dict.fromkeys(labels, 9), 0, ["its name"])
    assert list(facts.control) == control and list(facts.control_label) == given


def test_patterns_have_no_other_sign():
    names = [f"NT[{number}]" for number in range(5)]
    assert list(patterns(names, names)) == ["NT*"]
    assert list(patterns(["1", "2", "3", "4"], [])) == ["1", "2", "3", "4"]


def test_genes_are_no_combinations():
    labels = ["control", "RPS10", "NUDT3", "RPS10-NUDT3"]
    assert label_facts("gene", dict.fromkeys(labels, 9), 0, []).combinations == ("RPS10-NUDT3",)
    assert label_facts("gene", dict.fromkeys(labels, 9), 0, [], genes=labels).combinations == ()


def test_most_frequent_labels_come_first():
    facts = label_facts("gene", {"A": 1, "B": 3, "C": 3, "nan": 2}, 4, ["its name"])
    assert list(facts.labels.items()) == [("B", 3), ("C", 3), ("nan", 2), ("A", 1)]
    assert (facts.n_labels, facts.without_label, facts.no_call) == (4, 4, {"nan": 2})
    many = label_facts("gene", {f"A{number}": 1 for number in range(3000)}, 0, [])
    assert many.n_labels == 3000 and len(many.labels) == 1000
