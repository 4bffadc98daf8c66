"""Objects under a URL, by fsspec: the one module that talks to it, and imports it when it is first needed.

An object is written in one piece under a name that nobody else writes to, so that it is there whole or not
at all. Whatever a service says when it refuses becomes a StorageError that says what to do.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import re
import time
from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise
from typing import Any, NamedTuple
from urllib.parse import unquote

from ..errors import StorageError
from .board import FOLDER, Look
from .files import Bytes

__all__ = ["Bucket", "BucketBoard", "is_url", "shown", "url_errors"]

_URL = re.compile(r"([A-Za-z][A-Za-z0-9+.:-]*)://(.*)\Z", re.DOTALL)
_IN_MEMORY = ("memory",)
_OF_AWS = ("s3", "s3a")
_OBJECT_STORES = (*_IN_MEMORY, *_OF_AWS, "gs", "gcs", "abfs", "abfss", "az", "oss", "oci", "hf")
_PACKAGES = {"s3": "dagtree[s3]", "s3a": "dagtree[s3]", "gs": "gcsfs", "gcs": "gcsfs", "abfs": "adlfs",
             "abfss": "adlfs", "az": "adlfs", "sftp": "paramiko", "ssh": "paramiko"}  # fmt: skip
_PIECE = 16 << 20  # bytes: one connection alone doesn't fill a line
_ROUND = 256 << 20  # bytes that wait in memory for their place
_MULTIPART = 32 << 20
_AT_ONCE = 8  # requests that remove one object each
_TELL_TIMES = ("LastModified", "last_modified", "updated", "mtime", "modified", "created")
_TELL_VERSIONS = ("ETag", "etag", "generation", "md5Hash", *_TELL_TIMES)

_CREDENTIALS = (
    "no credentials: for S3 set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE (workers of a "
    "cluster need them too); for other services see their fsspec package"
)
_REFUSED = "permission denied: these credentials may not do that there, or are none that the service knows"
_NETWORK = (
    "no connection: is there a network, and is the address right? (for a service that isn't Amazon's, set "
    "AWS_ENDPOINT_URL)"
)
_NO_BUCKET = "there is no such bucket: make it first, dagtree makes none"
_HINTS = (
    (re.compile(r"NoSuchBucket|bucket does not exist", re.IGNORECASE), _NO_BUCKET),
    (re.compile(r"NoCredentials|PartialCredentials|Unable to locate credentials|DefaultCredentials",
                re.IGNORECASE), _CREDENTIALS),
    (re.compile(r"PermissionError|AccessDenied|Forbidden|SignatureDoesNotMatch|InvalidAccessKeyId|"
                r"ExpiredToken|Unauthorized"), _REFUSED),
    (re.compile(r"EndpointConnection|ConnectTimeout|ReadTimeout|ConnectionClosed|ClientConnector|gaierror|"
                r"FSTimeout|ConnectionRefused|ConnectionReset|TimeoutError|NameResolution|ConnectionError"),
     _NETWORK),
    (re.compile(r"NotImplementedError|UnsupportedOperation"), "that kind of place can't be written to"),
)  # fmt: skip


def is_url(text: str) -> bool:
    """Whether it names a place by a protocol, as in ``s3://bucket/run``."""
    return _URL.match(text) is not None


def shown(url: str) -> str:
    """The URL as it may be printed and kept: without what may be a secret (what stands before an ``@``, or
    behind a ``?``)."""
    found = _URL.match(url)
    if found is None:
        return url
    protocol, rest = found[1].lower(), found[2]
    rest, asked, _ = rest.partition("?")
    host, slash, path = rest.partition("/")
    if "@" in host:
        host = f"***@{host.rpartition('@')[2]}"
    path = f"{slash}{path}".rstrip("/")
    return f"{protocol}://{host}{path}" + ("?***" if asked else "")


