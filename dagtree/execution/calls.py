"""Calls functions at nodes that are there, and nothing else."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ..definition.recipe import Function
from ..definition.tree import Asked
from ..errors import NotComputedError, RunError
from ..identity.source import function_code
from .plan import results_of
from .report import Failure
from .run import Run

if TYPE_CHECKING:
    from ..experiment import Experiment

__all__ = ["call_functions"]


def call_functions(
    experiment: Experiment,
    keys: Sequence[str],
    functions: Sequence[Callable[[Any], Any]],
    how: Mapping[str, Any],
) -> tuple[list[str], dict[tuple[str, str], str]]:
    """Call functions at nodes where they haven't said anything with the code that they have now; what they
    return is kept there. Evicted nodes are computed again for it; others that have no state are left out.
    ``how`` is scheduler, workers and progress, as `Run` takes them.

    Returns the names under which results are recorded, and the messages of what failed, by key and name.
    """
    tree, store = experiment._tree, experiment._store
    made = [one if isinstance(one, Function) else Function(one, cached=True) for one in functions]
    codes = [function_code(one.op, tree.state_class) for one in made]
    names = _names(made, [code.digest for code in codes])
    store.refresh()
    there, results = store.keys() | store.evicted(), results_of(store)
    missing = []
    for key in keys:
        if key not in there:
            continue
        kept = results(key)
        for function, name, code in zip(made, names, codes, strict=True):
            known = kept.get(name)
            if not (isinstance(known, Mapping) and known.get("code") == code.digest):
                missing.append(Asked(function, experiment._promise(key), name, code))
    if not missing:
        return names, {}
    experiment._writable()
    store = experiment._store  # another one now, if it was read only
    failures: tuple[Failure, ...] = ()
    said: dict[tuple[str, str], str] = {}
    while missing:
        run = Run(tree, store, [], asked=missing, named=experiment._named, **how)
        try:
            with store.batched():
                run()
        except RunError as error:
            failures = error.report.failures
        except NotComputedError:
            # Damage was found, and nothing says how to make the node: the others are asked without it.
            here = store.keys() | store.evicted()
            lost = [asked for asked in missing if asked.promise.key not in here]
            if not lost:
                raise
            said.update({(asked.promise.key, asked.name): _LOST for asked in lost})
            missing = [asked for asked in missing if asked.promise.key in here]
            continue
        finally:
            experiment._graph = None
        break
    for failure in failures:
        # A node that had to be computed again, and wasn't, fails all functions there.
        for name in names if failure.function is None else (failure.function,):
            said[failure.key, name] = failure.message
    return names, said


_LOST = (
    "its state is damaged, and known only from disk, so nothing here says how to make it; run the script "
    "that defines it"
)


def _names(functions: Sequence[Function], codes: Sequence[str]) -> list[str]:
    """The functions' own; those that have none, or one that another has, with a part of their code's
    digest."""
    own = [function.__name__ for function in functions]
    return [
        f"{name.strip('<>')}:{code[:8]}" if name == "<lambda>" or own.count(name) > 1 else name
        for name, code in zip(own, codes, strict=True)
    ]
