"""One sample: a picture, a text, or both, and what it shows."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray


class Sample(NamedTuple):
    """What a source holds at one index."""

    key: str
    """What the sample is called in its source."""
    image: NDArray[np.uint8] | None = None
    """(H, W, 3) or, with transparency, (H, W, 4) uint8; read-only."""
    text: str | None = None
    labels: tuple[int, ...] = ()
    """The classes that it belongs to, as positions in those that its source's spec states."""