@contextlib.contextmanager
def url_errors(doing: str, url: str, name: str = "") -> Iterator[None]:
    """Says what it was about (the object of that name under the URL) when a service refuses, without what may
    be a secret in the URL."""
    try:
        yield
    except StorageError:
        raise
    except Exception as error:
        where = f"{shown(url)}/{name}" if name else shown(url)
        causes = [error]
        while (cause := causes[-1].__cause__ or causes[-1].__context__) is not None and len(causes) < 9:
            if not isinstance(cause, Exception):
                break
            causes.append(cause)
        kinds = " ".join(f"{type(cause).__name__}: {cause}" for cause in causes)
        text = f"{type(error).__name__}: {error}"
        secrets = _secrets(url)
        for secret in secrets:  # what the service says may hold the URL as it was given
            text = text.replace(secret, "***")
        hint = next((hint for pattern, hint in _HINTS if pattern.search(kinds)), text)
        said = StorageError(f"could not {doing}: {where}: {hint}")
        said.errno = getattr(error, "errno", None)
        # Errors end in logs and records, with all that led to them.
        raise said from (None if secrets else error)


def _secrets(url: str) -> list[str]:
    """What must not be told: a password or token before an ``@``, and all that stands behind a ``?``."""
    found = _URL.match(url)
    rest, _, query = (found[2] if found is not None else "").partition("?")
    user = rest.partition("/")[0].rpartition("@")[0]
    parts = [user, user.partition(":")[2], query, *(part.partition("=")[2] for part in query.split("&"))]
    return sorted({part for part in (*parts, *map(unquote, parts)) if part}, key=len, reverse=True)


class Entry(NamedTuple):
    """What a listing says of an object: ``version`` is another whenever it was written anew; ``changed_at``
    is when that was, in seconds since 1970 by the service's clock, 0 where it doesn't say."""

    size_bytes: int
    changed_at: float
    version: tuple[Any, ...]

    @classmethod
    def of(cls, facts: dict[str, Any]) -> Entry:
        size_bytes = int(facts["size"] or 0)
        version = (size_bytes, *(str(facts[fact]) for fact in _TELL_VERSIONS if facts.get(fact)))
        when: Any = next((facts[fact] for fact in _TELL_TIMES if facts.get(fact)), 0.0)
        if hasattr(when, "timestamp"):
            when = when.timestamp()
        return cls(size_bytes, when if isinstance(when, int | float) else 0.0, version)


