"""Claims on work in progress: what one process computes, the others leave to it.

They save time, and correctness never rests on them: two that compute one node write the same node. What a
process claims is in the last line of its `presence` file, so that a claim lives as long as its owner.

A claim is settled in two steps. A process says what it wants, and looks at the others then: what one of them
holds is lost, and so is what one wants whose name comes first; what one wants whose name comes later is
waited for, as that one is about to hold it or to leave it. The rest it holds. So of two that want the same,
whichever looks second sees the other.
"""

from __future__ import annotations

import contextlib
import json
import os
import threading
import time
from collections.abc import Callable, Mapping, Sequence, Set
from typing import Any, NamedTuple

from ..errors import StorageError
from .board import Board, FolderBoard
from .known import Known
from .notes import is_texts
from .presence import Presence, Someone
from .store import Store

__all__ = ["Claims", "claims_of", "remove_the_dead"]

_MOST = 1024
_STALE = 4  # times as long as is claimed ahead: what is not begun by then is left to others
_PATIENCE = 8  # others settle at once, or say by then what they hold
_IDLE_S = 0.2
_TELL_S = 1.0


class Claims:
    """What this process computes in an experiment, and what the others do. Threads may share it.

    ``begun`` has what was ever claimed and begun here. ``refresh`` reads what others have written; it is
    called whenever somebody else was there. ``publish`` lets other machines see what was written here; it is
    called before a node is left that one of them may ask for. ``holds`` tells of a node that was written here
    whether nobody else can see it yet: until then it isn't left. ``bury`` is called with each one that was
    found dead, what it claimed, and what others who are alive claim; ``waiting`` with whoever frees space
    there, if that must be waited for. ``telling`` gives what is under way here, as JSON for those who look at
    the experiment from elsewhere, and ``about`` may hold what they should know of the run; both are written
    with the claims once a second when they have changed. With ``lazy``, nothing is written before the first
    `take`, and nothing is left some time after the last `end`: for workers, which nobody tells when a run
    ends.
    """

    def __init__(
        self,
        place: str | os.PathLike[str] | Board,
        refresh: Callable[[], None],
        *,
        publish: Callable[[], None] | None = None,
        holds: Callable[[str], bool] | None = None,
        bury: Callable[[Someone, Set[str], Set[str]], None] | None = None,
        waiting: Callable[[Someone], None] | None = None,
        telling: Callable[[], Sequence[Mapping[str, Any]]] | None = None,
        lazy: bool = False,
    ) -> None:
        self._board = FolderBoard(place) if isinstance(place, str | os.PathLike) else place
        self._refresh = refresh
        self._publish = publish
        self._holds = holds
        self._bury = bury
        self._waiting = waiting
        self._telling = telling
        self.about: Mapping[str, Any] = {}
        self._told = ""
        self._told_at = 0.0
        self._lazy = lazy
        self._lock = threading.Lock()
        self._presence: Presence | None = None
        self._position: dict[str, tuple[Sequence[str], int]] = {}  # in what is expected
        self._also: dict[str, Sequence[str]] = {}
        self.begun: set[str] = set()
        self._running: set[str] = set()
        self._unsent: set[str] = set()  # written, and nobody else can see them yet
        self._ahead: dict[str, float] = {}
        self._said: set[str] = set()
        self._is_settled = True
        self._is_far_company = False
        self._claimed = self._ended = 0.0
        self._begun_before = 0
        self._size = 1
        self._seen_board: Any = 0
        self._known: dict[str, tuple[bytes, _Claimed]] = {}

    def __enter__(self) -> Claims:
        """Raises StorageError where it can't be said that this process is at work."""
        with self._lock:
            self._open()
        return self

    def __exit__(self, *exception: object) -> None:
        with self._lock:
            presence, self._presence = self._presence, None
        if presence is not None:
            with contextlib.suppress(OSError):
                if self._publish is not None and self._board.is_far:
                    self._publish()
                presence.others(at_once=True)  # what workers left that have ended is removed
            presence.__exit__()

    def expect(self, nodes: Mapping[str, Sequence[str]]) -> None:
        """These nodes are likely to be begun here, in about this order, each with other nodes that are made
        on the way to it: cheap ones are claimed some at a time."""
        order = tuple(nodes)
        with self._lock:
            self._also.update((key, also) for key, also in nodes.items() if also)
            self._position.update((key, (order, place)) for place, key in enumerate(order))

    def leave(self, keys: Sequence[str]) -> None:
        """Of what was expected, these are not begun here any more: who wants them may have them."""
        with self._lock:
            left = [self._ahead.pop(key, None) for key in keys]
            for key in keys:
                self._position.pop(key, None)
                self._also.pop(key, None)
            if any(since is not None for since in left) and self._presence is not None:
                self._say(())

    def take(self, key: str, also: Sequence[str] = ()) -> Someone | None:
        """Claims a node, and with it those that are made on the way to it. None when it is this process's,
        until `end`; else who computes it.

        Who gets it must look whether the node is there by now: what others wrote was read before. On a disk
        that refuses, it is this process's.
        """
        with self._lock:
            if also:
                self._also[key] = also
            if key in self._ahead:
                del self._ahead[key]
            else:
                if key in self._running:
                    return self._opened().myself()
                try:
                    other = self._claim(key)
                except StorageError:  # what is wrong with the disk is said where it costs a node
                    other = None
                if other is not None:
                    return other
            self._running.add(key)
            self.begun.add(key)
            return None

    def end(self, key: str) -> None:
        """The node is written, or has failed, or is left undone."""
        with self._lock:
            self._running.discard(key)
            if self._holds is not None:
                if len(self._unsent) >= _MOST:
                    self._unsent.clear()  # so many within a second cost nothing when they are made twice
                made = (key, *self._also.get(key, ()))
                self._unsent.update([one for one in made if self._holds(one)])
            if self._lazy:
                self._ended = time.monotonic()

    def held(self) -> dict[str, Someone]:
        """What others claim now, by key; what they wrote was read before."""
        with self._lock:
            found = {key: other for other, theirs in self._look() for key in theirs.all}
            self._read_news(True)
            return found

    # How a claim is settled

    def _claim(self, key: str) -> Someone | None:
        """Claims the node, and with it others that come next; who has it, when it can't be had."""
        presence, now, had_company = self._opened(), time.monotonic(), bool(self._known)
        if had_company:
            for other, theirs in self._look():
                if key in theirs.holds:
                    self._read_news(True)
                    return other
        pace = (len(self.begun) - self._begun_before) / max(now - self._claimed, 1e-6)
        self._size = max(1, min(2 * self._size, int(pace * self._board.ahead_s), _MOST))
        self._claimed, self._begun_before = now, len(self.begun)
        wanted = [key, *self._next(key)]
        self._say(wanted)
        others = self._look()
        lost = self._settle(set(wanted), presence.name, others) if others else {}
        for each in wanted:
            if each not in lost:
                self._ahead[each] = now
        if others:  # else whoever comes finds that it is wanted, and leaves it alone just as well
            self._say(())
        self._ahead.pop(key, None)
        self._read_news(had_company or bool(others))
        return lost.get(key)

    def _settle(
        self, wanted: set[str], name: str, others: list[tuple[Someone, _Claimed]]
    ) -> dict[str, Someone]:
        """Who has what of the wanted can't be had."""
        lost: dict[str, Someone] = {}
        started = time.monotonic()
        while True:
            undecided: dict[str, Someone] = {}
            for other, theirs in others:
                lost.update(dict.fromkeys(wanted & theirs.holds, other))
                (lost if other.name < name else undecided).update(dict.fromkeys(wanted & theirs.wants, other))
            if undecided.keys() <= lost.keys():
                return lost
            if time.monotonic() - started > _PATIENCE * self._board.ahead_s:
                return {**undecided, **lost}
            time.sleep(0.001)
            others = self._look()

    def _next(self, key: str) -> list[str]:
        """What is likely to be begun soon after the node."""
        found: list[str] = []
        expected = self._position.get(key)
        if self._size > 1 and expected is not None:
            order, start = expected
            begun, ahead = self.begun, self._ahead
            theirs = {each for _, claimed in self._known.values() for each in claimed.all}
            for each in order[start + 1 : start + 4 * self._size]:
                if each not in begun and each not in ahead and each not in theirs:
                    found.append(each)
                    if len(found) >= self._size - 1:
                        break
        return found

    def _say(self, wanted: Sequence[str]) -> None:
        """Writes down what is claimed here, and what is ``wanted``."""
        old = time.monotonic() - _STALE * self._board.ahead_s
        if next(iter(self._ahead.values()), old) < old:  # the first is the oldest
            self._ahead = {key: since for key, since in self._ahead.items() if since >= old}
        with contextlib.suppress(OSError):  # on a disk that is full, a node may be computed twice
            if self._publish is not None and self._is_far_company:
                self._publish()
        mine = self._at_work()
        holds = [*mine, *self._ahead]
        self._is_settled = not wanted and not self._ahead
        self._said = mine
        if self._also:
            holds += [also for key in (*holds, *wanted) for also in self._also.get(key, ())]
        # Keys need no escapes, and there may be a thousand.
        line = f'{{"holds":[{_quoted(holds)}],"wants":[{_quoted(wanted)}]{self._told}}}'
        with contextlib.suppress(OSError):
            self._opened().say(line.encode())

    def _at_work(self) -> set[str]:
        """What nobody else need begin: what is begun here, or ended and not to be seen yet."""
        if self._unsent and self._holds is not None:
            self._unsent = {key for key in self._unsent if self._holds(key)}
        return self._running | self._unsent

    def _look(self) -> list[tuple[Someone, _Claimed]]:
        others = self._opened().others()
        self._is_far_company = not all(other.is_near and not self._board.is_far for other in others)
        if not others:
            self._known.clear()
            return []
        for other in others:
            known = self._known.get(other.name)
            if known is None or known[0] != other.said:
                self._known[other.name] = other.said, _claimed(other.said)
        for gone in self._known.keys() - {other.name for other in others}:
            del self._known[gone]
        return [(other, self._known[other.name][1]) for other in others]

    def _read_news(self, is_company: bool) -> None:
        """Reads what others wrote, when somebody is there or has been since."""
        changed = self._board.changed()
        if is_company or changed != self._seen_board:
            self._seen_board = changed
            self._refresh()

    # Its life

    def _opened(self) -> Presence:
        return self._presence or self._open()

    def _open(self) -> Presence:
        presence = Presence(
            self._board, "run", waiting=self._waiting, tick=self._tick, bury=self._remove_what_is_left
        )
        presence.__enter__()
        self._presence = presence
        self._ended = time.monotonic()
        return presence

    def _remove_what_is_left(self, dead: Someone, alive: Sequence[Someone]) -> None:
        if self._bury is not None:
            theirs = {key for other in alive for key in _claimed(other.said).all}
            with contextlib.suppress(OSError):  # it is tidiness only
                self._bury(dead, _claimed(dead.said).all, theirs | self._running)

    def _tick(self) -> None:
        """Leaves to others what was claimed and not begun, also while a node takes hours; in a thread."""
        if not self._lock.acquire(blocking=False):
            return
        try:
            presence, now = self._presence, time.monotonic()
            if presence is None or now - self._claimed < _STALE * self._board.ahead_s:
                return
            if self._has_news(now) or not self._is_settled or self._said != self._at_work():
                self._ahead.clear()
                self._say(())
            if self._lazy and not self._at_work() and now - self._ended > _IDLE_S:
                self._presence = None
                presence.__exit__()
        finally:
            self._lock.release()

    def _has_news(self, now: float) -> bool:
        """Whether there is something new to tell of what is under way; asked once a second."""
        if now - self._told_at < _TELL_S or self._telling is None:
            return False
        self._told_at = now
        parts = []
        try:
            if running := self._telling():
                parts.append(f',"running":{json.dumps(running)}')
            if self.about:
                parts.append(f',"about":{json.dumps(self.about)}')
        except (TypeError, ValueError):
            return False
        before, self._told = self._told, "".join(parts)
        return before != self._told


