"""What is in an object of a library's class that a script keeps as a constant: settings, a loss, a generator.

Its class counts by name. What it holds counts where it is a setting; of what holds locks, handlers, files or
connections, which are another's affair and change by themselves, only the type does.
"""

from __future__ import annotations

import _random
import random
import sys
from collections.abc import Callable
from typing import Any

from .ownership import is_a, is_library_class, module_of, mro_of
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


_CLOSED = ("torch.utils.tensorboard", "torch.utils.hooks")


def is_looked_into(value: object) -> bool:
    """Whether what is in the object's ``__dict__`` is what it is."""
    module = public_module(module_of(type(value)))
    return module.partition(".")[0] in _LOOKED_INTO and not module.startswith(_CLOSED)


def hidden_state(value: Any) -> object:
    """What an object of C holds, as plain values; None when nobody knows how to see it."""
    if is_a(value, random.Random):
        # What its getstate gives, without asking an attribute of the user's.
        held = random.Random.__dict__["__dict__"].__get__(value)
        return random.Random.VERSION, _random.Random.getstate(value), held.get("gauss_next")
    if is_a(value, bytearray):
        return bytes(bytearray.__getitem__(value, slice(None)))
    if is_a(value, memoryview):
        return value.tobytes()
    if is_a(value, BaseException):
        return _arguments(value)
    for module, name, look in _HIDING:
        kind = getattr(sys.modules.get(module), name, None)
        if kind is not None and is_a(value, kind):
            return look(kind, value) if _nearest(type(value)) is kind else None
    return None


def _nearest(kind: type) -> type | None:
    """The first of a library's classes: one below the class that is known (``pandas.Timestamp``) may hold
    more."""
    return next((base for base in mro_of(kind) if is_library_class(base)), None)


_arguments: Callable[[BaseException], tuple[object, ...]] = BaseException.__dict__["args"].__get__


def _generator(kind: Any, value: Any) -> object:
    # torch's own generator is what every run draws from: its state is no setting.
    if value is getattr(sys.modules["torch"], "default_generator", None):
        return None
    told: bytes = kind.get_state(value).numpy().tobytes()
    if len(told) != _LENGTH:
        return told
    # On the CPU there are gaps between the fields of C, which hold whatever was in memory.
    return told[:_GAP] + (told[_NEXT : _KEPT + 1] if told[_KEPT] else b"")


_LENGTH, _GAP, _NEXT, _KEPT = 5056, 5044, 5048, 5052


_HIDING: tuple[tuple[str, str, Callable[[Any, Any], object]], ...] = (
    ("array", "array", lambda kind, value: (value.typecode, kind.tobytes(value))),
    ("decimal", "Decimal", lambda kind, value: tuple(kind.as_tuple(value))),
    ("datetime", "datetime", lambda kind, value: kind.__reduce__(value)[1]),
    ("datetime", "date", lambda kind, value: kind.__reduce__(value)[1]),
    ("datetime", "time", lambda kind, value: kind.__reduce__(value)[1]),
    ("datetime", "timedelta", lambda kind, value: kind.__reduce__(value)[1]),
    ("numpy.random", "Generator", lambda kind, value: value.bit_generator.state),
    ("numpy.random", "RandomState", lambda kind, value: value.get_state(legacy=False)),
    ("numpy", "ndarray", lambda kind, value: None if type(value) is kind else kind.view(value, kind)),
    ("torch", "Generator", _generator),
)
"""What of their content classes of C tell, without a method of the user's: by module and name, in this order
(a datetime is a date, whose ``__reduce__`` would forget the hours)."""
