"""Random numbers that depend on the node alone: not on the scheduler, nor on what ran before or beside it.

The generators of ``random``, ``numpy.random`` and ``torch`` are one per process, so two recipes that run in
threads of one process would draw from each other's. A recipe therefore has the process's generators to
itself, until it has been seen not to draw from them: recipes of that code then run beside each other. Should
one draw after all, its result and those of the recipes beside it are thrown away before anybody sees them,
and computed again alone.
"""

from __future__ import annotations

import contextlib
import functools
import importlib.abc
import importlib.util
import random
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from types import ModuleType
from typing import Any

__all__ = [
    "Disturbed",
    "Generators",
    "generators",
    "give_back_generators",
    "kept_generators",
    "part_from_engine",
    "preserved",
    "seed_all",
]

LATE = ("numpy.random", "torch")
HUNG_S = 60.0
"""How long a recipe waits for a listener that doesn't return."""


class Disturbed(Exception):
    """Recipes that ran beside each other drew from the same generators; what they made is void."""


def seed_all(seed: int) -> None:
    """Seed every global generator that is loaded; one that is loaded later is seeded then."""
    random.seed(seed)
    numpy_random = sys.modules.get("numpy.random")
    if numpy_random is not None and hasattr(numpy_random, "seed"):
        numpy_random.seed(seed & 0xFFFFFFFF)
    torch = sys.modules.get("torch")
    if torch is not None and hasattr(torch, "manual_seed"):
        accelerator = getattr(torch, "accelerator", None)
        if accelerator is not None and not accelerator.is_available():
            torch.default_generator.manual_seed(seed)  # the other notes the stack for devices that may come
        else:
            torch.manual_seed(seed)
    _late.seed = seed
    if _late.installed != (numpy_random is None or torch is None):
        _late.install()


def _states() -> tuple[Any, ...]:
    """The states of the generators, comparable with ``==``."""
    found: list[Any] = [random.getstate()]
    numpy_random = sys.modules.get("numpy.random")
    if numpy_random is not None and hasattr(numpy_random, "get_state"):
        name, words, *rest = numpy_random.get_state()
        found.append((name, words.tobytes(), *rest))
    torch = sys.modules.get("torch")
    if torch is not None and hasattr(torch, "get_rng_state"):
        found.append(torch.get_rng_state().numpy().tobytes())
        if torch.cuda.is_available() and torch.cuda.is_initialized():
            found.extend(state.cpu().numpy().tobytes() for state in torch.cuda.get_rng_state_all())
    return tuple(found)


_ENGINE = ("dask", "distributed", "tornado")


def part_from_engine() -> None:
    """Give Dask's own modules a generator of their own.

    Its threads (an event loop, ``sizeof``) draw from ``random`` while a recipe runs in another, and would
    shift the recipe's numbers.
    """
    for name, module in list(sys.modules.items()):
        if name.partition(".")[0] in _ENGINE and vars(module).get("random") is random:
            vars(module)["random"] = _engines_random()


@functools.cache
def _engines_random() -> ModuleType:
    """A second ``random`` module, with a generator of its own."""
    spec = importlib.util.find_spec("random")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class _Late(importlib.abc.MetaPathFinder):
    """Seeds numpy or torch when a recipe is the first to import it; numpy would seed itself from the
    system.
    """

    def __init__(self) -> None:
        self.seed = 0
        self.installed = False
        self.looking = threading.local()

    def install(self) -> None:
        missing = not all(name in sys.modules for name in LATE)
        if missing and not self.installed:
            sys.meta_path.insert(0, self)
            self.installed = True
        elif self.installed and not missing:
            with contextlib.suppress(ValueError):
                sys.meta_path.remove(self)
            self.installed = False

    def find_spec(self, name: str, path: Sequence[str] | None, target: ModuleType | None = None) -> Any:
        if name not in LATE or getattr(self.looking, "now", False):
            return None
        self.looking.now = True
        try:
            spec = importlib.util.find_spec(name)
        finally:
            self.looking.now = False
        if spec is not None and spec.loader is not None:
            spec.loader = _SeedingLoader(spec.loader, self)
        return spec


