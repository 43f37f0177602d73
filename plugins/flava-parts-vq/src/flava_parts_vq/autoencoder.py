"""Codebooks that are the middle of an autoencoder: patches to vectors, vectors to codes, and back to patches."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from math import cos, pi
from typing import Any, Self

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from flava_parts.codebooks.codebook import Codebook
from flava_parts.errors import InputError
from flava_parts.facts import Size, pair

from .quantisers import Nearest, Residual, Rounded


class Autoencoder(nn.Module):
    """Pixels (B, C, H, W) through ``encoder``, ``quantiser`` and ``decoder`` to pixels again."""

    def __init__(
        self,
        quantiser: nn.Module,
        *,
        patch_size: tuple[int, int],
        channels: int,
        width: int,
        blocks: int,
        code_width: int,
    ) -> None:
        super().__init__()
        self.encoder = nn.Sequential(
            nn.Conv2d(channels, width, patch_size, stride=patch_size),
            *(_Residual(width) for _ in range(blocks)),
            nn.Conv2d(width, code_width, 1),
        )
        self.quantiser: Any = quantiser
        self.decoder = nn.Sequential(
            nn.Conv2d(code_width, width, 1),
            *(_Residual(width) for _ in range(blocks)),
            nn.ConvTranspose2d(width, channels, patch_size, stride=patch_size),
        )

    def encode(self, pixels: Tensor) -> Tensor:
        """Pixels (B, C, H, W) to vectors (B, rows, columns, code_width)."""
        return self.encoder(2 * pixels - 1).permute(0, 2, 3, 1)

    def decode(self, vectors: Tensor) -> Tensor:
        """Vectors (B, rows, columns, code_width) to pixels (B, C, H, W)."""
        return (self.decoder(vectors.permute(0, 3, 1, 2)) + 1) / 2


class _Residual(nn.Module):
    """Two convolutions around a non-linearity, added to what came in: (B, width, rows, columns)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.path = nn.Sequential(
            nn.GELU(), nn.Conv2d(width, width, 3, padding=1), nn.GELU(), nn.Conv2d(width, width, 1)
        )

    def forward(self, states: Tensor) -> Tensor:
        return states + self.path(states)


