"""Drawings as files, and on the screen."""

from __future__ import annotations

import importlib
import os
import re
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ..storage.files import disk_errors, replace_file
from .dot import to_digraph
from .outline import to_text
from .page import framed
from .picture import Picture
from .svg import direction_of, to_svg

__all__ = ["draw"]

_TEXT_FORMATS = ("svg", "html", "htm", "dot", "gv", "txt")
_PAGES = ("html", "htm")
_FORMATS = (*_TEXT_FORMATS, "png", "pdf", "ps", "eps", "jpg", "jpeg", "gif", "webp", "tiff", "bmp")


def draw(
    picture: Picture,
    filename: str | os.PathLike[str],
    format: str,
    view: bool,
    page: Callable[[], str],
) -> Any:
    """Write the picture; return its path, or, with ``view`` in a notebook, what shows it there.

    SVG, DOT, text, and HTML, which ``page`` makes, need no program. Other formats are drawn by Graphviz's
    ``dot``; without it the SVG is drawn instead, under the same stem, and a warning says so.
    """
    path, kind = _destination(filename, format)
    if kind in _TEXT_FORMATS:
        content = (page() if kind in _PAGES else _text(picture, kind)).encode("utf-8")
    else:
        try:
            content = to_digraph(picture, direction_of(picture)).pipe(format=kind)
        except Exception as error:  # graphviz raises its own and subprocess's errors
            path, kind = path.with_suffix(".svg"), "svg"
            content = to_svg(picture).encode("utf-8")
            warnings.warn(_instead(path, error), UserWarning, stacklevel=3)
    with disk_errors("write the drawing", path):
        path.parent.mkdir(parents=True, exist_ok=True)
        replace_file(path, [content])
    return _shown(path, kind, content) if view else path


def _destination(filename: str | os.PathLike[str], format: str) -> tuple[Path, str]:
    path = Path(filename)
    kind = path.suffix.lower().removeprefix(".")
    if kind not in _FORMATS:
        kind = format.lower().removeprefix(".") if isinstance(format, str) else ""
        if kind not in _FORMATS:
            raise ValueError(f"no drawing has the format {format!r}; write one of {', '.join(_FORMATS)}")
        path = path.with_name(f"{path.name}.{kind}")
    return path, kind


def _text(picture: Picture, kind: str) -> str:
    if kind == "svg":
        return to_svg(picture)
    if kind == "txt":
        return to_text(picture) + "\n"
    return str(to_digraph(picture, direction_of(picture)).source)


def _instead(path: Path, error: Exception) -> str:
    if type(error).__name__ == "ExecutableNotFound":
        return (
            f"Graphviz's program dot isn't on PATH, so the drawing is the SVG {path}. For other "
            "formats install Graphviz: apt install graphviz, brew install graphviz, conda install graphviz, "
            "or graphviz.org/download"
        )
    said = getattr(error, "stderr", b"") or str(error)
    said = said.decode("utf-8", "replace") if isinstance(said, bytes) else str(said)
    said = re.sub(r"\s+", " ", said).strip()[:300]
    return f"Graphviz's program dot failed ({said}), so the drawing is the SVG {path}"


def _shown(path: Path, kind: str, content: bytes) -> Any:
    shell = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    if shell is not None and hasattr(shell, "kernel"):
        display: Any = importlib.import_module("IPython.display")

        if kind == "svg":
            return display.SVG(data=content.decode("utf-8"))
        if kind in ("png", "jpg", "jpeg", "gif"):
            return display.Image(data=content)
        frame = framed(content.decode("utf-8")) if kind in _PAGES else ""
        if frame:
            return display.HTML(f"<div>{frame}</div>")
        return display.FileLink(str(path))
    import webbrowser  # rarely wanted, and a tenth of what opening an experiment costs

    try:
        opened = webbrowser.open(path.resolve().as_uri())
    except (OSError, webbrowser.Error):
        opened = False
    if not opened:
        warnings.warn(f"nothing here can show pictures; the drawing is {path}", UserWarning, stacklevel=4)
    return path
