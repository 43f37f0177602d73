"""Whatever a file says, loading it gives a spec or a SpecError, and nothing else."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.strategies import DrawFn
from strategies import flava_specs

from flava_parts.document import parse
from flava_parts.errors import Problem, SpecError
from flava_parts.loading import load_any
from flava_parts.plugins import load_registry
from flava_parts.writing import to_yaml

REGISTRY = load_registry(entry_points=False)
EXAMPLES = int(os.environ.get("FLAVA_PARTS_FUZZ", "300"))
fuzz = settings(
    max_examples=EXAMPLES, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large]
)

SNIPPETS = st.sampled_from(
    [
        *"{}[]:,-&*!|>'\"%@`#?~=.\n\t 0\x00\x85\u2028\ufeff\ud7ffé",
        *("&a ", "*a", "!!python/object:os.system ", "<<: ", "base: ", "- ", "---\n", "...\n", ": "),
        *("1e999", "9" * 30, "0x" + "f" * 400, "null", "no", ".nan", "-.inf", "x" * 2000),
    ]
)
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats()
    | st.text(max_size=8)
    | st.sampled_from(["flava.vit", "flava.kmeans", "flava.base", "./gone.yaml", "acme.part", "", ".", "/"])
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["type", "base", "width", "image_size", "mim", "x", ""]) | st.text(max_size=3),
            inner,
            max_size=3,
        )
    ),
    max_leaves=6,
)
RUN = load_any(
    "model: {base: flava.tiny}\ndata: {streams: {pairs: {source: {type: flava.emoji}}}}\ntrain: {steps: 3}\n",
    registry=REGISTRY,
)


@contextmanager
def nothing_but_spec_errors() -> Iterator[None]:
    """Only SpecError may come out, with problems whose text can be printed."""
    problems: Sequence[Problem] | None = None
    try:
        yield
    except SpecError as error:
        problems = error.problems

    assert problems is None or "".join(map(str, problems)).encode("utf-8", errors="backslashreplace")


@st.composite
def mutated_texts(draw: DrawFn) -> str:
    """The YAML of a valid spec with pieces cut out, put in, or doubled."""
    text = to_yaml(draw(flava_specs() | st.just(RUN)))
    for _ in range(draw(st.integers(1, 4))):
        begin = draw(st.integers(0, len(text)))
        end = min(len(text), begin + draw(st.integers(0, 40)))
        piece = draw(SNIPPETS | st.text(max_size=6) | st.just(text[begin:end] * 2))
        text = text[:begin] + piece + text[end:]
    return text + "\n"


@st.composite
def mutated_trees(draw: DrawFn) -> Any:
    """The data of a valid spec with values replaced, renamed, added or dropped."""
    tree: dict[str, Any] = parse(to_yaml(draw(flava_specs() | st.just(RUN))), "m.yaml").plain()
    for _ in range(draw(st.integers(1, 4))):
        block: Any = tree
        while inner := [value for value in block.values() if isinstance(value, dict) and value]:
            if draw(st.booleans()):
                break
            block = draw(st.sampled_from(inner))
        name = draw(st.sampled_from(sorted(block)) if block else st.just("x"))
        match draw(st.sampled_from(["replace", "add", "drop", "rename"])):
            case "replace":
                block[name] = draw(VALUES)
            case "add":
                block[draw(st.text(max_size=5) | st.sampled_from(["base", "type", "model"]))] = draw(VALUES)
            case "drop":
                block.pop(name, None)
            case _:
                block[name[:-1]] = block.pop(name, None)
    return tree


@fuzz
@given(mutated_texts())
def test_mutated_texts(text: str) -> None:
    """Broken text."""
    with nothing_but_spec_errors():
        load_any(text, registry=REGISTRY)


@fuzz
@given(mutated_trees())
def test_mutated_trees(tree: Any) -> None:
    """Good YAML that says wrong things."""
    with nothing_but_spec_errors():
        load_any(tree, registry=REGISTRY)


@fuzz
@given(st.binary(max_size=60) | st.text(max_size=60))
def test_anything(text: str | bytes) -> None:
    """Text that was never a spec."""
    with nothing_but_spec_errors():
        parse(text, "m.yaml")


CHANGES = st.text(alphabet="abmodel.image_encoder=0123[]{}:, &*!\n", max_size=30) | st.sampled_from(
    ["image_encoder.depth=3", "base=flava.base", "losses.mim=null", "a=b", "image_encoder.type=flava.dvae"]
)


@fuzz
@given(st.lists(CHANGES, max_size=4))
def test_changes(changes: list[str]) -> None:
    """Whatever `--set` is given."""
    with nothing_but_spec_errors():
        load_any("flava.tiny", registry=REGISTRY, set=changes)
