"""A small screen with guides in the layout of Cell Ranger's ``outs/`` folder."""

import gzip
import io
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
from scipy import io as scipy_io
from scipy import sparse

GENES = [f"GENE{number:03d}" for number in range(120)]
TARGETS = GENES[5:65:10]
GUIDES = [*(f"{target}_g{number}" for target in TARGETS for number in (1, 2)), *(f"NTC_{i}" for i in range(1, 5))]
# Of each guide, with two guides, and with none.
CELLS_PER_GUIDE, DOUBLE_CELLS, CELLS_WITHOUT = 20, 30, 20
# UMIs of a guide in the cells that have it, at least, and in all others, at most.
LEAST, BACKGROUND = 5, 4


@dataclass(frozen=True, eq=False)
class GuideScreen:
    """Counts of genes and guides, and which guides each cell has."""

    counts: sparse.csr_matrix  # (cells, features), int32: first the genes, then the guides
    barcodes: list[str]
    features: pd.DataFrame  # id, name, feature_type, genome, pattern, read, sequence: all text
    guides: Mapping[str, list[str]]  # of each cell that has any, in the order of the features
    targets: Mapping[str, str]  # of the guides; "non-targeting" of those without

    @property
    def guide_counts(self) -> sparse.csr_matrix:
        return self.counts[:, len(GENES) :]


def make_guide_screen(seed: int = 0) -> GuideScreen:
    """A screen in which a guide lowers the expression of its target, and of ten other genes."""
    rng = np.random.default_rng(seed)
    targets = {guide: guide.split("_")[0] if guide[:3] != "NTC" else "non-targeting" for guide in GUIDES}
    chosen = [[guide] for guide in GUIDES for _ in range(CELLS_PER_GUIDE)]
    for _ in range(DOUBLE_CELLS):
        first, second = rng.choice(len(TARGETS), size=2, replace=False)
        chosen.append(sorted(GUIDES[2 * target + rng.integers(2)] for target in (first, second)))
    chosen += [[]] * CELLS_WITHOUT
    chosen = [chosen[row] for row in rng.permutation(len(chosen))]

    mean = rng.lognormal(1.0, 1.0, len(GENES))
    mean[[GENES.index(target) for target in TARGETS]] = 10
    effect = {"non-targeting": np.ones(len(GENES))}
    for target in TARGETS:
        effect[target] = np.ones(len(GENES))
        effect[target][rng.choice(len(GENES), 10, replace=False)] = 0.4
        effect[target][GENES.index(target)] = 0.1
    expected = mean * np.array(
        [np.prod([np.ones(len(GENES)), *(effect[targets[g]] for g in row)], 0) for row in chosen]
    )
    genes = rng.poisson(expected * rng.gamma(8.0, 1 / 8, (len(chosen), 1)))
    has = np.array([[guide in row for guide in GUIDES] for row in chosen])
    background = np.minimum(rng.poisson(0.2, has.shape), BACKGROUND)
    guides = np.where(has, LEAST + rng.poisson(30, has.shape), background)

    barcodes = [f"{bases}-1" for bases in sequences(rng, len(chosen), 16)]
    return GuideScreen(
        counts=sparse.csr_matrix(np.hstack([genes, guides]).astype(np.int32)),
        barcodes=barcodes,
        features=feature_table(sequences(rng, len(GUIDES), 20)),
        guides={barcode: row for barcode, row in zip(barcodes, chosen, strict=True) if row},
        targets=targets,
    )


def sequences(rng: np.random.Generator, number: int, length: int) -> list[str]:
    """Different random sequences."""
    letters = np.unique(rng.choice(list("ACGT"), (2 * number, length)), axis=0)
    return ["".join(row) for row in rng.permutation(letters)[:number]]


def feature_table(spacers: list[str]) -> pd.DataFrame:
    """Cell Ranger has no genome of guides, and no sequences of genes."""
    genes = {
        "id": [f"ENSG{number:011d}" for number in range(len(GENES))],
        "name": GENES,
        "feature_type": "Gene Expression",
        "genome": "GRCh38",
    }
    guides = {
        "id": GUIDES,
        "name": GUIDES,
        "feature_type": "CRISPR Guide Capture",
        "pattern": "(BC)GTTTAAGAGCTAAGCTGGAA",
        "read": "R2",
        "sequence": spacers,
    }
    return pd.concat([pd.DataFrame(genes), pd.DataFrame(guides)], ignore_index=True).fillna("")


def write_outs(folder: Path, screen: GuideScreen) -> Path:
    """Write ``outs`` into a folder, and return its path."""
    outs = folder / "outs"
    write_mtx(outs / "filtered_feature_bc_matrix", screen)
    write_h5(outs / "filtered_feature_bc_matrix.h5", screen)
    write_protospacer_calls(outs / "crispr_analysis" / "protospacer_calls_per_cell.csv", screen)
    return outs


def write_mtx(folder: Path, screen: GuideScreen) -> None:
    """Matrix Market file of features x cells, with the names of both."""
    folder.mkdir(parents=True)
    matrix = io.BytesIO()
    comment = 'metadata_json: {"software_version": "cellranger-7.1.0", "format_version": 2}'
    scipy_io.mmwrite(matrix, screen.counts.T.tocoo(), comment=comment, field="integer", symmetry="general")
    features = screen.features[["id", "name", "feature_type"]].to_csv(sep="\t", header=False, index=False)
    barcodes = "".join(f"{barcode}\n" for barcode in screen.barcodes)
    contents = {"matrix.mtx.gz": matrix.getvalue(), "features.tsv.gz": features.encode()}
    for name, content in (contents | {"barcodes.tsv.gz": barcodes.encode()}).items():
        (folder / name).write_bytes(gzip.compress(content, mtime=0))


def write_h5(path: Path, screen: GuideScreen) -> None:
    """HDF5 file of Cell Ranger 3 and later: features x cells as CSC, names as text of fixed length."""
    columns = screen.counts.T.tocsc()
    with h5py.File(path, "w") as file:
        file.attrs["chemistry_description"] = "Single Cell 3' v3"
        file.attrs["filetype"] = "matrix"
        file.attrs["library_ids"] = np.array([b"screen"])
        file.attrs["original_gem_groups"] = np.array([1])
        file.attrs["version"] = 2
        matrix = file.create_group("matrix")
        parts = {
            "barcodes": np.array(screen.barcodes, dtype="S"),
            "data": columns.data.astype(np.int32),
            "indices": columns.indices.astype(np.int64),
            "indptr": columns.indptr.astype(np.int64),
            "shape": np.array(columns.shape, dtype=np.int32),
        }
        features = {name: screen.features[name].to_numpy("S") for name in screen.features}
        features["_all_tag_keys"] = np.array(["genome", "pattern", "read", "sequence"], dtype="S")
        for name, values in (parts | {f"features/{name}": values for name, values in features.items()}).items():
            matrix.create_dataset(name, data=values, compression="gzip")


def write_protospacer_calls(path: Path, screen: GuideScreen) -> None:
    """One row per cell that has a guide, sorted by its guides."""
    path.parent.mkdir(parents=True)
    umis = pd.DataFrame(screen.guide_counts.toarray(), index=screen.barcodes, columns=GUIDES)
    rows = [
        [barcode, len(guides), "|".join(guides), "|".join(str(umis.loc[barcode, guide]) for guide in guides)]
        for barcode, guides in screen.guides.items()
    ]
    table = pd.DataFrame(rows, columns=["cell_barcode", "num_features", "feature_call", "num_umis"])
    table.sort_values("feature_call", kind="stable").to_csv(path, index=False)