class Bucket:
    """What lies under a URL; names are relative to it. Making one connects to nothing.

    Raises
    ------
    StorageError
        when the protocol is unknown, its package isn't installed, or the URL can't be meant.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        self.location = shown(url)
        found = _URL.match(url)
        self.protocol = found[1].lower() if found is not None else ""
        self.only_here = self.protocol in _IN_MEMORY
        self._fs: Any = None
        self._root = ""
        self._folders: set[str] = set()
        self._connect()

    def _connect(self) -> Any:
        if self._fs is None:
            protocol, where = self.protocol, self.location
            if "::" in self.url:
                raise StorageError(
                    f"{where} chains protocols: give the plain URL, dagtree caches what it reads by itself"
                )
            if protocol in _OF_AWS and _secrets(self.url):
                raise StorageError(
                    f"{where}: credentials don't belong into an {protocol}:// URL: set AWS_ACCESS_KEY_ID and "
                    "AWS_SECRET_ACCESS_KEY, or AWS_PROFILE"
                )
            fsspec: Any = importlib.import_module("fsspec")
            try:
                self._fs, root = _system(fsspec, protocol, self.url)
            except ImportError as error:
                package = _PACKAGES.get(protocol, f"fsspec[{protocol}]")
                raise StorageError(
                    f"{where} needs a package that isn't installed: pip install '{package}'"
                ) from error
            except ValueError as error:
                if protocol in fsspec.available_protocols():
                    raise StorageError(f"{where} is no URL that {protocol}:// can have") from None
                raise StorageError(
                    f"{where}: no protocol {protocol}:// is known. Those that are: s3, gs, abfs, sftp, "
                    "memory, file, and whatever else fsspec knows"
                ) from (None if _secrets(self.url) else error)
            except Exception:
                with url_errors("open", self.url):
                    raise
            self._root = root.rstrip("/")
            if not self._root.strip("/"):
                raise StorageError(f"{where} names no place: give one like {protocol}://bucket/run")
        return self._fs

    def forget_connections(self) -> None:
        """As a forked process must, whose threads are gone."""
        self._fs = None

    def sizes(self, folder: str) -> dict[str, int]:
        """The sizes of the objects in a folder and below, by name; a folder that isn't there has none."""
        return {name: entry.size_bytes for name, entry in self.entries(folder).items()}

    def entries(self, folder: str) -> dict[str, Entry]:
        """As `sizes`, and what else a listing says."""
        fs, start = self._connect(), f"{self._root}/{folder}".rstrip("/")
        with url_errors("list the objects", self.url, folder):
            try:
                found = fs.find(start, detail=True)
            except FileNotFoundError as error:
                if _has_no_bucket(error):
                    raise
                return {}
        begin = len(self._root) + 1
        return {
            path[begin:]: Entry.of(entry)
            for path, entry in found.items()
            if entry.get("type") != "directory" and path.startswith(f"{start}/")
        }

    def read(self, name: str) -> bytes | None:
        """What an object holds; None when it isn't there."""
        fs = self._connect()
        with url_errors("read", self.url, name):
            try:
                # From 0 on: without a start, the size would be asked for first.
                content: bytes = fs.cat_file(f"{self._root}/{name}", start=0)
            except (FileNotFoundError, NotADirectoryError, IsADirectoryError) as error:
                if _has_no_bucket(error):
                    raise
                return None
            except Exception as error:
                if not _is_past_end(error):
                    raise
                return b""
        return content

    def read_ranges(self, ranges: Sequence[tuple[str, int, int]]) -> Iterator[bytes | None]:
        """The bytes of objects from one offset to another, many at once; None for what isn't there, or not
        as long.
        """
        pieces: list[tuple[str, int, int, bool]] = []
        for name, start, end in ranges:
            cuts = [*range(start, end, _PIECE), end] if end > start else [start, start]
            pieces += [(name, a, b, b == end) for a, b in pairwise(cuts)]
        parts: list[bytes | None] = []
        at = 0
        while at < len(pieces):
            upto, size_bytes = at, 0
            while upto < len(pieces) and (upto == at or size_bytes < _ROUND):
                size_bytes += pieces[upto][2] - pieces[upto][1]
                upto += 1
            group, at = pieces[at:upto], upto
            for (_, _, _, is_last), part in zip(group, self._read_pieces(group), strict=True):
                parts.append(part)
                if is_last:
                    whole = None if None in parts else parts[0] if len(parts) == 1 else b"".join(parts)  # type: ignore[arg-type]
                    parts = []
                    yield whole

    def _read_pieces(self, pieces: Sequence[tuple[str, int, int, bool]]) -> list[bytes | None]:
        fs = self._connect()
        wanted = [piece for piece in pieces if piece[2] > piece[1]]
        read: Iterator[Any] = iter(())
        if wanted:
            with url_errors("read", self.url):
                read = iter(
                    fs.cat_ranges(
                        [f"{self._root}/{name}" for name, *_ in wanted],
                        [start for _, start, _, _ in wanted],
                        [end for _, _, end, _ in wanted],
                        on_error="return",
                    )
                )
        parts: list[bytes | None] = []
        for name, start, end, _ in pieces:
            part = next(read) if end > start else b""
            if isinstance(part, Exception):
                with url_errors("read", self.url, name):
                    if not isinstance(part, FileNotFoundError) and not _is_past_end(part):
                        raise part
                part = None
            parts.append(part if part is not None and len(part) == end - start else None)
        return parts

    def write(self, name: str, chunks: Sequence[Bytes]) -> None:
        """The object is there with exactly these bytes, once this returns."""
        fs, path = self._connect(), f"{self._root}/{name}"
        with url_errors("write", self.url, name):
            if self.protocol not in _OBJECT_STORES:
                folder = path.rpartition("/")[0]
                if folder not in self._folders:
                    fs.makedirs(folder, exist_ok=True)
                    self._folders.add(folder)
            if sum(map(len, chunks)) <= _MULTIPART:
                fs.pipe_file(path, b"".join(chunks))
            else:
                self._write_in_parts(fs, path, chunks)

    def remove(self, names: Iterable[str]) -> None:
        """The objects are there no more; nor were those that are gone already."""
        fs, names = self._connect(), list(names)

        def remove(name: str) -> None:
            with url_errors("remove", self.url, name), contextlib.suppress(FileNotFoundError):
                fs.rm_file(f"{self._root}/{name}")

        if len(names) < 2 or self.only_here:
            for name in names:
                remove(name)
        else:
            from concurrent.futures import ThreadPoolExecutor

            with ThreadPoolExecutor(_AT_ONCE) as threads:
                list(threads.map(remove, names))

    def _write_in_parts(self, fs: Any, path: str, chunks: Sequence[Bytes]) -> None:
        """Nothing of the size of the object is copied; what was begun and not ended is thrown away."""
        file = fs.open(path, "wb", block_size=_PIECE)
        try:
            for chunk in chunks:
                view = memoryview(chunk)
                for start in range(0, len(view), _PIECE):
                    file.write(view[start : start + _PIECE])
        except BaseException:
            with contextlib.suppress(Exception):
                file.discard()
            with contextlib.suppress(Exception):
                file.closed = True  # closing it would keep what there is under the object's name
            raise
        file.close()


