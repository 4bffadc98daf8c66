"""The tree, opened for analysis."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ..deprecation import alias
from ..errors import SelectionError
from ..storage.record import Record
from .loader import Loader
from .node import Node
from .nodeset import NodeSet
from .order import distances, in_order, superseded_keys
from .tree import Tree

# What only drawings need is imported where one is drawn: opening a tree to filter it shouldn't wait for that.
if TYPE_CHECKING:
    import graphviz
    import networkx

    from .matrix import ScoreMatrix
    from .picture import Picture

__all__ = ["Graph", "Loader", "Node", "NodeSet"]

_DRAWN_IN_NOTEBOOKS = 400


class Graph:
    """The nodes of an experiment as they were when the graph was made; reading it loads no state.

    Nodes that newer code replaced (the same recipes and properties along the path, other code)
    are not among :attr:`nodes`, so that old results never pass for new ones, but in
    :attr:`superseded`, with all that was made from them.
    """

    def __init__(
        self,
        records: Iterable[Record],
        loader: Loader,
        statuses: Mapping[str, str] | None = None,
        title: str = "",
    ) -> None:
        """``statuses`` says by key what records can't: planned, running, skipped, evicted, damaged."""
        statuses = dict(statuses or {})
        ordered = in_order({record.key: record for record in records})
        gone = superseded_keys(ordered, statuses)
        self.title = title
        self._tree = Tree(ordered, gone, loader, statuses)
        self._nodes: NodeSet | None = None

    @property
    def nodes(self) -> NodeSet:
        """All nodes, parents before children, then in the order of their definition."""
        if self._nodes is None:
            self._nodes = self._tree.node_set(self._tree.standing)
        return self._nodes

    @property
    def superseded(self) -> NodeSet:
        """The nodes that newer code replaced, and what was made from them."""
        return self._tree.node_set(key for key in self._tree.records if key in self._tree.gone)

    @property
    def roots(self) -> NodeSet:
        """The nodes that are states as initialized, one a tree."""
        return self.nodes._of(node for node in self.nodes if node.kind == "root")

    @property
    def root(self) -> Node:
        """The root; of several, the one that was defined last."""
        roots = self.roots
        if not roots:
            raise SelectionError("this graph has no root; `spawn_new_tree` and `run` make one")
        return max(roots, key=lambda node: (node.record.defined, self._tree.places[node.key]))

    @property
    def leaves(self) -> NodeSet:
        """The nodes from which nothing was made."""
        gone = self._tree.gone
        inner = {key for key, below in self._tree.children.items() if not gone >= set(below)}
        return self.nodes._of(node for node in self.nodes if node.key not in inner)

    def node(self, key: str) -> Node:
        """The node with that key, or the only one whose key begins so; superseded nodes come second."""
        if not isinstance(key, str):
            raise TypeError(f"a node is asked for by its key, or the beginning of it, not by {key!r}")
        tree = self._tree
        if key in tree.records:
            return tree.node(key)
        begin = key.strip().lower()
        found = [one for one in tree.records if one.startswith(begin)] if begin else []
        found = [one for one in found if one not in tree.gone] or found
        if len(found) == 1:
            return tree.node(found[0])
        if not found:
            raise SelectionError(
                f"none of the {len(tree.records):,} nodes here has a key that begins with {key!r}; "
                "graph.nodes lists them"
            )
        shown = "".join(f"\n  {one}  {tree.node(one).label}" for one in found[:8])
        more = f"\n  … and {len(found) - 8:,} more" if len(found) > 8 else ""
        raise SelectionError(f"{len(found):,} nodes' keys begin with {key!r}; write more of it:{shown}{more}")

    def nodes_at_distance(self, distance: int) -> NodeSet:
        """The nodes whose shortest way from a root has that many edges; ``0`` gives the roots."""
        if isinstance(distance, bool) or not isinstance(distance, int) or distance < 0:
            raise ValueError(f"a distance is a number of edges, 0 or more, not {distance!r}")
        found = distances(self.roots.keys, self._tree.children)
        return self.nodes._of(node for node in self.nodes if found.get(node.key) == distance)

    def matrix(self, rows: Iterable[Node], functions: Sequence[Callable[[Any], Any]]) -> ScoreMatrix:
        """Each state of ``rows`` scored by each function: in continual learning, the states after task 1, 2,
        … and the accuracy on task 1, 2, …. Gives average accuracy, forgetting, and transfer; prints, shows as
        HTML, and ``.table()`` is a data frame. What was scored before isn't again.
        """
        from .matrix import score_matrix

        return score_matrix(self.nodes._of(rows), functions)

    def to_networkx(self) -> networkx.DiGraph[str]:
        """The graph for networkx: nodes by key, facts as attributes; edges carry recipe and properties.

        An edge's ``places`` are where its parent stands among the recipe's parents, from 0.
        """
        import networkx

        graph: networkx.DiGraph[str] = networkx.DiGraph(name=self.title)
        for node in self.nodes:
            graph.add_node(
                node.key, label=node.label, kind=node.kind, recipe=node.recipe,
                properties=node.properties, tags=node.tags, status=node.status, metrics=node.metrics,
                results=node.results, seconds=node.seconds, size_bytes=node.size_bytes,
            )  # fmt: skip
        for node in self.nodes:
            places: dict[str, list[int]] = {}
            for place, parent in enumerate(node.parent_keys):
                places.setdefault(parent, []).append(place)
            for parent in places.keys() & graph.nodes:
                graph.add_edge(
                    parent,
                    node.key,
                    recipe=node.recipe,
                    properties=node.properties,
                    places=tuple(places[parent]),
                )
        return graph

    def to_graphviz(self, by: str | Sequence[str] = ()) -> graphviz.Digraph:
        """The drawing for Graphviz; needs its program ``dot`` only to be rendered. ``by`` as in
        :meth:`draw`."""
        from .dot import to_digraph
        from .svg import direction_of

        picture = self._picture(by=by)
        return to_digraph(picture, direction_of(picture))

    def to_svg(self, by: str | Sequence[str] = ()) -> str:
        """The drawing as SVG text; ``by`` as in :meth:`draw`."""
        from .svg import to_svg

        return to_svg(self._picture(by=by))

    def to_text(self, by: str | Sequence[str] = ()) -> str:
        """The tree as lines for a terminal; ``by`` as in :meth:`draw`."""
        from .outline import to_text

        return to_text(self._picture(by=by))

    def draw(
        self,
        filename: str | os.PathLike[str] = "graph",
        format: str = "svg",
        view: bool = False,
        *,
        by: str | Sequence[str] = (),
    ) -> Any:
        """Draw into a file and return its path; a known suffix of ``filename`` goes before ``format``.

        SVG (``"svg"``), DOT (``"dot"``) and text (``"txt"``) need no program. PNG, PDF and others are
        drawn by Graphviz's ``dot``; where that is missing, a warning says so and the SVG is drawn.
        ``by`` names properties over which branches are replicated: ``draw(by="seed")`` shows each branch of
        replicates as one node, with n, and what was measured as mean ± 95 % interval; ``nodes.replicates``
        are those that are declared. ``view`` shows the drawing: in a notebook what shows it is returned, else
        a browser opens.
        """
        from .draw import draw

        return draw(self._picture(by=by), filename, format, view)

    def _picture(self, most: int | None = None, by: str | Sequence[str] = ()) -> Picture:
        from .picture import Picture

        if by:
            from .folded import fold

            return Picture.of(fold(self.nodes, by)[:most], self.title)
        return Picture.of(self.nodes[:most], self.title)

    def __getattr__(self, name: str) -> Any:
        if name == "node_map":
            alias("Graph", name, "graph.node(key)")
            return {node.key: node for node in self.nodes}
        if name == "edge_map":
            alias("Graph", name, "node.children")
            return {node.key: set(node.children.keys) for node in self.nodes}
        raise AttributeError(f"a Graph has no attribute {name!r}", name=name, obj=self)

    def __len__(self) -> int:
        return len(self.nodes)

    def __bool__(self) -> bool:
        return True

    def __iter__(self) -> Iterator[Node]:
        return iter(self.nodes)

    def __contains__(self, node: object) -> bool:
        key = getattr(node, "key", None)
        return key in self._tree.records and key not in self._tree.gone

    def __repr__(self) -> str:
        name = f" {self.title}" if self.title else ""
        from .html import counts_text

        return f"<Graph{name}: {counts_text(self.nodes)}>"

    def _repr_html_(self) -> str:
        from .html import counts_text, graph_html
        from .svg import to_svg

        counts = counts_text(self.nodes)
        if self._tree.gone:
            counts += f"; {len(self._tree.gone):,} superseded by newer code"
        svg = to_svg(self._picture(_DRAWN_IN_NOTEBOOKS)) if self.nodes else ""
        return graph_html(self.title, counts, svg, len(self.nodes) - _DRAWN_IN_NOTEBOOKS)
