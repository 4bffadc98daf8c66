"""The devices that the recipe now running was given."""

from __future__ import annotations

import contextvars

__all__ = ["devices", "grant", "take_back"]

_devices: contextvars.ContextVar[tuple[str, ...]] = contextvars.ContextVar("dagtree_devices", default=())


def devices() -> tuple[str, ...]:
    """The GPUs that the recipe now running asked for and has to itself: ``("cuda:1",)``, as torch names them.

    Empty for a recipe that asked for none, and outside of a run. In worker processes, which see no other GPU,
    they begin at ``cuda:0``; in threads, which all see all of them, this says which is whose.
    """
    return _devices.get()


def grant(names: tuple[str, ...]) -> contextvars.Token[tuple[str, ...]]:
    return _devices.set(names)


def take_back(token: contextvars.Token[tuple[str, ...]]) -> None:
    _devices.reset(token)
