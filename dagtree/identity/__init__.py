"""What a node is: values, code and keys as exact bytes."""

# Each registers its encodings with canonical.py when it is imported.
from . import arrays, source, standard

__all__ = ["arrays", "source", "standard"]
