"""Edits at which dagtree is known to be wrong, by name, and why; a test fails once it is right."""

KNOWN_WRONG: dict[str, str] = {}


def _known(reason: str, *names: str) -> None:
    KNOWN_WRONG.update(dict.fromkeys(names, reason))


_known(
    "a class that is neither the recipe's nor the state's counts with all of its members",
    "an attribute that nobody reads",
    "a method of a layer that nobody calls",
    "a method added to a layer",
    "an attribute that another hides",
)
_known(
    "operators can't be seen: a state's special methods count for every edge",
    "a special method that one step uses",
)
_known(
    "whose attribute x.title is can't be seen, so the state's counts too",
    "an attribute that a mixin reads",
    "an unused method whose name a helper has too",
)
_known("the order of a dict counts, since code may go through it", "the order of a table")
_known(
    "a constant counts whole",
    "an entry of a table that nobody takes",
    "an attribute of an object that nobody reads",
)
