import hashlib
import json
import re
import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from messages import naming

from diversity_by_design.datasets.download import BLOCK, fetch
from diversity_by_design.errors import InputError

CONTENT = np.random.default_rng(0).bytes(3_000_000)
MD5 = f"md5:{hashlib.md5(CONTENT).hexdigest()}"
NAME = "counts.h5ad"
# Of a connection that is cut, what came since the last full block is lost.
BREAK = 20 * BLOCK


@pytest.fixture(autouse=True)
def content(server):
    server.content = CONTENT


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_downloads_once_and_checks_afterwards(server, tmp_path):
    path = fetch(server.url, tmp_path / "raw" / NAME, checksum=MD5, size=len(CONTENT))
    assert path == tmp_path / "raw" / NAME
    assert path.read_bytes() == CONTENT
    assert names(path.parent) == [NAME]
    assert fetch(server.url, tmp_path / "raw" / NAME, checksum=MD5, size=len(CONTENT)) == path
    assert server.asked == [None]


def test_broken_off_transfer_resumes_at_the_next_call(server, tmp_path):
    server.break_after, server.connections = BREAK + 7, 1
    with pytest.raises(InputError, match=naming("1,310,720", tmp_path / NAME)):
        fetch(server.url, tmp_path / NAME, checksum=MD5)
    assert names(tmp_path) == [f"{NAME}.part", f"{NAME}.part.json"]
    server.break_after = server.connections = None
    assert fetch(server.url, tmp_path / NAME, checksum=MD5).read_bytes() == CONTENT
    assert server.asked == [None, f"bytes={BREAK}-", f"bytes={BREAK}-"]
    assert names(tmp_path) == [NAME]


def test_reconnects_while_something_arrives(server, tmp_path):
    server.break_after = BREAK + 7
    assert fetch(server.url, tmp_path / NAME, checksum=MD5).read_bytes() == CONTENT
    assert server.asked == [None, f"bytes={BREAK}-", f"bytes={2 * BREAK}-"]


def test_gives_up_when_nothing_arrives_any_more(server, tmp_path):
    server.break_after = 0
    with pytest.raises(InputError, match=naming(server.url, tmp_path / NAME)):
        fetch(server.url, tmp_path / NAME, checksum=MD5)
    assert len(server.asked) == 1


def test_complete_part_that_was_not_renamed_is_used(server, tmp_path):
    (tmp_path / f"{NAME}.part").write_bytes(CONTENT)
    (tmp_path / f"{NAME}.part.json").write_text(json.dumps({"url": server.url, "validator": server.tag}))
    assert fetch(server.url, tmp_path / NAME, checksum=MD5).read_bytes() == CONTENT
    assert server.asked == [f"bytes={len(CONTENT)}-"]
    assert names(tmp_path) == [NAME]


@pytest.mark.parametrize("change", [{"ranges": False}, {"tag": '"2"'}], ids=["ignores ranges", "file changed"])
def test_starts_anew_where_the_server_does_not_resume(server, tmp_path, capsys, change):
    server.break_after, server.connections = BREAK + 7, 1
    with pytest.raises(InputError):
        fetch(server.url, tmp_path / NAME)
    server.break_after = server.connections = None
    server.content = CONTENT[::-1]
    for name, value in change.items():
        setattr(server, name, value)
    assert fetch(server.url, tmp_path / NAME).read_bytes() == CONTENT[::-1]
    assert "starting anew" in capsys.readouterr().out
    assert server.asked == [None, f"bytes={BREAK}-", f"bytes={BREAK}-"]


def test_a_part_that_is_longer_than_the_file_is_removed(server, tmp_path):
    (tmp_path / f"{NAME}.part").write_bytes(CONTENT + b" ")
    (tmp_path / f"{NAME}.part.json").write_text(json.dumps({"url": server.url, "validator": server.tag}))
    with pytest.raises(InputError, match=naming("3,000,001")):
        fetch(server.url, tmp_path / NAME, checksum=MD5)
    assert names(tmp_path) == []
    assert fetch(server.url, tmp_path / NAME, checksum=MD5).read_bytes() == CONTENT


def test_part_of_another_url_is_not_continued(server, tmp_path):
    (tmp_path / f"{NAME}.part").write_bytes(b"other")
    (tmp_path / f"{NAME}.part.json").write_text(json.dumps({"url": "https://example.org/other", "validator": ""}))
    assert fetch(server.url, tmp_path / NAME, checksum=MD5).read_bytes() == CONTENT
    assert server.asked == [None]


def test_wrong_checksum_is_refused_and_nothing_stays(server, tmp_path):
    with pytest.raises(InputError, match=naming(MD5.removeprefix("md5:"), "0" * 32, tmp_path / NAME)):
        fetch(server.url, tmp_path / NAME, checksum=f"md5:{'0' * 32}")
    assert names(tmp_path) == []


def test_wrong_size_is_refused_before_the_transfer(server, tmp_path):
    with pytest.raises(InputError, match=naming("3,000,000", "5,000")):
        fetch(server.url, tmp_path / NAME, checksum=MD5, size=5000)
    assert names(tmp_path) == []