class _SeedingLoader(importlib.abc.Loader):
    def __init__(self, loader: Any, late: _Late) -> None:
        self.loader = loader
        self.late = late

    def create_module(self, spec: Any) -> Any:
        return self.loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        self.loader.exec_module(module)
        if module.__spec__ is not None:
            module.__spec__.loader = self.loader
        if module.__name__ == "torch":
            module.manual_seed(self.late.seed)
        else:
            module.seed(self.late.seed & 0xFFFFFFFF)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.loader, name)


_late = _Late()


class _Seeded:
    """The generators of a process in which one recipe runs at a time; another run may still be beside it."""

    __slots__ = ("_generators", "_seed")

    def __init__(self, generators: Generators, seed: int) -> None:
        self._generators = generators
        self._seed = seed

    def __enter__(self) -> bool:
        self._generators.enter()
        seed_all(self._seed)
        return False

    def __exit__(self, *exception: object) -> None:
        self._generators.leave()


class Generators:
    """Who may use the process's generators now: one recipe alone, or several that are known not to draw."""

    def __init__(self) -> None:
        self._free = threading.Condition()
        self._alone = False
        self._holders: dict[int, int] = {}
        self._beside = 0
        self._seeded: tuple[Any, ...] = ()
        self._disturbed = 0
        self._begun: dict[int, int] = {}
        self._quiet: set[str] = set()
        # How much each audience was told, and has heard; its listeners may draw from them as well.
        self._said: dict[object, int] = {}
        self._heard: dict[object, int] = {}
        self._hung: set[object] = set()
        self._lent = 0
        self._resting = 0

    def enter(self) -> None:
        """Have the generators alone; a run within a recipe has them with it."""
        me = threading.get_ident()
        with self._free:
            if me not in self._holders:
                if self._said:
                    self._wait_for_listeners()
                while self._alone or self._resting or self._lent or self._beside:
                    self._free.wait()
                self._alone = True
            self._holders[me] = self._holders.get(me, 0) + 1

    def leave(self) -> None:
        """What `enter` began has ended."""
        me = threading.get_ident()
        with self._free:
            self._holders[me] -= 1
            if not self._holders[me]:
                del self._holders[me]
                self._alone = False
                self._free.notify_all()

    # Listeners are called in a thread of their own, and may draw as well: never while a recipe has the
    # generators alone, but for its moments. Those that run beside each other are known not to draw.

    def expect_hearing(self, audience: object) -> None:
        """Its listeners will be told something."""
        with self._free:
            if audience not in self._hung:
                self._said[audience] = self._said.get(audience, 0) + 1

    def heard(self, audience: object) -> None:
        """They were told."""
        with self._free:
            self._heard[audience] = self._heard.get(audience, 0) + 1
            self._free.notify_all()

    def forget(self, audience: object) -> None:
        """They will hear no more."""
        with self._free:
            for known in (self._said, self._heard):
                known.pop(audience, None)
            self._hung.discard(audience)
            self._free.notify_all()

    def _unheard(self, said: dict[object, int]) -> list[object]:
        """The audiences that have not heard as much as was ``said``, of those that are still there."""
        return [one for one, count in said.items() if one in self._said and self._heard.get(one, 0) < count]

    @contextlib.contextmanager
    def lent(self) -> Iterator[None]:
        """While a listener is called."""
        me = threading.get_ident()
        with self._free:
            self._free.wait_for(lambda: not self._alone)
            self._lent += 1
            self._holders[me] = self._holders.get(me, 0) + 1
        try:
            yield
        finally:
            with self._free:
                self._lent = max(0, self._lent - 1)  # one that hung was counted out before
                self._holders[me] -= 1
                if not self._holders[me]:
                    del self._holders[me]
                self._free.notify_all()

    def rest(self) -> None:
        """At a moment: who has the generators alone waits until listeners have heard what was said, and finds
        the generators as they were."""
        with self._free:
            if not self._alone or threading.get_ident() not in self._holders or not self._unheard(self._said):
                return
        before = kept_generators()
        with self._free:
            self._alone = False
            self._resting += 1
            self._free.notify_all()
            try:
                self._wait_for_listeners()
                self._free.wait_for(lambda: not self._lent, HUNG_S)
            finally:
                self._resting -= 1
                self._alone = True
        give_back_generators(before)

    def _wait_for_listeners(self) -> None:
        """Until they have heard what was said by now; one that hangs isn't waited for for ever."""
        said = dict(self._said)
        while late := self._unheard(said):
            heard = dict(self._heard)
            if not self._free.wait_for(lambda: self._heard != heard or not self._unheard(said), HUNG_S):  # noqa: B023
                self._hung.update(late)
                for audience in late:
                    self._said.pop(audience, None)
                self._lent = 0
                return

    def seeded(
        self, seed: int, code: str, *, shared: bool, alone: bool = False
    ) -> AbstractContextManager[bool]:
        """Run the block with all generators seeded. ``shared`` says that other threads of this process may
        run recipes too, ``alone`` that none may run beside the block.

        Gives whether the block runs beside others, so that what it makes is provisional until the block has
        ended. Raises Disturbed after the block when a recipe that never drew before did so beside others; run
        it again then.
        """
        return self._among_others(seed, code, alone) if shared else _Seeded(self, seed)

    @contextlib.contextmanager
    def _among_others(self, seed: int, code: str, alone: bool) -> Iterator[bool]:
        with self._free:
            if code not in self._quiet:
                self._wait_for_listeners()
            # Asked again whenever somebody ends: the first of many may just have been seen not to draw.
            self._free.wait_for(
                lambda: (
                    not (self._alone or self._resting)
                    and ((code in self._quiet and not alone) or not (self._beside or self._lent))
                )
            )
            beside = code in self._quiet and not alone
            if beside:
                self._beside += 1
            else:
                self._alone = True
            self._holders[threading.get_ident()] = 1
            if not beside or self._beside == 1:
                seed_all(seed)
                self._seeded = _states()
            disturbed = self._begun[threading.get_ident()] = self._disturbed
        try:
            yield beside
        finally:
            with self._free:
                del self._begun[threading.get_ident()]
                drew = _states() != self._seeded
                del self._holders[threading.get_ident()]
                if not beside:
                    self._alone = False
                    if not drew:
                        self._quiet.add(code)
                else:
                    self._beside -= 1
                    if drew:
                        # Whoever drew, nobody can tell whose numbers these were: void for all that run now.
                        self._disturbed += 1
                        self._seeded = _states()
                        self._quiet.discard(code)
                void = beside and self._disturbed != disturbed
                if void:
                    self._quiet.discard(code)
                self._free.notify_all()
            if void:
                raise Disturbed

    def are_untouched(self) -> bool:
        """Whether nobody has drawn since this thread's block, which runs beside others, began."""
        with self._free:
            return self._begun.get(threading.get_ident()) == self._disturbed and _states() == self._seeded


