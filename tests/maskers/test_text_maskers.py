"""Masked texts: what may be chosen, what becomes of it, and what is asked for."""

from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from flava_parts.facts import IGNORE, Vocab
from flava_parts.maskers.bert_tokens import BertTokenMasker
from flava_parts.maskers.whole_words import WholeWordMasker

VOCAB = Vocab(size=40, pad=0, unknown=1, summary=2, separator=3, mask=4, continuations=frozenset(range(30, 40)))
MASKERS = [BertTokenMasker, WholeWordMasker]
Masker = type[BertTokenMasker] | type[WholeWordMasker]


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def texts(batch: int, length: int, seed: int) -> tuple[Tensor, Tensor]:
    """Ids (B, L): a summary, words and pieces, a separator, padding; and which of them are special."""
    generator = seeded(seed)
    ids = torch.randint(5, VOCAB.size, (batch, length), generator=generator)
    ends = torch.randint(1, length, (batch, 1), generator=generator)
    place = torch.arange(length)
    ids = ids.masked_fill(place == 0, VOCAB.summary).masked_fill(place == ends, VOCAB.separator)
    ids = ids.masked_fill(place > ends, VOCAB.pad)
    return ids, torch.isin(ids, torch.tensor(VOCAB.special))


@pytest.mark.parametrize("masker", MASKERS)
@settings(deadline=None, max_examples=40)
@given(
    batch=st.integers(1, 4),
    length=st.integers(2, 12),
    seed=st.integers(0, 2**32),
    probability=st.floats(0, 1),
    shares=st.sampled_from([(0.8, 0.1), (1.0, 0.0), (0.0, 1.0), (0.0, 0.0), (0.5, 0.5)]),
)
def test_labels_are_the_originals_exactly_where_a_word_was_chosen(
    masker: Masker, batch: int, length: int, seed: int, probability: float, shares: tuple[float, float]
) -> None:
    """Specials and padding are neither changed nor asked for; what changed is asked for; inputs are not written to."""
    ids, special = texts(batch, length, seed)
    before = ids.clone(), special.clone()
    mask = masker(vocab=VOCAB, probability=probability, mask_share=shares[0], random_share=shares[1])
    masked = mask(ids, special, seeded(seed))
    asked = masked.labels != IGNORE

    assert torch.equal(before[0], ids)
    assert torch.equal(before[1], special)
    assert (ids.shape, torch.int64, torch.int64) == (masked.ids.shape, masked.ids.dtype, masked.labels.dtype)
    assert not (asked & special).any()
    assert torch.equal(ids[asked], masked.labels[asked])
    assert torch.equal(ids[~asked], masked.ids[~asked])
    assert masked.ids.min() >= 0
    assert masked.ids.max() < VOCAB.size
    again = mask(ids, special, seeded(seed))
    assert torch.equal(masked.ids, again.ids)
    assert torch.equal(masked.labels, again.labels)


@pytest.mark.parametrize("masker", MASKERS)
def test_specials_of_the_vocabulary_are_left_alone_even_if_the_caller_names_none(masker: Masker) -> None:
    """Padding, summary, separator and mask ids are never chosen; nor are places that the caller calls special."""
    ids = torch.tensor([[2, 10, 4, 11, 30, 3, 0]])
    named = torch.tensor([[False, True, False, False, False, False, False]])
    mask = masker(vocab=VOCAB, probability=1.0)

    nobody = mask(ids, torch.zeros_like(named), seeded(0)).labels
    assert [[IGNORE, 10, IGNORE, 11, 30, IGNORE, IGNORE]] == nobody.tolist()
    assert [[IGNORE, IGNORE, IGNORE, 11, 30, IGNORE, IGNORE]] == mask(ids, named, seeded(0)).labels.tolist()
    assert torch.equal(mask(ids, named, seeded(0)).labels, mask(ids, named.long(), seeded(0)).labels)


@pytest.mark.parametrize("masker", MASKERS)
def test_probability_none_and_all(masker: Masker) -> None:
    """At 0 nothing is asked for or changed; at 1 every ordinary token is asked for."""
    ids, special = texts(50, 20, 0)
    none = masker(vocab=VOCAB, probability=0.0)(ids, special, seeded(0))
    every = masker(vocab=VOCAB, probability=1.0)(ids, special, seeded(0))

    assert torch.equal(ids, none.ids)
    assert {IGNORE} == set(none.labels.flatten().tolist())
    assert torch.equal(~special, every.labels != IGNORE)


