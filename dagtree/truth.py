"""Is it true: nodes computed once more beside the tree, and old nodes accepted for new code that changes
nothing."""

from __future__ import annotations

import json
import shutil
import tempfile
import time
from collections.abc import Iterable, Mapping, Sequence, Set
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .errors import SelectionError, TreeError
from .storage.record import Record

if TYPE_CHECKING:
    from .analysis.graph import Graph
    from .analysis.node import Node
    from .analysis.reproduced import Accepted, Reproduction, Reproductions
    from .definition.promise import ExperimentStatePromise
    from .definition.recipe import HasPromise
    from .definition.tree import Tree
    from .storage.local import LocalStore
    from .storage.remote import RemoteStore

__all__ = ["Truth"]


class Truth:
    """What an experiment can do to find out whether its nodes are what they are said to be. A part of
    `Experiment`."""

    _store: LocalStore | RemoteStore
    _tree: Tree
    _graph: tuple[Any, Graph] | None

    if TYPE_CHECKING:

        @property
        def graph(self) -> Graph: ...
        @property
        def location(self) -> str: ...
        def _seen(self, key: str) -> ExperimentStatePromise: ...
        def _writable(self) -> None: ...

    def reproduce(
        self,
        nodes: HasPromise | Iterable[HasPromise] | None = None,
        *,
        tolerance: float = 0.0,
        scheduler: Any = "single-threaded",
        workers: int | None = None,
        progress: bool | None = None,
    ) -> Reproductions:
        """Compute nodes once more, each from its parents as they are kept, and compare what comes out with
        what is kept. Nothing in this experiment changes: it happens in a temporary experiment beside it.

        ``nodes`` are nodes of the graph or promises, by default all that were computed and that newer code
        didn't replace. A node agrees bit for bit, or, with ``tolerance``, when each of its tensors is no
        further from what is kept than that, as the L2 norm of the difference over the norm of what is kept.
        What isn't a tensor must be equal, and so must what each moment yielded (numbers within
        ``tolerance``). What doesn't agree is computed a third time, to tell what is nondeterministic here
        from what differs between places; likely causes are named. Metrics that come out otherwise each time,
        such as seconds, don't count.
        ``scheduler``, ``workers`` and ``progress`` are those of ``run``; a cluster's workers must reach the
        temporary directory, which is made beside the experiment then.

        Returns Reproductions, which print in words. A recipe that can't be found, whose code has changed, or
        that fails, has the verdict "failed". Raises SelectionError for nodes that were never computed,
        ValueError for a tolerance that is no distance.
        """
        from .analysis.reproduced import Reproductions
        from .analysis.verdict import checked_tolerance

        how = {"scheduler": scheduler, "workers": workers, "progress": progress}
        tolerance = checked_tolerance(tolerance)
        self._store.refresh()
        known = {node.key: node for node in (*self.graph.nodes, *self.graph.superseded)}
        keys = self._asked_for(nodes, known)
        found = self._again([self._seen(key) for key in keys], self._as_kept(keys), tolerance, how, known)
        return Reproductions([found[key] for key in keys])

    def accept(
        self,
        nodes: HasPromise | Iterable[HasPromise] | None = None,
        *,
        tolerance: float = 0.0,
        scheduler: Any = "single-threaded",
        workers: int | None = None,
        progress: bool | None = None,
    ) -> Accepted:
        """After an edit that should change no result: compute the edited edges once more, and where they
        agree with what the older code gave, let the older nodes, and all that was made from them, stand for
        the new keys. What is accepted isn't computed nor copied: the new records point to the same bytes, and
        say what they were accepted from, when, and how that was found.

        ``nodes`` are promises of the tree as it is defined now, by default all that are missing and have an
        older self. An edge whose own code is as it was needs no computing: it is accepted when its parents
        are. An edge whose code differs is computed with the older one's random numbers, and must agree bit
        for bit, or within ``tolerance`` (see ``reproduce``, also for the rest). What doesn't agree is left,
        with all below it, and the next run computes it.

        Returns Accepted: key of now → key of then, which prints in words. Raises SelectionError when there is
        nothing to accept.
        """
        from .analysis.reproduced import Accepted, Reproductions
        from .analysis.verdict import checked_tolerance

        how = {"scheduler": scheduler, "workers": workers, "progress": progress}
        tolerance = checked_tolerance(tolerance)
        self._store.refresh()
        older = self._older()
        asked = self._wanted(nodes, older)
        self._writable()
        adopted: dict[str, str] = {}
        left: dict[str, str] = {}
        found: list[Reproduction] = []
        for group in self._by_edge(older):
            edge = group[0].edge
            concerned = nodes is None or any(promise.key in asked for promise in group)
            if not concerned and not any(one.key in adopted or one.key in left for one in edge.parents):
                continue
            strays = self._strays(group, older)
            left.update(strays)
            group = [promise for promise in group if promise.key not in strays]
            if not group:
                continue
            why = self._why_left(group, older, left, adopted, asked)
            if why:
                left.update((promise.key, why) for promise in group)
                continue
            said = "its code is as it was, and what it comes from was accepted"
            verdicts: dict[str, Reproduction] = {}
            if any(older[promise.key].more.get("code") != edge.code.digest for promise in group):
                verdicts = self._agree(group, older, tolerance, how)
                found.extend(verdicts.values())
            otherwise = {key for key, verdict in verdicts.items() if not verdict.agrees}
            for promise in group:
                verdict = verdicts.get(promise.key)
                if otherwise:  # an edge's moments and its end are of one run, or they belong to no edge
                    left[promise.key] = _OTHERWISE if promise.key in otherwise else _OTHER_PART
                    continue
                how_found = said if verdict is None else f"computed with the code of now: {verdict.verdict}"
                self._adopt(promise, older[promise.key], how_found)
                adopted[promise.key] = older[promise.key].key
        labels = {key: promise.label for key, promise in self._tree.promises.items()}
        self._store.write_index()
        self._graph = None
        return Accepted(adopted, Reproductions(found), left, labels)

    # What is compared with what

    def _asked_for(
        self, nodes: HasPromise | Iterable[HasPromise] | None, known: Mapping[str, Node]
    ) -> list[str]:
        there = self._store.keys() | self._store.evicted()
        if nodes is None:
            return [node.key for node in self.graph.nodes if node.key in there]
        keys = list(dict.fromkeys(promise.key for promise in self._promises(nodes)))
        missing = [key for key in keys if key not in there]
        if missing:
            raise SelectionError(
                f"{len(missing)} of these nodes were never computed, or failed, so there is nothing to "
                f"compare with: [{missing[0][:8]}]"
            )
        places = {key: place for place, key in enumerate(known)}
        return sorted(keys, key=lambda key: places.get(key, len(places)))

    def _promises(self, nodes: HasPromise | Iterable[HasPromise]) -> list[Any]:
        """The promises, or nodes, that were given: one, or several."""
        single = hasattr(type(nodes), "to_promise")
        given: list[Any] = [nodes] if single else list(nodes)  # type: ignore[arg-type]
        for one in given:
            if not hasattr(type(one), "to_promise"):
                raise SelectionError(f"nodes of the graph, or promises, are asked for, not {one!r:.60}")
            loader = getattr(getattr(one, "_tree", None), "loader", None)
            # Only keys are taken, so a node of this place is welcome, whoever opened it.
            is_here = one.tree is self._tree if loader is None else loader._location == self.location
            if not is_here:
                raise TreeError(f"{one!r} belongs to another experiment than {self.location}")
        return given

    def _as_kept(self, keys: Iterable[str]) -> dict[str, tuple[Record, str]]:
        """What the nodes are now, and what is known of them besides tensors."""
        from .storage.sameness import essence_of

        records, there = self._store.records(), self._store.keys()
        return {
            key: (
                records[key],
                essence_of(self._store.restore(key).skeleton)
                if key in there
                else self._store.state_of_evicted(key),
            )
            for key in keys
        }

    def _again(
        self,
        promises: Sequence[ExperimentStatePromise],
        expected: Mapping[str, tuple[Record, str]],
        tolerance: float,
        how: Mapping[str, Any],
        nodes: Mapping[str, Node],
        sources: Mapping[str, str] | None = None,
    ) -> dict[str, Reproduction]:
        """Compute the promises beside the tree, those that come from others in later groups; what became of
        each. ``sources`` are the keys of the nodes to compare with, where they are others."""
        from .analysis.reproduced import Reproduction
        from .execution.beside import by_depth, compute_beside

        records = {**self._store.records(), **{key: one[0] for key, one in expected.items()}}
        found: dict[str, Reproduction] = {}
        known = {promise.key: promise for promise in promises}
        for group in by_depth(list(known), records):
            with _Scratch(self, how) as beside:
                said = compute_beside(self, beside, [known[key] for key in group], expected, how)
                computed = beside._store.keys()
                odd = []
                for key in group:
                    old = (sources or {}).get(key, key)
                    if key in said or key not in computed:
                        why = said.get(key, "it was not computed")
                        found[key] = Reproduction(nodes[old], "failed", message=why)
                        continue
                    found[key] = self._verdict(nodes[old], expected[key], old, key, beside, tolerance)
                    if found[key].verdict == "not" or found[key].yielded:
                        odd.append(key)
                if odd:
                    self._diagnose(found, odd, known, expected, beside, how, sources is not None)
        return found

    def _verdict(
        self, node: Node, expected: tuple[Record, str], old: str, key: str, beside: Any, tolerance: float
    ) -> Reproduction:
        from .analysis.verdict import judge

        then, essence = expected
        store, there = beside._store, self._store.keys()
        was = self._store.restore(old) if old in there else None
        return judge(node, then, essence, was, store.records()[key], store.restore(key), tolerance)

    def _diagnose(
        self,
        found: dict[str, Reproduction],
        odd: Sequence[str],
        known: Mapping[str, ExperimentStatePromise],
        expected: Mapping[str, tuple[Record, str]],
        beside: Any,
        how: Mapping[str, Any],
        is_edited: bool,
    ) -> None:
        """Compute what came out otherwise once more, and name likely causes."""
        from .analysis.deeds import kept_environment
        from .analysis.verdict import settle
        from .execution.beside import compute_beside
        from .execution.environment import environment

        with _Scratch(self, how) as third:
            said = compute_beside(self, third, [known[key] for key in odd], expected, how)
            here, records = dict(json.loads(environment(None)[1])), third._store.records()
            computed = third._store.keys()
            for key in odd:
                again = records[key] if key not in said and key in computed else None
                three = expected[key][0], beside._store.records()[key], again
                places = kept_environment(found[key].node), here
                found[key] = settle(found[key], three, places, is_edited)

    # Accepting

    def _older(self) -> dict[str, Record]:
        """For each missing node of the tree, the node of the same path that older code made last."""
        there = self._store.keys() | self._store.evicted()
        latest: dict[str, Record] = {}
        for key, record in self._store.records().items():
            known = latest.get(record.address)
            if key in there and (known is None or record.defined >= known.defined):
                latest[record.address] = record
        return {
            key: latest[promise.address]
            for key, promise in self._tree.promises.items()
            if key not in there and not promise.is_from_disk and promise.address in latest
        }

    def _wanted(
        self, nodes: HasPromise | Iterable[HasPromise] | None, older: Mapping[str, Record]
    ) -> set[str]:
        if nodes is None:
            if not older:
                raise SelectionError(
                    "there is nothing to accept: no node that is missing here has an older self that is kept"
                )
            return set(older)
        asked, there = {promise.key for promise in self._promises(nodes)}, self._store.keys()
        for key in asked:
            if key not in older:
                why = "is there already" if key in there else "has no older self that is kept"
                raise SelectionError(f"node [{key[:8]}] can't be accepted: it {why}")
        return asked

    def _by_edge(self, keys: Iterable[str]) -> list[list[ExperimentStatePromise]]:
        """The promises in groups: the end of an edge with its moments; parents before children."""
        groups: dict[str, list[ExperimentStatePromise]] = {}
        for promise in sorted((self._tree.promises[key] for key in keys), key=lambda one: one.edge.position):
            groups.setdefault(promise.edge.key, []).append(promise)
        return list(groups.values())

    def _strays(self, group: Sequence[ExperimentStatePromise], older: Mapping[str, Record]) -> dict[str, str]:
        """Those moments that aren't of the run that made the end of their edge, and what is on record of no
        run at all: why each can't be accepted, by key."""
        end, found = group[0].edge.key, dict[str, str]()
        known = older.get(end) or self._store.records().get(end)
        for promise in group:
            then = older[promise.key]
            seed = _seed_of(then)
            if seed is None:
                found[promise.key] = "its record doesn't say with which random numbers it was made"
            elif promise.key != end:
                if end in older and then.parents[:1] != (older[end].key,):
                    found[promise.key] = "it isn't of the run that made the end of its edge"
                elif known is None or _seed_of(known) != seed:
                    found[promise.key] = "the end of its edge isn't kept with the random numbers that it has"
        return found

    def _why_left(
        self,
        group: Sequence[ExperimentStatePromise],
        older: Mapping[str, Record],
        left: Mapping[str, str],
        adopted: Mapping[str, str],
        asked: Set[str],
    ) -> str:
        """Why the nodes of an edge can't be accepted; empty when they can, or are to be computed."""
        edge, records = group[0].edge, self._store.records()
        lost = next((parent for parent in edge.parents if parent.key in left), None)
        if lost is not None:
            return f"it comes from [{lost.key[:8]}], which is left"
        for promise in group:
            then = older[promise.key]
            mine = [parent.key for parent in edge.parents]
            if len(mine) != len(then.lineage) or any(
                _origin(key, adopted, records) != _origin(old, adopted, records)
                for key, old in zip(mine, then.lineage, strict=False)
            ):
                return "what it comes from isn't what it came from then"
            if then.more.get("code") != edge.code.digest and not any(one.key in asked for one in group):
                return "its own code changed, and it wasn't among the nodes to accept"
        return ""

    def _agree(
        self,
        group: Sequence[ExperimentStatePromise],
        older: Mapping[str, Record],
        tolerance: float,
        how: Mapping[str, Any],
    ) -> dict[str, Reproduction]:
        """What becomes of an edge, and its moments, when it is computed with the code of now."""
        kept = self._as_kept([older[promise.key].key for promise in group])
        expected, nodes = {}, {}
        for promise in group:
            then, essence = kept[older[promise.key].key]
            expected[promise.key] = self._standing_in(promise, then, ""), essence
            nodes[then.key] = self.graph.node(then.key)
        olds = {promise.key: older[promise.key].key for promise in group}
        return self._again(group, expected, tolerance, how, nodes, olds)

    def _standing_in(self, now: ExperimentStatePromise, then: Record, how_found: str) -> Record:
        """The record of the older node under the key of now."""
        more = {name: value for name, value in then.more.items() if name not in ("output", "differs")}
        more |= {
            "code": now.edge.code.digest,
            "accepted": {
                "from": then.key,
                "at": time.time(),
                "how": how_found,
                "seed": _seed_of(then),
            },
        }
        return Record.make(
            key=now.key, address=now.address, kind=now.kind, recipe=now.name, parents=now.recorded_parents,
            tags=tuple(dict.fromkeys((*then.tags, *now.tags))), moment=now.moment, position=now.position,
            ended=then.ended, more=more,
        )  # fmt: skip

    def _adopt(self, now: ExperimentStatePromise, then: Record, how_found: str) -> None:
        from .definition.spelling import Spellings
        from .execution.assemble import keep_source

        record = self._standing_in(now, then, how_found)
        record.more["sources"] = keep_source(now.edge, Spellings().values(now.edge), self._store)
        there = self._store.keys()
        if then.key in there:
            self._store.write_again(record)
        else:
            self._store.write_evicted(record, self._store.state_of_evicted(then.key))
        self._store.note(now.key, tags=record.tags, defined=time.time())
        for ended in (False, True):  # where an interrupted run stood, which had other random numbers
            self._store.remove_safe_point(now.edge.key, ended=ended)


