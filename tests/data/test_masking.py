"""Which masks a batch gets follows from what its losses read, a plugin's streams among it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

import pytest

from flava_parts.compose import compose
from flava_parts.data.masking import Masking
from flava_parts.encoders.specs import TextTransformerSpec, ViTSpec
from flava_parts.facts import Modality, Pass, Provided, Stream, Vocab
from flava_parts.losses.specs import LossSpec
from flava_parts.maskers.specs import RandomMaskerSpec
from flava_parts.spec import FlavaSpec

REGIONS: Stream = "acme.regions"
SMALL = {"width": 8, "depth": 1, "heads": 2}


class RegionsSpec(ViTSpec):
    """States a stream that is taken from one of its passes."""

    type: Literal["acme.regions_encoder"] = "acme.regions_encoder"
    run: Pass = "image_masked"

    @property
    def streams(self) -> Mapping[Stream, Provided]:
        return {REGIONS: Provided(run=self.run, width=8)}


class RegionsLossSpec(LossSpec):
    """Reads that stream, and nothing else."""

    type: Literal["acme.regions_loss"] = "acme.regions_loss"
    reads = frozenset({REGIONS})
    needs: ClassVar[frozenset[Modality]] = frozenset({"image"})

    def build(self, *, wiring: Any) -> Any:
        raise NotImplementedError


def model(run: Pass) -> FlavaSpec:
    return FlavaSpec(
        image_encoder=RegionsSpec(image_size=32, patch_size=8, run=run, **SMALL),
        text_encoder=TextTransformerSpec(**SMALL),
        fusion=None,
        codebook=None,
        image_masker=RandomMaskerSpec(total=6),
        losses={"regions": RegionsLossSpec()},
    )


@pytest.mark.parametrize(("run", "hidden"), [("image_masked", [6, 6, 6]), ("image", None)])
def test_a_plugin_s_stream_of_a_masked_pass_is_masked(run: Pass, hidden: list[int] | None) -> None:
    """Patches are hidden for the pass that the stream is taken from, and for no other."""
    masking = Masking(model(run), use="images", losses=None, vocab=Vocab(), length=8, seed=0)
    patches = masking.patches(3, step=0)

    assert hidden == (None if patches is None else patches.sum(dim=1).tolist())


def test_the_model_and_the_data_hide_for_the_same_reasons() -> None:
    """Of flava.tiny's losses, any one alone: `FlavaForPreTraining.mask` and a run's batches agree on what is hidden."""
    import torch

    import flava_parts

    tiny = flava_parts.load_spec("flava.tiny")
    whole = compose(tiny)
    pairs = {"pixel_values": torch.rand(4, 3, 32, 32), "input_ids": torch.randint(1000, 2000, (4, 8))}
    names = {"pair_masker": "itm_labels", "image_masker": "bool_masked_pos", "text_masker": "input_ids_masked"}
    for use, held in (("pairs", pairs.keys()), ("images", {"pixel_values"}), ("texts", {"input_ids"})):
        batch = {name: pairs[name] for name in held}
        for loss in tiny.losses:
            masked = whole.mask(batch, torch.Generator().manual_seed(0), losses=[loss])
            masking = Masking(tiny, use=use, losses=(loss,), vocab=Vocab(), length=8, seed=0)
            hides = {
                "pair_masker": masking.pairs(4, 0),
                "image_masker": masking.patches(4, 0),
                "text_masker": masking.words(pairs["input_ids"], pairs["input_ids"] < 0, slice(0, 4), 4, 0),
            }
            assert {
                name for slot, name in names.items() if hides[slot] is not None
            } == masked.keys() & names.values(), (
                use,
                loss,
            )
