"""How a node was made, in plain words, for a paper's appendix."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from ..errors import DamagedError
from .deeds import Deed, deeds_of, iso_time
from .facts import measures
from .text import duration_text, number_text, shorten, value_text

if TYPE_CHECKING:
    from .node import Node

__all__ = ["cite"]

_PACKAGES = ("dagtree", "torch", "numpy", "scipy", "scikit-learn", "pandas", "jax", "tensorflow")
_SHOWN = 12


def cite(node: Node, ancestors: Iterable[Node]) -> str:
    """The node's history as numbered steps, then where they ran, with which versions and data."""
    deeds = deeds_of([*ancestors, node])
    numbers = {made.key: (place, made.moment) for place, deed in enumerate(deeds, 1) for made in deed.made}
    steps = f"{len(deeds)} step{'s' * (len(deeds) != 1)}, computed by dagtree"
    if node.key in numbers and node.status != "failed":
        said = f"State {node.key} was made in {steps}."
    else:
        said = f"State {node.key}, {node.label}, is {node.status}. What it comes from was made in {steps}."
    lines = [said, "Each step is identified by its code, its properties and its parents:", ""]
    for place, deed in enumerate(deeds, 1):
        lines.append(f"{place:>3}. {_step(deed, numbers, node)}")
    lines += ["", *_places(deeds), *_data(deeds)]
    measured = _measured(node)
    if measured:
        lines.append(f"Measured at this state: {measured}.")
    return "\n".join(lines).rstrip() + "\n"


def _said(key: str, numbers: Mapping[str, tuple[int, int | None]]) -> str:
    """What a step was applied to: a step, a moment of one, or a state of which nothing is known."""
    if key not in numbers:
        return f"state {key}"
    step, moment = numbers[key]
    return f"step {step}" if moment is None else f"step {step} after moment {moment}"


def _step(deed: Deed, numbers: Mapping[str, tuple[int, int | None]], cited: Node) -> str:
    node = deed.node
    given = ", ".join(
        f"{shorten(name, 60)} = {value_text(value, 200)}" for name, value in node.properties.items()
    )
    name = shorten(deed.name, 80)
    if node.kind == "root":
        text = f"{name} was initialised" + (f" with {given}" if given else "")
    else:
        parents = [_said(key, numbers) for key in deed.used]
        text = f"{name}" + (f" ({given})" if given else "") + f" was applied to {_list(parents)}"
    moments = [made.moment for made in deed.made if made.moment is not None]
    if cited in deed.made and cited.moment is not None:
        text += f"; this is its state after moment {cited.moment}"
    elif moments and node.moment is not None:
        text += f", as far as moment {max(moments)}"
    elif node.history:
        text += f", in {len(node.history)} moments"
    when, took = iso_time(deed.ended), duration_text(node.seconds)
    text += f"; computed {when}" if when else ""
    text += f" in {took}" if took else ""
    text += f"; key {node.key}" + (f", code {deed.code}" if deed.code else "")
    accepted = node.accepted
    if accepted:
        text += (
            f"; accepted in place of {accepted.get('from')}, which older code made ({accepted.get('how')})"
        )
    return text + "."


def _list(parts: list[str]) -> str:
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}" if parts else "nothing"


def _places(deeds: list[Deed]) -> list[str]:
    """A sentence for each place where steps ran."""
    found: dict[str, list[int]] = {}
    for place, deed in enumerate(deeds, 1):
        found.setdefault(_place(deed), []).append(place)
    if len(found) == 1:
        return [f"All of it ran on {next(iter(found))}."]
    return [
        f"{f'Steps {_ranges(places)}' if len(places) > 1 else f'Step {places[0]}'} ran on {where}."
        for where, places in found.items()
    ]


def _place(deed: Deed) -> str:
    known = deed.environment
    if not known:
        return "a machine of which nothing is kept"
    parts = [f"{known.get('host', 'an unnamed host')} ({known.get('platform', 'unknown system')})"]
    device = deed.node.record.more.get("device")
    parts += [f"device {device}"] if isinstance(device, str) else []
    parts.append(f"{known.get('implementation', 'Python')} {known.get('python', '')}".strip())
    packages = known.get("packages")
    versions = packages if isinstance(packages, dict) else {}
    versions = {"dagtree": known.get("dagtree"), **versions}
    parts += [f"{name} {versions[name]}" for name in _PACKAGES if versions.get(name)]
    git = known.get("git")
    if isinstance(git, dict) and git.get("commit"):
        changed = " with uncommitted changes" if git.get("dirty") else ""
        parts.append(f"git commit {git['commit']}{changed}")
    return ", ".join(shorten(part, 200) for part in parts)


def _ranges(places: list[int]) -> str:
    groups: list[list[int]] = []
    for place in places:
        if groups and groups[-1][-1] == place - 1:
            groups[-1].append(place)
        else:
            groups.append([place])
    return _list([str(group[0]) if len(group) == 1 else f"{group[0]}–{group[-1]}" for group in groups])


def _data(deeds: list[Deed]) -> list[str]:
    """Files and other data that the keys cover, by content."""
    found: dict[str, None] = {}
    for deed in deeds:
        try:
            sources = deed.node.sources
        except DamagedError:
            continue
        for entry in sources:
            if isinstance(entry, Mapping) and entry.get("kind") in ("file", "data"):
                found.setdefault(
                    f"{shorten(str(entry.get('name')), 120)} (xxh3-128 {entry.get('digest', '?')})"
                )
    names = list(found)
    if not names:
        return []
    more = f", and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return [f"Data that the keys cover by content: {', '.join(names[:_SHOWN])}{more}."]


def _measured(node: Node) -> str:
    values = measures(node, 60)[:_SHOWN]
    return ", ".join(f"{name} {number_text(value)}" for name, value in values)