generators = Generators()


@contextlib.contextmanager
def preserved() -> Iterator[None]:
    """Give the caller's generators back: what a script draws must not depend on what was cached."""
    generators.enter()  # another run, in another thread, may have them now
    try:
        before = kept_generators()
    finally:
        generators.leave()
    try:
        yield
    finally:
        generators.enter()
        try:
            give_back_generators(before)
        finally:
            generators.leave()


def kept_generators() -> tuple[Any, ...]:
    """The states of the generators that are loaded, for `give_back_generators`."""
    numpy_random, torch = sys.modules.get("numpy.random"), sys.modules.get("torch")
    return (
        random.getstate(),
        numpy_random.get_state() if numpy_random is not None else None,
        torch.get_rng_state() if torch is not None else None,
        torch.cuda.get_rng_state_all() if torch is not None and torch.cuda.is_initialized() else None,
    )


def give_back_generators(before: tuple[Any, ...]) -> None:
    """Let all generators be in the states that they were in."""
    state, numpy_state, torch_state, cuda_states = before
    random.setstate(state)
    if numpy_state is not None:
        import numpy

        numpy.random.set_state(numpy_state)
    if torch_state is not None:
        import torch

        torch.set_rng_state(torch_state)
        if cuda_states is not None:
            torch.cuda.set_rng_state_all(cuda_states)
