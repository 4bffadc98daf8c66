"""What holds of whole paths of a tree: which match a pattern, and which are equal but for one thing."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Any

from ..errors import SelectionError
from .columns import ABSENT, MISSING, NO_PARENT, Column, Columns
from .conditions import number
from .names import find
from .pattern import Automaton, StepPattern, refusal
from .select import exactly
from .text import shorten

__all__ = ["Ways", "matches", "ways"]

Ways = dict[Any, int]


def matches(columns: Columns, automaton: Automaton) -> list[bool]:
    """Whether the path of each node, from its root along first parents, matches.

    Raises SelectionError for a recipe or a condition that nothing in the tree has, with a caret under it.
    """
    begin, unknown, step_of = automaton.begin, automaton.below_unknown, automaton.step
    known: dict[int, dict[int, int]] = {0: {}}
    states: list[int] = []
    for parent, letters in zip(columns.above, _letters(columns, automaton), strict=True):
        if parent >= 0:
            before = states[parent]
            after = known[before].get(letters, -1)
            if after < 0:
                after = known[before][letters] = step_of(before, letters)
        elif parent == NO_PARENT:
            after = begin | step_of(begin, letters)
        else:
            after = step_of(unknown, letters)
        if after not in known:
            known[after] = {}
        states.append(after)
    final = automaton.final
    return [after & final != 0 for after in states]


def _letters(columns: Columns, automaton: Automaton) -> list[int]:
    """Of each node the steps that it fits, as bits."""
    names = columns.steps.values
    plain = [0] * len(names)
    asked: list[tuple[int, list[bool], list[tuple[list[int], list[bool]]]]] = []
    for at, step in enumerate(automaton.steps):
        fits = [step.fits(*name) for name in names]
        if not any(fits):
            _check_known(columns, automaton, step)
        if step.conditions:
            which = range(len(step.conditions))
            asked.append((1 << at, fits, [_condition(columns, automaton, step, one) for one in which]))
        else:
            plain = [bits | (fit << at) for bits, fit in zip(plain, fits, strict=True)]
    found = [plain[name] for name in columns.steps.tokens]
    for bit, fits, conditions in asked:
        places: Iterable[int] = [place for place, name in enumerate(columns.steps.tokens) if fits[name]]
        for tokens, flags in conditions:
            places = [place for place in places if flags[tokens[place]]]
        for place in places:
            found[place] |= bit
    return found


def _condition(
    columns: Columns, automaton: Automaton, step: StepPattern, which: int
) -> tuple[list[int], list[bool]]:
    condition = step.conditions[which]
    try:
        named = find(columns, condition.name)
    except SelectionError as error:
        raise refusal(automaton.source, condition.at, str(error)) from None
    column = named.own
    return column.tokens, column.flags(lambda value: condition.passes(number(value)))


def _check_known(columns: Columns, automaton: Automaton, step: StepPattern) -> None:
    """A name that nothing has is a slip; a moment that nothing has, or a glob, is an empty answer."""
    if step.is_glob or step.is_root:
        return
    there = sorted({name.recipe for name in columns.steps.values if name.kind != "root"})
    if step.name not in there:
        shown = ", ".join(shorten(name) for name in there[:40]) or "none at all"
        raise refusal(
            automaton.source,
            step.at,
            f"no node of this graph has the recipe {step.name!r}; there are: {shown}",
        )


def ways(
    columns: Columns,
    known: Ways,
    hidden: Mapping[str, Column] | Collection[str],
    without_code: bool = False,
) -> list[int]:
    """Of each node a number that two nodes share when all that leads to them is equal: recipes, moments, code
    and properties of it and of everything above it, through all parents. What isn't identity doesn't count.

    What is ``hidden`` doesn't count either: names of properties, or, for some edges only, columns that have a
    token where the property of that name is hidden. ``known`` gives numbers; trees that share it are
    compared.
    """
    columns_of = hidden if isinstance(hidden, Mapping) else {}
    found: list[int] = []
    texts: dict[tuple[int, tuple[str, ...]], Any] = {}
    own = {name: columns.own(name) for name in columns.property_names}
    for place, record in enumerate(columns.records):
        properties, measured = columns.properties[place], columns.measures[place]
        masked = tuple(
            name
            for name in properties
            if name in measured.ignored
            or (name in hidden and (not columns_of or columns_of[name].tokens[place] != ABSENT))
        )
        said = texts.get((id(properties), masked))
        if said is None:
            said = texts[id(properties), masked] = tuple(
                sorted((name, exactly(own[name].value(place))) for name in properties if name not in masked)
            )
        lineage = tuple(
            f"gone {key}" if above == MISSING else str(found[above])
            for key, above in zip(record.lineage, columns.all_above[place], strict=True)
        )
        code = "" if without_code else measured.code
        way = (record.kind, record.recipe, record.moment, code, said, masked, lineage)
        found.append(known.setdefault(way, len(known)))
    return found
