"""YAML to data with places: what is refused, where, how fast; and what scalars mean."""

from __future__ import annotations

import math
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flava_parts.document import Node, node_of, parse, scalar
from flava_parts.errors import SpecError
from flava_parts.loading import load_spec


def problems_of(text: str | bytes) -> list[str]:
    """What is wrong with a document called m.yaml."""
    with pytest.raises(SpecError) as caught:
        parse(text, "m.yaml")
    return [str(problem) for problem in caught.value.problems]


BOMB = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 8)
)

REFUSED: dict[str, tuple[str | bytes, str]] = {
    "alias bomb": (BOMB, "m.yaml:5:10: a4.0: aliases stand for more than 10,000 values"),
    "duplicate key": ("a:\n  b: 1\n  b: 2\n", "m.yaml:3:3: a.b: is given twice (see m.yaml:2:3 a.b)"),
    "duplicate key that is quoted": ('a: 1\n"a": 2\n', "m.yaml:2:1: a: is given twice (see m.yaml:1:1 a)"),
    "tag": (
        "a: !!python/name:os.system x",
        "m.yaml:1:4: a: the tag tag:yaml.org,2002:python/name:os.system is not allowed; values are plain",
    ),
    "standard tag": ("a: !!str 1", "m.yaml:1:4: a: the tag tag:yaml.org,2002:str is not allowed; values are plain"),
    "depth": ("a: " + "[" * 70 + "]" * 70, "m.yaml:1:67: a.0.0: is nested more than 64 levels deep"),
    "size": ("a: " + "x" * 1_000_000, "m.yaml: is larger than 1 MB; no model or run is"),
    "bad UTF-8": (b"a: 1\nb: caf\xe9\n", "m.yaml:2:7: is not UTF-8: byte 0xe9 (invalid continuation byte)"),
    "control character": ("a: \x07", "m.yaml:1:4: has the control character U+0007, which YAML does not allow"),
    "syntax": (
        "a: [1, 2\nb: 3",
        "m.yaml:2:2: is not YAML: while parsing a flow sequence did not find expected ',' or ']'",
    ),
    "unknown alias": ("a: *b", "m.yaml:1:4: a: the alias *b has no finished anchor before it"),
    "alias inside itself": ("a: &a [*a]", "m.yaml:1:8: a.0: the alias *a has no finished anchor before it"),
    "merge key": (
        "a: &a {b: 1}\nc:\n  <<: *a",
        "m.yaml:3:3: c: '<<' is not supported; inherit with base: <preset or path>",
    ),
    "two documents": ("a: 1\n---\nb: 2", "m.yaml:2:1: a second document begins here; a file holds one"),
    "number as key": ("1: a", "m.yaml:1:1: a key should be text, not 1; quote it"),
    "list as key": ("[a]: b", "m.yaml:1:1: a key should be plain text"),
    "empty": ("# nothing\n", "m.yaml: is empty; it should be a block of fields"),
    "huge number": ("a: " + "9" * 5000, "m.yaml:1:4: a: 99999999999999999999… does not fit into 64 bits"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused_where_it_stands(name: str) -> None:
    """Each thing that is not allowed is refused with its place."""
    text, message = REFUSED[name]

    assert [message] == problems_of(text)


@pytest.mark.parametrize("name", REFUSED)
def test_refused_quickly(name: str) -> None:
    """No document takes more than 50 ms to refuse."""
    text = REFUSED[name][0]

    assert fastest(lambda: problems_of(text)) < 0.05


FILES: dict[str, str] = {
    "not a block": "- a\n",
    "unknown key": "image_encoder: {widht: 3}\n",
    "unknown type": "image_encoder: {type: flava.vti}\n",
    "out of range": "image_encoder: {width: -1}\n",
    "cycle": "base: m.yaml\n",
    "missing file": "base: gone.yaml\n",
}


@pytest.mark.parametrize("name", FILES)
def test_wrong_files_are_refused_quickly(name: str, tmp_path: Path) -> None:
    """No error of a file takes more than 50 ms either, once the registry is loaded."""
    path = tmp_path / "m.yaml"
    path.write_text(FILES[name], encoding="utf-8")

    def refuse() -> None:
        with pytest.raises(SpecError):
            load_spec(path)

    refuse()

    assert fastest(refuse) < 0.05


def fastest(run: object) -> float:
    """The best of three, in seconds."""
    times: list[float] = []
    for _ in range(3):
        begin = time.perf_counter()
        run()  # type: ignore[operator]
        times.append(time.perf_counter() - begin)
    return min(times)


def test_all_problems_at_once() -> None:
    """What does not end the reading does not hide the next problem."""
    assert [
        "m.yaml:2:1: a: is given twice (see m.yaml:1:1 a)",
        "m.yaml:3:4: b: the tag !x is not allowed; values are plain",
        "m.yaml:4:1: a key should be text, not true; quote it",
    ] == problems_of("a: 1\na: 2\nb: !x 1\ntrue: 1\n")


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-3", 0.001),
        ("1E3", 1000.0),
        (".5", 0.5),
        ("5.", 5.0),
        ("-0.0", -0.0),
        ("010", 10),
        ("0o10", 8),
        ("0x1F", 31),
        ("-7", -7),
        ("+7", 7),
        ("9223372036854775807", 2**63 - 1),
        ("1_000", "1_000"),
        ("0b1", "0b1"),
        ("1:30", "1:30"),
        ("no", "no"),
        ("yes", "yes"),
        ("on", "on"),
        ("Off", "Off"),
        ("true", True),
        ("FALSE", False),
        ("null", None),
        ("~", None),
        ("", None),
        (".inf", math.inf),
        ("-.INF", -math.inf),
        ("2001-01-01", "2001-01-01"),
        ("2001-12-14t21:59:43.10-05:00", "2001-12-14t21:59:43.10-05:00"),
        ("=", "="),
        ("tRUE", "tRUE"),
    ],
)
def test_scalars_follow_the_core_schema(text: str, value: object) -> None:
    """YAML 1.2's core schema, not YAML 1.1's surprises."""
    assert (value, type(value)) == (scalar(text), type(scalar(text)))
    assert value == parse(f"a: {text}", "m.yaml").plain()["a"]