class BucketBoard:
    """Notices as objects, which are written anew whenever they say something else. They rest on listings that
    show at once what was written and removed, as those of S3, GCS and Azure do."""

    is_far = True
    beat_s = 15.0
    lease_s = 90.0
    ahead_s = 0.25  # requests take longer than lines in files
    _NEWS_S = 5.0

    def __init__(self, bucket: Bucket) -> None:
        self.location = bucket.location
        self._bucket = bucket
        self._beats = 0
        self._seen: dict[str, Entry] = {}

    def where(self, name: str = "") -> str:
        return f"{self.location}/{FOLDER}/{name}"

    def names(self) -> Sequence[str]:
        found = self._bucket.entries(FOLDER)
        self._seen = {name.rpartition("/")[2]: entry for name, entry in found.items()}
        return list(self._seen)

    def create(self, name: str, content: bytes) -> int:
        return self.replace(name, content)

    def append(self, name: str, content: bytes, whole: bytes) -> int:
        return self.replace(name, whole)

    def replace(self, name: str, content: bytes) -> int:
        self._beats += 1  # so that it differs, also where a listing tells no more than sizes
        self._bucket.write(f"{FOLDER}/{name}", [content, b"\n" * (self._beats % 100)])
        return 0

    def look(self, name: str, state: Any, read: int) -> Look:
        seen = self._seen.get(name)
        if seen is not None and seen.version == state:
            return Look(state, seen.changed_at, b"", False)
        content = self._bucket.read(f"{FOLDER}/{name}") if seen is not None else None
        if seen is None or content is None:
            raise FileNotFoundError(self.where(name))
        return Look(seen.version, seen.changed_at, content, True)

    def remove(self, name: str) -> None:
        self._bucket.remove([f"{FOLDER}/{name}"])

    def changed(self) -> Any:
        """What was there between two listings can't be known: as if somebody had been, now and then."""
        return int(time.monotonic() / self._NEWS_S)


def _system(fsspec: Any, protocol: str, url: str) -> tuple[Any, str]:
    """What reaches the URL, and the path in it; one for all places that need the same.

    fsspec's own would outlive credentials that were set too late, or that have changed since.
    """
    told = tuple(sorted(item for item in os.environ.items() if item[0].startswith(_TELLING)))
    which = os.getpid(), protocol, *_secrets(url), *told
    if protocol in _OBJECT_STORES and which in _systems:
        system = _systems[which]
        return system, system._strip_protocol(url)
    system, root = fsspec.core.url_to_fs(url, use_listings_cache=False, skip_instance_cache=True)
    _systems[which] = system
    return system, root


_systems: dict[tuple[Any, ...], Any] = {}
_TELLING = ("AWS_", "FSSPEC_", "GOOGLE_", "AZURE_")


def _has_no_bucket(error: Exception) -> bool:
    return re.search("NoSuchBucket|bucket does not exist", f"{error!r} {error.__cause__!r}") is not None


def _is_past_end(error: Exception) -> bool:
    """Whether a range was asked for that begins behind the end of the object."""
    said = f"{error!r} {error.__cause__!r}"
    return "InvalidRange" in said or "416" in said or "Requested range" in said
