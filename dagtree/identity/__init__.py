"""What a node is: values, code and keys as exact bytes."""

# Each registers its encodings with canonical.py when it is imported.
from . import arrays, frames, objects, source, standard

__all__ = ["arrays", "frames", "objects", "source", "standard"]
