"""What is in an object of a library's class that a script keeps as a constant: settings, a loss, a generator.

Its class counts by name. What it holds counts where it is a setting; of what holds locks, handlers, files or
connections, which are another's affair and change by themselves, only the type does.
"""

from __future__ import annotations

import _random
import functools
import random
import sys
from collections.abc import Callable
from typing import Any

from .inside import nearest
from .ownership import is_a, members_of, module_of, mro_of
from .standard import public_module
from .unusual import array_inside, masked_inside, tensor_inside

__all__ = ["NOT_CODE", "hidden_state", "is_looked_into", "is_made_on_use", "is_mark", "is_record"]

NOT_CODE = frozenset(
    {"__file__", "__path__", "__spec__", "__loader__", "__cached__", "__builtins__", "__name__"}
)
"""Names that Python itself gives to a module: where it lies is no code."""

_LOOKED_INTO = frozenset(
    {
        "addict", "argparse", "box", "collections", "configparser", "easydict", "lightgbm", "ml_collections",
        "networkx", "numpy", "omegaconf", "scipy", "sklearn", "timm", "torch", "torchmetrics", "torchvision",
        "transformers", "types", "xgboost", "yacs",
    }
)  # fmt: skip
_CLOSED = ("torch._dynamo", "torch._ops", "torch.utils.tensorboard", "torch.utils.hooks")
_AFFAIRS = frozenset(
    {
        "abc", "asyncio", "asyncore", "bdb", "builtins", "bz2", "cProfile", "cmd", "code", "codeop",
        "concurrent", "contextvars", "ctypes", "curses", "dbm", "fileinput", "ftplib", "gc", "gzip",
        "hashlib", "hmac", "http", "imaplib", "importlib", "inspect", "io", "linecache", "logging", "lzma",
        "mailbox", "mmap", "multiprocessing", "nntplib", "os", "pdb", "pickle", "pkgutil", "platform",
        "poplib", "posix", "profile", "pstats", "queue", "random", "runpy", "sched", "select", "selectors",
        "shelve", "signal", "site", "smtplib", "socket", "socketserver", "sqlite3", "ssl", "subprocess",
        "sys", "syslog", "tarfile", "telnetlib", "tempfile", "threading", "time", "timeit", "tkinter",
        "trace", "traceback", "tracemalloc", "turtle", "typing", "unittest", "urllib", "warnings",
        "weakref", "wsgiref", "xmlrpc", "zipfile", "zipimport", "zlib",
    }
)  # fmt: skip
"""Of the standard library, what deals with the world outside, or changes as the program runs."""
_MARKS = ("_torchdynamo_", "__dynamo_")
_RECORDS = ("torch._dynamo", "torch._library")
_MADE_ON_USE = {
    "functools": {"_method_cache"},
    "networkx": {"__networkx_cache__"},
    "numpy": {"_ufunc"},
    "torch._library": {"source"},  # the file and the line
}


def is_looked_into(value: object) -> bool:
    """Whether what is in the object's ``__dict__`` and slots is what it is."""
    module = public_module(module_of(type(value)))
    first = module.partition(".")[0]
    if first in _LOOKED_INTO:
        array = getattr(sys.modules.get("numpy"), "ndarray", None)
        return not module_of(type(value)).startswith(_CLOSED) and not (
            array is not None and is_a(value, array)
        )
    return first in sys.stdlib_module_names and first not in _AFFAIRS


def is_made_on_use(value: object, name: str) -> bool:
    """Whether an attribute of a library's object follows from the others, and is there once it was used, or
    says where the object lies."""
    kind = type(value)
    parts = module_of(kind).split(".")
    if is_mark(name) or any(name in _MADE_ON_USE.get(".".join(parts[:length]), ()) for length in (1, 2)):
        return True
    found = next((members_of(base)[name] for base in mro_of(kind) if name in members_of(base)), None)
    return type(found) is functools.cached_property


