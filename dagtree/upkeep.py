"""Upkeep: the face of what checks, measures and frees what an experiment keeps."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any

from .errors import BusyError, KeptError, SelectionError, TreeError
from .reopening import Beside

if TYPE_CHECKING:
    from .analysis.graph import Graph
    from .definition.tree import Tree
    from .storage.checking import Verified
    from .storage.freed import Freed
    from .storage.freeing import Plan
    from .storage.known import Known
    from .storage.local import LocalStore
    from .storage.remote import RemoteStore
    from .storage.space import Space

__all__ = ["KEEP", "Upkeep"]

KEEP = "keep"
"""The tag of nodes that nothing frees."""
PATIENCE_S = 3.0
"""How long others are waited for: a cluster's workers are at work until a second after their last node."""


class Upkeep:
    """What an Experiment can do about what it keeps; a part of `Experiment`."""

    _store: LocalStore | RemoteStore
    _tree: Tree
    _graph: tuple[Any, Graph] | None
    _statuses: dict[str, str]

    if TYPE_CHECKING:

        def _writable(self) -> None: ...
        @property
        def location(self) -> str: ...
        @property
        def graph(self) -> Graph: ...

    def verify(self, *, progress: bool | None = None) -> Verified:
        """Read everything that is kept, each byte once, and check it by its digest. Unpickles nothing.

        What is damaged or missing is what the next run computes again, and nothing else. Returns a Verified,
        which prints in words, holds the keys of those nodes, and says as data what is wrong with each, and
        which files and bytes no record points to. ``progress`` shows or hides the progress line; by default
        it is drawn where somebody can see it.
        """
        from .execution.gauge import Gauge
        from .storage.checking import Verified, check

        self._writable()
        store = self._store
        with Gauge("verified", visible=progress) as tell:
            faults, orphans, nodes, read_bytes = check(store, tell)
        self._graph = None
        beside = Beside(store, self.location).verify()
        return Verified(faults, orphans, beside, nodes, read_bytes)

    def storage(self) -> Space:
        """What the tree costs: bytes by node and by subtree, those that a node uses alone and those that it
        shares, largest first; and what lies on the disk beyond. Reads records and sizes of files only.

        Returns a Space, which prints as a table and holds the same as data.
        """
        from .storage.space import measure_space

        self._store.refresh()
        return measure_space(self._store)

    def evict(self, nodes: Any, *, dry_run: bool = False, force: bool = False) -> Freed:
        """Free the bytes of nodes and keep their records, metrics and lineage: their status is ``evicted``.

        Takes a node, a promise, or any number of them, such as ``exp.graph.nodes.filter("lr:*")``. No other
        node loses anything by it: what others share is kept. ``run`` leaves an evicted node alone unless
        something that is missing needs its state; ``node.restore()`` and ``promise.get()`` compute it again
        from the nearest nodes that are there, and warn when it isn't what it was. With ``dry_run`` nothing is
        done. Also removes what no record points to, so that ``exp.evict([])`` tidies up.

        Returns a Freed. Raises KeptError for nodes that are tagged "keep", unless ``force``; BusyError while
        another process is at work there.
        """
        keys = self._keys_of(nodes)

        def choose() -> tuple[list[str], list[str], Plan, list[str]]:
            from .storage.freeing import plan_freeing

            there = self._store.keys()
            found = [key for key in keys if key in there]
            self._refuse_kept(found, force, "evicted")
            return found, [], plan_freeing(self._store, set(found)), []

        return self._free(choose, dry_run)

    def drop(self, nodes: Any, *, dry_run: bool = False, force: bool = False) -> Freed:
        """Remove nodes and all that was made from them, with their records: as if never computed.

        Takes what `evict` does. Where something below is tagged "keep", that stays, and the nodes that
        lead to it are evicted instead of dropped, so that it keeps its lineage. A dropped node that a
        script defines is computed by the next run. ``dry_run`` tells what would go, and does nothing.

        Returns a Freed. Raises KeptError when a node that was named is itself tagged "keep", unless
        ``force``, which drops what is tagged as well; BusyError while another process is at work in the
        directory.
        """
        keys = self._keys_of(nodes)

        def choose() -> tuple[list[str], list[str], Plan, list[str]]:
            from .storage.choosing import descendants, lineage_of
            from .storage.freeing import plan_freeing

            records, there = self._store.records(), self._store.keys()
            self._refuse_kept([key for key in keys if key in records], force, "dropped")
            below = descendants(records, keys)
            kept = set() if force else self._kept() & below
            leading = (lineage_of(records, kept) & below) - kept
            dropped = [key for key in records if key in below and key not in kept and key not in leading]
            evicted = [key for key in records if key in leading and key in there]
            said = (
                f"{len(kept):,} tagged {KEEP!r} stay, and {len(leading):,} that lead there are evicted only"
            )
            plan = plan_freeing(self._store, {*dropped, *evicted}, dropped)
            return evicted, dropped, plan, [said] if kept else []

        return self._free(choose, dry_run)

    def keep(self, budget: str | float, *, spare: Any = (), dry_run: bool = False) -> Freed:
        """Evict what is cheapest to compute again per byte that it frees, until all files of the experiment
        take no more than ``budget``: ``"20 GB"``, ``"500 MiB"``, or a number of bytes.

        What is never evicted: nodes tagged "keep", those in ``spare``, roots, and what nobody could compute
        again. Time counts as it was recorded; that of evicted nodes in between is included. Where that isn't
        enough, the result says so. ``dry_run`` tells what would go, and does nothing.

        Returns a Freed. Raises ValueError for a budget that is none; BusyError while another process is at
        work there.
        """
        from .amounts import parse_size, size_text

        budget_bytes = parse_size(budget)
        spared = set(self._keys_of(spare))

        def choose() -> tuple[list[str], list[str], Plan, list[str]]:
            from .storage.choosing import fit

            chosen, plan, left_bytes = fit(self._store, budget_bytes, self._kept() | spared)
            short = left_bytes - budget_bytes
            said = (
                f"{size_text(max(0, short))} more than the budget of {size_text(budget_bytes)} stay: what is "
                f"left is tagged {KEEP!r}, a root, spared, records, or couldn't be computed again"
            )
            return chosen, [], plan, [said] if short > 0 else []

        return self._free(choose, dry_run)

    # How

    def _free(
        self, choose: Callable[[], tuple[list[str], list[str], Plan, list[str]]], dry_run: bool
    ) -> Freed:
        from .storage.freed import Freed, Gone
        from .storage.freeing import free
        from .storage.sizes import label_of_line
        from .storage.space import bytes_kept

        def told() -> tuple[Freed, list[str], list[str], Plan]:
            self._store.refresh()
            evicted, dropped, plan, said = choose()
            records, there = self._store.records(), self._store.keys()
            nodes = []
            for what, keys in (("dropped", dropped), ("evicted", evicted)):
                for key in keys:
                    size = records[key].more.get("bytes") if key in there else 0
                    label = label_of_line(records[key])
                    nodes.append(Gone(key, label, what, size if type(size) is int else 0))  # type: ignore[arg-type]
            on_disk_bytes = bytes_kept(self._store.ground().sizes()) - plan.freed_bytes
            freed = Freed(nodes, plan.freed_bytes, plan.moved_bytes, on_disk_bytes, dry_run, said)
            return freed, evicted, dropped, plan

        if dry_run or not self._store.exists():
            return told()[0]
        self._writable()
        store = self._store
        with _alone(store):
            store.ground().part()
            freed, evicted, dropped, plan = told()
            try:
                free(store, evicted, dropped, plan)
                for key in (*evicted, *dropped):
                    for ended in (True, False):
                        store.remove_safe_point(key, ended=ended)
            finally:
                self._graph = None
                self._statuses = {key: one for key, one in self._statuses.items() if key not in dropped}
        return freed

    def _kept(self) -> set[str]:
        """The nodes that are tagged so, on disk or by the script that runs."""
        kept = {key for key, record in self._store.records().items() if KEEP in record.tags}
        return kept | {key for key, promise in self._tree.promises.items() if KEEP in promise.tags}

    def _refuse_kept(self, keys: Iterable[str], force: bool, what: str) -> None:
        kept = self._kept()
        found = [key for key in keys if key in kept]
        if found and not force:
            records = self._store.records()
            shown = ", ".join(f"{records[key].recipe} [{key[:8]}]" for key in found[:5])
            more = f" and {len(found) - 5:,} more" if len(found) > 5 else ""
            raise KeptError(
                f"{shown}{more} {'is' if len(found) == 1 else 'are'} tagged {KEEP!r}, so nothing was {what}. "
                f"Take them out (nodes - exp.graph.nodes.filter({KEEP!r})), or say force=True",
                tuple(found),
            )

    def _keys_of(self, nodes: Any) -> list[str]:
        """The keys of a node, a promise, or any number of them."""
        if isinstance(nodes, str):
            return [self.graph.node(nodes).key]
        if not hasattr(type(nodes), "__dagtree_key__"):
            if not isinstance(nodes, Iterable):
                raise SelectionError(
                    f"{nodes!r} is no node: give a node, a promise, or several, such as "
                    f"exp.graph.nodes.filter(…)"
                )
            return list(dict.fromkeys(key for node in nodes for key in self._keys_of(node)))
        tree = getattr(nodes, "tree", None)
        loader = getattr(getattr(nodes, "_tree", None), "loader", None)
        elsewhere = getattr(loader, "_location", self.location) != self.location
        if elsewhere or (tree is not None and tree is not self._tree):
            raise TreeError(f"{nodes!r} belongs to another experiment than {self.location}.")
        return [nodes.__dagtree_key__]


@contextlib.contextmanager
def _alone(store: Known) -> Iterator[None]:
    """Alone where nodes are kept, as soon as the others have left it. BusyError when they don't."""
    from .storage.presence import Presence

    until = time.monotonic() + PATIENCE_S
    presence = Presence(store.board(), "free")
    while True:
        try:
            presence.__enter__()
            break
        except BusyError:
            if time.monotonic() >= until:
                raise
            time.sleep(0.05)
            presence = Presence(store.board(), "free")
    try:
        yield
    finally:
        presence.__exit__()
