"""Whether two copies of a model compute the same: ours and transformers' own reading of it, or both ours."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

import torch
from torch import Tensor

from ..errors import InputError
from ..facts import IGNORE
from ..model import FlavaForPreTraining
from ..spec import FlavaSpec
from .config import HEADS
from .pretrained import load_stored
from .stored import Stored

TOLERANCE = 1e-4
"""Two float32 implementations of a trained model are closer than this."""

_ROWS, _WORDS = 2, 16


@dataclass(frozen=True, slots=True)
class Difference:
    """How far apart an output is, and its largest value."""

    output: str
    largest: float
    scale: float

    @property
    def is_small(self) -> bool:
        """Whether it is no more than rounding."""
        return self.largest <= TOLERANCE * max(1.0, self.scale)


def differences(source: Stored, other: Stored | None = None, *, seed: int = 0) -> list[Difference]:
    """The largest differences of every output and loss, on a seeded batch, in float32.

    What this package reads from ``source`` is compared with what transformers, where it is installed, computes from
    ``other``, or from ``source`` itself if there is no other. Without transformers, or if ``other`` is not of its
    layout, both are read by this package. What only one of the two has is not compared. Raises InputError if there is
    nothing to compare with, or the two are of different shapes.
    """
    peer = source if other is None else other
    by_transformers = peer.layout == "transformers" and find_spec("transformers") is not None
    if other is None and not by_transformers:
        raise InputError(
            f"{source.place}: nothing to compare with; name a second model, or give one of transformers' layout where "
            "transformers is installed"
        )
    if (source.model.image_encoder.tokens, source.model.text_encoder.tokens) != (
        peer.model.image_encoder.tokens,
        peer.model.text_encoder.tokens,
    ):
        raise InputError(f"{source.place} and {peer.place} are models of different sizes, so no batch fits both")
    batch = _batch(source.model, seed)
    with torch.no_grad():
        mine = _ours(load_stored(source).float(), batch)
        theirs = _transformers(peer, batch) if by_transformers else _ours(load_stored(peer).float(), batch)
    for name in mine.keys() & theirs.keys():
        shapes = tuple(mine[name].shape), tuple(theirs[name].shape)
        if shapes[0] != shapes[1]:
            raise InputError(
                f"{source.place} and {peer.place} are models of different sizes: {name} is {shapes[0]} and {shapes[1]}"
            )
    return [
        Difference(name, float((value - theirs[name]).abs().max()), float(theirs[name].abs().max()))
        for name, value in mine.items()
        if name in theirs
    ]


def _batch(spec: FlavaSpec, seed: int) -> dict[str, Tensor]:
    """Two pairs, the second of them mismatched and with padding; patches and words hidden in both."""
    generator = torch.Generator().manual_seed(seed)
    encoder, tokens, text = spec.image_encoder, spec.image_encoder.tokens, spec.text_encoder.tokens
    height, width = (encoder.image_size,) * 2 if isinstance(encoder.image_size, int) else encoder.image_size
    words, codes = min(_WORDS, text.length), spec.codebook.codes.vocab_size if spec.codebook else 2
    ids = torch.randint(0, text.vocab_size, (_ROWS, words), generator=generator)
    keep = torch.ones_like(ids)
    keep[-1, words - words // 4 :] = 0
    hidden = torch.zeros_like(ids, dtype=torch.bool)
    hidden[:, 1::5] = True
    return {
        "pixel_values": torch.randn(_ROWS, encoder.channels, height, width, generator=generator),
        "input_ids": ids,
        "input_ids_masked": torch.where(hidden, 0, ids),
        "attention_mask": keep,
        "bool_masked_pos": torch.rand(_ROWS, tokens.grid.size, generator=generator) < 0.4,
        "mim_labels": torch.randint(0, codes, (_ROWS, tokens.grid.size), generator=generator),
        "mlm_labels": torch.where(hidden, ids, IGNORE),
        "itm_labels": torch.tensor([1, 0]),
    }


_IMAGE = ("pixel_values", "bool_masked_pos", "mim_labels")
_TEXT = ("input_ids", "input_ids_masked", "attention_mask", "mlm_labels")


def _views(batch: Mapping[str, Tensor]) -> list[dict[str, Tensor]]:
    """The batch as pairs, as images alone, and as texts alone."""
    return [dict(batch), {name: batch[name] for name in _IMAGE}, {name: batch[name] for name in _TEXT}]


def _ours(model: FlavaForPreTraining, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
    encoded = model.encode(batch["input_ids"], batch["pixel_values"], batch["attention_mask"])
    found = {
        name: output.last_hidden_state
        for name, output in (("image", encoded.image), ("text", encoded.text), ("multimodal", encoded.multimodal))
        if output is not None
    }
    if "global_contrastive" in model.losses:
        found["image embedding"] = model.embed_image(batch["pixel_values"])
        found["text embedding"] = model.embed_text(batch["input_ids"], batch["attention_mask"])
    for view in _views(batch):
        output = model(**view)
        found |= {f"loss {name}": value for name, value in output.losses.items()}
        if output.itm_logits is not None:
            found["itm logits"] = output.itm_logits
    return found


def _transformers(stored: Stored, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
    import transformers

    library: Any = transformers
    library.logging.disable_progress_bar()
    whole = bool(HEADS.keys() & stored.model.losses.keys())
    kind: Any = library.FlavaForPreTraining if whole else library.FlavaModel
    model: Any = kind.from_pretrained(stored.folder, dtype=torch.float32, local_files_only=True).eval()
    base = model.flava if whole else model
    output = base(
        input_ids=batch["input_ids"], pixel_values=batch["pixel_values"], attention_mask=batch["attention_mask"]
    )
    image, text = output.image_embeddings, output.text_embeddings
    found = {"image": image, "text": text, "multimodal": output.multimodal_embeddings}
    unit = torch.nn.functional.normalize
    found["image embedding"] = unit(base.image_projection(image[:, 0]), dim=-1)
    found["text embedding"] = unit(base.text_projection(text[:, 0]), dim=-1)
    for view in _views(batch) if whole else ():
        output = model(**view)
        found |= {f"loss {name}": value for name, value in output.loss_info.items() if value is not None}
        if output.itm_logits is not None:
            found["itm logits"] = output.itm_logits
    return found
