"""Every registered part keeps its kind's contract: names, defaults, and facts that are true."""

import inspect
import pickle
from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import codebooks, flava_specs, fusions, grids, image_maskers, text_encoders, text_maskers, vits
from torch import nn

from flava_parts.data.sources.image_folder import ImageFolder
from flava_parts.data.sources.specs import EmojiSpec
from flava_parts.facts import Grid, ImageTokens, TextTokens, Vocab
from flava_parts.part import PartSpec
from flava_parts.plugins import default_registry
from flava_parts.spec import FlavaSpec
from flava_parts.train.optimizers import adamw
from flava_parts.wiring import wire

HELD_OUT = EmojiSpec(split="held_out")
REQUIRED: dict[str, dict[str, Any]] = {
    "flava.retrieval": {"source": HELD_OUT},
    "flava.zero_shot": {"source": HELD_OUT},
    "flava.image_folder": {"folder": "pictures"},
    "flava.probe": {"train": EmojiSpec(), "test": HELD_OUT},
}
"""The fields of specs that have no default."""

CONSTRUCTORS: dict[str, Callable[..., Any]] = {"flava.adamw": adamw, "flava.image_folder": ImageFolder.__init__}
"""Of parts that build a library's object, or need files to be built."""


def inputs_of(kind: str, tmp_path: Any) -> dict[str, Any]:
    """What the ``build`` of a kind is given by the parts around it."""
    return {
        "fusion": {"image": ImageTokens(Grid(2, 2), 1, 8), "text": TextTokens(8, 8, 200)},
        "image_masker": {"grid": Grid(14, 14)},
        "text_masker": {"vocab": Vocab(continuations=frozenset({200}))},
        "loss": {"wiring": wire(FlavaSpec())},
        "optimizer": {"model": nn.Linear(1, 1)},
        "schedule": {"steps": 10},
        "observer": {"folder": tmp_path},
        "head": {"width": 8, "classes": 3},
    }.get(kind, {})


def all_parts() -> list[type[PartSpec]]:
    """Every part that is registered."""
    return [entry.spec for entry in default_registry().entries.values()]


@pytest.fixture(params=all_parts(), ids=lambda spec: spec.type_name())
def part(request) -> PartSpec:
    """A part with its defaults."""
    return request.param(**REQUIRED.get(request.param.type_name(), {}))


def test_every_kind_of_part_is_registered():
    kinds = {spec.kind for spec in all_parts()}

    assert {
        "image_encoder",
        "text_encoder",
        "fusion",
        "codebook",
        "image_masker",
        "text_masker",
        "pair_masker",
        "loss",
        "tokenizer",
        "source",
        "optimizer",
        "schedule",
        "observer",
        "evaluation",
        "head",
    } == kinds


def test_the_constructor_has_the_spec_s_names_and_defaults(part, tmp_path):
    """And, besides them, exactly what ``build`` is given, without defaults; all by keyword."""
    constructor = CONSTRUCTORS.get(part.type_name())
    if constructor is None:
        with torch.device("meta"):
            constructor = type(part.build(**inputs_of(part.kind, tmp_path))).__init__
    parameters = {name: p for name, p in inspect.signature(constructor).parameters.items() if name != "self"}
    fields = {name: field for name, field in type(part).model_fields.items() if name != "type"}
    extra = {name: p for name, p in parameters.items() if name not in fields}

    assert set(fields) <= set(parameters)
    assert all(p.kind is inspect.Parameter.KEYWORD_ONLY for p in parameters.values())
    assert all(p.default is inspect.Parameter.empty for p in extra.values())
    for name, field in fields.items():
        default = inspect.Parameter.empty if field.is_required() else field.default
        assert default == parameters[name].default, name


def test_every_field_says_what_it_is(part):
    """A description of each, for the editor and for `parts`."""
    fields = {name: field for name, field in type(part).model_fields.items() if name != "type"}

    assert {} == {name: field for name, field in fields.items() if not field.description}
    assert type(part).__doc__


def test_specs_are_frozen_and_pickle(part):
    name = next(iter(type(part).model_fields))

    assert part == pickle.loads(pickle.dumps(part))
    with pytest.raises(ValueError, match="frozen"):
        setattr(part, name, "other")


@given(spec=vits(), batch=st.integers(1, 3), seed=st.integers(0, 9))
def test_an_image_encoder_returns_the_tokens_it_states(spec, batch, seed):
    torch.manual_seed(seed)
    height, width = (spec.image_size,) * 2 if isinstance(spec.image_size, int) else spec.image_size
    pixels = torch.randn(batch, spec.channels, height, width)
    masked = torch.rand(batch, spec.tokens.grid.size) < 0.5
    states = spec.build().eval()(pixels, masked)

    assert (batch, spec.tokens.length, spec.tokens.width) == states.last_hidden_state.shape == states.pre_norm.shape
    assert spec.pooler == (states.pooler_output is not None)


