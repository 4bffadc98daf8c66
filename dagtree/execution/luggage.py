"""The user's own modules, which travel with a run: a worker that can't import them gets their files."""

from __future__ import annotations

import atexit
import importlib.util
import os
import pickle
import shutil
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

from ..identity.key import digest
from ..identity.ownership import is_library_module

__all__ = ["unpack_modules", "with_modules"]

_MOST_FILES = 2000
_MOST_BYTES = 8_000_000
_NOT_IMPORTED = ("__main__", "__mp_main__")  # their classes travel by value

_unpacked: tuple[str, str] | None = None  # the digest of what this process has, and where
_unpacking = threading.Lock()


def with_modules(content: bytes) -> bytes:
    """``content``, and the Python files of the modules of the user's own that this process has imported; of
    a package all, since a recipe may import one when it runs. More than 8 MB of them stay here: a project
    that large is installed where it shall run.
    """
    files: dict[str, bytes] = {}
    size_bytes = 0
    for name, path in _files():
        if name not in files:
            try:
                files[name] = path.read_bytes()
            except OSError:
                continue
            size_bytes += len(files[name])
        if len(files) > _MOST_FILES or size_bytes > _MOST_BYTES:
            files = {}
            break
    return pickle.dumps((files, content))


def _files() -> Iterator[tuple[str, Path]]:
    """The files by the paths under which they can be imported."""
    packages: dict[str, Path] = {}
    for name, module in list(sys.modules.items()):
        if name in _NOT_IMPORTED or not isinstance(module, ModuleType) or is_library_module(module):
            continue
        path = getattr(module, "__file__", None)
        if not isinstance(path, str) or not path.endswith(".py"):
            continue
        parts = name.split(".")
        is_package = os.path.basename(path) == "__init__.py"
        yield "/".join(parts) + ("/__init__.py" if is_package else ".py"), Path(path)
        if is_package and len(parts) == 1:
            packages[name] = Path(path).parent
    for name, folder in packages.items():
        for at, folders, found in os.walk(folder):
            folders[:] = [each for each in folders if each.isidentifier() and each != "__pycache__"]
            inside = Path(at).relative_to(folder).as_posix()
            for file in found:
                if file.endswith(".py"):
                    yield (Path(name) / inside / file).as_posix(), Path(at) / file


def unpack_modules(content: bytes) -> bytes:
    """What `with_modules` was given. Where this process can't import the modules, from now on it can: what it
    has of its own comes first, and what an earlier run had brought is forgotten."""
    files, inner = pickle.loads(content)
    names = {name.partition("/")[0].removesuffix(".py") for name in files}
    with _unpacking:
        if _unpacked is not None:
            mark = digest(pickle.dumps(sorted(files.items())))
            if mark == _unpacked[0]:
                return bytes(inner)
            _forget(_unpacked[1])
        if any(not _is_importable(name) for name in names):
            _write(files)
    return bytes(inner)


def _is_importable(name: str) -> bool:
    if name in sys.modules:
        return True
    try:
        return importlib.util.find_spec(name) is not None
    except (ImportError, ValueError):
        return False


def _write(files: dict[str, bytes]) -> None:
    global _unpacked
    directory = os.path.realpath(tempfile.mkdtemp(prefix="dagtree-code-"))
    atexit.register(shutil.rmtree, directory, ignore_errors=True)
    for name, content in files.items():
        path = Path(directory, *[part for part in name.split("/") if part not in ("", ".", "..")])
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    sys.path.append(directory)
    importlib.invalidate_caches()
    _unpacked = digest(pickle.dumps(sorted(files.items()))), directory


def _forget(directory: str) -> None:
    global _unpacked
    _unpacked = None
    if directory in sys.path:
        sys.path.remove(directory)
    inside = os.path.join(directory, "")
    for name, module in list(sys.modules.items()):
        if str(getattr(module, "__file__", None)).startswith(inside):
            del sys.modules[name]
    shutil.rmtree(directory, ignore_errors=True)
