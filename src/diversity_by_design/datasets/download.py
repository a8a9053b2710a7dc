"""Downloading files: resumed where a transfer broke off, checked before they get their name."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from diversity_by_design.errors import InputError
from diversity_by_design.running.checksum import digest, sha256
from diversity_by_design.running.files import read_note, write_text, writing

if TYPE_CHECKING:
    import requests

# Small, since of a connection that is cut, what came since the last full block is lost.
BLOCK = 2**16
TIMEOUT = 60.0
USER_AGENT = "diversity-by-design (python-requests)"


def fetch(
    url: str, target: Path, *, size: int | None = None, checksum: str | None = None, force: bool = False, hint: str = ""
) -> Path:
    """Download a file to `target`, and return that, unless it is there and is the one that is expected.

    What has arrived of a file is kept as ``<name>.part``; a transfer that breaks off goes on from there, within this
    call as long as something arrives, and at the next call otherwise. The file gets its name only once its size and
    checksum are right. Without a known checksum, that of the first download is recorded in ``<name>.checksum.json`` and
    every later one is held to it.

    The size is in bytes, the checksum as ``md5:...`` or ``sha256:...``. With `force` the file is downloaded although it
    is there, whatever its recorded checksum; the earlier one stays until then. Messages say that a file at `target` is
    used, and what `hint` adds.
    """
    record = target.with_name(f"{target.name}.checksum.json")
    recorded = {} if checksum or force else read_note(record, "checksum", "remove it to accept the file as it is")
    expected = checksum or recorded.get("checksum")
    transfer = _Transfer(url, target, size, hint)
    with writing(target, transfer.part, transfer.note):
        target.parent.mkdir(parents=True, exist_ok=True)
        wrong = _what_is_wrong(target, size, expected) if target.exists() else "not there"
        if wrong or force:
            if target.exists():
                print(f"{target} is downloaded again{f' ({wrong})' if wrong else ''}")
            transfer.run()
            if wrong := _what_is_wrong(transfer.part, size, expected):
                transfer.discard()
                raise InputError(
                    f"{url}: the file that was downloaded is not the expected one, and was removed ({wrong}). Try "
                    f"again; if it comes to the same, the published file has changed. {transfer.other_means}"
                )
            os.replace(transfer.part, target)
            transfer.discard()
    if expected is None:
        content = {"url": url, "size": target.stat().st_size, "checksum": f"sha256:{sha256(target)}"}
        write_text(record, json.dumps(content, indent=1))
    return target


def _what_is_wrong(path: Path, size: int | None, expected: str | None) -> str:
    """What sets a file apart from the expected one; nothing if it may be that."""
    if size not in (None, path.stat().st_size):
        return f"{path.stat().st_size:,} bytes instead of {size:,}"
    if expected is None:
        return ""
    algorithm, _, value = expected.partition(":")
    if algorithm not in ("md5", "sha256"):
        raise InputError(f"checksum is {expected!r}; expected md5:... or sha256:...")
    actual = digest(path, algorithm)
    return "" if actual == value else f"its {algorithm} checksum {actual} does not match {value}"


class _BrokeOffError(InputError):
    """A transfer ended before the file did; what arrived is kept."""


class _Transfer:
    """Download of a file to `part`, which goes on where an earlier one of the same URL broke off; `note` says which."""

    def __init__(self, url: str, target: Path, size: int | None, hint: str) -> None:
        self.url, self.size = url, size
        self.part, self.note = (target.with_name(f"{target.name}.{ending}") for ending in ("part", "part.json"))
        by_hand = "A file fetched by other means (a browser, another machine)"
        self.other_means = f"{by_hand} is used if it lies at {target}{hint}"

    def run(self) -> None:
        """Download what is missing, with as many connections as it takes while something arrives."""
        while True:
            if self._noted().get("url") != self.url:
                self.discard()  # of another URL
            before = self._arrived()
            try:
                return self._receive(before)
            except _BrokeOffError:
                if self._arrived() <= before:
                    raise

    def discard(self) -> None:
        self.part.unlink(missing_ok=True)
        self.note.unlink(missing_ok=True)

    def _arrived(self) -> int:
        return self.part.stat().st_size if self.part.exists() else 0

    def _noted(self) -> dict[str, str]:
        try:
            return dict(json.loads(self.note.read_text(encoding="utf-8")))
        except (FileNotFoundError, ValueError):
            # Without a readable note nobody knows what the bytes are: they are fetched again.
            return {}

    def _receive(self, offset: int) -> None:
        """Append what is missing to the partial file."""
        import requests

        headers = {"User-Agent": USER_AGENT, "Accept-Encoding": "identity"}
        if offset:
            headers["Range"] = f"bytes={offset}-"
            # If the file has changed since, the server sends all of it.
            if validator := self._noted().get("validator"):
                headers["If-Range"] = validator
        try:
            with requests.get(self.url, headers=headers, stream=True, timeout=TIMEOUT) as response:
                start, total = self._announced(response, offset)
                if start < offset:
                    print(f"{self.url}: the server does not resume (or the file has changed); starting anew")
                if start != total:
                    self._write(response, start, total)
        except requests.RequestException as error:
            # Of a failed connection, requests tells the whole story of urllib3's attempts; the reason is enough.
            reason = getattr(error.args[0], "reason", error) if error.args else error
            raise self._broke_off(f"{type(error).__name__}: {reason}") from error
        if total is not None and self._arrived() < total:
            raise self._broke_off(f"the connection was closed before all {total:,} bytes had come")
        self._require_size(self._arrived())

    def _announced(self, response: requests.Response, offset: int) -> tuple[int, int | None]:
        """First byte and total length of what the server sends; raise if it is not the expected file."""
        span, _, length = response.headers.get("Content-Range", "").removeprefix("bytes ").partition("/")
        start = offset
        if response.status_code == 200:
            start, length = 0, response.headers.get("Content-Length", "")
        elif response.status_code not in (206, 416):
            raise InputError(
                f"{self.url} could not be downloaded: the server answered {response.status_code} {response.reason}. "
                f"{self.other_means}"
            )
        # 416 says that nothing is left to send.
        elif not (span.startswith(f"{offset}-") if response.status_code == 206 else length == str(offset)):
            self.discard()
            raise self._broke_off(f"{offset:,} bytes had arrived, which do not fit the file, and were removed")
        total = int(length) if length.isdigit() else None
        if total is not None:
            self._require_size(total)
        return start, total

    def _require_size(self, size: int) -> None:
        if size == 0 or self.size not in (None, size):
            self.discard()
            expected = "" if self.size is None else f", expected {self.size:,}"
            raise InputError(
                f"{self.url}: the file on the server has {size:,} bytes{expected}; it is not the right file, and was "
                f"not kept. {self.other_means}"
            )

    def _write(self, response: requests.Response, start: int, total: int | None) -> None:
        from tqdm import tqdm

        missing, free = (total or 0) - start, shutil.disk_usage(self.part.parent).free
        if missing > free:
            raise InputError(
                f"{self.url}: {missing:,} bytes are still to come and {free:,} are free in {self.part.parent}; what "
                "has arrived is kept: make room there, or choose another folder, and run the same command again"
            )
        # Only a strong tag says that two files are the same byte for byte.
        tag = response.headers.get("ETag", "W/")
        validator = response.headers.get("Last-Modified", "") if tag.startswith("W/") else tag
        write_text(self.note, json.dumps({"url": self.url, "validator": validator}))
        bar = tqdm(total=total, initial=start, desc=self.part.stem, unit="B", unit_scale=True, disable=None)
        with bar, open(self.part, "r+b" if start else "wb") as file:
            file.seek(start)
            for block in response.iter_content(BLOCK):
                file.write(block)
                file.flush()  # so that a full disk is noticed here
                bar.update(len(block))

    def _broke_off(self, why: str) -> _BrokeOffError:
        arrived = self._arrived()
        so_far = f"{arrived:,} bytes have arrived, and the same command goes on from there. " if arrived else ""
        return _BrokeOffError(f"{self.url} could not be downloaded: {why}. {so_far}{self.other_means}")
