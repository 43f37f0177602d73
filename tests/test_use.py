"""A finished model in use: scores, rankings, silenced heads, other picture sizes."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from reference.oracles import Tiny, hugging_face_config, randomise
from torch import Tensor, nn
from transformers import FlavaImageModel

from flava_parts.compose import compose
from flava_parts.encoders.specs import TextTransformerSpec, ViTSpec
from flava_parts.encoders.vision import VisionTransformer
from flava_parts.interop.keys import our_name
from flava_parts.layers.attention import Attention
from flava_parts.model import FlavaForPreTraining

ENCODERS = ("image_encoder", "text_encoder", "fusion")
N, M, WORDS = 3, 5, 6


def model_of(*, without: tuple[str, ...] = ()) -> FlavaForPreTraining:
    """A tiny model of random weights in double precision, some losses left out."""
    spec = Tiny().spec(pooler=False)
    spec = spec.model_copy(update={"losses": {name: loss for name, loss in spec.losses.items() if name not in without}})
    model = compose(spec).double().eval().requires_grad_(False)
    randomise(model, seed=3)
    return model


@pytest.fixture(scope="module")
def model() -> FlavaForPreTraining:
    """With all losses."""
    return model_of()


@pytest.fixture
def passes(model: FlavaForPreTraining) -> Iterator[Counter[str]]:
    """How often each part ran, and in it, how many rows it saw."""
    seen: Counter[str] = Counter()

    def count(name: str):
        def hook(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
            seen[name] += 1
            seen[f"{name} rows"] += len(inputs[0])

        return hook

    hooks = [getattr(model, name).register_forward_pre_hook(count(name)) for name in (*ENCODERS, "codebook")]
    yield seen
    for hook in hooks:
        hook.remove()


def inputs(images: int = N, texts: int = M) -> dict[str, Tensor]:
    """Images, and texts of different lengths."""
    generator = torch.Generator().manual_seed(1)
    keep = torch.arange(WORDS) < 2 + torch.arange(texts)[:, None] % 5
    return {
        "pixel_values": torch.randn(images, 3, 6, 6, generator=generator, dtype=torch.float64),
        "input_ids": torch.randint(1, 19, (texts, WORDS), generator=generator),
        "attention_mask": keep.long(),
        "token_type_ids": torch.randint(0, 3, (texts, WORDS), generator=generator),
    }


def rows(batch: dict[str, Tensor], image: int, text: int) -> dict[str, Tensor]:
    """The pair of one image and one text."""
    return {name: tensor[[image if name == "pixel_values" else text]] for name, tensor in batch.items()}


# ---------------------------------------------------------------------------------------------------- scores


def test_pairs_take_one_pass_of_each_encoder_and_no_codebook(model: FlavaForPreTraining, passes: Counter[str]) -> None:
    """And the scores are those of the contrastive and the matching head on the clean states."""
    batch = inputs(M, M)
    scores = model.score_pairs(**batch)

    assert {**dict.fromkeys(ENCODERS, 1), **{f"{name} rows": M for name in ENCODERS}} == passes
    output = model(
        **batch, itm_labels=torch.ones(M, dtype=torch.int64), losses=["itm", "global_contrastive"], output_logits=True
    )
    assert output.itm_logits is not None
    assert output.contrastive_logits_per_image is not None
    assert scores.match_probability is not None
    cosines = output.contrastive_logits_per_image.diagonal() / model.losses["global_contrastive"].scale()

    torch.testing.assert_close(cosines, scores.similarity)
    torch.testing.assert_close(output.itm_logits.softmax(dim=1)[:, 1], scores.match_probability)


@pytest.mark.parametrize("chunk", [1, 4, 100])
def test_all_scores_are_those_of_each_pair_alone(model: FlavaForPreTraining, passes: Counter[str], chunk: int) -> None:
    """N images against M texts: each encoder runs once, over N and over M, and the fusion over N x M in chunks."""
    batch = inputs()
    scores = model.score_all(**batch, chunk=chunk)

    assert {
        "image_encoder": 1,
        "image_encoder rows": N,
        "text_encoder": 1,
        "text_encoder rows": M,
        "fusion": math.ceil(N * M / chunk),
        "fusion rows": N * M,
    } == passes
    assert scores.match_probability is not None
    assert (N, M) == scores.similarity.shape == scores.match_probability.shape
    for image in range(N):
        for text in range(M):
            alone = model.score_pairs(**rows(batch, image, text))
            assert alone.match_probability is not None

            torch.testing.assert_close(alone.similarity[0], scores.similarity[image, text])
            torch.testing.assert_close(alone.match_probability[0], scores.match_probability[image, text])


@given(pairs=st.lists(st.tuples(st.integers(0, N - 1), st.integers(0, M - 1)), max_size=7), chunk=st.integers(1, 8))
def test_chosen_pairs_are_those_of_all(model: FlavaForPreTraining, pairs: list[tuple[int, int]], chunk: int) -> None:
    """In any order and number, none included, with repetitions."""
    everything, chosen = model.score_all(**inputs()), torch.tensor(pairs, dtype=torch.int64).reshape(-1, 2)
    scores = model.score_all(**inputs(), pairs=chosen, chunk=chunk)
    assert everything.match_probability is not None

    torch.testing.assert_close(everything.match_probability[chosen[:, 0], chosen[:, 1]], scores.match_probability)
    torch.testing.assert_close(everything.similarity, scores.similarity)


@pytest.mark.parametrize("for_each", ["image", "text"])
@pytest.mark.parametrize("k", [1, 2, 3])
def test_the_best_of_all_with_both_scores(
    model: FlavaForPreTraining, passes: Counter[str], for_each: str, k: int
) -> None:
    """Only what is returned goes through the fusion."""
    ranking = model.rank(**inputs(), k=k, for_each=for_each)  # pyright: ignore[reportArgumentType]
    counted = passes.copy()
    scores = model.score_all(**inputs())
    assert ranking.match_probability is not None
    assert scores.match_probability is not None
    similarity, match = scores.similarity, scores.match_probability
    if for_each == "text":
        similarity, match = similarity.T, match.T

    assert (1, 1, len(similarity) * k) == (counted["image_encoder"], counted["text_encoder"], counted["fusion rows"])
    for row in range(len(similarity)):
        best = sorted(range(similarity.shape[1]), key=lambda column: -float(similarity[row, column]))[:k]

        assert best == ranking.indices[row].tolist()
        torch.testing.assert_close(similarity[row, best], ranking.similarity[row])
        torch.testing.assert_close(match[row, best], ranking.match_probability[row])


def test_of_equal_candidates_the_first_comes_first(model: FlavaForPreTraining) -> None:
    batch = inputs(2, 1)
    batch = {name: tensor if name == "pixel_values" else tensor.repeat(4, 1) for name, tensor in batch.items()}

    assert 2 * [[0, 1, 2]] == model.rank(**batch, k=3).indices.tolist()


def test_without_a_matching_loss_there_is_no_probability() -> None:
    """The cosines are there all the same; without a contrastive loss there are none."""
    two_towers, without = model_of(without=("itm",)), model_of(without=("global_contrastive",))
    batch = inputs()

    assert two_towers.score_all(**batch).match_probability is None
    assert two_towers.rank(**batch, k=2).match_probability is None
    assert two_towers.score_pairs(**inputs(M, M)).match_probability is None
    for ask in (without.score_all, lambda **batch: without.rank(**batch, k=1)):
        with pytest.raises(ValueError, match="the model has no contrastive loss"):
            ask(**batch)


def test_what_cannot_be_scored(model: FlavaForPreTraining) -> None:
    """Pairs of unequal numbers, more than there are candidates, pairs that are none."""
    batch = inputs()
    with pytest.raises(ValueError, match="there are 3 images but 5 texts"):
        model.score_pairs(**batch)
    with pytest.raises(ValueError, match="the best 6 of 5 texts were asked for"):
        model.rank(**batch, k=6)
    with pytest.raises(ValueError, match="the best 4 of 3 images were asked for"):
        model.rank(**batch, k=4, for_each="text")
    with pytest.raises(ValueError, match="the best 0 of 5 texts were asked for"):
        model.rank(**batch, k=0)
    with pytest.raises(ValueError, match=r"pairs should be \(n, 2\), an image and a text each, not \(3,\)"):
        model.score_all(**batch, pairs=torch.arange(3))


# ------------------------------------------------------------------------------------------------ head masks


def attended(attention: Attention, states: Tensor, bias: Tensor | None, head_mask: Tensor) -> tuple[Tensor, Tensor]:
    """Attention whose weights are multiplied by a factor a head, written out: states (B, N, D) and weights."""
    width = states.shape[-1] // attention.heads
    context, weights = [], []
    for head, factor in enumerate(head_mask):
        own = slice(head * width, (head + 1) * width)
        query, key, value = (layer(states)[..., own] for layer in (attention.query, attention.key, attention.value))
        scores = query @ key.transpose(1, 2) / math.sqrt(width)
        weights.append((scores if bias is None else scores + bias[:, 0]).softmax(dim=-1) * factor)
        context.append(weights[-1] @ value)
    return attention.output(torch.cat(context, dim=-1)), torch.stack(weights, dim=1)


@given(
    seed=st.integers(0, 99),
    head_mask=st.lists(st.sampled_from([0.0, 0.5, 1.0, 2.0]), min_size=3, max_size=3),
    hidden=st.booleans(),
    asked=st.booleans(),
)
def test_factors_multiply_the_weights_of_heads(seed: int, head_mask: list[float], hidden: bool, asked: bool) -> None:
    """By the formula, on both ways through the layer: with the weights returned, and through torch's kernel."""
    torch.manual_seed(seed)
    attention, states = Attention(width=6, heads=3).double(), torch.randn(2, 4, 6, dtype=torch.float64)
    bias = torch.where(torch.rand(2, 1, 1, 4) < 0.4, -1e9, 0.0).double() if hidden else None
    factors = torch.tensor(head_mask, dtype=torch.float64)
    expected, weights = attended(attention, states, bias, factors)
    actual, returned = attention(states, bias, head_mask=factors, output_attentions=asked)

    torch.testing.assert_close(expected, actual)
    assert asked == (returned is not None)
    if returned is not None:
        torch.testing.assert_close(weights, returned)


