"""The laws of image encoders and text encoders."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ..facts import ImageTokens, TextTokens, pair
from ..narrowing import takes
from .law import ExemptError, LawError, law, one_line
from .modules import BATCH, MODULE, Tensors, same
from .narrowed import EncoderBench, narrowed, spared

SUMMARY = torch.zeros(1, dtype=torch.long)
"""The positions that are read of a clean pass in training: the first."""


def states_of(output: Any) -> Tensors:
    """The tensors of an `EncoderOutput`: states before and after the final norm, what a pooler gives, other streams."""
    found: Tensors = {"last_hidden_state": output.last_hidden_state, "pre_norm": output.pre_norm}
    if output.pooler_output is not None:
        found["pooler_output"] = output.pooler_output
    return found | dict(output.streams or {})


def stated_states(spec: Any, batch: int, length: int, width: int) -> dict[str, tuple[int, ...]]:
    """The shapes of what an encoder returns, the streams of its own among them."""
    states = {"last_hidden_state": (batch, length, width), "pre_norm": (batch, length, width)}
    return states | {name: (batch, *stream.shape) for name, stream in spec.streams.items()}


class ImageEncoderBench(EncoderBench):
    """An image encoder. Every run also hides some patches, if it can."""

    kind = "image_encoder"

    @property
    def tokens(self) -> ImageTokens:
        """The sequence that the spec states."""
        return self.spec.tokens

    @property
    def hides(self) -> bool:
        """Whether patches can be hidden."""
        return getattr(self.spec, "mask_token", True) is not False

    def inputs(self, batch: int = BATCH, seed: int = 0) -> Tensors:
        generator = torch.Generator().manual_seed(seed)
        size = pair(self.spec.image_size)
        pixels = torch.randn(batch, self.spec.channels, *size, generator=generator)
        # Every third patch, other ones in each image.
        hidden = (torch.arange(self.tokens.grid.size) + torch.arange(batch)[:, None]) % 3 == 0
        return {"pixels": pixels, "hidden": hidden} if self.hides else {"pixels": pixels}

    def changed(self, pixels: Tensor, where: Tensor) -> Tensor:
        """Pixels (B, C, H, W) with something else in the patches of ``where`` (B, P)."""
        grid, (height, width) = self.tokens.grid, pixels.shape[2:]
        if height % grid.rows or width % grid.columns:
            raise ExemptError(f"a grid of {grid} does not tile {height}x{width} pixels")
        cells = where.unflatten(1, (grid.rows, grid.columns))
        cells = cells.repeat_interleave(height // grid.rows, 1).repeat_interleave(width // grid.columns, 2)
        return torch.where(cells[:, None], pixels.flip(0) * 2 + 1, pixels)

    def encode(self, part: Any, inputs: Tensors, **asked: Any) -> Any:
        hidden = (inputs["hidden"],) if self.hides else ()
        return part(inputs["pixels"], *hidden, keep=None, output_attentions=False, output_hidden_states=False, **asked)

    def real(self, inputs: Tensors) -> Tensor:
        return torch.ones(len(inputs["pixels"]), self.tokens.length, dtype=torch.bool)

    def run(self, part: Any, inputs: Tensors) -> Tensors:
        """As the model runs it: clean, and with hidden patches."""
        clean = part(inputs["pixels"], keep=None, output_attentions=False, output_hidden_states=False)
        outputs = states_of(clean)
        if self.hides:
            masked = states_of(self.encode(part, inputs))
            outputs |= {f"masked {name}": value for name, value in masked.items()}
        return outputs

    def stated(self, batch: int) -> dict[str, tuple[int, ...]]:
        states = stated_states(self.spec, batch, self.tokens.length, self.tokens.width)
        return states | ({f"masked {name}": shape for name, shape in states.items()} if self.hides else {})


@law("put the mask token where a patch is hidden before any layer mixes patches; or state mask_token = False")
def masking(bench: ImageEncoderBench) -> None:
    """Nothing of a hidden patch can be seen, and hiding makes a difference."""
    if not bench.hides:
        raise ExemptError("the spec says that patches cannot be hidden")
    pixels, hidden = bench.inputs().values()
    with torch.no_grad():
        seen = states_of(bench.part(pixels, hidden))
        other = states_of(bench.part(bench.changed(pixels, hidden), hidden))
        clean = states_of(bench.part(pixels))
    same(seen, other, "what lies behind hidden patches shows")
    if torch.equal(seen["pre_norm"], clean["pre_norm"]):
        raise LawError("hiding patches changes nothing")


@law("leave patches outside `keep` out of attention; raise ValueError for a `keep` that the encoder cannot honour")
def padding(bench: ImageEncoderBench) -> None:
    """Patches that are not kept do not change those that are."""
    pixels = bench.inputs()["pixels"]
    dropped = (torch.arange(bench.tokens.grid.size) % 2 == 0).expand(len(pixels), -1)
    with torch.no_grad():
        try:
            seen = bench.part(pixels, keep=~dropped).pre_norm
        except (ValueError, NotImplementedError) as error:
            raise ExemptError(one_line(error)) from error
        other = bench.part(bench.changed(pixels, dropped), keep=~dropped).pre_norm
    prefix = bench.tokens.prefix
    kept = torch.cat([torch.ones(len(pixels), prefix, dtype=torch.bool), ~dropped], dim=1)
    same({"pre_norm": seen[kept]}, {"pre_norm": other[kept]}, "what is not kept shows in what is")


@law("let `with_clean` give as `clean` what a call without `masked` gives; or do not take it")
def images_together(bench: ImageEncoderBench) -> None:
    """The clean pass and the masked one give together what they give apart."""
    if not takes(bench.part, "with_clean"):
        raise ExemptError("forward takes no `with_clean`, so that each pass is run alone")
    pixels, hidden = bench.inputs().values()
    with torch.no_grad():
        apart = bench.part(pixels), bench.part(pixels, hidden)
        whole, narrow = (bench.part(pixels, hidden, with_clean=True, clean_read=read) for read in (None, SUMMARY))
    _as_apart(*apart, whole, narrow)


ImageEncoderBench.laws = (*MODULE, masking, padding, narrowed, images_together)


class TextEncoderBench(EncoderBench):
    """A text encoder, on texts of different lengths, padded."""

    kind = "text_encoder"

    @property
    def tokens(self) -> TextTokens:
        """The sequence that the spec states."""
        return self.spec.tokens

    @property
    def length(self) -> int:
        """Long enough to have padding, short enough to be quick."""
        return min(self.tokens.length, 8)

    def inputs(self, batch: int = BATCH, seed: int = 0) -> Tensors:
        generator = torch.Generator().manual_seed(seed)
        first = min(5, self.tokens.vocab_size - 1)  # 0 is padding nearly everywhere
        ids = torch.randint(first, self.tokens.vocab_size, (batch, self.length), generator=generator)
        words = self.length - torch.arange(batch) % 3
        return {"ids": ids, "keep": (torch.arange(self.length) < words.clamp(min=1)[:, None]).long()}

    def encode(self, part: Any, inputs: Tensors, **asked: Any) -> Any:
        ids, keep = inputs["ids"], inputs["keep"]
        return part(ids, keep, None, None, output_attentions=False, output_hidden_states=False, **asked)

    def real(self, inputs: Tensors) -> Tensor:
        return inputs["keep"].bool()

    def run(self, part: Any, inputs: Tensors) -> Tensors:
        """As the model runs it. What stands at padding is nobody's business, and is set to 0."""
        keep = inputs["keep"]
        states = states_of(self.encode(part, inputs))
        for name in ("last_hidden_state", "pre_norm"):
            states[name] = states[name] * keep[..., None] if states[name].shape[:2] == keep.shape else states[name]
        return states

    def stated(self, batch: int) -> dict[str, tuple[int, ...]]:
        return stated_states(self.spec, batch, self.length, self.tokens.width)


