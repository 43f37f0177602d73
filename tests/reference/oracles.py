"""Tiny models of the same configuration and the same random weights: ours, transformers', torchmultimodal's."""

from __future__ import annotations

import math
from copy import deepcopy
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from hypothesis import Phase, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from flava_parts.codebooks.specs import DVAESpec
from flava_parts.compose import compose
from flava_parts.encoders.specs import TextTransformerSpec, ViTSpec
from flava_parts.facts import IGNORE, Grid
from flava_parts.fusion.specs import FusionTransformerSpec
from flava_parts.interop.keys import Peer, our_name, to_ours
from flava_parts.losses.specs import GlobalContrastiveSpec, ITMSpec, MIMSpec, MLMSpec, MMMImageSpec, MMMTextSpec
from flava_parts.model import FlavaForPreTraining
from flava_parts.spec import FlavaSpec

LOSSES = ("mim", "mlm", "mmm_image", "mmm_text", "itm", "global_contrastive")
PASSES = ("image", "image_masked", "text", "text_masked", "multimodal", "multimodal_masked")
LENGTH, PAD = 6, 0
_GRID = Grid(2, 2)
_WIDTH = st.just(8)

drawn = settings(deadline=None, derandomize=True, database=None, phases=[Phase.explicit, Phase.generate])
"""The same examples on every machine."""


@dataclass(frozen=True)
class Tower:
    """One transformer of a tiny model."""

    width: int = 8
    depth: int = 2
    heads: int = 2
    mlp_width: int = 12
    activation: str = "gelu"
    qkv_bias: bool = True


@dataclass(frozen=True)
class Tiny:
    """A tiny model, in words that all three implementations can be told."""

    image: Tower = Tower()
    text: Tower = Tower()
    fusion: Tower = Tower()
    grid: Grid = _GRID
    patch_size: tuple[int, int] = (3, 3)
    channels: int = 3
    cls_token: bool = True
    projection: int = 5
    text_vocab: int = 19
    codes: int = 11
    norm_eps: float = 1e-12
    head_eps: float = 1e-12
    mask_text_padding: bool = True
    all_negative: str = "none"
    weights: dict[str, float] = field(default_factory=lambda: dict.fromkeys(LOSSES, 1.0))

    @property
    def image_size(self) -> tuple[int, int]:
        return self.grid.rows * self.patch_size[0], self.grid.columns * self.patch_size[1]

    def spec(self, *, pooler: bool = True) -> FlavaSpec:
        head = {"norm_eps": self.head_eps}
        on_image = {"activation": self.image.activation, **head}
        on_text = {"activation": self.text.activation, **head}
        losses = {
            "mim": MIMSpec(weight=self.weights["mim"], **on_image),
            "mlm": MLMSpec(weight=self.weights["mlm"], **on_text),
            "mmm_image": MMMImageSpec(weight=self.weights["mmm_image"], **on_image),
            "mmm_text": MMMTextSpec(weight=self.weights["mmm_text"], **on_text),
            "itm": ITMSpec(weight=self.weights["itm"], all_negative=self.all_negative),
            "global_contrastive": GlobalContrastiveSpec(
                weight=self.weights["global_contrastive"], projection=self.projection
            ),
        }
        return FlavaSpec(
            image_encoder=ViTSpec(
                image_size=self.image_size,
                patch_size=self.patch_size,
                channels=self.channels,
                norm_eps=self.norm_eps,
                pooler=pooler,
                **vars(self.image),
            ),
            text_encoder=TextTransformerSpec(
                vocab_size=self.text_vocab,
                length=LENGTH + 2,
                token_types=3,
                norm_eps=self.norm_eps,
                pooler=pooler,
                **vars(self.text),
            ),
            fusion=FusionTransformerSpec(
                cls_token=self.cls_token,
                mask_text_padding=self.mask_text_padding,
                norm_eps=self.norm_eps,
                pooler=pooler,
                **vars(self.fusion),
            ),
            codebook=DVAESpec(
                image_size=(8 * self.grid.rows, 8 * self.grid.columns), width=4, vocab_size=self.codes, weights="random"
            ),
            image_masker=None,
            text_masker=None,
            pair_masker=None,
            losses=losses,
        )

    def ours(self, state: dict[str, Tensor], peer: Peer, dtype: torch.dtype = torch.float64) -> FlavaForPreTraining:
        """Our model with the weights of a peer's state dict, none missing and none left over."""
        model = compose(self.spec()).to(dtype)
        model.load_state_dict(to_ours(state, peer), strict=True)
        return model.eval()


