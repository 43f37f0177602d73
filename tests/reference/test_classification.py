"""Fine-tuning as torchmultimodal has it: given the same weights, the same logits, loss and gradients."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from reference.oracles import EXACT, Tiny, assert_close, seeds, torch_multimodal
from torch import nn
from torch.nn import functional as F
from torchmultimodal.models.flava.model import FLAVAForClassification
from torchmultimodal.modules.layers.mlp import MLP
from torchmultimodal.modules.layers.normalizations import Fp32LayerNorm

from flava_parts.heads.classification import FlavaForClassification
from flava_parts.heads.classifier import MLPClassifier
from flava_parts.interop.keys import to_ours

TINY = Tiny(mask_text_padding=False, head_eps=1e-5)
CLASSES, HIDDEN = 3, 10
SLOTS = {"image": ("image_encoder",), "text": ("text_encoder",), "fused": ("image_encoder", "text_encoder", "fusion")}


@pytest.mark.parametrize(("reads", "theirs_is_called"), [("image", "image"), ("text", "text"), ("fused", "mm")])
@settings(max_examples=5)
@given(seed=seeds)
def test_logits_loss_and_gradients(reads: str, theirs_is_called: str, seed: int) -> None:
    """From the summary of images, of texts without padding, and of pairs."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Fp32LayerNorm, "forward", nn.LayerNorm.forward)  # theirs is float32 whatever it is given
        pretrained = torch_multimodal(TINY, seed)
        mlp = MLP(in_dim=8, out_dim=CLASSES, hidden_dims=HIDDEN, dropout=0.0).double()
        theirs = FLAVAForClassification(model=pretrained.model, classifier=mlp, loss=nn.CrossEntropyLoss())
        whole = TINY.ours(pretrained.state_dict(), "torchmultimodal")
        head = MLPClassifier(width=8, classes=CLASSES, reads=reads, hidden=HIDDEN).double()
        head.load_state_dict(dict(zip(head.state_dict(), mlp.state_dict().values(), strict=True)))
        ours = FlavaForClassification(head=head, **{slot: getattr(whole, slot) for slot in SLOTS[reads]})
        generator = torch.Generator().manual_seed(seed)
        pixels = torch.randn(4, 3, *TINY.image_size, generator=generator, dtype=torch.float64)
        ids = torch.randint(1, TINY.text_vocab, (4, 6), generator=generator)
        labels = torch.randint(CLASSES, (4,), generator=generator)

        expected = theirs(
            image=pixels if reads != "text" else None,
            text=ids if reads != "image" else None,
            required_embedding=theirs_is_called,
            labels=labels,
        )
        actual = ours(input_ids=ids, pixel_values=pixels, labels=F.one_hot(labels, CLASSES).bool())
        assert actual.loss is not None
        expected.loss.backward()
        actual.loss.backward()

        assert_close(expected.logits, actual.logits, EXACT.value, "logits")
        assert_close(expected.loss, actual.loss, EXACT.value, "loss")
        gradients = {name: weight.grad for name, weight in pretrained.named_parameters() if weight.grad is not None}
        mine = {name: weight.grad for name, weight in ours.named_parameters() if weight.grad is not None}
        for name, gradient in to_ours(gradients, "torchmultimodal").items():
            assert_close(gradient, mine.pop(name), EXACT.gradient, name)
        for name, other in zip(head.state_dict(), mlp.parameters(), strict=True):
            assert_close(other.grad, mine.pop(f"head.{name}"), EXACT.gradient, name)

        assert {} == mine