@given(spec=text_encoders(), batch=st.integers(1, 3), data=st.data())
def test_a_text_encoder_returns_the_tokens_it_states(spec, batch, data):
    length = data.draw(st.integers(1, spec.length))
    ids = torch.randint(0, spec.vocab_size, (batch, length))
    states = spec.build().eval()(ids, torch.ones_like(ids))

    assert (batch, length, spec.tokens.width) == states.last_hidden_state.shape == states.pre_norm.shape
    assert states.last_hidden_state.isfinite().all()


@given(spec=codebooks(), batch=st.integers(1, 3))
def test_a_codebook_gives_the_codes_it_states(spec, batch):
    codebook = spec.build()
    pixels = torch.rand(batch, spec.channels, *codebook.image_size)
    if spec.learns_from_images:
        codebook.fit(torch.rand(8, *pixels.shape[1:]), torch.Generator().manual_seed(0))
    codes = codebook(pixels)

    assert (batch, spec.codes.grid.size) == codes.shape
    assert torch.int64 == codes.dtype
    assert not codes.requires_grad
    assert 0 <= codes.min() <= codes.max() < spec.codes.vocab_size


@given(spec=fusions(), image=vits(), text=text_encoders(), data=st.data())
def test_a_fusion_is_laid_out_as_it_states(spec, image, text, data):
    """The layout of the spec is that of the module, and patches and words are where it says."""
    words = data.draw(st.integers(1, text.length))
    fusion = spec.build(image=image.tokens, text=text.tokens).eval()
    stated = spec.layout(image.tokens, text.tokens)
    layout = fusion.layout(patches=image.tokens.grid.size, words=words)
    states = fusion(torch.randn(2, image.tokens.length, image.width), torch.randn(2, words, text.width))

    assert stated == fusion.layout(patches=image.tokens.grid.size, words=text.length)
    assert (2, layout.length, layout.width) == states.last_hidden_state.shape
    assert image.tokens.grid.size == layout.patches.stop - layout.patches.start
    assert (layout.patches.stop, layout.length) == (layout.words.start, layout.words.stop)
    assert 0 <= layout.summary < layout.patches.start


@given(grid=grids(), data=st.data(), seed=st.integers(0, 2**32))
def test_an_image_masker_hides_patches_of_its_grid(grid, data, seed):
    spec = data.draw(image_maskers(grid))
    masker = spec.build(grid=grid)
    first = masker(3, torch.Generator().manual_seed(seed))

    assert ((3, grid.size), torch.bool) == (first.shape, first.dtype)
    assert first.sum(1).max() <= spec.total
    assert torch.equal(first, masker(3, torch.Generator().manual_seed(seed)))


@given(spec=text_maskers(), seed=st.integers(0, 2**32))
def test_a_text_masker_labels_what_it_changes(spec, seed):
    vocab = Vocab(size=160, continuations=frozenset(range(150, 160)))
    ids = torch.randint(104, 160, (3, 9), generator=torch.Generator().manual_seed(seed))
    special = torch.zeros_like(ids, dtype=torch.bool)
    special[:, 0] = special[:, -2:] = True
    before = ids.clone()
    masked = spec.build(vocab=vocab)(ids, special, torch.Generator().manual_seed(seed))
    labelled = masked.labels != -100

    assert torch.equal(before, ids)
    assert torch.equal(ids[labelled], masked.labels[labelled])
    assert torch.equal(ids[~labelled], masked.ids[~labelled])
    assert not (labelled & special).any()


@settings(max_examples=10)
@given(spec=flava_specs())
def test_every_loss_has_a_graph_and_a_count(spec):
    """Streams of the stated shapes give a finite value that reaches the loss's own parameters."""
    wiring = wire(spec)
    streams: dict[str, torch.Tensor] = {}
    patches, words = wiring.image.grid.size, 5
    lengths = {"image_summary": (), "text_summary": (), "fused_summary": ()}
    lengths |= {
        "masked_patches": (patches,),
        "fused_patches": (patches,),
        "masked_words": (words,),
        "fused_words": (words,),
    }
    for stream in wiring.reads & set(lengths):
        streams[stream] = torch.randn(3, *lengths[stream], wiring.stream_width(stream))
    for stream, shape in (("image_labels", (3, patches)), ("text_labels", (3, words)), ("match_labels", (3,))):
        if stream in wiring.reads:
            streams[stream] = torch.randint(0, wiring.label_count(stream), shape)
    for loss in spec.losses.values():
        module = loss.build(wiring=wiring)
        value = module(streams)
        value.value.backward()

        assert value.value.isfinite()
        assert value.count > 0
        assert all(p.grad is not None for p in module.parameters())
