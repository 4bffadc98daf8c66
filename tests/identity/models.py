"""Models for the tests of values, of attrs and of pydantic, both of which are optional."""

from __future__ import annotations

import typing

import attrs
import pydantic


@attrs.define
class Layer:
    width: int
    weights: list[int] = attrs.field(factory=list)


@attrs.frozen
class Fixed:
    width: int
    depth: int = attrs.field(default=3, validator=attrs.validators.gt(2))

    def area(self) -> int:
        return self.width * self.depth


class Settings(pydantic.BaseModel):
    lr: float = 0.1
    layers: list[int] = []


class Nested(pydantic.BaseModel):
    inner: Settings
    kind: typing.Literal["a", "b"] = "a"
    names: set[str] = {"x", "y", "z"}
    children: list[Nested] = []

    @pydantic.field_validator("kind")
    @classmethod
    def check(cls, value: str) -> str:
        return value

    @pydantic.computed_field  # type: ignore[prop-decorator]
    @property
    def double(self) -> float:
        return self.inner.lr * 2


class Open(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(extra="allow")
    a: int
    _seen: int = pydantic.PrivateAttr(default=0)


class Root(pydantic.RootModel[list[int]]):
    pass


@pydantic.dataclasses.dataclass
class Checked:
    x: int = 3