def randomise(model: nn.Module, seed: int) -> None:
    """Weights of which none is zero or one by luck, and states of order one."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, value in model.named_parameters():
            noise = torch.randn(value.shape, generator=generator, dtype=torch.float64)
            if name.endswith("logit_scale"):
                value.copy_(2 + 0.3 * noise)
            elif value.dim() == 1:
                is_scale = name.endswith("weight")
                value.copy_(is_scale + 0.3 * noise)
            elif "embeddings" in name or "token" in name:
                value.copy_(0.7 * noise)
            else:
                value.copy_(noise / math.sqrt(value[0].numel()))


def hugging_face_config(tiny: Tiny, **changes: Any) -> Any:
    from transformers import FlavaConfig
    from transformers.activations import ACT2FN

    ACT2FN.setdefault("selu", nn.SELU)  # its documentation offers selu, its table lacks it

    def tower(of: Tower) -> dict[str, Any]:
        return {
            "hidden_size": of.width,
            "num_hidden_layers": of.depth,
            "num_attention_heads": of.heads,
            "intermediate_size": of.mlp_width,
            "hidden_act": of.activation,
            "qkv_bias": of.qkv_bias,
            "layer_norm_eps": tiny.norm_eps,
        }

    return FlavaConfig(
        image_config=tower(tiny.image)
        | {
            "image_size": list(tiny.image_size),
            "patch_size": list(tiny.patch_size),
            "num_channels": tiny.channels,
            "vocab_size": tiny.codes,
        },
        text_config=tower(tiny.text)
        | {"vocab_size": tiny.text_vocab, "max_position_embeddings": LENGTH + 2, "type_vocab_size": 3},
        multimodal_config=tower(tiny.fusion) | {"use_cls_token": tiny.cls_token},
        image_codebook_config={"hidden_size": 4, "vocab_size": tiny.codes},
        hidden_size=tiny.fusion.width,
        layer_norm_eps=tiny.norm_eps,
        projection_dim=tiny.projection,
        **({f"{name}_weight": weight for name, weight in tiny.weights.items()} | changes),
    )


def hugging_face(tiny: Tiny, seed: int, dtype: torch.dtype = torch.float64, **changes: Any) -> Any:
    """transformers' `FlavaForPreTraining`, random weights."""
    from transformers import FlavaForPreTraining

    model = FlavaForPreTraining(hugging_face_config(tiny, **changes))
    randomise(model, seed)
    return model.to(dtype).eval()


ACTIVATIONS = {"gelu": nn.GELU, "relu": nn.ReLU, "selu": nn.SELU, "gelu_new": partial(nn.GELU, approximate="tanh")}


def torch_multimodal(tiny: Tiny, seed: int, dtype: torch.dtype = torch.float64, dropout: float = 0.0) -> Any:
    """torchmultimodal's `FLAVAForPreTraining`, random weights; its codebook of our tiny size."""
    from torchmultimodal.models.flava import model as flava
    from torchmultimodal.modules.losses.flava import FLAVAPretrainingLoss

    def tower(name: str, of: Tower) -> dict[str, Any]:
        return {
            f"{name}_hidden_size": of.width,
            f"{name}_num_attention_heads": of.heads,
            f"{name}_num_hidden_layers": of.depth,
            f"{name}_intermediate_size": of.mlp_width,
            f"{name}_intermediate_activation": ACTIVATIONS[of.activation],
            f"{name}_layer_norm_eps": tiny.norm_eps,
            f"{name}_dropout": dropout,
        }

    encoders = flava.flava_model(
        **tower("image", tiny.image),
        **tower("text", tiny.text),
        **tower("multimodal", tiny.fusion),
        image_size=tiny.image_size[0],
        patch_size=tiny.patch_size[0],
        num_channels=tiny.channels,
        vocab_size=tiny.text_vocab,
        max_position_embeddings=LENGTH + 2,
        type_vocab_size=3,
        text_and_image_proj_size=tiny.projection,
    )
    loss = FLAVAPretrainingLoss(
        hidden_size=tiny.fusion.width,
        text_vocab_size=tiny.text_vocab,
        image_vocab_size=tiny.codes,
        transform_act_fn=ACTIVATIONS[tiny.image.activation](),
        mlm_weight=tiny.weights["mlm"],
        mim_weight=tiny.weights["mim"],
        contrastive_loss_weight=tiny.weights["global_contrastive"],
        mmm_image_loss_weight=tiny.weights["mmm_image"],
        mmm_text_loss_weight=tiny.weights["mmm_text"],
        itm_loss_weight=tiny.weights["itm"],
    )
    codebook = nn.Module()
    codebook.encoder = flava.DalleEncoder(n_hid=4, vocab_size=tiny.codes)
    codebook.forward = lambda pixels: codebook.encoder(pixels).argmax(dim=1)
    model = flava.FLAVAForPreTraining(model=encoders, image_codebook=codebook, loss=loss)
    randomise(model, seed)
    return model.to(dtype).eval()