@law("leave tokens whose `keep` is 0 out of attention")
def text_padding(bench: TextEncoderBench) -> None:
    """Neither what stands at padding nor how much there is of it changes a word."""
    inputs = bench.inputs()
    ids, keep = inputs["ids"], inputs["keep"]
    seen = bench.outputs(bench.part, inputs)
    other = torch.where(keep.bool(), ids, ids.flip(0))
    same(seen, bench.outputs(bench.part, {"ids": other, "keep": keep}), "what stands at padding shows")
    words = int(keep[-1].sum())
    alone = bench.outputs(bench.part, {"ids": ids[-1:, :words], "keep": keep[-1:, :words]})
    for name in ("last_hidden_state", "pre_norm"):
        same({name: seen[name][-1:, :words]}, {name: alone[name]}, "a text without padding differs from one with it")


@law("give words vectors of their own and mix them: an id, and an id elsewhere in the text, must make a difference")
def reads_ids(bench: TextEncoderBench) -> None:
    """Another word changes the summary, which stands for the whole text."""
    inputs = bench.inputs()
    ids = inputs["ids"].clone()
    place = 1 if bench.length > 1 else 0
    ids[0, place] = (ids[0, place] + 1) % bench.tokens.vocab_size
    one = bench.outputs(bench.part, inputs)["last_hidden_state"][0, 0]
    other = bench.outputs(bench.part, inputs | {"ids": ids})["last_hidden_state"][0, 0]
    if torch.equal(one, other):
        raise LawError("a text with another word has the same summary")


@law("let `clean_ids` give as `clean` what a call with these ids gives; or do not take them")
def texts_together(bench: TextEncoderBench) -> None:
    """The clean pass and the masked one give together what they give apart."""
    if not takes(bench.part, "clean_ids"):
        raise ExemptError("forward takes no `clean_ids`, so that each pass is run alone")
    ids, keep = bench.inputs().values()
    changed = ids.flip(1)
    with torch.no_grad():
        apart = bench.part(ids, keep), bench.part(changed, keep)
        whole, narrow = (bench.part(changed, keep, clean_ids=ids, clean_read=read) for read in (None, SUMMARY))
    _as_apart(*apart, whole, narrow)


def _as_apart(clean: Any, masked: Any, whole: Any, narrow: Any) -> None:
    """Both passes together, with all of the clean one's states or with its summary's, are as each is alone."""
    for both in (whole, narrow):
        same(states_of(masked), states_of(both), "the masked pass differs where the clean one is run with it")
    same(states_of(clean), states_of(whole.clean), "the clean pass differs where it is run with the masked one")
    for name in ("last_hidden_state", "pre_norm"):
        first = {name: getattr(clean, name)[:, :1]}
        same(first, {name: getattr(narrow.clean, name)}, "the summary of the clean pass differs where it is read alone")


TextEncoderBench.laws = (*MODULE, text_padding, reads_ids, narrowed, spared, texts_together)
