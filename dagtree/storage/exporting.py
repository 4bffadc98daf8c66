"""A node's tensors as one ordinary file, for programs that know nothing of dagtree."""

from __future__ import annotations

import os
from pathlib import Path

from ..errors import StorageError
from .files import Bytes, create_file, disk_errors, replace_file
from .payload import Payload
from .tensorfile import file_order, lay_out

__all__ = ["export_tensors"]


def export_tensors(payload: Payload, key: str, path: str | os.PathLike[str], overwrite: bool = False) -> Path:
    """Writes the tensors of a node into one safetensors file, under their names; where it is.

    The file is there whole or not at all. Tensors that share memory are one tensor in it, under the first of
    their names: the format has no way to say that two names are one.

    Raises
    ------
    StorageError
        when the file exists and is not to be overwritten, when the node has no tensors, or the disk refuses.
    """
    file = Path(path).expanduser().absolute()
    buffers = [buffer for buffer in payload.buffers if buffer.kind != "raw"]
    if not buffers:
        raise StorageError(f"node {key} has no tensors, so there is nothing to write to {file}")
    header, _ = lay_out(buffers)
    chunks: list[Bytes] = [header, *(buffers[place].view() for place in file_order(buffers))]
    with disk_errors(f"export node {key}", file):
        if overwrite:
            replace_file(file, chunks)
        elif file.exists() or not create_file(file, chunks):
            raise StorageError(f"{file} exists: give overwrite=True to put node {key} in its place")
    return file