_OTHERWISE = "computed with the code of now, it isn't what it was"
_OTHER_PART = "another part of its edge isn't what it was: its end, or a moment"


class _Scratch:
    """A temporary experiment with the classes of another, gone at the end."""

    def __init__(self, experiment: Any, how: Mapping[str, Any]) -> None:
        from .execution.kinds import kind_of
        from .storage.local import LocalStore

        self._experiment = experiment
        self._where: str | None = None
        if kind_of(how["scheduler"]) == "cluster" and isinstance(experiment._store, LocalStore):
            self._where = str(Path(experiment.location).parent)

    def __enter__(self) -> Any:
        self._directory = tempfile.mkdtemp(prefix=".dagtree-beside-", dir=self._where)
        self.made = type(self._experiment)(Path(self._directory) / "tree", self._experiment._tree.state_class)
        return self.made

    def __exit__(self, *exception: object) -> None:
        self.made._store.close()
        shutil.rmtree(self._directory, ignore_errors=True)


def _origin(key: str, adopted: Mapping[str, str], records: Mapping[str, Record]) -> str:
    """The node whose bytes a key stands for, through any number of acceptances."""
    seen: set[str] = set()
    while key not in seen:
        seen.add(key)
        if key in adopted:
            key = adopted[key]
        elif key in records:
            accepted = records[key].more.get("accepted")
            if isinstance(accepted, dict) and isinstance(accepted.get("from"), str):
                key = accepted["from"]
    return key


def _seed_of(record: Record) -> int | None:
    """What the generators were seeded from when the node's bytes were made."""
    for name, key in (("accepted", "seed"), ("seeds", "key")):
        said = record.more.get(name)
        if isinstance(said, dict):
            return said[key] if isinstance(said.get(key), int) else None
    return None
