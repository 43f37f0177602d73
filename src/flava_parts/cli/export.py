"""``flava-parts export``: a trained part for other runtimes."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Sequence
from contextlib import redirect_stdout
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .options import Json, Plugins, registry_with
from .tables import table

if TYPE_CHECKING:
    from ..interop.export import Comparison


class Part(StrEnum):
    """What can be exported."""

    image = "image"
    text = "text"
    pairs = "pairs"


class Format(StrEnum):
    """What it can be exported to."""

    pt2 = "pt2"
    onnx = "onnx"


def export(
    source: Annotated[
        str, typer.Argument(metavar="MODEL", help="A run's folder, a checkpoint's, or a Hugging Face folder or name.")
    ],
    part: Annotated[Part, typer.Option(help="The image tower, the text tower, or the scorer of pairs.")],
    to: Annotated[Format, typer.Option(help="torch.export's format, or ONNX (pip install 'flava-parts[onnx]').")],
    out: Annotated[Path, typer.Option(metavar="FILE", help="The file to write; one that is there is replaced.")],
    plugins: Plugins = None,
    as_json: Json = False,
) -> None:
    """Export a part of a trained model, run the file, and compare it with the model on three shapes.

    Exits with 1, and writes nothing, if they differ by more than 1e-4.
    """
    from ..errors import InputError
    from ..interop.export import ExportError
    from ..interop.export import export as export_it
    from ..interop.pretrained import load_pretrained
    from ..model import FlavaForPreTraining

    model = load_pretrained(source, registry=registry_with(plugins))
    if not isinstance(model, FlavaForPreTraining):
        raise InputError(f"{source}: holds one part of a model; what is exported is made of several")
    if not as_json:
        typer.echo(f"{source}: exporting {part.value} to {to.value}, and comparing; this takes a while", err=True)
    try:
        with redirect_stdout(sys.stderr):  # converters say what they do; stdout is for the result
            comparisons = export_it(model.float(), part.value, out, to=to.value)
    except ExportError as error:
        _show(error.comparisons, as_json, out, part, to, written=False)
        raise
    _show(comparisons, as_json, out, part, to, written=True)


def _show(
    comparisons: Sequence[Comparison], as_json: bool, out: Path, part: Part, to: Format, *, written: bool
) -> None:
    if as_json:
        shown: dict[str, Any] = {"file": str(out), "part": part.value, "to": to.value, "written": written}
        shown["comparisons"] = [
            {
                "batch": one.batch,
                "length": one.length,
                "difference": one.difference if math.isfinite(one.difference) else None,
            }
            for one in comparisons
        ]
        print(json.dumps(shown, indent=2))
        return
    if comparisons:
        rows = [
            [str(one.batch), "" if one.length is None else str(one.length), f"{one.difference:.2g}"]
            for one in comparisons
        ]
        print(table(["batch", "text length", "largest difference"], rows))
    if written:
        print(f"written: {out}")