# ------------------------------------------------------------------------------------------------------------ drawing


def towers(widths: st.SearchStrategy[int]) -> st.SearchStrategy[Tower]:
    return st.builds(
        Tower,
        width=widths,
        depth=st.integers(1, 3),
        heads=st.sampled_from([1, 2, 4]),
        mlp_width=st.sampled_from([5, 12]),
        activation=st.sampled_from(["gelu", "relu", "selu", "gelu_new"]),
        qkv_bias=st.booleans(),
    )


grids = st.sampled_from([Grid(2, 2), Grid(1, 3), Grid(3, 2)])
seeds = st.integers(0, 10_000)


@st.composite
def tinies(draw: st.DrawFn, widths: st.SearchStrategy[int] = _WIDTH) -> Tiny:
    """Configurations that transformers can have; for pretraining, its heads need one width throughout.

    Without a fusion summary there is no mmm_image loss (trap 10: the reference's slice of patches starts one late).
    """
    eps = draw(st.sampled_from([1e-12, 1e-5]))
    cls_token = draw(st.booleans())
    weights = {name: draw(st.sampled_from([0.0, 0.5, 1.0, 2.0])) for name in LOSSES}
    return Tiny(
        image=draw(towers(widths)),
        text=draw(towers(widths)),
        fusion=draw(towers(widths)),
        grid=draw(grids),
        patch_size=draw(st.sampled_from([(3, 3), (2, 4), (1, 1)])),
        channels=draw(st.sampled_from([1, 3])),
        cls_token=cls_token,
        projection=draw(st.sampled_from([3, 8, 13])),
        norm_eps=eps,
        head_eps=eps,
        weights=weights if cls_token else weights | {"mmm_image": 0.0},
    )


# ------------------------------------------------------------------------------------------------------------ batches


def pictures(tiny: Tiny, generator: torch.Generator, count: int, dtype: torch.dtype) -> Tensor:
    return torch.randn(count, tiny.channels, *tiny.image_size, generator=generator, dtype=torch.float64).to(dtype)


def coloured_cells(tiny: Tiny, seed: int, count: int = 4) -> Tensor:
    """What a codebook looks at: a colour for each code it is to give, so that the codes differ."""
    generator = torch.Generator().manual_seed(seed)
    colours = 5 * torch.randn(count, 3, tiny.grid.rows, tiny.grid.columns, generator=generator)
    return colours.repeat_interleave(8, dim=2).repeat_interleave(8, dim=3)


def batch(
    tiny: Tiny,
    seed: int,
    *,
    image: bool = True,
    text: bool = True,
    pads: bool = False,
    token_types: bool = False,
    masked: bool = True,
    square_mask: bool = False,
    labels: bool = True,
    itm: list[int] | None = None,
    count: int = 4,
    dtype: torch.dtype = torch.float64,
) -> dict[str, Tensor]:
    """Random inputs under transformers' names. Each row has at least one hidden patch and one hidden word."""
    generator = torch.Generator().manual_seed(seed)

    def integers(low: int, high: int, *shape: int) -> Tensor:
        return torch.randint(low, high, shape, generator=generator)

    found: dict[str, Tensor] = {}
    patches = tiny.grid.size
    pixels = pictures(tiny, generator, count, dtype)
    hidden = integers(0, 2, count, patches).bool()
    hidden[torch.arange(count), integers(0, patches, count)] = True
    codes = integers(0, tiny.codes, count, patches)
    ids = integers(3, tiny.text_vocab, count, LENGTH)
    keep = torch.ones_like(ids)
    if pads:
        keep = (torch.arange(LENGTH) < integers(3, LENGTH + 1, count)[:, None]).long()
        ids = ids * keep + PAD * (1 - keep)
    spots = integers(0, 2, count, LENGTH).bool() & keep.bool()
    spots[:, 1] = True
    if image:
        found["pixel_values"] = pixels
        if masked:
            shape = (count, tiny.grid.rows, tiny.grid.columns) if square_mask else (count, patches)
            found["bool_masked_pos"] = hidden.view(shape)
            if labels:
                found["mim_labels"] = codes.view(shape)
    if text:
        found["input_ids"] = ids
        if masked:
            found["input_ids_masked"] = ids.masked_fill(spots, 1)
        if pads:
            found["attention_mask"] = keep
        if token_types:
            found["token_type_ids"] = integers(0, 3, count, LENGTH)
        if labels and masked:
            found["mlm_labels"] = ids.masked_fill(~spots, IGNORE)
    if itm is not None:
        found["itm_labels"] = torch.tensor(itm)
    return found


