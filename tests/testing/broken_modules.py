"""The implementations of the broken parts: each is a good part of the package with one thing done wrong."""

from __future__ import annotations

import random
from dataclasses import replace
from types import SimpleNamespace

import torch
from torch import nn

from flava_parts.codebooks.kmeans import KMeansCodebook
from flava_parts.encoders.text import TextTransformer
from flava_parts.encoders.vision import VisionTransformer
from flava_parts.facts import IGNORE, Streams
from flava_parts.fusion.transformer import FusionTransformer
from flava_parts.heads.classifier import LinearClassifier
from flava_parts.inputs.wordpiece import WordPiece
from flava_parts.layers.attention import at
from flava_parts.losses.masked_prediction import MaskedPrediction
from flava_parts.losses.matching import ImageTextMatching
from flava_parts.maskers.bert_tokens import BertTokenMasker
from flava_parts.maskers.mismatch import MismatchMasker
from flava_parts.maskers.random import RandomMasker

# ---------------------------------------------------------------------------------------------- image encoders


def holds_a_lambda(**fields):
    vit = VisionTransformer(**fields)
    vit.scaled = lambda states: states
    return vit


def unrepeatable(**fields):
    vit = VisionTransformer(**fields)
    if not vit.cls_token.is_meta:
        nn.init.normal_(vit.cls_token, generator=torch.Generator().manual_seed(random.randrange(2**31)))
    return vit


class WritesPixels(VisionTransformer):
    def forward(self, pixels, *arguments, **options):
        if not torch.compiler.is_exporting():
            pixels.data.clamp_(-1, 1)
        return super().forward(pixels, *arguments, **options)


class CentresBatch(VisionTransformer):
    def forward(self, pixels, *arguments, **options):
        output = super().forward(pixels, *arguments, **options)
        return replace(output, pre_norm=output.pre_norm - output.pre_norm[:, :1].mean(0, keepdim=True))


def with_a_spare_layer(**fields):
    vit = VisionTransformer(**fields)
    vit.spare = nn.Linear(2, 2)
    return vit


class OtherWhenCompiled(VisionTransformer):
    def forward(self, *arguments, **options):
        output = super().forward(*arguments, **options)
        if torch.compiler.is_dynamo_compiling() and not torch.compiler.is_exporting():
            return replace(output, last_hidden_state=output.pre_norm)
        return output


class BranchesOnValues(VisionTransformer):
    def forward(self, *arguments, **options):
        output = super().forward(*arguments, **options)
        if output.pre_norm.is_meta or output.pre_norm.sum() > 1e9:
            return output
        return replace(output)


class IgnoresMask(VisionTransformer):
    def forward(self, pixels, masked=None, **options):
        output = super().forward(pixels, **options)
        # The mask token takes part, so that a gradient reaches it, and hides nothing.
        return replace(output, last_hidden_state=output.last_hidden_state + self.mask_token)


class IgnoresKeep(VisionTransformer):
    def forward(self, pixels, masked=None, keep=None, **options):
        return super().forward(pixels, masked, **options)


class MasksBoth(VisionTransformer):
    def forward(self, pixels, masked=None, *arguments, with_clean=False, clean_read=None, **options):
        output = super().forward(pixels, masked, *arguments, **options)
        return replace(output, clean=super().forward(pixels, masked, read=clean_read)) if with_clean else output


# ----------------------------------------------------------------------------------------- text, fusion, codebook


class ReadsTooEarly(TextTransformer):
    def run(self, states, bias=None, positions=None, *, read=None, **options):
        return super().run(at(states, read), None if read is not None else bias, positions, **options)


class CutsGradients(FusionTransformer):
    def forward(self, image, text, *arguments, read=None, **options):
        return super().forward(image, text if read is None else text.detach(), *arguments, read=read, **options)


class AttendsToAbsent(TextTransformer):
    def forward(self, ids, keep=None, *arguments, present=None, **options):
        if present is not None:
            keep = torch.ones_like(keep)
        return super().forward(ids, keep, *arguments, **options)


class DropsWords(FusionTransformer):
    def forward(self, image, text, *arguments, text_present=None, **options):
        if text_present is not None:
            text_present = text_present & text_present.roll(-1, dims=1)
        return super().forward(image, text, *arguments, text_present=text_present, **options)


class MixesPasses(TextTransformer):
    def forward(self, ids, *arguments, clean_ids=None, **options):
        return super().forward(ids, *arguments, clean_ids=None if clean_ids is None else ids, **options)


class IgnoresPadding(TextTransformer):
    def forward(self, ids, keep=None, *arguments, **options):
        return super().forward(ids, None, *arguments, **options)


class IgnoresIds(TextTransformer):
    def forward(self, ids, *arguments, **options):
        return super().forward(ids * 0, *arguments, **options)


class OwnLayout(FusionTransformer):
    def layout(self, *, patches, words):
        found = super().layout(patches=patches, words=words)
        return replace(found, words=slice(found.words.start + 1, found.words.stop))


class SummaryOfImage(FusionTransformer):
    def forward(self, image, text, *arguments, **options):
        output = super().forward(image, text, *arguments, **options)
        alone = super().forward(image, text * 0, *arguments, **options).last_hidden_state[:, :1]
        return replace(output, last_hidden_state=torch.cat([alone, output.last_hidden_state[:, 1:]], dim=1))


