"""The spec of a part, and the slot of a larger spec that any registered part of a kind can fill."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, TypeVar, cast

from pydantic import BaseModel, ConfigDict, GetCoreSchemaHandler
from pydantic_core import PydanticCustomError, core_schema

if TYPE_CHECKING:
    from .errors import Problem
    from .facts import Provided, Stream
    from .registry import Registry
    from .wiring import Wiring

REGISTRY = "registry"
"""The key under which a registry travels in pydantic's validation context."""


class Spec(BaseModel):
    """Frozen data that forbids unknown fields and never turns one type into another."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", strict=True, allow_inf_nan=False, use_attribute_docstrings=True
    )


def fault(field: str, message: str) -> PydanticCustomError:
    """The error a validator raises about one field of its spec, so that it is reported at that field."""
    return PydanticCustomError("fault", "{message}", {"field": field, "message": message})


class PartSpec(Spec):
    """The torch-free face of one part: its ``type`` name, its choices, and the facts that follow from them.

    A subclass names itself once, ``type: Literal["acme.swin"] = "acme.swin"``, repeats the names and defaults of its
    implementation's constructor as fields, and imports that implementation inside ``build`` only.
    """

    kind: ClassVar[str] = ""
    """The slot family that this part can fill, set by the abstract spec of the kind."""

    @classmethod
    def type_name(cls) -> str:
        """The registered name, ``<namespace>.<part>``."""
        return str(cls.model_fields["type"].default)

    def arguments(self) -> dict[str, Any]:
        """The fields without ``type``: keyword arguments for the implementation's constructor."""
        return {name: getattr(self, name) for name in type(self).model_fields if name != "type"}

    @property
    def streams(self) -> Mapping[Stream, Provided]:
        """Streams that an encoder or fusion provides besides FLAVA's own; none by default."""
        return {}

    def problems(self, wiring: Wiring) -> Iterable[Problem]:
        """Rules between this part and the others that are this part's own business; none by default.

        A problem's ``loc`` is relative to this part.
        """
        return ()


class _Slot:
    """The marker that opens a field to every registered part of a kind."""

    def __init__(self, base: type[PartSpec]) -> None:
        self.base = base

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> core_schema.CoreSchema:
        def validate(value: Any, info: core_schema.ValidationInfo) -> PartSpec:
            if isinstance(value, self.base):
                return value
            if not isinstance(value, dict):
                raise PydanticCustomError(
                    "part_block",
                    "a {kind} is a block with a type, not {value}",
                    {"kind": self.base.kind, "value": repr(value)},
                )
            block = cast(dict[str, Any], value)
            context = cast(dict[str, Any], info.context or {})
            registry: Registry = context.get(REGISTRY) or _default_registry()
            name = block.get("type")
            if name is None:
                raise PydanticCustomError("part_type_missing", "a {kind} needs a type", {"kind": self.base.kind})
            spec = registry.get(name, kind=self.base.kind) if isinstance(name, str) else None
            if spec is None:
                raise PydanticCustomError(
                    "part_type", "no {kind} named {name}", {"kind": self.base.kind, "name": repr(name), "type": name}
                )
            return spec.model_validate(block, context=info.context)

        def placeholder(_schema: object, _handler: object) -> dict[str, Any]:
            return {"$slot": self.base.kind}

        def serialize(value: PartSpec) -> dict[str, Any]:
            return value.model_dump(mode="json")

        return core_schema.with_info_plain_validator_function(
            validate,
            serialization=core_schema.plain_serializer_function_ser_schema(serialize, when_used="always"),
            metadata={"pydantic_js_functions": [placeholder]},
        )


def _default_registry() -> Registry:
    from .plugins import default_registry

    return default_registry()


if TYPE_CHECKING:
    _P = TypeVar("_P", bound=PartSpec)
    Slot = Annotated[_P, "slot"]
else:

    class Slot:
        """``Slot[ImageEncoderSpec]``: any registered image encoder. Reads as ``ImageEncoderSpec`` to a type checker."""

        def __class_getitem__(cls, base: type[PartSpec]) -> Any:
            return Annotated[base, _Slot(base)]
