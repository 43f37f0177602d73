"""`metrics.jsonl`: strict JSON, nothing lost, nothing twice."""

import json
import math
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flava_parts.train.json_lines import JsonLines, read_metrics

RECORDS = st.dictionaries(
    st.text(max_size=8).filter(lambda key: key != "step"), st.floats() | st.integers() | st.text(max_size=8), max_size=4
)


def strictly(line: str) -> dict[str, object]:
    """A line as a reader understands it that knows no NaN."""
    return json.loads(line, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))


def write(folder: Path, steps: range) -> JsonLines:
    observer = JsonLines(folder=folder)
    observer.begin(step=steps.start - 1, steps=steps.stop - 1)
    for step in steps:
        observer.stepped({"step": step, "loss": 1 / step})
    return observer


@settings(max_examples=60)
@given(records=st.lists(RECORDS, max_size=5))
def test_what_is_written_is_read(records: list[dict[str, float | int | str]], tmp_path_factory: pytest.TempPathFactory):
    """Every record comes back, in order; each is one line of strict ASCII JSON; what is not finite is null."""
    folder = tmp_path_factory.mktemp("run")
    observer = JsonLines(folder=folder)
    observer.begin(step=0, steps=9)
    for step, record in enumerate(records, start=1):
        (observer.evaluated if step % 2 else observer.stepped)({"step": step, **record})
    observer.end()

    lines = observer.path.read_bytes().decode("ascii").split("\n") if records else [""]
    expected = [
        {"step": step} | {k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in record.items()}
        for step, record in enumerate(records, start=1)
    ]

    assert lines.pop() == ""
    assert expected == [strictly(line) for line in lines]
    assert expected == (read_metrics(observer.path) if records else [])


@given(made=st.integers(0, 6), resumed=st.integers(0, 8), cut=st.integers(0, 60))
@settings(max_examples=60)
def test_a_resumed_run_drops_what_it_makes_again(
    made: int, resumed: int, cut: int, tmp_path_factory: pytest.TempPathFactory
):
    """However many bytes a killed run lost, what is kept are whole lines up to the step, byte for byte."""
    folder = tmp_path_factory.mktemp("run")
    observer = write(folder, range(1, made + 1))
    whole = observer.path.read_bytes() if made else b""
    left = whole[: max(0, len(whole) - cut)]
    observer.path.write_bytes(left)

    observer.begin(step=resumed, steps=9)

    expected = b"".join(left.splitlines(keepends=True)[: min(resumed, left.count(b"\n"))])
    assert expected == observer.path.read_bytes()
    assert [path.name for path in folder.iterdir()] == ["metrics.jsonl"]


def test_a_run_in_two_halves_writes_the_same_file(tmp_path: Path):
    """Going on after step 3 of a run that was killed at step 5 gives the file of a run that was not."""
    write(tmp_path / "whole", range(1, 9))
    killed = write(tmp_path / "halves", range(1, 6))
    with killed.path.open("a") as file:
        file.write('{"step": 6, "lo')
    write(tmp_path / "halves", range(4, 9))

    assert (tmp_path / "whole/metrics.jsonl").read_bytes() == killed.path.read_bytes()


def test_an_evaluation_is_kept_until_it_is_made_again(tmp_path: Path):
    """One of the very step that a run goes on from may be made again, and then stands there once."""
    observer = write(tmp_path, range(1, 4))
    observer.evaluated({"step": 3, "retrieval/image_to_text/top1": 0.5})
    observer.stepped({"step": 4, "loss": 1.0})
    observer.begin(step=4, steps=5)

    assert 0.5 == read_metrics(observer.path)[-2]["retrieval/image_to_text/top1"]

    observer.begin(step=3, steps=5)

    assert 0.5 == read_metrics(observer.path)[-1]["retrieval/image_to_text/top1"]
    assert [1, 2, 3, 3] == [record["step"] for record in read_metrics(observer.path)]

    observer.evaluated({"step": 3, "retrieval/image_to_text/top1": 0.25})

    assert 0.25 == read_metrics(observer.path)[-1]["retrieval/image_to_text/top1"]
    assert [1, 2, 3, 3] == [record["step"] for record in read_metrics(observer.path)]

    observer.begin(step=2, steps=5)

    assert [1, 2] == [record["step"] for record in read_metrics(observer.path)]


def test_each_line_is_there_as_soon_as_it_is_made(tmp_path: Path):
    observer = write(tmp_path, range(1, 3))

    assert 2 == len(read_metrics(observer.path))


def test_lines_that_are_no_records_are_passed_over(tmp_path: Path):
    path = tmp_path / "metrics.jsonl"
    path.write_bytes(b'[1]\n\xff\xfe\n{"loss": 1}\n{"step": "1"}\n\n' + b"[" * 100_000 + b'\n{"step": 1}\n{"step": 2}')

    assert [{"step": 1}] == read_metrics(path)


def test_what_is_no_metric_is_refused_and_nothing_is_written(tmp_path: Path):
    observer = write(tmp_path, range(1, 2))
    with pytest.raises(TypeError):
        observer.stepped({"step": 2, "loss": object()})  # pyright: ignore[reportArgumentType]

    assert 1 == len(read_metrics(observer.path))
