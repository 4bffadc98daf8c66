"""A tree as an RO-Crate: its history as actions, its code, and the experiment itself, to be published.

Source: RO-Crate 1.1, with the profiles Process Run Crate and Workflow Run Crate 0.5
(https://www.researchobject.org/workflow-run-crate/); written by the `rocrate` library.
"""

from __future__ import annotations

import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..identity.key import digest
from ..version import VERSION
from .deeds import Deed, deeds_of, iso_time, json_text
from .extras import needed
from .listing import code_listing, tree_listing
from .text import visible

if TYPE_CHECKING:
    from .node import Node

__all__ = ["TREE", "write_crate"]

TREE = "tree/"
"""Where in the crate the experiment lies."""
_PROFILES = {
    "https://w3id.org/ro/wfrun/process/0.5": ("Process Run Crate", "0.5"),
    "https://w3id.org/ro/wfrun/workflow/0.5": ("Workflow Run Crate", "0.5"),
    "https://w3id.org/workflowhub/workflow-ro-crate/1.0": ("Workflow RO-Crate", "1.0"),
}
_WORKFLOW = "code/tree.py"


def write_crate(nodes: Sequence[Node], directory: Path, about: Mapping[str, str]) -> None:
    """Write everything but the experiment itself. ``about`` has the crate's name and description, and perhaps
    author and license. Raises NotInstalledError where `rocrate` isn't installed."""
    _Crate(nodes, about).crate.write(directory)


