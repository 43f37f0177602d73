"""``flava-parts data tokenize``: the codes of a run's pictures, computed once."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast

import typer

from ...errors import InputError
from ..models import Device
from ..options import Plugins, Set, registry_with
from ..runs import log

if TYPE_CHECKING:
    from ...codebooks.codebook import Codebook
    from ...data.loader import Batches
    from ...spec import RunSpec


def tokenize(
    run: Annotated[
        str, typer.Argument(metavar="RUN", help="A run file or preset; or a run's folder, for its codebook.")
    ],
    out: Annotated[Path, typer.Option(help="The folder to write, for `data.codes` of the run.")],
    crops: Annotated[
        int, typer.Option(min=0, max=1000, help="Random crops of each picture; 0: the whole picture, resized.")
    ] = 0,
    device: Device = None,
    changes: Set = None,
    plugins: Plugins = None,
) -> None:
    """Compute the codes that masked patches are to predict, and keep them beside the data.

    A run that names the folder (`data.codes`) reads them instead of running the codebook in each step. It refuses them
    if its codebook or its views are others. With --crops it sees only those crops of each picture.
    """
    import torch

    from ...data.loader import Batches
    from ...data.tokenizing import tokenize as write
    from ...inputs.views import Views
    from ...loading import load
    from ...spec import RunSpec

    registry = registry_with(plugins)
    folder = Path(run)
    file = str(folder / "spec.yaml") if folder.is_dir() else run
    spec = cast(RunSpec, load(file, RunSpec, registry=registry, set=changes or []).spec)
    batches = Batches(
        data=spec.data.model_copy(update={"codes": None}),
        model=spec.model,
        batch_size=spec.train.batch_size,
        seed=spec.train.seed,
    )
    if spec.model.codebook is None or not batches.coded:
        raise InputError(f"{run}: no loss of the run predicts codes of patches, so there is nothing to compute")
    codebook = _codebook(folder if folder.is_dir() else None, spec, batches)
    place = device or ("cuda" if torch.cuda.is_available() else "cpu")
    bad = write(
        out,
        codebook=codebook.to(place),
        codes=spec.model.codebook.codes,
        views=Views.of(spec.model, spec.data.views),
        sources=[spec.data.streams[name].source for name in batches.coded],
        crops=crops,
        seed=spec.train.seed,
        log=log,
    )
    typer.echo(f"the codes: {out}" + (f"; {bad:,} samples could not be used" if bad else ""))
    typer.echo(f"use them with: --set data.codes={out}")


def _codebook(folder: Path | None, spec: RunSpec, batches: Batches) -> Codebook:
    """The codebook of a run's folder, or the one that the run would begin with."""
    if folder is not None:
        from ...interop.pretrained import load_part

        return load_part(folder, "codebook")
    from ...data.keyed import keyed_generator
    from ...train.run import CODEBOOK_IMAGES, FittedCodebook

    assert spec.model.codebook is not None
    codebook = spec.model.codebook.build()
    if spec.model.codebook.learns_from_images and isinstance(codebook, FittedCodebook):
        log(f"fitting {spec.model.codebook.codes.vocab_size} codes on the run's pictures")
        codebook.fit(batches.codebook_pixels(CODEBOOK_IMAGES), keyed_generator(spec.train.seed, "codebook"))
    return codebook
