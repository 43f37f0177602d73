"""LoRA through peft: adapters on the queries and values of an encoder, found by the names of its modules."""

from __future__ import annotations

import torch
from peft import LoraConfig, get_peft_model
from torch import nn

from flava_parts.encoders.vision import VisionTransformer

STEPS = 20

torch.manual_seed(0)
vit = VisionTransformer(image_size=32, patch_size=8, width=64, depth=2, heads=4, init_std=0.1)
adapted = get_peft_model(vit, LoraConfig(r=4, lora_alpha=8, target_modules=["query", "value"]))
answer = nn.Linear(64, 3)
before = {name: weight.clone() for name, weight in vit.named_parameters() if "lora" not in name}

trainable = [name for name, weight in adapted.named_parameters() if weight.requires_grad]
print(f"{len(trainable)} adapters: {trainable[0]}")
learning = [weight for weight in adapted.parameters() if weight.requires_grad]
optimizer = torch.optim.AdamW([*learning, *answer.parameters()], lr=5e-3)
for step in range(STEPS):
    labels = torch.randint(3, (64,))  # which colour the picture has
    pixels = torch.rand(64, 3, 32, 32)
    pixels[torch.arange(64), labels] += 1
    loss = nn.functional.cross_entropy(answer(adapted(pixels).last_hidden_state[:, 0]), labels)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    print(f"step {step + 1}: loss {loss.item():.3f}")

moved = [name for name, weight in vit.named_parameters() if name in before and not torch.equal(before[name], weight)]
print(f"{len(moved)} of the encoder's own {len(before)} weights moved")
pixels = torch.rand(2, 3, 32, 32)
with torch.no_grad():
    seen = adapted(pixels).last_hidden_state
    merged = adapted.merge_and_unload()(pixels).last_hidden_state
print(f"merged within 1e-5: {torch.allclose(seen, merged, atol=1e-5)}")