class _Crate:
    def __init__(self, nodes: Sequence[Node], about: Mapping[str, str]) -> None:
        self._entity = needed("rocrate.model.contextentity", "crates", "provenance").ContextEntity
        self.crate = needed("rocrate.rocrate", "crates", "provenance").ROCrate(version="1.1")
        self.crate.name, self.crate.description = about["name"], about["description"]
        if about.get("license"):
            self.crate.license = about["license"]
        self._author = None
        if about.get("author"):
            self._author = self._add(f"#person-{_id(about['author'])}", "Person", name=about["author"])
            self.crate.root_dataset["author"] = self._author
        self._deeds = deeds_of(nodes)
        self._states: dict[str, Any] = {}
        self._codes: dict[str, Any] = {}
        self._hosts: dict[str, Any] = {}
        self._people: dict[str, Any] = {}
        self._environments: dict[int, Any] = {}
        self._fill(about["name"])

    def _add(self, at: str, kind: str | list[str], **facts: Any) -> Any:
        facts = {key: value for key, value in facts.items() if value is not None}
        return self.crate.add(self._entity(self.crate, at, properties={"@type": kind, **facts}))

    def _fill(self, title: str) -> None:
        crate = self.crate
        profiles = [
            self._add(url, "CreativeWork", name=name, version=version)
            for url, (name, version) in _PROFILES.items()
        ]
        crate.root_dataset["conformsTo"] = profiles
        python = self._add(
            "https://w3id.org/workflowhub/workflow-ro-crate#python",
            "ComputerLanguage",
            name="Python",
            url="https://www.python.org/",
        )
        engine = self._add("#dagtree", "SoftwareApplication", name="dagtree", softwareVersion=VERSION)
        workflow = crate.add_file(
            io.StringIO(tree_listing(self._deeds, title)),
            _WORKFLOW,
            properties={
                "@type": ["File", "SoftwareSourceCode", "ComputationalWorkflow"],
                "name": f"the tree of {title}",
                "encodingFormat": "text/x-python",
            },
        )
        workflow["programmingLanguage"] = python
        workflow["softwareRequirements"] = engine
        crate.mainEntity = workflow
        tree = crate.add_dataset(
            dest_path=TREE,
            properties={
                "name": "the experiment",
                "description": "Records, code and states: dagtree.Experiment.restore(…) opens it.",
            },
        )
        runs = [self._deed(deed) for deed in self._deeds]
        ends = {key for deed in self._deeds for key in deed.used}
        leaves = [self._states[key] for key in self._states if key not in ends]
        whole = self._add(
            "#run",
            "CreateAction",
            name=f"the run of the tree of {title}",
            instrument=workflow,
            object=[],
            result=[tree, *leaves],
            startTime=iso_time(min((one.started for one in self._deeds if one.started), default=None)),
            endTime=iso_time(max((one.ended for one in self._deeds if one.ended), default=None)),
            agent=self._author or next(iter(self._people.values()), None),
            actionStatus=_status(any(deed.is_failed for deed in self._deeds)),
        )
        workflow["hasPart"] = list(self._codes.values())
        crate.root_dataset["mentions"] = [whole, *runs]

    def _deed(self, deed: Deed) -> Any:
        node = deed.node
        given = [
            self._add(f"#{deed.key}/{_id(name)}", "PropertyValue", name=visible(name), value=_value(value))
            for name, value in node.properties.items()
        ]
        failure = (node.error or {}).get("message") if deed.is_failed else None
        return self._add(
            f"#run-{deed.key}",
            "CreateAction",
            name=visible(node.label),
            instrument=self._code(deed),
            object=[*(self._state(key) for key in dict.fromkeys(deed.used)), *given],
            result=[self._made(made) for made in deed.made if made.status != "failed"],
            startTime=iso_time(deed.started),
            endTime=iso_time(deed.ended),
            agent=self._person(deed),
            location=self._host(deed),
            environment=self._environment(deed),
            actionStatus=_status(deed.is_failed),
            error=visible(str(failure)) if failure else None,
        )

    def _state(self, key: str) -> Any:
        if key not in self._states:
            self._states[key] = self._add(f"#state-{key}", "CreativeWork", identifier=key)
            self._states[key]["isPartOf"] = self.crate.get(TREE)
        return self._states[key]

    def _made(self, node: Node) -> Any:
        state = self._state(node.key)
        state["name"] = visible(f"the state after {node.label}")
        state["creativeWorkStatus"] = node.status
        if node.tags:
            state["keywords"] = ", ".join(map(visible, node.tags))
        measured = {**node.metrics, **node.results}
        values = [
            self._add(
                f"#state-{node.key}/{_id(name)}", "PropertyValue", name=visible(name), value=_value(value)
            )
            for name, value in measured.items()
        ]
        if values:
            state["additionalProperty"] = values
        return state

    def _code(self, deed: Deed) -> Any:
        name = deed.code or f"unknown-{_id(deed.name)}"
        if name not in self._codes:
            file = f"code/{_id(deed.name)}-{name[:12]}.py"
            self._codes[name] = self.crate.add_file(
                io.StringIO(code_listing(deed.node)),
                file,
                properties={
                    "@type": ["File", "SoftwareSourceCode"],
                    "name": visible(deed.name),
                    "identifier": name,
                    "encodingFormat": "text/x-python",
                },
            )
        return self._codes[name]

    def _environment(self, deed: Deed) -> Any | None:
        facts = deed.environment
        if not facts:
            return None
        if id(facts) not in self._environments:  # deeds share them, and outlive this
            content = json.dumps(facts, indent=1, sort_keys=True)
            name = digest(content.encode())[:12]
            self._environments[id(facts)] = self.crate.add_file(
                io.StringIO(content),
                f"environments/{name}.json",
                properties={
                    "name": "host, Python, packages and commit",
                    "encodingFormat": "application/json",
                },
            )
        return self._environments[id(facts)]

    def _host(self, deed: Deed) -> Any | None:
        host = deed.environment.get("host")
        if not isinstance(host, str) or not host:
            return None
        if host not in self._hosts:
            about = str(deed.environment.get("platform", ""))
            self._hosts[host] = self._add(
                f"#host-{_id(host)}", "Place", name=visible(host), description=about
            )
        return self._hosts[host]

    def _person(self, deed: Deed) -> Any | None:
        user = deed.environment.get("user")
        if self._author is not None or not isinstance(user, str) or not user:
            return self._author
        if user not in self._people:
            self._people[user] = self._add(f"#person-{_id(user)}", "Person", name=visible(user))
        return self._people[user]


def _status(is_failed: bool) -> str:
    return f"http://schema.org/{'Failed' if is_failed else 'Completed'}ActionStatus"


def _id(text: str) -> str:
    """A part of an identifier or file name: letters and digits, all else told apart by a digest."""
    kept = "".join(one for one in text if one.isascii() and (one.isalnum() or one in "_-"))[:40]
    return kept if kept == text else f"{kept}-{digest(text.encode('utf-8', 'surrogatepass'))[:8]}".lstrip("-")


def _value(value: Any) -> Any:
    if value is None or isinstance(value, bool | int):
        return value
    if isinstance(value, float):
        return value if value == value and abs(value) != float("inf") else str(value)
    if isinstance(value, str):
        return visible(value)
    return json_text(value)
