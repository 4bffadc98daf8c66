"""The names by which facts are asked for, in selecting, sorting, grouping, tables and plots.

=====================  ====================================================================================
``lr``                 a property, a metric, a function's result, or a fact that no property is called like;
                       SelectionError where it could be two of them
``properties.lr``      the property, ``metrics.loss`` the metric (its last value), ``best.loss`` its best,
                       ``results.accuracy`` what the function ``accuracy`` returned, or its entry of that
                       name, ``results.test.accuracy`` an entry of one function, ``versions.torch`` a package,
                       ``node.depth`` the fact
``Train.lr``           the property of a ``Train`` on the node's path, ``*.lr`` of any recipe or the root's
``Train[1].lr``        of the first ``Train`` on the path, ``Train[-1].lr`` of the last one
=====================  ====================================================================================
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

from ..errors import SelectionError
from .columns import FACTS, Column, Columns
from .text import shorten

__all__ = ["Named", "better", "find", "spelled_result"]

_ALWAYS_FACTS = frozenset({"recipe", "status", "tags"})
_PLACED = re.compile(r"(?P<recipe>\*|[^\W\d]\w*)(?:\[(?P<turn>-?\d+)\])?\.(?P<name>[^\W\d]\w*)")
_LOWER = re.compile(
    r"loss|err(or)?s?|perplexity|ppl|nll|[rm]?mse|mae|mape|wer|cer|fid|cross_?entropy|divergence|kl|regret",
    re.IGNORECASE,
)
_HIGHER = re.compile(
    r"acc(uracy)?|auc|auroc|f1|precision|recall|score|reward|bleu|rouge|iou|dice|psnr|ssim|r2|map|ndcg|mrr|top\d+",
    re.IGNORECASE,
)


class Named(NamedTuple):
    """What a name stands for. ``own`` is what a node says itself, ``path`` what its path does."""

    spelled: str
    own: Column
    is_property: bool
    is_of_path: bool  # it names edges of the path, and not the node alone
    nearest: bool = False


def find(columns: Columns, name: str) -> Named:
    """What the name stands for in this tree.

    Raises SelectionError when it is nothing, with what there is, or when it could be several things, with how
    each is spelled.
    """
    if not isinstance(name, str):
        raise TypeError(f"a fact is asked for by its name, such as 'lr' or 'Train.lr', not by {name!r}")
    found = dict(_candidates(columns, name))
    if len(found) == 1:
        ((_, make),) = found.items()
        return make()
    if found:
        raise SelectionError(f"{name!r} is several things in this graph; write one of: {', '.join(found)}")
    raise SelectionError(_unknown(columns, name.removeprefix("properties.")))


def _candidates(columns: Columns, name: str) -> Iterable[tuple[str, Callable[[], Named]]]:
    kind, dot, rest = name.partition(".")
    # A property or a recipe that has the name of a group of names is asked for as `properties.…` or `*.…`.
    if dot and kind in _GROUPS:
        yield from ((f"{kind}.{one}", make) for one, make in _GROUPS[kind](columns, rest))
        return
    placed = _PLACED.fullmatch(name)
    if placed is not None and (found := _on_path(columns, placed)) is not None:
        yield name, lambda: found
    # A model's depth is rather meant than a node's, which is `node.depth` then.
    if name in FACTS and (name in _ALWAYS_FACTS or name not in columns.property_names):
        yield from ((f"node.{one}", make) for one, make in _fact(columns, name))
        if name in _ALWAYS_FACTS:
            return
    groups = ("properties", "metrics", "results") if columns.gleaned.mentions(name) else ("properties",)
    for group in groups:
        yield from ((f"{group}.{one}", make) for one, make in _GROUPS[group](columns, name))


def _property(columns: Columns, name: str) -> Iterable[tuple[str, Callable[[], Named]]]:
    if name in columns.property_names:
        yield name, lambda: Named(name, columns.own(name), True, False)


def _fact(columns: Columns, name: str) -> Iterable[tuple[str, Callable[[], Named]]]:
    if name in FACTS:
        yield name, lambda: Named(f"node.{name}", columns.fact(name), False, False)


def _metric(columns: Columns, name: str) -> Iterable[tuple[str, Callable[[], Named]]]:
    if name in columns.metric_names:
        yield name, lambda: Named(name, columns.metric(name), False, False)


def _best(columns: Columns, name: str) -> Iterable[tuple[str, Callable[[], Named]]]:
    if name not in columns.metric_names:
        return
    choose = better(name)
    if choose is None:
        raise SelectionError(
            f"whether a low or a high {name!r} is better can't be told from its name: say it, "
            f"table(best={{{name!r}: min}})"
        )
    yield name, lambda: Named(f"best.{name}", columns.best(name, choose), False, False)


def _result(columns: Columns, name: str) -> Iterable[tuple[str, Callable[[], Named]]]:
    for function, entry in columns.result_names:
        whole = spelled_result(function, entry)
        if name in (whole, function if entry is None else entry, f"{function}.{entry}"):
            yield whole, lambda f=function, e=entry: Named(name, columns.result(f, e), False, False)  # type: ignore[misc]


def _version(columns: Columns, name: str) -> Iterable[tuple[str, Callable[[], Named]]]:
    column = columns.version(name)
    if not column.is_empty:
        yield name, lambda: Named(f"versions.{name}", column, False, False)


_GROUPS: dict[str, Callable[[Columns, str], Iterable[tuple[str, Callable[[], Named]]]]] = {
    "node": _fact,
    "properties": _property,
    "metrics": _metric,
    "best": _best,
    "results": _result,
    "versions": _version,
}


def _on_path(columns: Columns, placed: re.Match[str]) -> Named | None:
    recipe, name = placed["recipe"], placed["name"]
    turn = int(placed["turn"]) if placed["turn"] else None
    if turn is not None and turn < 1 and turn != -1:
        raise SelectionError(
            f"{placed[0]!r}: the {recipe}s of a path are counted from 1, and [-1] is the last"
        )
    column = columns.of_recipe(recipe, name, turn)
    if column.is_empty or all(token < 0 for token in column.tokens):
        return None
    return Named(placed[0], column, True, True, nearest=turn == -1)


def spelled_result(function: str, entry: str | None) -> str:
    return function if entry is None or entry == function else f"{function}.{entry}"


def better(metric: str) -> Callable[[Iterable[Any]], Any] | None:
    """``min`` or ``max``: which values of a metric are better, by the words in its name; None where they
    don't
    tell. The last word that tells counts: ``loss``, ``val_loss`` and ``accuracy_error`` are better low."""
    for word in reversed(re.split(r"[\W_]+", metric)):
        if _LOWER.fullmatch(word):
            return min
        if _HIGHER.fullmatch(word):
            return max
    return None


def _unknown(columns: Columns, name: str) -> str:
    there = {
        "properties": sorted(columns.property_names),
        "metrics": list(columns.metric_names),
        "results": [spelled_result(*one) for one in columns.result_names],
        "facts": [*FACTS, "path", "versions.<package>"],
    }
    known = [*(one for names in there.values() for one in names), *(e for _, e in columns.result_names if e)]
    import difflib  # here and not above: it is wanted when something is misspelt

    close = difflib.get_close_matches(name, known, n=1)
    lines = [
        f"\n  {what}: {', '.join(shorten(one) for one in names[:40])}"
        for what, names in there.items()
        if names
    ]
    hint = f" (did you mean {close[0]!r}?)" if close else ""
    return f"no node of this graph has a fact called {name!r}{hint}; there are:{''.join(lines)}"