def is_mark(name: str) -> bool:
    """Whether it is an attribute that ``torch.compile`` writes on functions and modules, and on what they
    call once they are used: addresses, notes for itself, and what it was made from."""
    return name.startswith(_MARKS)


def is_record(kind: type) -> bool:
    """Whether it is a dataclass in which a library keeps what it is doing."""
    return module_of(kind).startswith(_RECORDS)


def hidden_state(value: Any) -> object:
    """What an object of C holds, as plain values; None when nobody knows how to see it."""
    if is_a(value, random.Random):
        if is_a(value, random.SystemRandom) or _is_everybodys(value):
            return None  # the first has no state, and the one below is never used
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
            return look(kind, value) if nearest(type(value)) is kind else None
    return None


def _is_everybodys(value: object) -> bool:
    """Whether a library keeps this generator for all: each step seeds it, and its state is no setting.

    ``from random import shuffle`` gives a method of one.
    """
    for module, name in _SHARED:
        held = getattr(sys.modules.get(module), "__dict__", {})
        if held.get(name) is value:
            return True
    return False


_SHARED = (("random", "_inst"), ("numpy.random.mtrand", "_rand"), ("torch", "default_generator"))


_arguments: Callable[[BaseException], tuple[object, ...]] = BaseException.__dict__["args"].__get__


def _generator(kind: Any, value: Any) -> object:
    if _is_everybodys(value):
        return None
    told: bytes = kind.get_state(value).numpy().tobytes()
    if len(told) != _LENGTH:
        return told
    # On the CPU there are gaps between the fields of C, which hold whatever was in memory.
    return told[:_GAP] + (told[_NEXT : _KEPT + 1] if told[_KEPT] else b"")


_LENGTH, _GAP, _NEXT, _KEPT = 5056, 5044, 5048, 5052


def _context(kind: Any, value: Any) -> object:
    """Without the flags, which tell what was computed since they were cleared."""
    *said, _, traps = kind.__reduce__(value)[1]
    return (*said, sorted(trap.__name__ for trap in traps))


def _told(kind: Any, value: Any) -> object:
    return kind.__dict__["state"].__get__(value)


_HIDING: tuple[tuple[str, str, Callable[[Any, Any], object]], ...] = (
    ("array", "array", lambda kind, value: (value.typecode, kind.tobytes(value))),
    ("decimal", "Decimal", lambda kind, value: tuple(kind.as_tuple(value))),
    ("decimal", "Context", _context),
    ("struct", "Struct", lambda kind, value: kind.__dict__["format"].__get__(value)),
    ("datetime", "datetime", lambda kind, value: kind.__reduce__(value)[1]),
    ("datetime", "date", lambda kind, value: kind.__reduce__(value)[1]),
    ("datetime", "time", lambda kind, value: kind.__reduce__(value)[1]),
    ("datetime", "timedelta", lambda kind, value: kind.__reduce__(value)[1]),
    ("numpy.random", "Generator", lambda kind, value: value.bit_generator.state),
    (
        "numpy.random",
        "RandomState",
        lambda kind, value: None if _is_everybodys(value) else value.get_state(legacy=False),
    ),
    *(("numpy.random", name, _told) for name in ("PCG64", "PCG64DXSM", "MT19937", "Philox", "SFC64")),
    ("numpy.random", "SeedSequence", _told),
    ("numpy.ma", "MaskedArray", masked_inside),
    ("numpy", "matrix", array_inside),
    ("numpy", "recarray", array_inside),
    ("numpy", "ndarray", lambda kind, value: None if type(value) is kind else kind.view(value, kind)),
    ("torch", "Generator", _generator),
    ("torch", "finfo", lambda kind, value: str(value.dtype)),
    ("torch", "iinfo", lambda kind, value: str(value.dtype)),
    ("torch.nn", "Parameter", tensor_inside),
    ("torch", "Tensor", tensor_inside),
)
"""What of their content classes of C tell, without a method of the user's: by module and name, in this order
(a datetime is a date, whose ``__reduce__`` would forget the hours)."""
