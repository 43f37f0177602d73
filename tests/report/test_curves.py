"""Loss curves: a picture for whatever records a run left behind."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from flava_parts.report.curves import draw_curves, moving_mean
from flava_parts.report.sheet import MAX_BYTES

RECORDS = {
    "nothing": [],
    "evaluations only": [{"step": 3, "retrieval/image_to_text/top1": 0.5}],
    "one step": [{"step": 1, "loss": 2.0}],
    "one value": [{"step": step, "loss": 0.0} for step in range(1, 9)],
    "nothing finite": [{"step": 1, "loss": None, "loss/a": float("inf"), "loss/b": float("nan")}],
    "a spike": [{"step": step, "loss": 1e30 if step == 5 else 1.0} for step in range(1, 9)],
    "negative": [{"step": step, "loss": -float(step)} for step in range(1, 9)],
    "hostile names": [
        {"step": 1, "loss": 1.0, "loss/$\\frac{": 1.0, "loss/\n\x00日本\ud800" + "x" * 9999: 2.0, "loss/": 3}
    ],
    "many losses": [{"step": 1, "loss": 1.0, **{f"loss/{i}": 1.0 for i in range(13)}}],
}


@pytest.mark.parametrize("name", RECORDS)
@pytest.mark.filterwarnings("error")
def test_any_records_make_a_picture(name: str, tmp_path: Path):
    draw_curves(RECORDS[name], tmp_path / "losses.png")

    with Image.open(tmp_path / "losses.png") as picture:
        assert "PNG" == picture.format
        assert picture.width >= 400


def test_a_long_run_of_mixed_streams_is_small_and_always_the_same(tmp_path: Path):
    """20,000 steps, log axes and gaps included."""
    random = np.random.default_rng(0)
    records = [
        {"step": step, "stream": "paired", "loss": 3 * value, "loss/itm": value, "loss/mmm_text": 2 * value}
        if step % 3
        else {"step": step, "stream": "images", "loss": None, "loss/mim": None if step % 5 else value}
        for step, value in enumerate(random.lognormal(size=20_000) + 1e4 / np.arange(1, 20_001), start=1)
    ]
    draw_curves(records, tmp_path / "one.png")
    draw_curves(records, tmp_path / "two.png")

    assert (tmp_path / "one.png").read_bytes() == (tmp_path / "two.png").read_bytes()
    assert (tmp_path / "one.png").stat().st_size <= MAX_BYTES


@given(values=st.lists(st.floats(-100, 100), min_size=1, max_size=30), width=st.integers(0, 10))
def test_moving_mean_is_the_mean_of_a_plain_loop(values: list[float], width: int):
    expected = [np.mean(values[max(i - width, 0) : i + min(i, width) + 1]) for i in range(len(values))]

    assert expected == pytest.approx(moving_mean(np.array(values), width).tolist(), abs=1e-9)
