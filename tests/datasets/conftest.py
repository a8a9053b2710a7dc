"""Small files in the layouts of the published ones, and a server to download them from."""

import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from scipy import sparse

N_GENES = 400
# Cells of each label; with 200 detected genes asked for, 3 cells of every label but the last are lost (see `counts`).
NORMAN = {"control": 43, "KLF1": 23, "CEBPE": 23, "BAK1": 19, "KLF1_CEBPE": 23, "BAK1_KLF1": 23, "FEV": 8}
REPLOGLE = {"non-targeting": 43, "RPL3": 23, "HNRNPU": 23, "CDC16": 23, "STX5": 8}
LOST = 3


def counts(labels: list[str], seed: int) -> np.ndarray:
    """Negative binomial counts; the first 3 cells of each label have too few genes, 5 genes are in 2 cells at most."""
    rng = np.random.default_rng(seed)
    mean = np.exp(rng.normal(1.0, 1.0, N_GENES))
    values = rng.poisson(mean * rng.gamma(3.0, 1 / 3, (len(labels), N_GENES))).astype(np.float32)
    seen: dict[str, int] = {}
    for row, label in enumerate(labels):
        seen[label] = seen.get(label, 0) + 1
        if seen[label] <= LOST:
            values[row, 50:] = 0
    values[:, -5:] = 0
    values[-1, -5:] = 1
    values[-2, -5:] = 2
    return values


def table(sizes: dict[str, int], key: str, seed: int) -> pd.DataFrame:
    labels = np.random.default_rng(seed).permutation(np.repeat(list(sizes), list(sizes.values())))
    return pd.DataFrame({key: pd.Categorical(labels)}, index=[f"AAAC{i:04d}-1" for i in range(len(labels))])


def norman_like(seed: int = 0) -> ad.AnnData:
    """As NormanWeissman2019_filtered.h5ad: `A`, `A_B`, `control`, totals in nCount_RNA, CSC counts."""
    obs = table(NORMAN, "perturbation", seed)
    values = counts(list(obs["perturbation"]), seed)
    # The published totals count genes that are not in the file.
    obs["nCount_RNA"] = values.sum(axis=1) + 10
    obs["percent.mt"] = 5.0
    genes = [f"GENE{i}" for i in range(N_GENES)]
    return ad.AnnData(sparse.csc_matrix(values), obs=obs, var=pd.DataFrame(index=genes))


def replogle_like(seed: int = 0) -> ad.AnnData:
    """As rpe1_raw_singlecell_01.h5ad: `gene` with `non-targeting`, UMI_count, Ensembl index, a dense X."""
    obs = table(REPLOGLE, "gene", seed)
    obs.index.name = "cell_barcode"
    values = counts(list(obs["gene"]), seed)
    obs["UMI_count"] = values.sum(axis=1)
    names = [f"GENE{i}" for i in range(N_GENES)]
    names[7] = names[3]
    var = pd.DataFrame({"gene_name": pd.Categorical(names)}, index=[f"ENSG{i:011d}" for i in range(N_GENES)])
    var.index.name = "gene_id"
    return ad.AnnData(values, obs=obs, var=var)


@pytest.fixture
def norman_file(tmp_path: Path) -> Path:
    path = tmp_path / "NormanWeissman2019_filtered.h5ad"
    norman_like().write_h5ad(path)
    return path


@pytest.fixture
def replogle_file(tmp_path: Path) -> Path:
    path = tmp_path / "rpe1_raw_singlecell_01.h5ad"
    replogle_like().write_h5ad(path)
    return path


@dataclass
class Server:
    """What the server at `url` serves, how it misbehaves, and what it was asked for.

    Attributes
    ----------
    break_after : int or None
        Bytes after which a connection is cut.
    connections : int or None
        After so many, no bytes come any more.
    ranges : bool
        Whether parts of the file can be asked for.
    """

    url: str = ""
    content: bytes = b""
    tag: str = '"1"'
    status: int = 200
    break_after: int | None = None
    connections: int | None = None
    ranges: bool = True
    asked: list[str | None] = field(default_factory=list)


def handler(server: Server) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            wanted = self.headers.get("Range")
            server.asked.append(wanted)
            if server.status != 200:
                self.send_error(server.status)
                return
            body, status, start = server.content, 200, 0
            same = self.headers.get("If-Range", server.tag) == server.tag
            if wanted and server.ranges and same:
                start, status = int(wanted.removeprefix("bytes=").rstrip("-")), 206
                if start >= len(body):
                    self.send_response(416)
                    self.send_header("Content-Range", f"bytes */{len(body)}")
                    self.send_header("Content-Length", "0")
                    self.end_headers()
                    return
            self.send_response(status)
            if status == 206:
                self.send_header("Content-Range", f"bytes {start}-{len(body) - 1}/{len(body)}")
            self.send_header("ETag", server.tag)
            self.send_header("Content-Length", str(len(body) - start))
            self.end_headers()
            stop = None if server.break_after is None else start + server.break_after
            if server.connections is not None and len(server.asked) > server.connections:
                stop = start
            self.wfile.write(body[start:stop])

        def log_message(self, *_: object) -> None:
            pass

    return Handler


@pytest.fixture
def server() -> Iterator[Server]:
    state = Server()
    http = ThreadingHTTPServer(("127.0.0.1", 0), handler(state))
    # A client that refuses the file hangs up, which is no error here.
    http.handle_error = lambda *_: None  # type: ignore[method-assign]
    state.url = f"http://127.0.0.1:{http.server_address[1]}/files/counts.h5ad?download=1"
    thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    yield state
    http.shutdown()
    http.server_close()
    thread.join()