class _Claimed(NamedTuple):
    """What another says that it computes, and what it is about to."""

    holds: frozenset[str] = frozenset()
    wants: frozenset[str] = frozenset()

    @property
    def all(self) -> frozenset[str]:
        """Who is alone never says that he holds what he wanted."""
        return self.holds | self.wants


def _quoted(keys: Sequence[str]) -> str:
    return '"' + '","'.join(keys) + '"' if keys else ""


def _claimed(line: bytes) -> _Claimed:
    """What a line says; nothing when it isn't one of ours."""
    try:
        said = json.loads(line or b"{}")
    except (ValueError, RecursionError):
        return _Claimed()
    if not isinstance(said, dict):
        return _Claimed()
    holds, wants = said.get("holds", []), said.get("wants", [])
    if not (is_texts(holds) and is_texts(wants)):
        return _Claimed()
    return _Claimed(frozenset(holds), frozenset(wants))


def claims_of(
    store: Store,
    *,
    waiting: Callable[[Someone], None] | None = None,
    telling: Callable[[], Sequence[Mapping[str, Any]]] | None = None,
    lazy: bool = False,
) -> Claims | None:
    """The claims on a store's nodes; None for a store of a kind that can't have any."""
    if not isinstance(store, Known):
        return None
    board = store.board()
    return Claims(
        board,
        store.refresh,
        publish=store.publish,
        holds=store.holds if board.is_far else None,
        bury=store.bury,
        waiting=waiting,
        telling=telling,
        lazy=lazy,
    )


def remove_the_dead(store: Known) -> None:
    """Removes what processes left that have died, as whoever computes something does in passing."""

    def bury(dead: Someone, alive: Sequence[Someone]) -> None:
        theirs = {key for other in alive for key in _claimed(other.said).all}
        with contextlib.suppress(OSError):
            store.bury(dead, _claimed(dead.said).all, theirs)

    Presence(store.board(), "run", bury=bury).others(at_once=True)
