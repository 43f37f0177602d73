"""The tokenizer: equal to transformers', and clear about what it does not take."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import BertTokenizer

from flava_parts.errors import InputError
from flava_parts.inputs.specs import WordPieceSpec
from flava_parts.inputs.vocabulary import SHIPPED
from flava_parts.inputs.wordpiece import WordPiece

TOKENIZER = WordPiece(length=16)
WORDS = st.sampled_from(
    ["hello", "Ünïcode", "[MASK]", "[SEP]", "unaffable", "日本", "a.b,c", "x" * 120, "\t", "don't", "😀"]
)
TEXTS = st.lists(st.one_of(st.text(max_size=30), st.lists(WORDS, max_size=12).map(" ".join)), min_size=1, max_size=5)


@pytest.fixture(scope="module", params=[True, False], ids=["uncased", "cased"])
def both(request: pytest.FixtureRequest) -> tuple[WordPiece, BertTokenizer]:
    return WordPiece(lowercase=request.param, length=16), BertTokenizer(str(SHIPPED), do_lower_case=request.param)


@given(TEXTS, st.sampled_from([True, "longest", "max_length"]), st.integers(2, 16))
@settings(deadline=None, max_examples=60)
def test_equals_transformers(both: tuple[WordPiece, BertTokenizer], texts: list[str], padding, max_length: int) -> None:
    """Ids and all three masks, for any texts, in every way of padding."""
    ours, theirs = both
    expected = theirs(
        texts,
        padding=padding,
        truncation=True,
        max_length=max_length,
        return_special_tokens_mask=True,
        return_tensors="pt",
    )
    actual = ours(texts, padding=padding, max_length=max_length)

    assert set(expected) == set(actual._fields)
    for name, tensor in actual._asdict().items():
        assert torch.int64 == tensor.dtype
        assert torch.equal(expected[name], tensor), name


@given(TEXTS)
@settings(deadline=None, max_examples=40)
def test_decodes_as_transformers(both: tuple[WordPiece, BertTokenizer], texts: list[str]) -> None:
    ours, theirs = both
    for row in ours(texts).input_ids:
        assert theirs.decode(row, skip_special_tokens=True, clean_up_tokenization_spaces=False) == ours.decode(row)


@given(TEXTS)
@settings(deadline=None, max_examples=30)
def test_neighbours_change_only_the_padding(texts: list[str]) -> None:
    together = TOKENIZER(texts)
    for row, text in enumerate(texts):
        alone = TOKENIZER([text])
        length = alone.input_ids.shape[1]

        assert torch.equal(alone.input_ids[0], together.input_ids[row, :length])
        assert length == int(together.attention_mask[row].sum())
        assert (together.input_ids[row, length:] == TOKENIZER.vocab.pad).all()
        assert together.special_tokens_mask[row, length:].all()


def test_trap_43_long_texts_are_cut() -> None:
    """A text of 1,202 tokens is cut to the tokenizer's length, ends with the separator, and so fits the model."""
    tokens = WordPiece()(["word " * 1200])

    assert tokens.input_ids.shape == (1, 77)
    assert (int(tokens.input_ids[0, 0]), int(tokens.input_ids[0, -1])) == (101, 102)


def test_a_call_leaves_no_trace() -> None:
    """One call's truncation and padding are not the next one's."""
    before = TOKENIZER(["a b c", "d"])
    TOKENIZER(["a b c d e"], padding="max_length", max_length=4)
    TOKENIZER(["a"], padding=False, truncation=False)

    assert all(map(torch.equal, before, TOKENIZER(["a b c", "d"])))


def test_no_texts_give_empty_tensors() -> None:
    assert [tuple(tensor.shape) for tensor in TOKENIZER([])] == [(0, 0)] * 4


@pytest.mark.parametrize(
    ("texts", "options", "message"),
    [
        ("one", {}, "one text was given where a list of texts is wanted; put it into a list"),
        (["a", None], {}, "texts are strings of whole characters; look for None or a lone surrogate"),
        (["a", "\ud800"], {}, "texts are strings of whole characters; look for None or a lone surrogate"),
        (["a " * 20], {"truncation": False}, "a text has 22 tokens, more than 16; leave truncation on"),
        (["a", "b c"], {"padding": False}, "texts of 3 to 4 tokens make no tensor; leave padding on"),
        (["a"], {"max_length": 17}, "max_length 17 is not between 2 and 16, the tokenizer's length"),
        (["a"], {"max_length": 1}, "max_length 1 is not between 2 and 16, the tokenizer's length"),
    ],
)
def test_what_makes_no_ids_is_refused(texts, options: dict, message: str) -> None:
    with pytest.raises(InputError) as caught:
        TOKENIZER(texts, **options)

    assert message == str(caught.value)


def test_ids_outside_the_vocabulary_are_refused() -> None:
    with pytest.raises(InputError, match="ids 5 to 30522 are not all in the vocabulary of 30522"):
        TOKENIZER.decode([5, 30522])


def test_a_panic_becomes_an_error() -> None:
    """The library's panics are no `Exception`; a run that skips bad samples has to be able to catch them."""

    class PanicException(BaseException):
        pass

    class Panicking:
        def __getattr__(self, name: str):
            return lambda *args, **options: None

        def encode_batch(self, texts: list[str], **options: bool):
            raise PanicException("index out of range")

    tokenizer = WordPiece(length=16)
    tokenizer.core = Panicking()
    with pytest.raises(InputError, match=r"the tokenizer could not read these texts \(index out of range\)"):
        tokenizer(["a"])


def test_other_base_exceptions_pass() -> None:
    class Interrupted:
        def __getattr__(self, name: str):
            return lambda *args, **options: None

        def encode_batch(self, texts: list[str], **options: bool):
            raise KeyboardInterrupt

    tokenizer = WordPiece(length=16)
    tokenizer.core = Interrupted()
    with pytest.raises(KeyboardInterrupt):
        tokenizer(["a"])


def test_the_spec_states_the_built_vocabulary() -> None:
    spec = WordPieceSpec(length=9)

    assert spec.vocab() == spec.build().vocab
    assert spec.build().length == 9
