"""The shipped definitions."""

import torch

from flava_parts.data.sources.glosses import Glosses
from flava_parts.data.sources.sample import Sample
from flava_parts.data.sources.specs import GlossesSpec


def test_there_are_20_000_texts() -> None:
    glosses = Glosses()
    texts = [glosses.sample(index).text for index in range(len(glosses))]

    assert len(texts) == 20_000
    assert all(text and text.isascii() and "\n" not in text for text in texts)


def test_a_text_is_the_same_at_every_reading() -> None:
    glosses = GlossesSpec().build()
    expected = Sample(key="1", image=None, text="a ballroom dance characterized by revolving movement")

    assert expected == glosses.sample(1) == glosses.sample(1, torch.Generator())
