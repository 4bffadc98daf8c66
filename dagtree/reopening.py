"""What is needed to open an experiment again: the class of its states, and what lies beside its nodes."""

from __future__ import annotations

import contextlib
import importlib
import json
from collections.abc import Iterator
from typing import Any, Literal

from .definition.promise import ExperimentStatePromise
from .definition.state import ExperimentState
from .errors import CodeNotFoundError, DamagedError
from .identity.key import digest
from .storage.describe import describe
from .storage.known import ENDED, SAFE_POINTS
from .storage.record import Record
from .storage.scripts import from_value
from .storage.store import Store

__all__ = ["Beside", "kept_state_class", "missing_code", "planned"]


class Beside:
    """What is kept beside the nodes, each checked by its digest: environments, sources, what was printed.

    Raises DamagedError for what is gone, or is not what was written; the nodes themselves are whole then.
    """

    def __init__(self, store: Store, location: str) -> None:
        self._store = store
        self._location = location

    def output(self, key: str) -> str:
        """What the recipe printed; nothing when it printed nothing."""
        record = self._store.records().get(key)
        kept = record.more.get("output") if record is not None else None
        if not isinstance(kept, str):
            return ""
        content = self._store.read_file(key, "log.txt")
        return self._checked(content, kept, f"files/{key}/log.txt").decode(errors="replace")

    def environment(self, name: str) -> dict[str, Any]:
        """Where a node was computed."""
        return dict(json.loads(self._once("environments", name)))

    def sources(self, name: str) -> list[dict[str, Any]]:
        """The code that a node's key covers."""
        return list(json.loads(self._once("sources", name)))

    def verify(self) -> list[str]:
        """Warn of what is damaged, each thing once; in words, what that is."""
        import logging

        found: list[str] = []
        seen: set[tuple[object, object]] = set()
        for key, record in list(self._store.records().items()):
            more = record.more
            reads: tuple[tuple[Any, Any], ...] = (
                (self.environment, more.get("environment")),
                (self.sources, more.get("sources")),
                (self.output, key),
            )
            for read, name in reads:
                if name and (read, name) not in seen:
                    seen.add((read, name))
                    try:
                        read(name)
                    except (DamagedError, ValueError) as error:
                        logging.getLogger("dagtree").warning("damaged: %s", error)
                        found.append(str(error))
        from .storage.snapshot import unpack

        for name in self._store.safe_points():
            key, ended, _ = name.partition(ENDED)
            content = self._store.read_safe_point(key, ended=bool(ended))
            if content is not None and unpack(content) is None:
                found.append(f"{self._location}/{SAFE_POINTS}/{name} is not what was written, and isn't used")
                logging.getLogger("dagtree").warning("damaged: %s", found[-1])
        return found

    def _once(self, folder: Literal["environments", "sources"], name: str) -> bytes:
        return self._checked(self._store.read_once(folder, name), name, f"{folder}/{name}.json")

    def _checked(self, content: bytes | None, kept: str, where: str) -> bytes:
        if content is None or digest(content) != kept:
            what = "is gone" if content is None else "is not what was written"
            raise DamagedError(
                f"{self._location}/{where} {what}: what it says about nodes is lost, the nodes are not"
            )
        return content


def kept_state_class(store: Store, record: Record | None = None) -> type[ExperimentState]:
    """The class that the states were made with: imported, or as it was kept when no module has it."""
    records = [record] if record is not None else list(store.records().values())
    latest = max(records, key=lambda record: record.ended, default=None)
    facts = (latest.more.get("state") if latest is not None else None) or {}
    module, name, kept = facts.get("module", ""), facts.get("name", ""), facts.get("class")
    say = f"The states here are of class {module}.{name}"
    hint = "Give it: Experiment.restore(directory, state_class=…)."
    if kept is not None:
        content = store.read_once("sources", str(kept))
        if content is None or digest(content) != kept:
            raise CodeNotFoundError(f"{say}, and the copy that was kept of it is missing or damaged. {hint}")
        with missing_code(f"{say}, whose kept copy needs code that is not here", hint):
            found: Any = from_value(content, f"the class {name}")
    else:
        with missing_code(f"{say}, which can't be imported here", hint):
            found = importlib.import_module(module)
            for part in name.split("."):
                found = getattr(found, part)
    if not (isinstance(found, type) and issubclass(found, ExperimentState)):
        raise CodeNotFoundError(f"{say}, but that is no ExperimentState any more. {hint}")
    return found


@contextlib.contextmanager
def missing_code(what: str, hint: str) -> Iterator[None]:
    try:
        yield
    except (ImportError, AttributeError) as error:
        raise CodeNotFoundError(f"{what} ({type(error).__name__}: {error}). {hint}") from error


def planned(promise: ExperimentStatePromise, now: float) -> Record:
    """What is shown of a node that is defined and not kept."""
    properties = {name: describe(value) for name, value in promise.edge.properties.items()}
    record = Record.make(
        key=promise.key,
        address=promise.address,
        kind=promise.kind,
        recipe=promise.name,
        parents=promise.recorded_parents,
        tags=promise.tags,
        status="done",
        moment=promise.moment,
        position=promise.position,
        ended=0.0,
        more={"properties": properties, "code": promise.code.digest},
    )
    record.defined = now
    return record
