"""The version of dagtree."""

__all__ = ["VERSION"]

VERSION = "0.1.0"
