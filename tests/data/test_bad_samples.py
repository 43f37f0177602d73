"""Bad samples are told one by one, and too many of them stop a run."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from flava_parts.data.bad_samples import BadSamples
from flava_parts.data.loader import Batch
from flava_parts.data.reader import BadSample
from flava_parts.data.specs import BadSpec
from flava_parts.errors import InputError


def bad(sample: int, reason: str = "truncated") -> BadSample:
    return BadSample("pairs", sample, "shard-0.tar", f"key{sample}", reason, f"shard-0.tar: key{sample} is {reason}")


def batch(*found: BadSample, rows: int = 10) -> Batch:
    names = tuple(map(str, range(rows)))
    return Batch("pairs", None, {"input_ids": torch.zeros(2, 2)}, {}, found, names)  # several texts may share a row


def told(path: Path) -> list[tuple[int, str]]:
    records = [json.loads(line) for line in path.read_text().splitlines()]
    return [(record["step"], record["key"]) for record in records]


@pytest.mark.parametrize(("once", "keys"), [(False, ["key1", "key2", "key1"]), (True, ["key1", "key2"])])
def test_each_is_a_line(tmp_path: Path, once: bool, keys: list[str]) -> None:
    """Each time, or once; steps are counted as in the metrics."""
    path = tmp_path / "bad.jsonl"
    watch = BadSamples(path, BadSpec(), once=once, step=0)
    watch.saw(0, batch())

    assert not path.exists()
    watch.saw(1, batch(bad(1), bad(2)))
    watch.saw(2, batch(bad(1)))

    assert list(zip([2, 2, 3], keys, strict=False)) == told(path)
    line = json.loads(path.read_text().splitlines()[0])
    assert {"step": 2} | bad(1)._asdict() == line


def test_a_resumed_run_tells_its_steps_once(tmp_path: Path) -> None:
    """What came after the checkpoint is forgotten, a line that a crash cut short too; what came before is known."""
    path = tmp_path / "bad.jsonl"
    watch = BadSamples(path, BadSpec(), once=True, step=0)
    for step in range(4):
        watch.saw(step, batch(bad(step)))
    path.write_text(path.read_text() + '{"step": 4, "str')
    resumed = BadSamples(path, BadSpec(), once=True, step=2)

    assert (bad(0), bad(1)) == resumed.known
    assert [(1, "key0"), (2, "key1")] == told(path)
    resumed.saw(2, batch(bad(2), bad(0)))
    assert [(1, "key0"), (2, "key1"), (3, "key2")] == told(path)


def test_too_many_stop_the_run_and_say_why(tmp_path: Path) -> None:
    """More than 10 % of the last 100, and at least 8; the five commonest reasons are named."""
    limits = BadSpec(rate=0.1, last=100, least=8)
    watch = BadSamples(tmp_path / "bad.jsonl", limits, once=False, step=0)
    watch.saw(0, batch(*(bad(i) for i in range(7))))  # all too many, but too few
    for step in range(1, 10):
        watch.saw(step, batch())
    reasons = ["a", "a", "a", "b", "b", "c", "d", "e", "f"]
    for step, pair in enumerate([reasons[:2], reasons[2:4], reasons[4:6], reasons[6:8]], start=10):
        watch.saw(step, batch(*(bad(i, reason) for i, reason in enumerate(pair))))
    with pytest.raises(InputError) as caught:
        watch.saw(14, batch(*(bad(i, "a") for i in range(3))))

    assert (
        "data: of the last 100 samples 11 were bad, more than 10.0%: 6 a, 2 b, 1 c, 1 d, 1 e; "
        f"{tmp_path / 'bad.jsonl'} lists them; mend or remove them, or raise data.bad.rate" == str(caught.value)
    )


def test_what_is_long_ago_does_not_count(tmp_path: Path) -> None:
    watch = BadSamples(tmp_path / "bad.jsonl", BadSpec(rate=0.1, last=50, least=5), once=False, step=0)
    for step in range(40):
        watch.saw(step, batch(*(bad(i) for i in range(4 if step % 5 == 0 else 0))))
