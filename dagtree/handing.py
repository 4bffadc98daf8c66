"""Handing a tree on: its history for other programs, and all of it for other people."""

from __future__ import annotations

import os
import shutil
import tempfile
import warnings
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .errors import SelectionError, StorageError
from .travel import Travel

if TYPE_CHECKING:
    from .analysis.graph import Graph
    from .analysis.node import Node

__all__ = ["Handing"]

_PROV = {".json": "json", ".provn": "provn"}


class Handing(Travel):
    """What an experiment can be written as, so that others read it."""

    if TYPE_CHECKING:

        @property
        def graph(self) -> Graph: ...

    def export(
        self,
        place: str | os.PathLike[str],
        states: Iterable[Node] | None = None,
        *,
        name: str | None = None,
        description: str | None = None,
        author: str | None = None,
        license: str | None = None,
        overwrite: bool = False,
        progress: bool | None = None,
    ) -> Path:
        """Write the tree's history in a form that other programs read; the path of what was written.

        ``"prov.json"`` (or ``"prov.provn"``): W3C PROV. States are entities, runs of recipes activities,
        hosts and people agents. Any name without a suffix: a directory with an RO-Crate of the Workflow Run
        profile, with the code, the environments, all records, and the experiment itself in ``tree/``, which
        ``Experiment.restore`` opens and which can be continued. Of ``states`` the bytes are in it, of all
        other nodes the records (they are evicted there, and computed again when they are needed); by default
        all bytes are. ``name``, ``description``, ``author`` and ``license`` (a URL) are the crate's.
        ``progress`` shows or hides the progress line of the copying. Needs ``dagtree[provenance]``.

        Raises StorageError when the place is taken (a file is replaced with ``overwrite``) or can't be
        written to, SelectionError when there is nothing to write, or ``states`` holds what is no node of this
        tree.
        """
        path = Path(os.fspath(place)).expanduser().absolute()
        nodes = list(self.graph.nodes | self.graph.superseded)
        if not any(node.record.ended for node in nodes):
            raise SelectionError(f"{self.location}: nothing was computed here yet; run() does.")
        if path.suffix in _PROV:
            if states is not None:
                raise SelectionError("PROV holds no states: leave `states` out, or export a crate or a node.")
            return _write_prov(path, nodes, overwrite)
        if path.suffix:
            raise StorageError(
                f"{path.name}: a history is written as .json or .provn (W3C PROV), or, without a suffix, "
                "into a directory (RO-Crate). A node's tensors: node.export('model.safetensors')."
            )
        if path.exists() and not (path.is_dir() and not any(path.iterdir())):
            raise StorageError(
                f"{path} is there already. Nothing was changed: give another name, or remove it."
            )
        title = name or self.location.rstrip("/").rpartition("/")[2]
        about = {
            "name": title,
            "description": description or f"A tree of {len(nodes)} states of models, made with dagtree.",
            "author": author or "",
            "license": license or "",
        }
        return self._write_crate(path, nodes, self._light(nodes, states), about, progress)

    def _light(self, nodes: list[Node], states: Iterable[Node] | None) -> frozenset[str]:
        """The keys of the nodes that go without their bytes."""
        known = {node.key for node in nodes}
        if states is None:
            return frozenset()
        chosen = {getattr(node, "key", repr(node)) for node in states}
        if not chosen <= known:
            odd = ", ".join(sorted(chosen - known)[:5])
            raise SelectionError(f"`states` are nodes of this tree, such as exp.graph.leaves; not {odd}")
        return frozenset(known - chosen)

    def _write_crate(
        self,
        path: Path,
        nodes: list[Node],
        light: frozenset[str],
        about: dict[str, Any],
        progress: bool | None,
    ) -> Path:
        from .analysis.crate import TREE, write_crate
        from .storage.files import disk_errors

        with disk_errors("write the crate", path):
            path.parent.mkdir(parents=True, exist_ok=True)
            made = Path(tempfile.mkdtemp(prefix=f".{path.name}.", suffix=".tmp", dir=path.parent))
            try:
                write_crate(nodes, made, about)
                copied = self._copy_to(made / TREE, None, progress, light)
                if path.exists():
                    path.rmdir()  # it is empty
                made.chmod(0o755)
                made.rename(path)
            finally:
                shutil.rmtree(made, ignore_errors=True)
        if copied.problems:
            warnings.warn(
                f"{len(copied.problems)} things are damaged and not in {path}: {copied.problems[0]}",
                stacklevel=3,
            )
        return path


def _write_prov(path: Path, nodes: list[Node], overwrite: bool) -> Path:
    from .analysis.prov import prov_document
    from .storage.files import disk_errors, replace_file

    if path.exists() and not overwrite:
        raise StorageError(f"{path} is there already; overwrite=True replaces it.")
    layout = {"indent": 1} if path.suffix == ".json" else {}
    text = prov_document(nodes).serialize(format=_PROV[path.suffix], **layout)
    with disk_errors("write the history", path):
        path.parent.mkdir(parents=True, exist_ok=True)
        replace_file(path, [text.encode()])
    return path
