"""How well something went."""

from . import tables
from .basic import mean, spread

__all__ = ["mean", "spread", "tables"]