def scaled(model: FlavaForPreTraining, encoder: str, factors: Tensor) -> FlavaForPreTraining:
    """A model whose output layers have the factors (depth, heads) multiplied in: what a head mask amounts to."""
    same = model_of()
    for block, row in zip(getattr(same, encoder).blocks, factors, strict=True):
        weight = block.attention.output.weight.data
        weight.mul_(row.repeat_interleave(weight.shape[1] // len(row)))
    return same


@pytest.mark.parametrize(("name", "encoder"), list(zip(("image", "text", "multimodal"), ENCODERS, strict=True)))
@pytest.mark.parametrize("shape", ["one row", "a row a block"])
def test_head_masks_reach_the_encoder_that_they_are_for(
    model: FlavaForPreTraining, name: str, encoder: str, shape: str
) -> None:
    """And no other; the states are those of a model that has the factors in its weights."""
    factors = torch.tensor([[0.0, 1.5], [0.5, 1.0]], dtype=torch.float64)
    given_mask = factors[0] if shape == "one row" else factors
    batch = inputs(N, N)
    expected = scaled(model, encoder, given_mask.expand(2, -1)).encode(**batch)
    actual = model.encode(**batch, head_mask={name: given_mask})

    for each in ("image", "text", "multimodal"):
        torch.testing.assert_close(getattr(expected, each).last_hidden_state, getattr(actual, each).last_hidden_state)
    untouched = model.encode(**batch)
    assert not torch.equal(getattr(untouched, name).last_hidden_state, getattr(actual, name).last_hidden_state)


def test_head_masks_of_ones_change_nothing(model: FlavaForPreTraining) -> None:
    batch, ones = inputs(N, N), torch.ones(2)
    masked = model.encode(**batch, head_mask={"image": ones, "text": ones, "multimodal": ones})
    plain = model.encode(**batch)

    assert torch.equal(plain.multimodal.last_hidden_state, masked.multimodal.last_hidden_state)  # pyright: ignore


def test_returned_attentions_are_those_that_were_used(model: FlavaForPreTraining) -> None:
    """A silenced head has none."""
    encoded = model.encode(**inputs(N, N), head_mask={"text": torch.tensor([1.0, 0.0])}, output_attentions=True)
    assert encoded.text is not None
    assert encoded.text.attentions is not None
    for weights in encoded.text.attentions:
        assert (0.0, 1.0) == (float(weights[:, 1].abs().max()), pytest.approx(float(weights[:, 0].sum(-1).mean())))


def test_head_masks_of_another_shape_are_refused(model: FlavaForPreTraining) -> None:
    """And those of another name."""
    batch = inputs(N, N)
    for shape in ((3,), (2, 3), (1, 2), (2, 2, 1), ()):
        with pytest.raises(ValueError, match=r"head_mask should be \(2,\) or \(2, 2\), one factor a head, not "):
            model.encode(**batch, head_mask={"image": torch.ones(shape)})
    with pytest.raises(ValueError, match="head_mask is for image, text, multimodal, not for fusion"):
        model.encode(**batch, head_mask={"fusion": torch.ones(2)})


def test_encoders_alone_take_head_masks() -> None:
    """By keyword, without the whole model."""
    vit = ViTSpec(image_size=8, patch_size=4, width=8, depth=1, heads=2).build().eval()
    text = TextTransformerSpec(vocab_size=9, length=4, width=8, depth=1, heads=2).build().eval()
    silent = torch.zeros(2)

    assert 0 == vit(torch.randn(1, 3, 8, 8), head_mask=silent, output_attentions=True).attentions[0].abs().max()
    assert 0 == text(torch.ones(1, 4).long(), head_mask=silent, output_attentions=True).attentions[0].abs().max()


# ---------------------------------------------------------------------------------------------- picture sizes


@pytest.mark.parametrize("size", [384, 480, 224, (384, 480)])
def test_larger_pictures_are_those_of_transformers(size: int | tuple[int, int]) -> None:
    """Positions for 224 pixels in patches of 16, read at the sizes that FLAVA is fine-tuned at."""
    tiny = Tiny()
    config = hugging_face_config(tiny).image_config
    config.update({"image_size": 224, "patch_size": 16})
    theirs = FlavaImageModel(config).double().eval()
    randomise(theirs, seed=5)
    ours = VisionTransformer(
        image_size=224, patch_size=16, norm_eps=tiny.norm_eps, pooler=True, **vars(tiny.image)
    ).double()
    ours.load_state_dict({our_image_name(name): value for name, value in theirs.state_dict().items()})
    height, width = (size, size) if isinstance(size, int) else size
    pixels = torch.randn(1, 3, height, width, dtype=torch.float64)
    with torch.no_grad():
        expected = theirs(pixels, interpolate_pos_encoding=True).last_hidden_state
        actual = ours.eval()(pixels).last_hidden_state

    assert (1, 1 + (height // 16) * (width // 16), 8) == actual.shape
    torch.testing.assert_close(expected, actual, rtol=0, atol=1e-12)


def our_image_name(name: str) -> str:
    return our_name(f"flava.image_model.{name}", "transformers").removeprefix("image_encoder.")  # pyright: ignore


def test_larger_pictures_are_embedded_scored_and_encoded(model: FlavaForPreTraining) -> None:
    """The whole model takes them, masks and all: the fusion sees as many patches as there are."""
    batch = inputs(N, N) | {"pixel_values": torch.randn(N, 3, 12, 9, dtype=torch.float64)}
    encoded = model.encode(**batch, bool_masked_pos=torch.rand(N, 4, 3) < 0.5)

    assert (N, 5) == model.embed_image(batch["pixel_values"]).shape
    assert (N,) == model.score_pairs(**batch).similarity.shape
    assert encoded.multimodal is not None
    assert (N, 1 + 1 + 12 + WORDS, 8) == encoded.multimodal.last_hidden_state.shape
