"""The history of a tree as W3C PROV: states are entities, runs of recipes activities, people and
hosts agents.

Source: PROV-DM and PROV-O, W3C Recommendations of 30 April 2013; serialized by the `prov` library.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from ..identity.key import digest
from ..version import VERSION
from .deeds import Deed, deeds_of, json_text
from .extras import needed
from .text import visible

if TYPE_CHECKING:
    from .node import Node

__all__ = ["prov_document"]

NAMESPACE = "urn:dagtree:"


def prov_document(nodes: Iterable[Node]) -> Any:
    """A `prov.model.ProvDocument` about these nodes. Raises NotInstalledError where `prov` isn't
    installed."""
    return _Writer(needed("prov.model", "PROV documents", "provenance")).document(list(nodes))


class _Writer:
    def __init__(self, model: Any) -> None:
        self._model = model
        self._made = model.ProvDocument()
        self._made.add_namespace("dagtree", NAMESPACE)
        self._seen: set[str] = set()

    def document(self, nodes: list[Node]) -> Any:
        known = {node.key: node for node in nodes}
        self._made.agent(
            "dagtree:library",
            {
                "prov:type": self._made.valid_qualified_name("prov:SoftwareAgent"),
                "prov:label": f"dagtree {VERSION}",
            },
        )
        for deed in deeds_of(nodes):
            self._deed(deed, known)
        return self._made

    def _deed(self, deed: Deed, known: Mapping[str, Node]) -> None:
        made, activity = self._made, f"dagtree:run-{deed.key}"
        facts: dict[str, Any] = {"prov:label": visible(deed.node.label), "prov:type": f"dagtree:{deed.name}"}
        facts |= {
            f"dagtree:property_{_local(name)}": _text(value) for name, value in deed.node.properties.items()
        }
        device = deed.node.record.more.get("device")
        facts |= {"dagtree:device": device} if isinstance(device, str) else {}
        if deed.is_failed:
            facts["dagtree:error"] = _text((deed.node.error or {}).get("message", "failed"))
        made.activity(activity, _time(deed.started), _time(deed.ended), facts)
        for key in dict.fromkeys(deed.used):
            self._state(key, known.get(key))
            made.used(activity, f"dagtree:state-{key}", _time(deed.started))
        for node in deed.made:
            if node.status == "failed":
                continue
            self._state(node.key, node)
            made.wasGeneratedBy(f"dagtree:state-{node.key}", activity, _time(node.record.ended))
            for key in dict.fromkeys(deed.used):
                made.wasDerivedFrom(f"dagtree:state-{node.key}", f"dagtree:state-{key}", activity)
        self._agents(deed, activity)

    def _state(self, key: str, node: Node | None) -> None:
        if not self._is_new(f"state-{key}"):
            return
        facts: dict[str, Any] = {"prov:type": "dagtree:State", "dagtree:key": key}
        if node is not None:
            facts |= {"prov:label": visible(node.label), "dagtree:status": node.status}
            facts |= {"dagtree:tags": _text(list(node.tags))} if node.tags else {}
            facts |= {f"dagtree:metric_{_local(name)}": _text(value) for name, value in node.metrics.items()}
            facts |= {f"dagtree:result_{_local(name)}": _text(value) for name, value in node.results.items()}
        self._made.entity(f"dagtree:state-{key}", facts)

    def _agents(self, deed: Deed, activity: str) -> None:
        plan = f"dagtree:code-{deed.code}" if deed.code else None
        if plan and self._is_new(plan):
            kind = self._made.valid_qualified_name("prov:Plan")
            self._made.entity(plan, {"prov:type": kind, "prov:label": f"the code of {visible(deed.name)}"})
        self._made.wasAssociatedWith(activity, "dagtree:library", plan)
        host, user, git = (deed.environment.get(name) for name in ("host", "user", "git"))
        if isinstance(host, str) and host:
            agent = f"dagtree:host-{_digest(host)}"
            if self._is_new(agent):
                facts = {
                    f"dagtree:{name}": str(deed.environment[name])
                    for name in ("platform", "machine", "python")
                    if name in deed.environment
                }
                self._made.agent(agent, {"prov:type": "dagtree:Host", "prov:label": visible(host), **facts})
            self._made.wasAssociatedWith(activity, agent, plan)
            if isinstance(user, str) and user:
                person = f"dagtree:person-{_digest(user)}"
                if self._is_new(person):
                    kind = self._made.valid_qualified_name("prov:Person")
                    self._made.agent(person, {"prov:type": kind, "prov:label": visible(user)})
                self._made.wasAssociatedWith(activity, person, plan)
                self._made.actedOnBehalfOf(agent, person, activity)
        if isinstance(git, dict) and git.get("commit"):
            commit = f"dagtree:commit-{_local(str(git['commit']))}"
            if self._is_new(commit):
                self._made.entity(commit, {"prov:type": "dagtree:Commit", "prov:label": str(git["commit"])})
            self._made.used(activity, commit)

    def _is_new(self, name: str) -> bool:
        is_new = name not in self._seen
        self._seen.add(name)
        return is_new


def _time(seconds: float | None) -> datetime | None:
    return None if not seconds else datetime.fromtimestamp(seconds, UTC)


def _digest(text: str) -> str:
    return digest(text.encode("utf-8", "surrogatepass"))[:12]


def _local(name: str) -> str:
    """A name that any serialization of PROV takes."""
    return "".join(one if one.isascii() and (one.isalnum() or one == "_") else "_" for one in name) or "_"


def _text(value: Any) -> Any:
    """Numbers and texts as they are, all else as JSON or as it would be written."""
    if isinstance(value, bool | int | float):
        return value if not isinstance(value, int) or abs(value) < 2**63 else str(value)
    if isinstance(value, str):
        return visible(value)
    return json_text(value)