class IgnoresTextKeep(FusionTransformer):
    def forward(self, image, text, image_keep=None, text_keep=None, **options):
        return super().forward(image, text, image_keep, None, **options)


class CodesFromOne(KMeansCodebook):
    def assign(self, pixels):
        return super().assign(pixels) + 1


class FollowsPrecision(nn.Module):
    def __init__(self, *, image_size=16, channels=3):
        super().__init__()
        self.register_buffer("place", torch.linspace(0, 1, 50))

    @torch.no_grad()
    def forward(self, pixels):
        cells = pixels.mean(1).unflatten(2, (4, 4)).unflatten(1, (4, 4)).mean((2, 4)).flatten(1)
        return (cells[..., None] * self.place.sum()).to(self.place.dtype).frac().sub(self.place).abs().argmin(-1)


class OneCode(KMeansCodebook):
    def assign(self, pixels):
        return super().assign(pixels) * 0


# ------------------------------------------------------------------------------------------------------- maskers


class GlobalGenerator(RandomMasker):
    def __call__(self, batch, generator):
        return super().__call__(batch, torch.default_generator)


def hides_more(*, grid, total):
    return RandomMasker(grid=grid, total=total + 1)


class PythonsRandom(BertTokenMasker):
    def __call__(self, ids, special, generator):
        return super().__call__(ids, special, torch.Generator().manual_seed(random.randrange(2**31)))


class LabelsAll(BertTokenMasker):
    def __call__(self, ids, special, generator):
        masked = super().__call__(ids, special, generator)
        return masked._replace(labels=ids)


class AllMatch(MismatchMasker):
    def __call__(self, batch, generator):
        pairs = super().__call__(batch, generator)
        return pairs._replace(labels=torch.ones_like(pairs.labels))


# ------------------------------------------------------------------------------------------------ losses and heads


class PeeksAtImage(MaskedPrediction):
    def forward(self, streams, *, dense=False):
        return super().forward({**streams, "peek": streams.get(Streams.IMAGE_SUMMARY)}, dense=dense)


class WeightTwice(ImageTextMatching):
    def forward(self, streams, *, dense=False):
        found = super().forward(streams, dense=dense)
        return replace(found, value=found.value * self.weight)


class NoEmptyBatch(MaskedPrediction):
    def forward(self, streams, *, dense=False):
        found = super().forward(streams, dense=dense)
        some = (streams[self.labels] != IGNORE).any()
        return replace(found, value=found.value + torch.where(some, 0.0, 1.0))


class OtherWhenDense(ImageTextMatching):
    def forward(self, streams, *, dense=False):
        return (
            super().forward(streams, dense=dense)
            if not dense
            else replace(super().forward(streams), value=super().forward(streams).value * 2)
        )


class OtherDefault(LinearClassifier):
    def __init__(self, *, width, classes, reads="fused", multi_label=False, dropout=0.0, init_std=0.01):
        super().__init__(
            width=width, classes=classes, reads=reads, multi_label=multi_label, dropout=dropout, init_std=init_std
        )


class Unsure(LinearClassifier):
    def probabilities(self, logits):
        return logits.sigmoid()


# --------------------------------------------------------------------------------------------- inputs and training


class OtherPadding(WordPiece):
    def __call__(self, texts):
        found = super().__call__(texts)
        return found._replace(input_ids=found.input_ids + (found.attention_mask == 0).long())


class NeighbourAware(WordPiece):
    def __call__(self, texts):
        found = super().__call__(texts)
        if len(texts) == 1:
            return found
        words = found.attention_mask.bool() & ~found.special_tokens_mask.bool()
        return found._replace(input_ids=found.input_ids + words.long())


class Numbers:
    """A good source of texts."""

    def __len__(self):
        return 9

    def sample(self, index, generator=None):
        if index >= len(self):
            raise IndexError(index)
        return self.made(index, generator)

    def made(self, index, generator):
        return SimpleNamespace(key=str(index), image=None, text=f"number {index}", labels=())


class OneKey(Numbers):
    def made(self, index, generator):
        return SimpleNamespace(key="same", image=None, text=f"number {index}", labels=())


class Varies(Numbers):
    def made(self, index, generator):
        return SimpleNamespace(key=str(index), image=None, text=f"number {random.random()}", labels=())


class Endless(Numbers):
    def sample(self, index, generator=None):
        return self.made(index, generator)


class EvenFrozen(torch.optim.SGD):
    def __init__(self, *, model, learning_rate=0.1):
        super().__init__(model.parameters(), lr=learning_rate)


class Unscaled(torch.optim.SGD):
    def __init__(self, *, model, learning_rate=0.1):
        super().__init__([each for each in model.parameters() if each.requires_grad], lr=learning_rate)

    def step(self, closure=None):
        rate = self.param_groups[0]["lr"]
        self.param_groups[0]["lr"] = 1e-2
        super().step(closure)
        self.param_groups[0]["lr"] = rate


class Counting:
    def __init__(self, *, steps):
        self.asked = 0

    def __call__(self, step):
        self.asked += 1
        return 1 / self.asked


class WritesRecords:
    def __init__(self, *, folder):
        self.folder = folder

    def begin(self, *, step, steps): ...
    def stepped(self, record):
        record["seen"] = 1

    def evaluated(self, record): ...
    def end(self): ...


class LeavesEvalMode:
    def __call__(self, model, processor, *, watch=None):
        model.eval()
        return SimpleNamespace(record={"nothing": 0.0})
