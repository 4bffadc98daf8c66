"""What is in an object of a library's class that a script keeps as a constant: settings, a loss, a generator.

Its class counts by name. What it holds counts where it is a setting; of what holds locks, handlers, files or
connections, which are another's affair and change by themselves, only the type does.
"""

from __future__ import annotations

import random
import sys
from collections import deque
from typing import Any

from .ownership import is_a, module_of
from .standard import public_module

__all__ = ["NOT_CODE", "hidden_state", "is_looked_into"]

NOT_CODE = frozenset(
    {"__file__", "__path__", "__spec__", "__loader__", "__cached__", "__builtins__", "__name__"}
)
"""Names that Python itself gives to a module: where it lies is no code."""

_LOOKED_INTO = frozenset(
    {
        "addict", "argparse", "box", "collections", "configparser", "easydict", "lightgbm", "ml_collections",
        "omegaconf", "scipy", "sklearn", "timm", "torch", "torchmetrics", "torchvision", "transformers",
        "types", "xgboost", "yacs",
    }
)  # fmt: skip


def is_looked_into(value: object) -> bool:
    """Whether what is in the object's ``__dict__`` is what it is."""
    module = public_module(module_of(type(value)))
    return module.partition(".")[0] in _LOOKED_INTO and not module.startswith("torch.utils.tensorboard")


def hidden_state(value: Any) -> object:
    """What an object of C holds, as plain values; None when nobody knows how to see it."""
    if is_a(value, random.Random):
        return random.Random.getstate(value)
    if is_a(value, deque):
        return list(value)
    array = sys.modules.get("array")
    if array is not None and is_a(value, array.array):
        return (value.typecode, value.tobytes())
    if is_a(value, memoryview):
        return value.tobytes()
    numpy = sys.modules.get("numpy.random")
    if numpy is not None and hasattr(numpy, "Generator"):
        if is_a(value, numpy.Generator):
            return value.bit_generator.state
        if is_a(value, numpy.RandomState):
            return value.get_state(legacy=False)
    return None
