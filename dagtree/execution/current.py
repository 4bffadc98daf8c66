"""Whether the code that is about to run is the code that a key covers.

Between defining a node and computing it, a notebook's cell may have been run again, a file edited, or a
worker may have imported another version of it. What would run then is not what the key says, so it doesn't
run.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Sequence, Set
from typing import Any, NamedTuple

from ..definition.promise import ExperimentStatePromise
from ..definition.recipe import Recipe
from ..definition.spelling import Spellings, may_hold_code
from ..definition.state import ExperimentState
from ..definition.tree import Tree
from ..errors import DefinitionError, RecipeError
from ..identity.source import function_code, recipe_code, root_code

__all__ = ["Stale", "check_function", "check_recipe", "code_of", "current", "stale_nodes"]


def current(
    tree: Tree, targets: Sequence[ExperimentStatePromise], there: Set[str]
) -> list[ExperimentStatePromise]:
    """The targets without those that later code replaced.

    A node that is missing, and whose code has changed since it was defined, can't be made any more. Where the
    tree has been defined again with the code of now, the new node stands for it. Where it hasn't, that is a
    DefinitionError.
    """
    stale = stale_nodes(tree, there, code_of)
    if not stale.nodes:
        return list(targets)
    kept = []
    for promise in targets:
        if promise.key not in stale.nodes:
            kept.append(promise)
        elif not stale.is_replaced(promise):
            what = "code" if _changed_code(stale) else "data in `depends_on`"
            raise DefinitionError(
                f"{promise.label} [{promise.key[:8]}] was defined with {what} that has changed since, so its "
                f"key "
                f"no longer says what would run. Run the lines that define the tree again: "
                f"{_changed(stale.nodes.values())} changed."
            )
    return kept


class Stale(NamedTuple):
    """``nodes`` of a tree that are missing and whose code, or that of what they are made from, is another
    than when they were defined; ``codes`` as they are now; ``fresh`` what the other nodes are called."""

    nodes: dict[str, ExperimentStatePromise]
    codes: dict[type[Recipe] | None, str]
    fresh: Set[str]
    spellings: Spellings | None

    def is_replaced(self, promise: ExperimentStatePromise) -> bool:
        """Whether the node was defined again with the code of now, which stands for it."""
        return not self.fresh.isdisjoint(_called(promise, self.spellings))


def stale_nodes(
    tree: Tree, there: Set[str], code_now: Callable[[type[Recipe] | None, type[ExperimentState]], str]
) -> Stale:
    """What later code replaced, of the nodes that are not ``there``."""
    nodes: dict[str, ExperimentStatePromise] = {}
    codes: dict[type[Recipe] | None, str] = {}
    for promise in tree.promises.values():
        if promise.key in there or promise.is_from_disk:
            continue
        if nodes and any(parent.key in nodes for parent in promise.parents):
            nodes[promise.key] = promise
        elif promise.kind != "moment":
            now = codes.get(promise.recipe)
            if now is None:
                now = codes[promise.recipe] = code_now(promise.recipe, tree.state_class)
            if promise.code.digest != now or not promise.is_as_defined():
                nodes[promise.key] = promise
    spellings = Spellings() if nodes and may_hold_code(tree.promises.values()) else None
    fresh: set[str] = set()
    for key, promise in tree.promises.items() if nodes else ():
        if key not in nodes:
            fresh.update(_called(promise, spellings))
    return Stale(nodes, codes, fresh, spellings)


def _called(promise: ExperimentStatePromise, spellings: Spellings | None) -> tuple[str, ...]:
    """By what a node is known again. A lambda's name stands for many, so that it tells nothing."""
    if spellings is None or not spellings.is_unique(promise):
        return (promise.address,)
    return promise.address, spellings.address(promise)


def code_of(recipe: type[Recipe] | None, state_class: type[ExperimentState], data: bool = True) -> str:
    """The fingerprint of an edge's code as it is now; of a root's where there is no recipe."""
    return (root_code(state_class, data) if recipe is None else recipe_code(recipe, state_class, data)).digest


def _changed_code(stale: Stale) -> bool:
    """Whether it is code that changed, and not only data that it depends on."""
    codes = [
        (promise.code.digest, stale.codes[promise.recipe])
        for promise in stale.nodes.values()
        if promise.kind != "moment" and promise.recipe in stale.codes
    ]
    differing = [(then, now) for then, now in codes if then != now]
    # Where none differs, a function among the properties does.
    return not differing or any(_only_code(then) != _only_code(now) for then, now in differing)


def _only_code(digest: str) -> str:
    return digest.partition("+")[0]


def _changed(stale: Iterable[ExperimentStatePromise]) -> str:
    return ", ".join(sorted({promise.name for promise in stale}))


def check_recipe(recipe: type[Recipe] | None, state_class: type[ExperimentState], code: str) -> None:
    """In a worker: RecipeError when the code that it imported is not what the driver's key covers.

    Data that it depends on isn't looked at: a worker may have it elsewhere, or not at all.
    """
    cls = state_class if recipe is None else recipe
    if _travels_by_value(cls):
        return
    if code_of(recipe, state_class, data=False) != _only_code(code):
        raise RecipeError(_other_code(cls.__name__, cls.__module__))


def check_function(op: Callable[..., Any], state_class: type[ExperimentState], code: str) -> None:
    """The same for a function."""
    if _travels_by_value(op):
        return
    if function_code(op, state_class, data=False).digest != _only_code(code):
        raise RecipeError(_other_code(getattr(op, "__name__", repr(op)), op.__module__))


def _travels_by_value(code: Any) -> bool:
    """Whether what came here is the code itself, so that it can't be another one, and not a name to
    import.
    """
    module, name = getattr(code, "__module__", None), getattr(code, "__qualname__", "")
    found: Any = sys.modules.get(module) if isinstance(module, str) and module != "__main__" else None
    for part in name.split("."):
        found = getattr(found, part, None)
    return found is not code


def _other_code(name: str, module: str) -> str:
    return (
        f"this worker has imported other code of {name} (module {module}) than the script that defined the "
        f"tree: the file was edited in between, or the script changed it in memory. Restart what is older, "
        f"the script or the workers, and run again."
    )