def test_not_a_number() -> None:
    """`.nan` is the one value that does not equal itself."""
    assert math.isnan(scalar(".nan"))


@given(st.text(alphabet="0123456789abcdefox.+-eE_:", max_size=12))
def test_no_scalar_raises(text: str) -> None:
    """Every text is some scalar, or too large."""
    try:
        value = scalar(text)
    except OverflowError:
        return

    assert isinstance(value, (str, int, float, type(None)))


def test_quoted_scalars_are_text() -> None:
    """Quotes and block styles make text of anything."""
    assert {"a": "1", "b": "null", "c": "1\n"} == parse("a: '1'\nb: \"null\"\nc: |\n  1\n", "m.yaml").plain()


def test_places() -> None:
    """Every value and key keeps its place."""
    tree = parse("a:\n  b: [1, {c: é}]\n", "m.yaml")
    found = tree.at(("a", "b", 1, "c"))

    assert found is not None
    assert ("m.yaml:2:14", "m.yaml:2:11", "é") == (str(found.mark), str(found.key), found.value)
    assert tree.at(("a", "x")) is None


def test_a_byte_order_mark_is_no_text() -> None:
    """Files that Windows wrote are read like others."""
    assert {"a": 1} == parse(b"\xef\xbb\xbfa: 1", "m.yaml").plain()


def test_aliases_within_the_budget() -> None:
    """An anchor may be used again."""
    assert {"a": [1], "b": [1]} == parse("a: &x [1]\nb: *x", "m.yaml").plain()


def test_plain_data_has_no_places() -> None:
    """Python data becomes a tree as well; its keys have to be text."""
    assert Node({"a": Node([Node(1)])}) == node_of({"a": (1,)})
    with pytest.raises(SpecError, match="a key should be text, not 1"):
        node_of({"a": {1: 2}})
