"""What a file is, told by its first bytes, and the way on where it is none that can be read."""

import bz2
import gzip
import io
import lzma
import os
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest
from messages import naming

from diversity_by_design.datasets.formats import HDF5_SIGNATURE, Form, dataset_name, form_of, resolved
from diversity_by_design.errors import InputError

HDF5 = HDF5_SIGNATURE + bytes(range(256)) * 20
TABLE = b"cell,KLF1,BAK1\nAAAC-1,0,3\n" * 100
MATRIX = b"%%MatrixMarket matrix coordinate integer general\n2 2 1\n1 1 1\n"


def zipped(content):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("counts.h5ad", content)
    return file.getvalue()


def archived(content):
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as archive:
        archive.addfile(tarfile.TarInfo("GSM1_matrix.mtx.gz"))
    return file.getvalue() + content


@pytest.mark.parametrize("block", [0, 512, 1024, 2048])
def test_hdf5_whatever_the_name_and_after_a_block_of_another_program(tmp_path, block):
    (tmp_path / "counts").write_bytes(bytes(block) + HDF5)
    assert form_of(tmp_path / "counts") == Form.HDF5


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("x.h5ad", b"", ("empty", 0, "again")),
        ("x.h5ad.gz", gzip.compress(HDF5), ("gzip", "gunzip -k")),
        ("x.h5ad.gz", b"\x1f\x8b" + bytes(50), ("gzip", "gunzip -k")),
        ("x.h5ad.bz2", bz2.compress(HDF5), ("bzip2", "bunzip2 -k")),
        ("x.h5ad.xz", lzma.compress(HDF5), ("xz", "unxz -k")),
        ("x.h5ad.zst", b"\x28\xb5\x2f\xfd" + HDF5, ("zstd", "unzstd")),
        ("x.zarr.zip", zipped(HDF5), ("zip", "unpack")),
        ("x.tar", archived(HDF5), ("tar", "tar -xf")),
        ("x.tar.gz", gzip.compress(archived(HDF5)), ("tar", "tar -xzf")),
        ("x.rds", gzip.compress(b"X\n" + bytes(100)), ("R", "zellkonverter::writeH5AD")),
        ("x.bin", b"RDX3\nX\n" + bytes(100), ("R", "zellkonverter::writeH5AD")),
        ("x.parquet", b"PAR1" + bytes(100), ("parquet", ".h5ad")),
        ("x.csv", TABLE, ("text", "--calls", "scanpy.read_text", ".h5ad")),
        ("x.csv.gz", gzip.compress(TABLE), ("text", "--calls")),
        ("matrix.mtx", MATRIX, ("Matrix Market", "folder", "barcodes")),
        ("matrix.mtx.gz", gzip.compress(MATRIX), ("Matrix Market", "folder", "barcodes")),
        ("x.h5ad", b"\n<!DOCTYPE html>\n<html><body>Sign in</body></html>\n", ("web page", "again")),
        ("x.h5ad", b'<?xml version="1.0"?>\n<Error><Code>AccessDenied</Code></Error>\n', ("server", "again")),
        ("x.h5ad", b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n", ("git lfs pull",)),
        ("x.h5ad", bytes(5000), ("not an HDF5 file", "damaged", ".h5ad")),
        ("x.h5ad", HDF5[1:], ("not an HDF5 file", "damaged", ".h5ad")),
    ],
)
def test_what_cannot_be_read_is_named_with_the_way_on(tmp_path, name, content, said):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=naming(tmp_path / name, *said)):
        form_of(tmp_path / name)


def test_nothing_there(tmp_path):
    with pytest.raises(InputError, match=naming("no file", tmp_path / "absent.h5ad")):
        form_of(tmp_path / "absent.h5ad")


@pytest.mark.skipif(os.geteuid() == 0, reason="nothing is forbidden to root")
@pytest.mark.parametrize("mode", ["file", "folder"])
def test_no_permission(tmp_path, mode):
    path = tmp_path / "folder" / "x.h5ad"
    path.parent.mkdir()
    path.write_bytes(HDF5)
    forbidden = path if mode == "file" else path.parent
    forbidden.chmod(0)
    try:
        with pytest.raises(InputError, match=naming(forbidden.name)):
            form_of(resolved(forbidden))
    finally:
        forbidden.chmod(0o700)