class AutoencoderCodebook(Codebook):
    """The codes of an autoencoder that `fit` trains to rebuild pictures.

    ``steps`` updates of Adam on the mean squared error, its step size falling to zero along a cosine; the
    quantiser's own loss is added.
    """

    remedy = (
        "the codebook has not been fitted; call fit(images, generator), load a checkpoint that holds it, "
        "or name a safetensors file as weights (flava-parts codebook fit writes one)"
    )

    def __init__(
        self,
        *,
        quantiser: Callable[[], nn.Module],
        image_size: Size,
        patch_size: Size,
        channels: int,
        width: int,
        blocks: int,
        code_width: int,
        steps: int,
        batch_size: int,
        learning_rate: float,
        weights: str | None,
    ) -> None:
        super().__init__(image_size=image_size, channels=channels, weights=weights)
        self.patch_size = pair(patch_size)
        self.steps, self.batch_size, self.learning_rate = steps, batch_size, learning_rate
        self._sizes = {"channels": channels, "width": width, "blocks": blocks, "code_width": code_width}
        self._quantiser = quantiser
        self.autoencoder = self._fresh()
        for weight in self.autoencoder.parameters():
            nn.init.zeros_(weight)
        self._keep_out_of_training()

    def assign(self, pixels: Tensor) -> Tensor:
        vectors = self.autoencoder.encode(pixels)
        return self.autoencoder.quantiser.assign(vectors.flatten(0, 2)).view(vectors.shape[:3]).flatten(1)

    def rebuild(self, codes: Tensor) -> Tensor:
        """Codes (B, P) to the pixels (B, C, H, W) that they stand for. Raises InputError if it is not `ready`."""
        self._check_ready()
        rows, columns = (side // patch for side, patch in zip(self.image_size, self.patch_size, strict=True))
        vectors = self.autoencoder.quantiser.read(codes.flatten())
        with torch.no_grad():
            return self.autoencoder.decode(vectors.view(-1, rows, columns, vectors.shape[-1]))

    def fit(self, images: Tensor, generator: torch.Generator) -> Self:
        """Train on ``images`` (N, C, H, W), on the CPU; the same images and generator give the same codebook.

        Raises InputError if there are no images, they are not of the codebook's size, or hold NaN or infinity.
        """
        self._check_size(images)
        if not len(images) or not images.isfinite().all():
            raise InputError("the codebook is fitted on at least one image, without NaN or infinity")
        images = images.detach().to("cpu", torch.float32)
        with torch.random.fork_rng(devices=[]), torch.device("cpu"), torch.enable_grad():
            torch.manual_seed(int(torch.randint(2**62, (), generator=generator)))
            model = self._fresh()
            self._train(model, images, generator)
        self.load_state_dict({f"autoencoder.{name}": value for name, value in model.state_dict().items()})
        return self

    def _train(self, model: Autoencoder, images: Tensor, generator: torch.Generator) -> None:
        learnt = [parameter for parameter in model.parameters() if parameter.requires_grad]
        optimizer = torch.optim.Adam(learnt, lr=self.learning_rate)
        for step in range(self.steps):
            for group in optimizer.param_groups:
                group["lr"] = self.learning_rate * (1 + cos(pi * step / self.steps)) / 2
            batch = images[torch.randint(len(images), (self.batch_size,), generator=generator)]
            vectors = model.encode(batch)
            found = model.quantiser(vectors.flatten(0, 2), generator)
            loss = F.mse_loss(model.decode(found.vectors.view(vectors.shape)), batch) + found.loss
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()

    def _fresh(self) -> Autoencoder:
        """The autoencoder with random weights."""
        return Autoencoder(self._quantiser(), patch_size=self.patch_size, **self._sizes)

    def with_weights(self, path: str | None) -> Self:
        """Itself, its weights read from a file if there is one. Raises InputError as `load_weights` does."""
        return self.load_weights(path) if path else self


class VQCodebook(AutoencoderCodebook):
    """The nearest of ``vocab_size`` vectors (van den Oord et al. 2017)."""

    def __init__(
        self,
        *,
        image_size: Size = 112,
        patch_size: Size = 8,
        channels: int = 3,
        width: int = 64,
        blocks: int = 2,
        steps: int = 1000,
        batch_size: int = 64,
        learning_rate: float = 1e-3,
        weights: str | None = None,
        vocab_size: int = 1024,
        code_width: int = 16,
        decay: float = 0.95,
        commitment: float = 0.25,
    ) -> None:
        super().__init__(
            quantiser=partial(Nearest, size=vocab_size, width=code_width, decay=decay, commitment=commitment),
            image_size=image_size,
            patch_size=patch_size,
            channels=channels,
            width=width,
            blocks=blocks,
            code_width=code_width,
            steps=steps,
            batch_size=batch_size,
            learning_rate=learning_rate,
            weights=weights,
        )


class ResidualVQCodebook(AutoencoderCodebook):
    """``stages`` vectors of ``stage_size`` each, added up (Zeghidour et al. 2021)."""

    def __init__(
        self,
        *,
        image_size: Size = 112,
        patch_size: Size = 8,
        channels: int = 3,
        width: int = 64,
        blocks: int = 2,
        steps: int = 1000,
        batch_size: int = 64,
        learning_rate: float = 1e-3,
        weights: str | None = None,
        stages: int = 2,
        stage_size: int = 32,
        code_width: int = 16,
        decay: float = 0.95,
        commitment: float = 0.25,
    ) -> None:
        super().__init__(
            quantiser=partial(
                Residual, stages=stages, size=stage_size, width=code_width, decay=decay, commitment=commitment
            ),
            image_size=image_size,
            patch_size=patch_size,
            channels=channels,
            width=width,
            blocks=blocks,
            code_width=code_width,
            steps=steps,
            batch_size=batch_size,
            learning_rate=learning_rate,
            weights=weights,
        )


class FSQCodebook(AutoencoderCodebook):
    """A channel for each of ``levels``, rounded (Mentzer et al. 2023)."""

    def __init__(
        self,
        *,
        image_size: Size = 112,
        patch_size: Size = 8,
        channels: int = 3,
        width: int = 64,
        blocks: int = 2,
        steps: int = 1000,
        batch_size: int = 64,
        learning_rate: float = 1e-3,
        weights: str | None = None,
        levels: tuple[int, ...] = (8, 5, 5, 5),
    ) -> None:
        super().__init__(
            quantiser=partial(Rounded, levels),
            image_size=image_size,
            patch_size=patch_size,
            channels=channels,
            width=width,
            blocks=blocks,
            code_width=len(levels),
            steps=steps,
            batch_size=batch_size,
            learning_rate=learning_rate,
            weights=weights,
        )
