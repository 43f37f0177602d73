"""``flava-parts data stats``: how many, how large, how long?"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ..models import Progress
from ..options import Json, Plugins, Set
from ..tables import table
from .named import AtMost, File, Stream, named, spread

if TYPE_CHECKING:
    from ...data.sources.source import Source

MEASURES = ("least", "median", "mean", "95 %", "most")


def stats(
    file: File,
    stream: Stream = None,
    at_most: AtMost = None,
    changes: Set = None,
    plugins: Plugins = None,
    as_json: Json = False,
) -> None:
    """Count samples and captions, and measure pictures in pixels and captions in words and tokens."""
    from ...data.sources.bad_sample import BadSampleError

    found = named(file, stream, changes, plugins)
    source, tokenizer = found.source.build(), found.tokenizer.build()
    columns: dict[str, list[int]] = {name: [] for name in ("width", "height", "captions", "words", "tokens")}
    bad: Counter[str] = Counter()
    indices = list(spread(source, at_most))
    with Progress() as progress:
        for number, index in enumerate(indices):
            try:
                size, captions = _measured(source, index)
            except BadSampleError as error:
                bad[error.reason] += 1
            else:
                if size is not None:
                    columns["width"].append(size[0])
                    columns["height"].append(size[1])
                if captions:
                    columns["captions"].append(len(captions))
                    columns["words"] += [len(caption.split()) for caption in captions]
                    columns["tokens"] += [len(row.ids) for row in tokenizer.core.encode_batch(list(captions))]
            progress("samples", number + 1, len(indices))
    measured = {name: _summary(values) for name, values in columns.items() if values}
    facts: dict[str, Any] = {
        "samples": len(source),
        "looked at": len(indices),
        "bad": sum(bad.values()),
        "with a picture": len(columns["width"]),
        "with a caption": len(columns["captions"]),
        "captions": sum(columns["captions"]),
        f"captions of over {tokenizer.length} tokens, which are cut": sum(
            n > tokenizer.length for n in columns["tokens"]
        ),
    }
    if as_json:
        print(
            json.dumps(
                {**facts, "bad by reason": bad, **{f"{name} of each": row for name, row in measured.items()}}, indent=2
            )
        )
        return
    print(table(["", "number"], [[name, str(value)] for name, value in facts.items()]))
    rows = [[name, *(f"{row[measure]:.4g}" for measure in MEASURES)] for name, row in measured.items()]
    print("\n" + table(["of each", *MEASURES], rows))


def _measured(source: Source, index: int) -> tuple[tuple[int, int] | None, Sequence[str]]:
    """The width and height of a sample's picture, of which only the head is read, and all its captions."""
    from ...data.sources.record import Records
    from ...inputs.pictures import PictureError, size_of

    if not isinstance(source, Records):
        sample = source.sample(index)
        size = None if sample.image is None else (sample.image.shape[1], sample.image.shape[0])
        return size, () if sample.text is None else (sample.text,)
    record = source.record(index)
    try:
        return None if record.picture is None else size_of(record.picture), record.captions or ()
    except PictureError as error:
        raise source.bad(record.key, error.reason, str(error)) from None


def _summary(values: list[int]) -> dict[str, float]:
    import numpy as np

    least, median, high, most = np.quantile(values, [0, 0.5, 0.95, 1]).tolist()
    return dict(zip(MEASURES, (least, median, float(np.mean(values)), high, most), strict=True))
