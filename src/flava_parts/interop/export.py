"""A part of a trained model as a file that runs without this package: torch's ``.pt2``, or ONNX.

No file is kept that does not compute what the model computes: it is read back, run by the runtime it is for, and
compared with the model on shapes that the export never saw.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal, get_args

import torch
from torch import Tensor
from torch.export import Dim, ExportedProgram

from ..errors import FlavaPartsError, InputError
from ..evaluate.mode import evaluating
from ..facts import pair
from ..model import FlavaForPreTraining
from ..spec import FlavaSpec
from .towers import Exportable, Part, exportable

Format = Literal["pt2", "onnx"]
"""``pt2``, which `torch.export.load` and AOTInductor read, or ``onnx``."""

TOLERANCE = 1e-4
"""The largest difference from the model that an exported file may have, in any element of any output."""

_SEED = 0
# Batch and words. A trace takes sizes of 0 and 1 for constants, so it is made with others. What is compared then is one
# row, padded rows, and more rows of the longest text (None).
_TRACED = (2, 6)
_COMPARED = ((1, 5), (3, 12), (5, None))

_Batch = dict[str, Tensor]
_Run = Callable[[_Batch], tuple[Tensor, ...]]


@dataclass(frozen=True, slots=True)
class Comparison:
    """How far an exported file and the model are apart on one batch: the largest difference of any element.

    ``length`` is that of its texts in tokens, None where there are none. Not a number is as far as can be.
    """

    batch: int
    length: int | None
    difference: float


class ExportError(FlavaPartsError):
    """A part could not be exported, or what was exported computes something else: see ``comparisons``."""

    def __init__(self, message: str, comparisons: tuple[Comparison, ...] = ()) -> None:
        self.comparisons = comparisons
        super().__init__(message)


def export(model: FlavaForPreTraining, part: Part, file: str | Path, *, to: Format) -> tuple[Comparison, ...]:
    """Write one part of a float32 model on the CPU to a file, replacing what is there, and compare the two.

    ``image`` maps pixel_values (B, C, H, W) to image_embedding (B, projection); ``text`` maps input_ids and
    attention_mask (B, L), int64, to text_embedding (B, projection); ``pairs`` maps all three to similarity (B,) and
    match_probability (B,). B is free, and L up to the text encoder's length; C, H and W are the image encoder's.
    ONNX weights over 2 GB lie beside the file, in ``FILE.data``.

    Returns a comparison for each of three batches. Raises ExportError if one is off by more than `TOLERANCE`, or the
    part cannot be traced, and then writes nothing; InputError if there is no such part or format, the model lacks the
    part, ``file`` cannot be written or has another ending, or the packages of ``onnx`` are not installed.
    """
    for name, names in ((part, get_args(Part)), (to, get_args(Format))):
        if name not in names:
            raise InputError(f"nothing named {name!r} can be exported, or exported to; there are {', '.join(names)}")
    file = Path(file)
    if file.suffix != f".{to}":
        raise InputError(
            f"{file}: does not end in .{to}; name it {file.with_suffix(f'.{to}')}, or choose another format"
        )
    if file.is_dir() or not file.parent.is_dir():
        raise InputError(f"{file}: {'is a folder' if file.is_dir() else 'its folder is not there'}")
    if to == "onnx":
        _need_onnx()
    if model.spec is None:
        raise InputError("the model was not composed from a spec, which says the shapes to export it with")
    shown = exportable(model, part)
    generator = torch.Generator().manual_seed(_SEED)
    batches = [_batch(shown, model.spec, rows, words, generator) for rows, words in _COMPARED]
    with evaluating(shown.module), torch.no_grad(), _writing(file) as unchecked:
        with _doing(f"the {part} part cannot be traced"):
            program = _traced(shown, model.spec, generator)
        with _doing(f"the {part} part cannot be turned into {to}"):
            run = _written_pt2(program, unchecked) if to == "pt2" else _written_onnx(program, shown, unchecked)
        with _doing("what was exported does not run"):
            found = [run(batch) for batch in batches]
        comparisons = tuple(
            _comparison(batch, outputs, _said(model, part, batch))
            for batch, outputs in zip(batches, found, strict=True)
        )
        worst = max(one.difference for one in comparisons)
        if worst > TOLERANCE:
            message = f"what was exported differs from the model by {worst:.3g}, more than {TOLERANCE:g}"
            raise ExportError(f"{file}: not written; {message}", comparisons)
    return comparisons


@contextmanager
def _writing(file: Path) -> Generator[Path]:
    """A path in a hidden folder; what is there in the end takes the file's place, unless something was raised."""
    try:
        with TemporaryDirectory(dir=file.parent, prefix=".export-") as folder:
            unchecked = Path(folder) / file.name
            yield unchecked
            for made in sorted(Path(folder).iterdir(), key=lambda made: made == unchecked):  # the file itself last
                os.replace(made, file.parent / made.name)
    except OSError as error:
        raise InputError(f"{file}: cannot be written: {error.strerror or error}") from None