# ---------------------------------------------------------------------------------------------------------- comparing


@dataclass(frozen=True)
class Tolerance:
    """How far two implementations may be apart, relative to the largest number they compare."""

    value: float
    gradient: float


EXACT = Tolerance(value=1e-10, gradient=1e-9)
SINGLE = Tolerance(value=1e-5, gradient=1e-5)


def difference(expected: Tensor, actual: Tensor) -> float:
    """The largest difference, relative to the largest expected number or to one."""
    assert expected.shape == actual.shape
    if expected.numel() == 0:
        return 0.0
    return float((expected - actual).abs().max() / max(1.0, float(expected.abs().max())))


def assert_close(expected: Tensor, actual: Tensor, tolerance: float, what: str = "") -> None:
    apart = difference(expected.detach(), actual.detach())
    assert apart <= tolerance, f"{what}: {apart:.3g} apart"


def assert_same_gradients(
    reference: nn.Module, ours: FlavaForPreTraining, peer: Peer, tolerance: float, exact: nn.Module | None = None
) -> None:
    """Every parameter's gradient, relative to its largest number; that of a key's bias is 0, for softmax forgets it.

    Rounding takes both away from what is ``exact``, the reference in double precision, if given: ours by no more than
    the tolerance, or, where a gradient is so sensitive, than twice what it takes the reference.
    """
    theirs = _gradients(reference, peer)
    wanted = theirs if exact is None else _gradients(exact, peer)
    largest = max(float(value.abs().max()) for value in wanted.values() if value is not None)
    for name, value in ours.named_parameters():
        expected = _or_zeros(wanted[name], value)
        scale = largest if name.endswith("key.bias") else max(float(expected.abs().max()), 1e-5 * largest)
        apart, rounded = (
            float((expected - _or_zeros(found, value)).abs().max()) / scale for found in (value.grad, theirs[name])
        )
        assert apart <= max(tolerance, 2 * rounded), f"gradient of {name}: {apart:.3g} apart"


def _gradients(reference: nn.Module, peer: Peer) -> dict[str, Tensor | None]:
    """The reference's gradients under our names."""
    found: dict[str, Tensor | None] = {}
    for name, value in reference.named_parameters():
        mine = our_name(name, peer)
        assert mine is not None
        found[mine] = value.grad if value.grad is not None else found.get(mine)
    return found


def _or_zeros(gradient: Tensor | None, like: Tensor) -> Tensor:
    return torch.zeros_like(like) if gradient is None else gradient


def in_double(model: Any, inputs: dict[str, Tensor]) -> tuple[Any, dict[str, Tensor]]:
    """The same model and inputs, computed with twice the digits."""
    wide = {name: value.double() if value.is_floating_point() else value.clone() for name, value in inputs.items()}
    return deepcopy(model).double(), wide


def assert_same_states(expected: Any, actual: Any, tolerance: float, what: str) -> None:
    """A pass of a reference (last_hidden_state, perhaps hidden_states and pooler_output) and ours."""
    assert_close(expected.last_hidden_state, actual.last_hidden_state, tolerance, what)
    if expected.hidden_states is not None:
        assert_close(expected.hidden_states[-1], actual.pre_norm, tolerance, f"{what} before its norm")
    if expected.pooler_output is not None:
        assert_close(expected.pooler_output, actual.pooler_output, tolerance, f"{what} pooled")


def backward(loss: Tensor, *models: nn.Module) -> None:
    for model in models:
        model.zero_grad(set_to_none=True)
    loss.backward()