@pytest.mark.parametrize("masker", MASKERS)
def test_seeds_differ_and_global_seeds_do_not_matter(masker: Masker) -> None:
    """Another generator seed asks for other words; torch's global seed changes nothing."""
    ids, special = texts(20, 30, 0)
    mask = masker(vocab=VOCAB)
    torch.manual_seed(1)
    first = mask(ids, special, seeded(1))
    torch.manual_seed(2)

    assert torch.equal(first.labels, mask(ids, special, seeded(1)).labels)
    assert not torch.equal(first.labels, mask(ids, special, seeded(2)).labels)


@pytest.mark.parametrize("masker", MASKERS)
def test_trap_43_a_batch_becomes_masked_ids_and_labels_by_the_published_shares(masker: Masker) -> None:
    """15 % are chosen; of these 80 % become the mask, 10 % any id of the whole vocabulary, 10 % stay."""
    vocab = Vocab(continuations=frozenset(range(20000, 30522)))
    ids = torch.randint(1000, vocab.size, (400, 512), generator=seeded(0))
    masked = masker(vocab=vocab)(ids, torch.zeros_like(ids, dtype=torch.bool), seeded(1))
    chosen = masked.labels != IGNORE
    became = masked.ids[chosen]
    strangers = became[(became != vocab.mask) & (became != ids[chosen])]

    assert 0.15 == pytest.approx(chosen.float().mean().item(), abs=0.005)
    assert 0.8 == pytest.approx((became == vocab.mask).float().mean().item(), abs=0.01)
    assert 0.1 == pytest.approx((became == ids[chosen]).float().mean().item(), abs=0.01)
    assert 0.1 == pytest.approx(len(strangers) / len(became), abs=0.01)
    quarters = torch.histc(strangers.float(), bins=4, min=0, max=vocab.size) / len(strangers)
    assert [0.25] * 4 == pytest.approx(quarters.tolist(), abs=0.03)


def test_rows_are_chosen_independently() -> None:
    """Rows with one text are masked differently, and neighbouring tokens are chosen independently."""
    ids = torch.full((20000, 2), 10)
    chosen = BertTokenMasker(vocab=VOCAB, probability=0.5)(ids, torch.zeros_like(ids), seeded(0)).labels != IGNORE

    assert 0.25 == pytest.approx(chosen.all(1).float().mean().item(), abs=0.015)
    assert 0.25 == pytest.approx((chosen[::2, 0] & chosen[1::2, 0]).float().mean().item(), abs=0.015)


@settings(deadline=None, max_examples=60)
@given(batch=st.integers(1, 4), length=st.integers(2, 14), seed=st.integers(0, 2**32))
def test_all_pieces_of_a_word_or_none(batch: int, length: int, seed: int) -> None:
    """A piece is chosen exactly when the token that it is glued to is, unless one of the two is special."""
    ids, special = texts(batch, length, seed)
    chosen = WholeWordMasker(vocab=VOCAB, probability=0.5)(ids, special, seeded(seed)).labels != IGNORE

    for row in range(batch):
        for place in range(1, length):
            ordinary = not special[row, place] and not special[row, place - 1]
            if ordinary and int(ids[row, place]) in VOCAB.continuations:
                assert chosen[row, place - 1] == chosen[row, place]


def test_words_are_chosen_one_by_one() -> None:
    """Words, and pieces after a special token, are independent of what stands before; glued pieces are not."""
    mask = WholeWordMasker(vocab=VOCAB, probability=0.5)
    for row, together in (([10, 11], 0.25), ([10, 30], 0.5), ([30, 31], 0.5), ([3, 31, 3, 31], 0.25)):
        ids = torch.tensor([row]).expand(8000, -1)
        chosen = mask(ids, torch.zeros_like(ids), seeded(0)).labels != IGNORE
        words = chosen[:, [1, 3]] if len(row) == 4 else chosen

        assert together == pytest.approx(words.all(1).float().mean().item(), abs=0.025)
        assert 0.5 == pytest.approx(words.float().mean().item(), abs=0.025)


def test_whole_words_need_to_know_pieces() -> None:
    """A vocabulary without continuations is refused, with what to give; tokens one by one need none."""
    bare = replace(VOCAB, continuations=frozenset())
    with pytest.raises(
        ValueError, match=r"^vocab: it does not say which ids continue a word.*continuations.*bert_tokens"
    ):
        WholeWordMasker(vocab=bare)
    assert bare == BertTokenMasker(vocab=bare).vocab


@pytest.mark.parametrize("masker", MASKERS)
def test_masking_works_after_building_on_the_meta_device(masker: Masker) -> None:
    """A masker holds nothing that a model built on the meta device would lose."""
    with torch.device("meta"):
        mask = masker(vocab=VOCAB)
    ids, special = texts(3, 9, 0)

    assert torch.equal(masker(vocab=VOCAB)(ids, special, seeded(0)).ids, mask(ids, special, seeded(0)).ids)
