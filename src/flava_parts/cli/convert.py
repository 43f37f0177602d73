"""``flava-parts convert``: a model from one library's files to another's."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from .options import Json, Plugins, registry_with
from .tables import table

if TYPE_CHECKING:
    from ..interop.stored import Stored
    from ..registry import Registry


def convert(
    source: Annotated[
        str,
        typer.Argument(metavar="SRC", help="A folder, a file of weights, or an owner/name of the Hugging Face hub."),
    ],
    destination: Annotated[
        str | None, typer.Argument(metavar="[DST]", help="A new folder; with --check, a second model.")
    ] = None,
    to: Annotated[
        Literal["flava_parts", "hf", "torchmultimodal"], typer.Option("--to", help="Whose files to write.")
    ] = "flava_parts",
    part: Annotated[
        str | None,
        typer.Option(
            metavar="SLOT",
            help="Write this part alone, for transformers: image_encoder, text_encoder, fusion, codebook.",
        ),
    ] = None,
    spec: Annotated[bool, typer.Option("--spec", help="Print the model's spec as YAML, and write nothing.")] = False,
    check: Annotated[
        bool,
        typer.Option(
            "--check", help="Print how far the outputs of SRC are from transformers' own, or from DST's; write nothing."
        ),
    ] = False,
    heads: Annotated[
        int | None,
        typer.Option(
            min=1, help="Attention heads, for torchmultimodal's files, which do not tell; width / 64 if not given."
        ),
    ] = None,
    revision: Annotated[str | None, typer.Option(help="Branch, tag or commit on the hub.")] = None,
    plugins: Plugins = None,
    as_json: Json = False,
) -> None:
    """Read a model of this package, transformers or torchmultimodal, and write it for another of them."""
    from ..errors import InputError, SpecError

    registry = registry_with(plugins)
    stored = _opened(source, heads, revision, registry)
    if check:
        _check(stored, None if destination is None else _opened(destination, heads, None, registry), as_json)
        return
    if spec:
        from ..writing import to_yaml

        print(stored.spec.model_dump_json(indent=2) + "\n" if as_json else to_yaml(stored.spec), end="")
        return
    if destination is None:
        raise InputError("convert needs a folder to write to, or one of --check and --spec")
    from ..interop.pretrained import load_stored, processor_in
    from ..interop.saving import save_part, write_model

    whole, model = stored.whole, load_stored(stored)
    if part is not None:
        if to != "hf":
            raise InputError(f"--part {part}: a part alone is written for transformers; add --to hf")
        save_part(model, part, destination)
        print(f"{source}: its {part} written to {destination} for {to}")
        return
    try:
        processor = processor_in(stored.folder, registry)
    except (InputError, SpecError) as error:
        processor = None
        print(f"warning: the model comes without its processor: {error}", file=sys.stderr)
    write_model(model, Path(destination), to, whole, processor)
    print(f"{source}: written to {destination} for {to}")


def _opened(source: str, heads: int | None, revision: str | None, registry: Registry) -> Stored:
    from ..interop.stored import open_pickled, open_stored
    from ..interop.tensors import PICKLED

    path = Path(source)
    if path.is_file() and path.suffix in PICKLED:
        return open_pickled(path, heads)
    return open_stored(source, revision, registry)


def _check(stored: Stored, other: Stored | None, as_json: bool) -> None:
    """Print the differences. Exits with 1 if one is more than rounding."""
    from ..interop.compare import differences

    found = differences(stored, other)
    if as_json:
        print(
            json.dumps(
                [{"output": one.output, "difference": one.largest, "largest": one.scale} for one in found], indent=2
            )
        )
    else:
        rows = [[one.output, f"{one.largest:.2g}", f"{one.scale:.4g}"] for one in found]
        print(table(["output", "difference", "largest value"], rows))
    if not all(one.is_small for one in found):
        raise typer.Exit(1)
