"""A bench: a part, what the parts around it give to it, and the laws of its kind. The laws of every part."""

from __future__ import annotations

import inspect
import json
import os
import pickle
import subprocess
import sys
from collections.abc import Callable
from functools import cached_property, lru_cache
from typing import Any, ClassVar

import torch

from ..layers.initialize import making_on
from ..part import PartSpec
from ..spec import FlavaSpec
from .law import ExemptError, Law, LawError, law, one_line
from .model import small_model

HEAVY = ("torch", "torchvision", "transformers", "timm", "tensorflow", "jax")


class Bench:
    """A part of one kind on the bench; a subclass says what its kind's ``build`` is given, and which laws it keeps.

    ``constructor`` is what takes the spec's fields as keywords; the class of the built part if not given. ``model``
    is the model around the part, a small FLAVA if not given.
    """

    kind: ClassVar[str]
    laws: ClassVar[tuple[Law, ...]] = ()

    def __init__(
        self, spec: PartSpec, *, constructor: Callable[..., Any] | None = None, model: FlavaSpec | None = None
    ) -> None:
        self.spec: Any = spec
        self.constructor = constructor
        self.model = model or small_model()

    def given(self) -> dict[str, Any]:
        """What ``build`` is given by the parts around this one."""
        return {}

    def build(self, device: str = "cpu", seed: int = 0) -> Any:
        """The part, its weights drawn from torch's default generator after ``seed``."""
        with torch.random.fork_rng(devices=[]), making_on(device):
            torch.manual_seed(seed)
            return self.spec.build(**self.given())

    @cached_property
    def part(self) -> Any:
        """The part, built once."""
        return self.build()

    def equal(self, one: Any, other: Any) -> bool:
        """Whether two parts, of which one was made from the other's pickle, do the same."""
        return type(one) is type(other)


@law("write a docstring below the class, and one below each field: editors and `flava-parts parts` show them")
def described(bench: Bench) -> None:
    """The part and each of its fields say what they are."""
    spec = type(bench.spec)
    silent = [name for name, field in spec.model_fields.items() if name != "type" and not field.description]
    if not (spec.__doc__ or "").strip():
        silent.insert(0, spec.__name__)
    if silent:
        raise LawError(f"{', '.join(silent)} without a description")


@law("give fields types that JSON can hold and that validate to themselves")
def round_trip(bench: Bench) -> None:
    """A spec that is written out and read again is the same."""
    data = json.loads(json.dumps(bench.spec.model_dump(mode="json")))
    again = type(bench.spec).model_validate(data)
    if again != bench.spec:
        raise LawError(f"{bench.spec!r} comes back as {again!r}")


@law("define the part and what it holds at the top of a module: no lambdas, local classes, open files or locks in it")
def pickles(bench: Bench) -> None:
    """Spec and part reach another process by pickle, unchanged."""
    if pickle.loads(pickle.dumps(bench.spec)) != bench.spec:
        raise LawError("the spec comes back as another")
    again = pickle.loads(pickle.dumps(bench.part))
    if not bench.equal(bench.part, again):
        raise LawError("the part comes back and does something else")


@law("repeat the fields in the constructor: the same names as keywords, with the same defaults, and nothing besides")
def constructor(bench: Bench) -> None:
    """The part's constructor has the spec's names and defaults, and besides them exactly what ``build`` is given."""
    called = bench.constructor or _constructor_of(bench)
    parameters = {name: each for name, each in inspect.signature(called).parameters.items() if name != "self"}
    fields = {name: field for name, field in type(bench.spec).model_fields.items() if name != "type"}
    if missing := sorted(set(fields) - set(parameters)):
        raise LawError(f"the constructor does not take {', '.join(missing)}")
    if loose := [name for name, each in parameters.items() if each.kind is not inspect.Parameter.KEYWORD_ONLY]:
        raise LawError(f"{', '.join(loose)} can be given by position", "put a * before the constructor's parameters")
    for name, each in parameters.items():
        if name not in fields:
            if each.default is not inspect.Parameter.empty:
                raise LawError(f"the constructor has {name} = {each.default!r}, which is no field of the spec")
            continue
        field = fields[name]
        default = inspect.Parameter.empty if field.is_required() else field.default
        if default != each.default:
            raise LawError(f"{name} is {_shown(default)} in the spec and {_shown(each.default)} in the constructor")


def _constructor_of(bench: Bench) -> Callable[..., Any]:
    made = type(bench.build("meta"))
    home = type(bench.spec).__module__.partition(".")[0]
    if made.__module__.partition(".")[0] != home:
        raise ExemptError(f"build returns {made.__module__}.{made.__qualname__}, another package's object")
    return made.__init__ if made.__init__ is not object.__init__ else _nothing


def _nothing() -> None:
    """The constructor of a class that has none of its own."""


def _shown(default: object) -> str:
    return "without a default" if default is inspect.Parameter.empty else repr(default)


@law("import the implementation, and whatever is heavy, inside `build` only")
def torch_free(bench: Bench) -> None:
    """Neither importing the spec nor asking it for its facts imports torch."""
    spec = type(bench.spec)
    home = sys.modules.get(spec.__module__)
    if spec.__module__ == "__main__" or getattr(home, "__spec__", None) is None:
        raise ExemptError(f"{spec.__module__} cannot be imported by its name")
    loaded = _loaded_by(spec.__module__, spec.__qualname__, bench.spec.model_dump_json())
    if loaded:
        raise LawError(f"{loaded} imported with {spec.__module__}.{spec.__qualname__}")


_PROBE = f"""
import importlib, inspect, sys
module, name, data = sys.argv[1:]
spec = importlib.import_module(module)
for each in name.split("."):
    spec = getattr(spec, each)
part = spec.model_validate_json(data)
for fact, value in inspect.getmembers(spec, lambda value: isinstance(value, property)):
    if not fact.startswith(("_", "model_")):
        getattr(part, fact)
print(", ".join(heavy for heavy in {HEAVY!r} if heavy in sys.modules))
"""


@lru_cache
def _loaded_by(module: str, name: str, data: str) -> str:
    """The heavy packages that a fresh process has loaded after importing a spec and asking for its facts."""
    paths = os.pathsep.join(path for path in sys.path if path)
    done = subprocess.run(
        [sys.executable, "-c", _PROBE, module, name, data],
        capture_output=True,
        text=True,
        timeout=120,
        env={**os.environ, "PYTHONPATH": paths},
    )
    if done.returncode:
        raise LawError(f"a fresh process cannot import it: {' '.join(done.stderr.split())[-300:]}")
    return done.stdout.strip()


@law("let `build` take exactly what its kind's `build` is given, by keyword")
def builds(bench: Bench) -> None:
    """The spec builds its part from what its kind's ``build`` is given."""
    assert bench.part is not None


EVERY_PART = (described, round_trip, torch_free, builds, constructor, pickles)
"""The laws of parts of every kind."""


def raised(call: Callable[[], Any]) -> str | None:
    """What a call raises, in a line; none if nothing."""
    try:
        call()
    except Exception as error:  # whatever a part raises is what is wrong with it
        return one_line(error)
    return None