def test_empty_file_is_refused(server, tmp_path):
    server.content = b""
    with pytest.raises(InputError, match=naming(0, server.url)):
        fetch(server.url, tmp_path / NAME)
    assert names(tmp_path) == []


def test_file_of_the_wrong_size_on_disk_is_downloaded_again(server, tmp_path, capsys):
    (tmp_path / NAME).write_bytes(CONTENT[:1000])
    assert fetch(server.url, tmp_path / NAME, size=len(CONTENT)).read_bytes() == CONTENT
    assert re.search(naming("1,000", "3,000,000"), capsys.readouterr().out)


def test_first_checksum_is_recorded_and_held_to(server, tmp_path):
    fetch(server.url, tmp_path / NAME)
    record = json.loads((tmp_path / f"{NAME}.checksum.json").read_text())
    assert record["checksum"] == f"sha256:{hashlib.sha256(CONTENT).hexdigest()}"
    assert record["size"] == len(CONTENT)
    (tmp_path / NAME).unlink()
    server.content = CONTENT[::-1]
    with pytest.raises(InputError, match=naming(server.url, hashlib.sha256(CONTENT[::-1]).hexdigest())):
        fetch(server.url, tmp_path / NAME)
    assert names(tmp_path) == [f"{NAME}.checksum.json"]


def test_a_file_on_disk_is_compared_and_stays_until_another_is_there(server, tmp_path, capsys):
    (tmp_path / NAME).write_bytes(CONTENT[::-1])
    server.status = 404
    with pytest.raises(InputError, match=naming(404)):
        fetch(server.url, tmp_path / NAME, checksum=MD5)
    assert (tmp_path / NAME).read_bytes() == CONTENT[::-1]
    server.status = 200
    assert fetch(server.url, tmp_path / NAME, checksum=MD5).read_bytes() == CONTENT
    assert MD5.removeprefix("md5:") in capsys.readouterr().out


def test_force_accepts_what_is_there_now_and_keeps_the_earlier_file_until_then(server, tmp_path):
    fetch(server.url, tmp_path / NAME)
    server.content = CONTENT[::-1]
    server.status = 404
    with pytest.raises(InputError, match=naming(404)):
        fetch(server.url, tmp_path / NAME, force=True)
    assert fetch(server.url, tmp_path / NAME).read_bytes() == CONTENT
    server.status = 200
    assert fetch(server.url, tmp_path / NAME, force=True).read_bytes() == CONTENT[::-1]
    record = json.loads((tmp_path / f"{NAME}.checksum.json").read_text())
    assert record["checksum"] == f"sha256:{hashlib.sha256(server.content).hexdigest()}"
    with pytest.raises(InputError, match=naming(server.url, hashlib.md5(CONTENT[::-1]).hexdigest())):
        fetch(server.url, tmp_path / NAME, checksum=MD5, force=True)


@pytest.mark.parametrize("checksum", ["0" * 32, "crc:00", f"sha256:{'0' * 64}"])
def test_other_checksums_are_refused(server, tmp_path, checksum):
    with pytest.raises(InputError, match=naming(checksum.rpartition(":")[2])):
        fetch(server.url, tmp_path / NAME, checksum=checksum)


def test_unreadable_record_is_an_error(server, tmp_path):
    (tmp_path / f"{NAME}.checksum.json").write_text("[]")
    with pytest.raises(InputError, match=naming(f"{NAME}.checksum.json")):
        fetch(server.url, tmp_path / NAME)


def test_not_found(server, tmp_path):
    server.status = 404
    with pytest.raises(InputError, match=naming(server.url, 404, tmp_path / NAME)):
        fetch(server.url, tmp_path / NAME)
    assert names(tmp_path) == []


def test_offline(tmp_path):
    # Nothing listens on the port for discarded data.
    with pytest.raises(InputError, match=naming("http://127.0.0.1:9/counts.h5ad", tmp_path / NAME)):
        fetch("http://127.0.0.1:9/counts.h5ad", tmp_path / NAME)
    assert names(tmp_path) == []


def test_full_disk(server, tmp_path):
    # What is written to /dev/full fails as on a full disk.
    (tmp_path / f"{NAME}.part").symlink_to("/dev/full")
    (tmp_path / f"{NAME}.part.json").write_text(json.dumps({"url": server.url, "validator": server.tag}))
    with pytest.raises(InputError, match=naming(tmp_path / NAME, "No space left on device")):
        fetch(server.url, tmp_path / NAME)
    assert not (tmp_path / NAME).exists()


def test_too_little_room_is_noticed_before_the_transfer(server, tmp_path, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=1000))
    with pytest.raises(InputError, match=naming("3,000,000", "1,000", tmp_path)):
        fetch(server.url, tmp_path / NAME)
    assert names(tmp_path) == []


def test_folder_that_cannot_be_made(server, tmp_path):
    (tmp_path / "raw").write_text("a file")
    with pytest.raises(InputError, match=naming(tmp_path / "raw" / NAME)):
        fetch(server.url, tmp_path / "raw" / NAME)