def test_a_system_that_does_not_let_it_be_read(tmp_path, monkeypatch):
    (tmp_path / "x.h5ad").write_bytes(HDF5)

    def refuse(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(InputError, match=naming("x.h5ad", "Permission denied")):
        form_of(tmp_path / "x.h5ad")


@pytest.mark.skipif(sys.platform == "win32", reason="names are limited in another way")
def test_a_name_that_no_file_can_have(tmp_path):
    with pytest.raises(InputError, match="name too long|no file"):
        form_of(resolved(tmp_path / ("x" * 300)))


class TestFolder:
    """Folders of zarr and of Cell Ranger, and others."""

    @pytest.mark.parametrize("name", ["zarr.json", ".zgroup", ".zattrs", ".zarray"])
    def test_zarr(self, tmp_path, name):
        (tmp_path / name).touch()
        assert form_of(tmp_path) == Form.ZARR

    @pytest.mark.parametrize("names", [["matrix.mtx"], ["matrix.mtx.gz"], ["s1_matrix.mtx.gz"]])
    def test_matrix_market(self, tmp_path, names):
        for name in names:
            (tmp_path / name).touch()
        assert form_of(tmp_path) == Form.MATRIX_MARKET

    def test_matrix_beside_its_packed_form_is_one(self, tmp_path):
        for name in ("matrix.mtx", "matrix.mtx.gz"):
            (tmp_path / name).touch()
        assert form_of(tmp_path) == Form.MATRIX_MARKET

    def test_several_matrices(self, tmp_path):
        for name in ("s1_matrix.mtx", "s2_matrix.mtx"):
            (tmp_path / name).touch()
        with pytest.raises(InputError, match=naming(2, "s1_matrix.mtx", "s2_matrix.mtx", "folder")):
            form_of(tmp_path)

    def test_without_cells(self, tmp_path):
        (tmp_path / "notes.md").touch()
        with pytest.raises(InputError, match=naming(tmp_path, "notes.md", "zarr", "matrix.mtx")):
            form_of(tmp_path)

    def test_zarr_that_was_not_copied_to_its_end(self, tmp_path):
        for name in ("X", "obs", "var"):
            (tmp_path / name).mkdir()
        with pytest.raises(InputError, match=naming("zarr", "not complete", "again")):
            form_of(tmp_path)


class TestOutputsOfCellRanger:
    """The folder that Cell Ranger writes stands for its filtered matrix."""

    def test_hdf5_before_the_folder(self, tmp_path):
        (tmp_path / "filtered_feature_bc_matrix").mkdir()
        assert resolved(tmp_path) == tmp_path / "filtered_feature_bc_matrix"
        (tmp_path / "filtered_feature_bc_matrix.h5").touch()
        assert resolved(tmp_path) == tmp_path / "filtered_feature_bc_matrix.h5"

    def test_one_of_several_samples(self, tmp_path):
        (tmp_path / "sample_filtered_feature_bc_matrix.h5").touch()
        assert resolved(tmp_path) == tmp_path / "sample_filtered_feature_bc_matrix.h5"

    def test_version_2_has_a_folder_of_each_genome(self, tmp_path):
        folder = tmp_path / "filtered_gene_bc_matrices" / "GRCh38"
        folder.mkdir(parents=True)
        (folder / "matrix.mtx").touch()
        assert resolved(tmp_path) == resolved(folder.parent) == folder
        (folder.parent / "mm10").mkdir()
        (folder.parent / "mm10" / "matrix.mtx").touch()
        with pytest.raises(InputError, match=naming("GRCh38", "mm10")):
            form_of(resolved(tmp_path))

    def test_other_folders_and_files_stand_for_themselves(self, tmp_path):
        (tmp_path / "x.h5ad").touch()
        assert resolved(tmp_path) == tmp_path
        assert resolved(tmp_path / "x.h5ad") == tmp_path / "x.h5ad"


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("a/screen.h5ad", "screen"),
        ("a/screen.zarr/", "screen"),
        ("run7/outs", "run7"),
        ("run7/outs/raw_feature_bc_matrix.h5", "run7"),
        ("a/b/..", "a"),
        ("outs.h5ad", "outs"),
    ],
)
def test_name_of_a_data_set(path, name):
    assert dataset_name(Path(path)) == name


@pytest.mark.parametrize("command", ["inspect", "prepare"])
def test_refused_before_anything_heavy_is_imported(tmp_path, command):
    (tmp_path / "x.csv").write_bytes(TABLE)
    code = (
        "import sys\nfrom diversity_by_design.commands import app\n"
        f"try: app([{command!r}, {str(tmp_path / 'x.csv')!r}])\n"
        "except SystemExit as end: print(end.code, sorted({'anndata', 'h5py', 'scanpy', 'scipy'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "2 []"
    assert "x.csv" in done.stderr and "Traceback" not in done.stderr
