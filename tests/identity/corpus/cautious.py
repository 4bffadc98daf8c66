"""Edits that change keys though no result changes, by name, and what might be meant instead.

Decided so: a library may call a method by name or go through a table, and a wrong hit is worse than a step
computed twice. docs/identity.md says it to users, benchmarks/identity.md counts it as false misses.
"""

CAUTIOUS: dict[str, str] = {}


def _because(reason: str, *names: str) -> None:
    CAUTIOUS.update(dict.fromkeys(names, reason))


_because(
    "a library may call any method of what it is given: a class that is neither the recipe's nor the state's "
    "counts with all of its members",
    "an attribute that nobody reads",
    "a method of a layer that nobody calls",
    "a method added to a layer",
    "an attribute that another hides",
)
_because(
    "operators and libraries call special methods without naming them: the state's count for every edge",
    "a special method that one step uses",
)
_because(
    "whose attribute x.title is can't be told from the text: the state's counts too",
    "an attribute that a mixin reads",
    "an unused method whose name a helper has too",
)
_because("code may go through a dict, and meets its entries in their order", "the order of a table")
_because(
    "which entry of a constant is taken is decided when code runs: it counts whole",
    "an entry of a table that nobody takes",
    "an attribute of an object that nobody reads",
)