@contextmanager
def _doing(failure: str) -> Generator[None]:
    """Anything that a part, torch or a runtime raises inside, as one line."""
    try:
        yield
    except OSError:
        raise
    except Exception as error:
        first_line = str(error).strip().partition("\n")[0]
        raise ExportError(f"{failure}: {type(error).__name__}: {first_line}") from error


def _need_onnx() -> None:
    try:
        for package in ("onnx", "onnxscript", "onnxruntime"):
            import_module(package)
    except ImportError as error:
        raise InputError(f"ONNX needs more packages ({error}): pip install 'flava-parts[onnx]'") from None


def _batch(shown: Exportable, spec: FlavaSpec, rows: int, words: int | None, generator: torch.Generator) -> _Batch:
    """Random pixels and texts; where there are several rows, their texts end after 1, ..., ``words`` tokens.

    Padding is random ids too, so that a lost mask shows.
    """
    text = spec.text_encoder.tokens
    length = text.length if words is None else min(words, text.length)
    pixels = (rows, spec.image_encoder.channels, *pair(spec.image_encoder.image_size))
    ends = torch.linspace(length, 1, rows).long()
    all_inputs = {
        "input_ids": torch.randint(text.vocab_size, (rows, length), generator=generator),
        "attention_mask": (torch.arange(length) < ends[:, None]).long(),
        "pixel_values": torch.randn(pixels, generator=generator),
    }
    return {name: all_inputs[name] for name in shown.inputs}


def _traced(shown: Exportable, spec: FlavaSpec, generator: torch.Generator) -> ExportedProgram:
    batch, length = Dim("batch", min=1), Dim("length", min=1, max=spec.text_encoder.tokens.length)
    axes: dict[str, dict[int, Any]] = {
        "input_ids": {0: batch, 1: length},
        "attention_mask": {0: batch, 1: length},
        "pixel_values": {0: batch},
    }
    example = tuple(_batch(shown, spec, *_TRACED, generator).values())
    return torch.export.export(shown.module, example, dynamic_shapes=tuple(axes[name] for name in shown.inputs))


def _written_pt2(program: ExportedProgram, file: Path) -> _Run:
    torch.export.save(program, file)
    # This reads back what the line above wrote. A file from elsewhere is never loaded: it could hold a pickle.
    module = torch.export.load(file).module()
    return lambda batch: tuple(module(*batch.values()))


def _written_onnx(program: ExportedProgram, shown: Exportable, file: Path) -> _Run:
    import onnxruntime  # pyright: ignore[reportMissingTypeStubs]

    # The axes that all inputs share are named at the first of them.
    first = {0: "batch"} if shown.inputs == ("pixel_values",) else {0: "batch", 1: "length"}
    converted = torch.onnx.export(
        program,
        input_names=shown.inputs,
        output_names=shown.outputs,
        dynamic_shapes=(first, *(None for _ in shown.inputs[1:])),
        dynamo=True,
        verbose=False,
    )
    assert converted is not None
    converted.save(file)
    session = onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"])

    def run(batch: _Batch) -> tuple[Tensor, ...]:
        return tuple(map(torch.as_tensor, session.run(None, {name: one.numpy() for name, one in batch.items()})))

    return run


def _said(model: FlavaForPreTraining, part: Part, batch: _Batch) -> tuple[Tensor, ...]:
    """What the model itself says, by the methods that everybody calls."""
    match part:
        case "image":
            return (model.embed_image(**batch),)
        case "text":
            return (model.embed_text(**batch),)
        case "pairs":
            scores = model.score_pairs(**batch)
            assert scores.match_probability is not None
            return scores.similarity, scores.match_probability


def _comparison(batch: _Batch, found: tuple[Tensor, ...], said: tuple[Tensor, ...]) -> Comparison:
    ids = batch.get("input_ids")
    return Comparison(
        batch=len(next(iter(batch.values()))),
        length=None if ids is None else ids.shape[1],
        difference=max(_distance(one, other) for one, other in zip(found, said, strict=True)),
    )


def _distance(one: Tensor, other: Tensor) -> float:
    if one.shape != other.shape:
        return math.inf
    largest = float((one - other).abs().max())
    return math.inf if math.isnan(largest) else largest
