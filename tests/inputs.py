"""Small files as people have them, each of a kind that public issue threads tell of, and what is to become of it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import anndata as ad
import numpy as np
import pandas as pd
from scipy import sparse

N_GENES = 120
NAMED = ("KLF1", "BAK1", "CEBPE", "FEV", "STAT2", "HLA-A", "HLA-B", "NKX2-5", "RPS10", "NUDT3", "RPS10-NUDT3", "SPI1")
GENES = [*NAMED, *(f"GENE{number}" for number in range(N_GENES - len(NAMED)))]
# Of the command that `dbd inspect` prints, what a reader has to replace.
TO_FILL_IN = ("LABEL", "COLUMN")


def cells_of(
    labels: Mapping[Any, int], key: str = "perturbation", columns: Mapping[str, Any] | None = None, seed: int = 0
) -> ad.AnnData:
    """Counts of so many cells of each label, shuffled; `columns` of obs are made from the labels of the cells."""
    rng = np.random.default_rng(seed)
    names = pd.Series([label for label, n in labels.items() for _ in range(n)], dtype=object)
    names = names.iloc[rng.permutation(len(names))]
    names.index = [f"AAAC{number:04d}-1" for number in range(len(names))]
    counts = rng.poisson(rng.lognormal(0.5, 1.0, N_GENES), (len(names), N_GENES)).astype(np.float32)
    obs = pd.DataFrame({key: names.infer_objects()})
    for column, value in (columns or {}).items():
        obs[column] = value(names) if callable(value) else value
    return ad.AnnData(sparse.csr_matrix(counts), obs=obs, var=pd.DataFrame(index=GENES))


@dataclass(frozen=True)
class Input:
    """A file, how it is prepared, and what is right.

    Attributes
    ----------
    options : str
        Of `dbd prepare`.
    conditions : dict of str to int
        Cells of each condition, before some are drawn; empty if the file is refused.
    said : tuple
        What the report's notes, or the message that refuses, name.
    suggested : str or None
        Options of the command that `dbd inspect` prints; None: `options`.
    shown : tuple
        What `dbd inspect` says besides.
    """

    labels: Mapping[Any, int]
    options: str
    conditions: Mapping[str, int] = field(default_factory=dict)
    said: tuple[Any, ...] = ()
    suggested: str | None = None
    shown: tuple[Any, ...] = ()
    key: str = "perturbation"
    columns: Mapping[str, Any] = field(default_factory=dict)
    change: Callable[[ad.AnnData], ad.AnnData] = lambda adata: adata

    def adata(self) -> ad.AnnData:
        return self.change(cells_of(self.labels, self.key, self.columns))

    def write(self, folder: Path) -> Path:
        path = folder / "screen.h5ad"
        self.adata().write_h5ad(path)
        return path


def option(key: str = "perturbation", *controls: str, more: str = "") -> str:
    controls = controls or ("control",)
    return " ".join([f"--perturbation-key {key}", *(f"--control-label {name}" for name in controls), more]).strip()


def _by_turns(*values: Any) -> Callable[[pd.Series], Any]:
    return lambda names: np.resize(np.array(values, dtype=object), len(names))


def _of_label(value: Callable[[Any], Any]) -> Callable[[pd.Series], Any]:
    return lambda names: [value(name) for name in names]


def _var(adata: ad.AnnData, **columns: Any) -> ad.AnnData:
    adata.var = pd.DataFrame(columns, index=columns.pop("index"))
    return adata


def _unused(adata: ad.AnnData) -> ad.AnnData:
    adata.obs["perturbation"] = pd.Categorical(adata.obs["perturbation"], ["FEV", "KLF1", "BAK1", "control"])
    return adata


THREE = {"control": 60, "KLF1": 24, "BAK1": 24, "CEBPE": 24}
# As several programs write it, with spaces and in combinations.
NO_CALL = ("nan", "NA", "None", "Unassigned ", "*", "", "-", "No confident call", "Negative", "Doublet", "KLF1+NA")

INPUTS = {
    # Labels: combinations.
    "gears, both orders": Input(
        {"ctrl": 60, "KLF1+ctrl": 24, "ctrl+KLF1": 24, "BAK1+KLF1": 24, "KLF1+BAK1": 12},
        option("condition", "ctrl"),
        {"control": 60, "KLF1": 48, "BAK1+KLF1": 36},
        said=("KLF1+ctrl", "ctrl+KLF1", "KLF1"),
        key="condition",
    ),
    "gears, spaces": Input(
        {"ctrl ": 60, "KLF1+ctrl ": 24, " ctrl + KLF1": 24, "BAK1+ctrl": 24},
        option("condition", "ctrl"),
        {"control": 60, "KLF1": 48, "BAK1": 24},
        said=("spaces", 3),
        key="condition",
        suggested=option("condition", "'ctrl '"),
    ),
    "separated by |": Input(
        {"NTC": 60, "KLF1|NTC": 24, "NTC|BAK1": 24, "BAK1|KLF1": 24, "KLF1|BAK1": 24},
        option("perturbation", "NTC", more="--combination-separator '|'"),
        {"control": 60, "KLF1": 24, "BAK1": 24, "BAK1+KLF1": 48},
        said=("BAK1|KLF1", "KLF1|BAK1"),
    ),
    "separated by |, not said": Input(
        {"NTC": 60, "KLF1|NTC": 24, "NTC|BAK1": 24, "BAK1|KLF1": 24},
        option("perturbation", "NTC"),
        {"control": 60, "KLF1|NTC": 24, "NTC|BAK1": 24, "BAK1|KLF1": 24},
        said=("combinations", "--combination-separator '|'"),
        suggested=option("perturbation", "NTC", more="--combination-separator '|'"),
    ),
    "separated by _, name of control too": Input(
        {"non_targeting": 60, "KLF1": 24, "BAK1": 24, "KLF1_BAK1": 24, "BAK1_non_targeting": 24},
        option("perturbation", "non_targeting", more="--combination-separator _"),
        {"control": 60, "KLF1": 24, "BAK1": 48, "BAK1+KLF1": 24},
    ),
    "norman19 as published": Input(
        {
            "NegCtrl0_NegCtrl0__NegCtrl0_NegCtrl0": 30,
            "NegCtrl10_NegCtrl0__NegCtrl10_NegCtrl0": 30,
            "KLF1_NegCtrl0__KLF1_NegCtrl0": 24,
            "NegCtrl0_KLF1__NegCtrl0_KLF1": 24,
            "KLF1_BAK1__KLF1_BAK1": 24,
            "BAK1_NegCtrl0__BAK1_NegCtrl0": 24,
        },
        option("guide_identity", "'NegCtrl*'", more="--combination-separator _"),
        {"control": 60, "KLF1": 48, "BAK1": 24, "BAK1+KLF1": 24},
        key="guide_identity",
        suggested=option("guide_identity", "NegCtrl0", "NegCtrl10", more="--combination-separator _"),
    ),
    "many guides of control beside genes": Input(
        {"NT-1": 15, "NT-2": 15, "NT-3": 15, "NT-4": 15, "KLF1+NT-1": 24, "NT-2+BAK1": 24, "KLF1": 24, "KLF1+BAK1": 24},
        option("perturbation", "'NT-*'"),
        {"control": 60, "KLF1": 48, "BAK1": 24, "BAK1+KLF1": 24},
    ),
    "four genes": Input(
        {**THREE, "KLF1+BAK1+CEBPE+FEV": 24, "FEV+BAK1+KLF1+CEBPE": 24},
        option(),
        {**THREE, "BAK1+CEBPE+FEV+KLF1": 48},
    ),
    "a gene twice": Input(
        {**THREE, "KLF1+KLF1": 24, "BAK1+KLF1+BAK1": 24},
        option(),
        {**THREE, "KLF1": 48, "BAK1+KLF1": 24},
        said=("twice", 2, "KLF1+KLF1"),
    ),
    "an empty part": Input({**THREE, "KLF1+": 24}, option(), said=("KLF1+", "empty", "--drop-labels")),
    "readthrough gene": Input(
        {"control": 60, "RPS10": 24, "NUDT3": 24, "RPS10-NUDT3": 24, "HLA-A": 24, "NKX2-5": 24},
        option(),
        {"control": 60, "RPS10": 24, "NUDT3": 24, "RPS10-NUDT3": 24, "HLA-A": 24, "NKX2-5": 24},
    ),
    "pairs of guides, and their targets": Input(
        {
            "non-targeting_00001|non-targeting_00002": 60,
            "KLF1_+_12998017.23-P1P2|KLF1_-_12997985.23-P1P2": 24,
            "BAK1_-_33548090.23-P1P2|BAK1_+_33548006.23-P1P2": 24,
            "FEV_+_219850379.23-P1P2|FEV_-_219850366.23-P1P2": 24,
        },
        option("sgID_AB", "non-targeting", more="--target-key gene"),
        {"control": 60, "KLF1": 24, "BAK1": 24, "FEV": 24},
        key="sgID_AB",
        columns={"gene": _of_label(lambda name: name.split("_")[0])},
        suggested=option("gene", "non-targeting"),
    ),
    # Labels: no call.
    "words for no call": Input(
        {**THREE, **dict.fromkeys(NO_CALL, 5)},
        option(),
        THREE,
        said=(55, "nan", "None", "*", "Negative", "KLF1+NA"),
        shown=("no call",),
    ),
    "no value": Input({**THREE, None: 30}, option(), THREE, said=(30, "no label"), shown=(30,)),
    "another word for no call": Input(
        {**THREE, "low quality": 30},
        option(more="--no-call 'low quality'"),
        THREE,
        said=(30, "low quality"),
        suggested=option(),
    ),
    "a gene called NA": Input(
        {**THREE, "NA": 24, "NA+KLF1": 24},
        option(more="--keep-label NA"),
        {**THREE, "NA": 24, "KLF1+NA": 24},
        suggested=option(),
    ),
    "control is called None": Input(
        {"None": 60, "KLF1": 24, "BAK1": 24},
        option("perturbation", "None"),
        {"control": 60, "KLF1": 24, "BAK1": 24},
        suggested=option("perturbation", "LABEL"),
        shown=("LABEL", "None"),
    ),
    "a schema's perturbations": Input(
        {"NTC-019": 30, "ProbeNTC-666": 30, "KLF1-2 || NTC-020": 24, "KLF1-1": 24, "BAK1-1 || FEV-2": 24, "na": 9},
        option("genetic_perturbation_id", "'*NTC-*'", more="--combination-separator '||' --guide-suffix '-[0-9]+$'"),
        {"control": 60, "KLF1": 48, "BAK1+FEV": 24},
        key="genetic_perturbation_id",
        columns={"genetic_perturbation_strategy": _by_turns("CRISPR interference", "control", "no perturbations")},
        suggested=option(
            "genetic_perturbation_id", "NTC-019", "NTC-020", "ProbeNTC-666", more="--combination-separator '||'"
        ),
    ),
    "adamson16": Input(
        {"Gal4-4(mod)_pBA582": 60, "*": 20, "SPI1_pDS255": 24, "ZNF326_pDS262": 24, "62(mod)_pBA581": 24},
        option("perturbation", "'Gal4-4(mod)_pBA582'"),
        {"control": 60, "SPI1_pDS255": 24, "ZNF326_pDS262": 24, "62(mod)_pBA581": 24},
        said=(20, "*"),
    ),
    "a gene that control is not": Input(
        {"NT": 60, "NT5E": 24, "NANOG": 24, "WT1": 24, "CTRL": 24},
        option("perturbation", "NT"),
        {"control": 60, "NT5E": 24, "NANOG": 24, "WT1": 24, "CTRL": 24},
        said=("CTRL", "control"),
        suggested=option("perturbation", "CTRL", "NT"),
    ),
    # Labels: control.
    "control in another case": Input(
        {"Non-Targeting": 60, "KLF1": 24, "BAK1": 24},
        option("perturbation", "non-targeting"),
        said=("non-targeting", "Non-Targeting"),
        suggested=option("perturbation", "Non-Targeting"),
    ),
    "control by another name": Input(
        {"non-targeting": 60, "KLF1": 24, "BAK1": 24},
        "",
        said=("'control'", "'non-targeting'", "--control-label"),
        suggested=option("perturbation", "non-targeting"),
    ),
    "two names of control": Input(
        {"NT": 60, "ctrl": 20, "KLF1": 24, "BAK1": 24},
        option("perturbation", "NT"),
        said=("ctrl", "--control-label", "--drop-labels"),
        suggested=option("perturbation", "NT", "ctrl"),
    ),
    "one name of control is dropped": Input(
        {"NT-1": 60, "NT-2": 20, "NT-3": 20, "NT-4": 20, "KLF1": 24, "BAK1": 24},
        option("perturbation", "'NT-*'", more="--drop-labels NT-2"),
        {"control": 100, "KLF1": 24, "BAK1": 24},
        said=(20, "NT-2"),
        suggested=option("perturbation", "'NT-*'"),
    ),
    "all names of control but one are dropped": Input(
        {"NT-1": 60, "NT-2": 20, "NT-3": 20, "NT-4": 20, "KLF1": 24, "BAK1": 24},
        option("perturbation", "NT-1", more="--drop-labels 'NT-*'"),
        {"control": 60, "KLF1": 24, "BAK1": 24},
        said=(60, "NT-2", "NT-3", "NT-4"),
        suggested=option("perturbation", "'NT-*'"),
    ),
    "a reporter beside control": Input(
        {"control": 60, "GFP": 24, "KLF1": 24, "BAK1": 24},
        option(),
        {"control": 60, "GFP": 24, "KLF1": 24, "BAK1": 24},
        said=("GFP", 24, "--control-label"),
        shown=("GFP", "--control-label"),
    ),
    "drugs and doses": Input(
        {"Vehicle": 60, "Abexinostat_10": 24, "Abexinostat_100": 24, "Belinostat_10": 24, "Belinostat_100": 24},
        option("condition", "Vehicle"),
        {"control": 60, "Abexinostat_10": 24, "Abexinostat_100": 24, "Belinostat_10": 24, "Belinostat_100": 24},
        key="condition",
    ),
    "compounds": Input(
        {"Dimethyl Sulfoxide": 60, "Belinostat": 24, "5-(9-Isopropyl)-1,2": 24, "TGX 221": 24},
        option("sm_name", "'Dimethyl Sulfoxide'"),
        {"control": 60, "Belinostat": 24, "5-(9-Isopropyl)-1,2": 24, "TGX 221": 24},
        key="sm_name",
        columns={"cell_type": _by_turns("B cells", "NK cells"), "plate_name": _by_turns("P1", "P2", "P3")},
        said=("cell_type", "--context-key", "plate_name", "--batch-key"),
        shown=("cell_type", "--context-key", "plate_name"),
    ),
    "cytokines": Input(
        {"PBS": 60, "IL-2": 24, "IFN-gamma": 24, "IL-1-beta": 24},
        option("cytokine", "PBS"),
        {"control": 60, "IL-2": 24, "IFN-gamma": 24, "IL-1-beta": 24},
        key="cytokine",
        columns={"donor": _by_turns("Donor1", "Donor2")},
        said=("donor", "--context-key"),
    ),
    # Labels: guides.
    "guides of targets": Input(
        {"NTg1": 30, "NTg2": 30, "STAT2g1": 24, "STAT2g2": 24, "KLF1g1": 24, "KLF1g3": 24},
        option("guide_ID", "NTg1", "NTg2"),
        {"control": 60, "STAT2g1": 24, "STAT2g2": 24, "KLF1g1": 24, "KLF1g3": 24},
        said=("guides", 2, "--guide-suffix", "--target-key"),
        key="guide_ID",
        suggested=option("guide_ID", "NTg1", "NTg2", more=r"--guide-suffix '(?:sg|g)\d+$'"),
    ),
    "guides joined, control too": Input(
        {"NTg1": 30, "NTg2": 30, "STAT2g1": 24, "STAT2g2": 24, "KLF1g1": 24, "KLF1g3": 24},
        option("guide_ID", "NT", more="--guide-suffix 'g[0-9]+$'"),
        {"control": 60, "STAT2": 48, "KLF1": 48},
        key="guide_ID",
        suggested=option("guide_ID", "NTg1", "NTg2", more=r"--guide-suffix '(?:sg|g)\d+$'"),
    ),
    "guides and a column of targets": Input(
        {"NTC_1": 30, "NTC_2": 30, "KLF1_1": 24, "KLF1_2": 24, "BAK1_1": 24, "BAK1_2": 24},
        option("guide", "NTC", more="--target-key target"),
        {"control": 60, "KLF1": 48, "BAK1": 48},
        key="guide",
        columns={"target": _of_label(lambda name: name.split("_")[0])},
        suggested=option("target", "NTC"),
    ),
    "frangieh21": Input(
        {
            "NO_SITE_3": 30,
            "ONE_NON-GENE_SITE_5": 30,
            "HLA-B_1": 24,
            "HLA-B_2": 24,
            "STAT2_1": 24,
            "STAT2_3": 24,
            "nan": 9,
        },
        option("sgRNA", "'*SITE*'", more="--guide-suffix '_[0-9]+$' --context-key condition"),
        {"control": 60, "HLA-B": 48, "STAT2": 48},
        said=("nan", 9),
        key="sgRNA",
        columns={"condition": _by_turns("Control", "IFNγ")},
        suggested=option("sgRNA", "NO_SITE_3", "ONE_NON-GENE_SITE_5", more=r"--guide-suffix '[-_.]\d+$'"),
        shown=("condition", "--context-key"),
    ),
    "dixit16": Input(
        {
            "p_INTERGENIC393453": 30,
            "m_MouseNTC_100_A_67005": 30,
            "p_sgELK1_2": 24,
            "p_sgELK1_5": 24,
            "p_sgCREB1_5": 24,
            "p_sgELK1_2+p_sgCREB1_5": 24,
        },
        option("perturbation", "p_INTERGENIC393453", "m_MouseNTC_100_A_67005"),
        {"control": 60, "p_sgELK1_2": 24, "p_sgELK1_5": 24, "p_sgCREB1_5": 24, "p_sgCREB1_5+p_sgELK1_2": 24},
        suggested=option("perturbation", "m_MouseNTC_100_A_67005", "p_INTERGENIC393453"),
    ),
    "vcc25": Input(
        {"non-targeting": 60, "KLF1": 24, "BAK1": 24, "STAT2": 24},
        option("target_gene", "non-targeting", more="--batch-key batch"),
        {"control": 60, "KLF1": 24, "BAK1": 24, "STAT2": 24},
        key="target_gene",
        columns={
            "guide_id": _of_label(lambda name: f"{name}_P1P2_A|{name}_P1P2_B"),
            "batch": _by_turns("Flex_1_01", "Flex_2_04", "Flex_3_11"),
        },
        suggested=option("target_gene", "non-targeting"),
        shown=("batch", "--batch-key"),
    ),
    # Labels: numbers, and odd text.
    "whole numbers": Input(
        {3368: 60, 0: 24, 1: 24, 591: 24},
        option("perturbation", "3368"),
        {"control": 60, "0": 24, "1": 24, "591": 24},
        suggested=option("perturbation", "LABEL"),
        shown=("LABEL",),
    ),
    "numbers as text": Input(
        {"3368.0": 60, "0.0": 24, "1.0": 24, "591.0": 24},
        option("perturbation", "3368"),
        said=("'3368'", "'3368.0'"),
        suggested=option("perturbation", "LABEL"),
    ),
    "doses as numbers": Input(
        {0.0: 60, 0.1: 24, 0.5: 24, 1.0: 24},
        option("dose", "0"),
        {"control": 60, "0.1": 24, "0.5": 24, "1": 24},
        key="dose",
        suggested=option("COLUMN", "LABEL"),
        shown=("COLUMN", "dose"),
    ),
    "markup and quotes": Input(
        {"control": 60, "<b>A</b>": 24, 'a"b, c': 24, "IFNγ": 24, "it's": 24, "=SUM(A1)": 24},
        option(),
        {"control": 60, "<b>A</b>": 24, 'a"b, c': 24, "IFNγ": 24, "it's": 24, "=SUM(A1)": 24},
    ),
    "long": Input(
        {"control": 60, "A" * 1000: 24, "A" * 999 + "x": 24},
        option(),
        {"control": 60, "A" * 1000: 24, "A" * 999 + "x": 24},
    ),
    "case": Input({**THREE, "klf1": 24}, option(), {**THREE, "klf1": 24}, said=("KLF1", "klf1", "case")),
    # What is in the columns.
    "categories without cells": Input(THREE, option(), {"control": 60, "KLF1": 24, "BAK1": 24}, change=_unused),
    "whole numbers, some missing": Input(
        {7: 60, 1: 24, 2: 24, None: 10},
        option("perturbation", "7"),
        {"control": 60, "1": 24, "2": 24},
        said=(10, "no label"),
        suggested=option("perturbation", "LABEL"),
    ),
    "two labels": Input(
        {"ctrl": 60, "stim": 60},
        option("label", "ctrl"),
        said=("stim", 1, 2),
        key="label",
        suggested=option("COLUMN", "LABEL"),
        shown=("COLUMN", "label"),
    ),
    "control only": Input({"control": 60}, option(), said=(0, "perturbation"), suggested=option("COLUMN", "LABEL")),
    "one control cell": Input({**THREE, "control": 1}, option(), said=(1, 2, "control")),
    "many rare labels": Input(
        {**THREE, **{f"KLF1+GENE{number}": 1 for number in range(9)}},
        option(),
        said=(9, 2, "--cells-per-perturbation"),
    ),
    "control in one of two cell lines": Input(
        THREE,
        option(),
        THREE,
        said=("cell_line", "RPE1", "--context-key"),
        columns={"cell_line": _of_label(lambda name: "K562" if name in ("control", "KLF1") else "RPE1")},
        shown=("cell_line", "--context-key"),
    ),
    # Names of genes.
    "versions of Ensembl": Input(
        THREE,
        option(more="--gene-names gene_name"),
        THREE,
        change=lambda a: _var(a, index=[f"ENSG{n:011d}.{n % 9}" for n in range(N_GENES)], gene_name=GENES),
        shown=("Ensembl", "versions", "gene_name"),
    ),
    "rows as names of genes": Input(
        THREE,
        option(more="--gene-names gene_name"),
        THREE,
        change=lambda a: _var(a, index=[str(n) for n in range(N_GENES)], gene_name=GENES),
        shown=("numbers", "gene_name"),
    ),
    "mouse": Input(
        THREE,
        option(more="--gene-names feature_name"),
        THREE,
        change=lambda a: _var(
            a,
            index=[f"ENSMUSG{n:011d}" for n in range(N_GENES)],
            feature_name=pd.Categorical(GENES),
            feature_type="gene",
        ),
    ),
    "genes of one name": Input(
        THREE,
        option(),
        THREE,
        said=("more than once",),
        change=lambda a: _var(a, index=[*GENES[:-2], "KLF1", "KLF1"]),
        shown=(1, "more than once"),
    ),
}
