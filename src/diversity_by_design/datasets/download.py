"""Downloading raw files with pooch: resumed where a transfer broke off, checked before they get their name."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

from diversity_by_design.datasets.registry import DatasetSpec
from diversity_by_design.errors import InputError
from diversity_by_design.running.checksum import sha256
from diversity_by_design.running.files import atomic_path, write_text

if TYPE_CHECKING:
    import requests

# Small, since of a connection that is cut, what came since the last full block is lost.
BLOCK = 2**16
TIMEOUT = 60.0
USER_AGENT = "diversity-by-design (python-requests)"
OTHER_MEANS = "A file fetched by other means (a browser, another machine) is prepared with get_data.py --from FILE"


class TransferBrokeOffError(InputError):
    """A transfer ended before the file did; what arrived is kept."""


class RefusedError(InputError):
    """The file on the server is not the one that is expected."""


def fetch(
    source: DatasetSpec | str,
    folder: Path,
    *,
    filename: str | None = None,
    size: int | None = None,
    checksum: str | None = None,
    progress: bool = True,
    reconnect: bool = True,
) -> Path:
    """Return the path of a downloaded file, downloading it if it is not there.

    What has arrived of a file is kept as ``<name>.part``; a transfer that breaks off goes on from there, within this
    call as long as something arrives, and at the next call otherwise. The file gets its name only once its size and
    checksum are right. Without a known checksum, that of the first download is recorded in ``<name>.checksum.json``
    and every later one is held to it.

    Parameters
    ----------
    source : DatasetSpec or str
        A data set of the registry, or an URL.
    folder : Path
        Made if needed.
    filename : str, optional
        Name on disk; for an URL, its last part by default.
    size : int, optional
        Expected bytes.
    checksum : str, optional
        As ``md5:...`` or ``sha256:...``.
    progress : bool
        Whether to show a progress bar (on a terminal only).
    reconnect : bool
        Whether to go on with a broken-off transfer within this call.

    Raises
    ------
    InputError
        There is no connection, the server refuses, or the transfer broke off. The size or the checksum is wrong, or the
        data set is not one that is downloaded. The disk is full or the folder cannot be written to.
    """
    import pooch

    if isinstance(source, DatasetSpec):
        if source.url is None:
            raise InputError(f"data set {source.name!r} is generated, not downloaded")
        url, filename, size, checksum = source.url, source.filename, source.size, source.checksum
    else:
        url, filename = source, filename or unquote(Path(urlsplit(source).path).name)
    target = folder / filename
    record = folder / f"{filename}.checksum.json"
    expected = checksum or _recorded(record)
    if size is not None and target.exists() and target.stat().st_size != size:
        print(f"{target} has {target.stat().st_size:,} bytes instead of {size:,}; it is downloaded again")
        target.unlink()
    transfer = _Transfer(folder / f"{filename}.part", size, progress, reconnect)
    with _writable(folder):
        folder.mkdir(parents=True, exist_ok=True)
        try:
            pooch.retrieve(url, known_hash=expected, fname=filename, path=folder, downloader=transfer)
        except RefusedError:
            raise
        except ValueError as error:
            raise InputError(
                f"{url}: the file that was downloaded is not the expected one, and was removed ({error}). Try again; "
                f"if it comes to the same, the published file has changed. {OTHER_MEANS}"
            ) from error
    if expected is None:
        content = {"url": url, "size": target.stat().st_size, "checksum": f"sha256:{sha256(target)}"}
        write_text(record, json.dumps(content, indent=1))
    return target


def _recorded(record: Path) -> str | None:
    if not record.exists():
        return None
    try:
        return str(json.loads(record.read_text(encoding="utf-8"))["checksum"])
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"{record} does not hold a recorded checksum; remove it to accept the file as it is"
        ) from error


@contextmanager
def _writable(folder: Path) -> Iterator[None]:
    """Say which folder it is that cannot be written to."""
    try:
        yield
    except OSError as error:
        raise InputError(
            f"cannot download into {folder} ({error.strerror or error}); what has arrived is kept: make room or allow "
            "writing there, or choose another folder, and run the same command again",
        ) from error


@dataclass
class _Transfer:
    """Downloader for pooch that goes on where an earlier transfer of the same URL broke off.

    Attributes
    ----------
    part : Path
        Where the bytes go until they are all there. Beside it, ``<part>.json`` says of which file they are.
    size : int or None
        Expected bytes.
    progress, reconnect : bool
        See `fetch`.
    """

    part: Path
    size: int | None
    progress: bool
    reconnect: bool

    def __call__(self, url: str, output_file: str, pooch: Any) -> None:
        """Download `url` to `output_file`, as pooch asks."""
        while True:
            before = self._arrived(url)
            try:
                self._receive(url, before)
                break
            except TransferBrokeOffError:
                if not self.reconnect or self._arrived(url) <= before:
                    raise
        os.replace(self.part, output_file)
        self._origin.unlink(missing_ok=True)

    @property
    def _origin(self) -> Path:
        return self.part.with_name(f"{self.part.name}.json")

    def _arrived(self, url: str) -> int:
        """Bytes that are there already; what is there of another URL is no use, and is removed."""
        if self.part.exists() and self._validators().get("url") != url:
            self._discard()
        return self.part.stat().st_size if self.part.exists() else 0

    def _validators(self) -> dict[str, str]:
        try:
            return dict(json.loads(self._origin.read_text(encoding="utf-8")))
        except (FileNotFoundError, ValueError):
            # Without a readable note nobody knows what the bytes are: they are fetched again.
            return {}

    def _discard(self) -> None:
        self.part.unlink(missing_ok=True)
        self._origin.unlink(missing_ok=True)

    def _receive(self, url: str, offset: int) -> None:
        """Append what is missing to the partial file."""
        import requests

        headers = {"User-Agent": USER_AGENT, "Accept-Encoding": "identity"}
        if offset:
            headers["Range"] = f"bytes={offset}-"
            # If the file has changed since, the server sends all of it.
            if validator := self._validators().get("validator"):
                headers["If-Range"] = validator
        try:
            with requests.get(url, headers=headers, stream=True, timeout=TIMEOUT) as response:
                start, total = self._check(url, response, offset)
                if start < offset:
                    print(f"{url}: the server does not resume (or the file has changed); starting anew")
                if start != total:
                    self._write(url, response, start, total)
        except requests.RequestException as error:
            # Of a failed connection, requests tells the whole story of urllib3's attempts; the reason is enough.
            reason = getattr(error.args[0], "reason", error) if error.args else error
            raise _broke_off(url, self._arrived(url), None, f"{type(error).__name__}: {reason}") from error
        arrived = self._arrived(url)
        if total is not None and arrived < total:
            raise _broke_off(url, arrived, total, "the connection was closed")
        self._require_size(url, arrived)

    def _check(self, url: str, response: requests.Response, offset: int) -> tuple[int, int | None]:
        """First byte and total length of what the server sends; raise if it is not the expected file."""
        total: int | None
        if response.status_code == 206:
            start, total = _content_range(response.headers.get("Content-Range", ""), offset)
        elif response.status_code == 416 and offset:
            # Nothing is left to send: the partial file is all of it, or is not of this file.
            start, total = offset, _length(response.headers.get("Content-Range", "").partition("/")[2])
            if total != offset:
                self._discard()
                raise _broke_off(
                    url, 0, total, f"{offset:,} bytes had arrived, more than the file has; they were removed"
                )
        elif response.status_code == 200:
            start, total = 0, _length(response.headers.get("Content-Length"))
        else:
            raise InputError(
                f"{url} could not be downloaded: the server answered {response.status_code} {response.reason}. "
                f"{OTHER_MEANS}"
            )
        if total is not None:
            self._require_size(url, total)
        return start, total

    def _require_size(self, url: str, size: int) -> None:
        if size == 0 or (self.size is not None and size != self.size):
            self._discard()
            expected = "" if self.size is None else f", expected {self.size:,}"
            raise RefusedError(
                f"{url}: the file on the server has {size:,} bytes{expected}; it is not the right file, and was not "
                f"kept. {OTHER_MEANS}"
            )

    def _write(self, url: str, response: requests.Response, start: int, total: int | None) -> None:
        from tqdm import tqdm

        missing = (total or 0) - start
        free = shutil.disk_usage(self.part.parent).free
        if missing > free:
            raise OSError(f"{missing:,} bytes are still to come and {free:,} are free")
        # Only a strong tag says that two files are the same byte for byte.
        tag = response.headers.get("ETag", "W/")
        validator = response.headers.get("Last-Modified", "") if tag.startswith("W/") else tag
        note = {"url": url, "validator": validator}
        with atomic_path(self._origin) as temporary:
            temporary.write_text(json.dumps(note), encoding="utf-8")
        bar = tqdm(
            total=total,
            initial=start,
            desc=self.part.stem,
            unit="B",
            unit_scale=True,
            disable=None if self.progress else True,
        )
        with bar, open(self.part, "r+b" if start else "wb", buffering=0) as file:
            file.seek(start)
            for block in response.iter_content(BLOCK):
                _write_all(file, block)
                bar.update(len(block))


def _write_all(file: Any, block: bytes) -> None:
    # An unbuffered file may take less than it is given. It is unbuffered so that a full disk is noticed here.
    view = memoryview(block)
    while len(view):
        view = view[file.write(view) :]


def _broke_off(url: str, arrived: int, total: int | None, why: str) -> TransferBrokeOffError:
    of = f" of {total:,}" if total is not None else ""
    so_far = f"{arrived:,}{of} bytes have arrived, and the same command goes on from there. " if arrived else ""
    return TransferBrokeOffError(f"{url} could not be downloaded: {why}. {so_far}{OTHER_MEANS}")


def _length(text: str | None) -> int | None:
    return int(text) if text is not None and text.isdigit() else None


def _content_range(text: str, offset: int) -> tuple[int, int | None]:
    """Start and total of a header such as ``bytes 100-199/200``."""
    span, _, total = text.removeprefix("bytes ").partition("/")
    start = _length(span.partition("-")[0])
    if start != offset:
        raise RefusedError(f"the server was asked for bytes from {offset:,} on and sends {text!r}")
    return offset, _length(total)
