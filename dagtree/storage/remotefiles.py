"""What lies beside the nodes at a URL: code and environments, files of nodes, safe points. A part of
`RemoteStore`."""

from __future__ import annotations

from .bucket import Bucket
from .files import Bytes
from .known import ENDED, SAFE_POINTS, name_of_file, name_of_once, name_of_safe_point
from .notes import HEX
from .store import Folder

__all__ = ["RemoteFiles"]


class RemoteFiles:
    """An object each."""

    _bucket: Bucket
    _kept: set[str]

    def _prepare(self) -> None:
        raise NotImplementedError

    def write_once(self, folder: Folder, name: str, content: bytes) -> None:
        path = name_of_once(folder, name)
        if path in self._kept or self._bucket.read(path) == content:
            return
        self._prepare()
        self._bucket.write(path, [content])
        self._kept.add(path)

    def write_file(self, key: str, name: str, content: bytes) -> None:
        path = name_of_file(key, name)
        self._prepare()
        self._bucket.write(path, [content])

    def write_safe_point(self, key: str, content: Bytes, *, ended: bool = False) -> None:
        path = name_of_safe_point(key, ended)
        self._prepare()
        self._bucket.write(path, [content])

    def remove_safe_point(self, key: str, *, ended: bool = False) -> None:
        self._bucket.remove([name_of_safe_point(key, ended)])

    def read_once(self, folder: Folder, name: str) -> bytes | None:
        return self._bucket.read(name_of_once(folder, name))

    def read_safe_point(self, key: str, *, ended: bool = False) -> bytes | None:
        return self._bucket.read(name_of_safe_point(key, ended))

    def safe_points(self) -> dict[str, int]:
        found = {path.rpartition("/")[2]: size for path, size in self._bucket.sizes(SAFE_POINTS).items()}
        return {name: size for name, size in found.items() if HEX.match(name.removesuffix(ENDED))}

    def read_file(self, key: str, name: str) -> bytes | None:
        return self._bucket.read(name_of_file(key, name))

    def files(self) -> dict[str, dict[str, int]]:
        found: dict[str, dict[str, int]] = {}
        for path, size_bytes in self._bucket.sizes("files").items():
            _, key, name = (*path.split("/", 2), "")[:3]
            if HEX.match(key) and name and "/" not in name:
                found.setdefault(key, {})[name] = size_bytes
        return found
