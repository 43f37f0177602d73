"""The laws of fusion parts."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ..facts import ImageTokens, Layout, TextTokens
from .encoders import stated_states, states_of
from .law import LawError, law
from .modules import BATCH, MODULE, Tensors, same
from .narrowed import EncoderBench, narrowed, spared


class FusionBench(EncoderBench):
    """A fusion part, on states of the model's two encoders, texts padded."""

    kind = "fusion"
    words = 8
    present = "text_present"

    @property
    def image(self) -> ImageTokens:
        """What the image encoder states."""
        return self.model.image_encoder.tokens

    @property
    def text(self) -> TextTokens:
        """What the text encoder states."""
        return self.model.text_encoder.tokens

    def given(self) -> dict[str, Any]:
        return {"image": self.image, "text": self.text}

    def layout(self, words: int) -> Layout:
        """Where the spec states that things lie in the fused sequence of a text of so many words."""
        return self.spec.layout(self.image, TextTokens(words, self.text.width, self.text.vocab_size))

    def inputs(self, batch: int = BATCH, seed: int = 0) -> Tensors:
        generator = torch.Generator().manual_seed(seed)
        words = self.words - torch.arange(batch) % 3
        return {
            "image": torch.randn(batch, self.image.length, self.image.width, generator=generator),
            "text": torch.randn(batch, self.words, self.text.width, generator=generator),
            "keep": (torch.arange(self.words) < words[:, None]).long(),
        }

    def encode(self, part: Any, inputs: Tensors, **asked: Any) -> Any:
        image, text, keep = inputs["image"], inputs["text"], inputs["keep"]
        return part(image, text, None, keep, output_attentions=False, output_hidden_states=False, **asked)

    def real(self, inputs: Tensors) -> Tensor:
        layout = self.layout(self.words)
        kept = torch.ones(len(inputs["keep"]), layout.length, dtype=torch.bool)
        kept[:, layout.words] = inputs["keep"].bool()
        return kept

    def run(self, part: Any, inputs: Tensors) -> Tensors:
        """As the model runs it."""
        return states_of(self.encode(part, inputs))

    def stated(self, batch: int) -> dict[str, tuple[int, ...]]:
        layout = self.layout(self.words)
        return stated_states(self.spec, batch, layout.length, layout.width)


@law("let the spec's layout and the module's be one: `Layout.of` counts prefix, patches and words")
def layout(bench: FusionBench) -> None:
    """Spec and module lay the sequence out alike, and every patch and word has a place of its own in it."""
    patches = bench.image.grid.size
    for words in (1, bench.words, bench.text.length):
        stated, real = bench.layout(words), bench.part.layout(patches=patches, words=words)
        if stated != real:
            raise LawError(f"for {words} words the spec states {stated}, the module {real}")
        for name, part, count in (("patches", stated.patches, patches), ("words", stated.words, words)):
            if part.stop - part.start != count or part.start < 0 or part.stop > stated.length:
                raise LawError(f"there are {count} {name}, but their slice of {stated.length} tokens is {part}")
        places = [range(stated.length)[part] for part in (stated.patches, stated.words)]
        if set(places[0]) & set(places[1]) or not 0 <= stated.summary < stated.length:
            raise LawError(f"patches, words and summary overlap: {stated}")


@law("let every token attend to both modalities")
def fuses(bench: FusionBench) -> None:
    """The summary depends on the image and on the text."""
    inputs = bench.inputs()
    summary = bench.layout(bench.words).summary
    seen = bench.outputs(bench.part, inputs)["last_hidden_state"][:, summary]
    for name in ("image", "text"):
        other = bench.outputs(bench.part, inputs | {name: inputs[name].flip(0)})
        if torch.equal(seen, other["last_hidden_state"][:, summary]):
            raise LawError(f"another {name} leaves the summary as it was")


@law("leave words whose `text_keep` is 0 out of attention")
def fused_padding(bench: FusionBench) -> None:
    """What stands at padding changes neither patches nor words, unless the spec says so (mask_text_padding: false)."""
    inputs = bench.inputs()
    if getattr(bench.spec, "mask_text_padding", True) is False:
        return
    text = torch.where(inputs["keep"].bool()[..., None], inputs["text"], inputs["text"].flip(0) + 1)
    kept = bench.real(inputs)
    seen = bench.outputs(bench.part, inputs)["last_hidden_state"]
    other = bench.outputs(bench.part, inputs | {"text": text})["last_hidden_state"]
    same({"states": seen[kept]}, {"states": other[kept]}, "padding shows")


FusionBench.laws = (*MODULE, layout, fuses, fused_padding, narrowed, spared)
