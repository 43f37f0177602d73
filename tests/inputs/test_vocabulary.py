"""The vocabulary: the shipped one, its facts, and what is refused."""

import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flava_parts.errors import InputError
from flava_parts.inputs.vocabulary import read_vocabulary, vocab_of

SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]


def test_the_shipped_vocabulary_is_berts() -> None:
    tokens = read_vocabulary(None)
    vocab = vocab_of(tokens)

    assert (len(tokens), tokens.index("hello")) == (30522, 7592)
    assert (
        vocab.size,
        vocab.pad,
        vocab.unknown,
        vocab.summary,
        vocab.separator,
        vocab.mask,
    ) == (30522, 0, 100, 101, 102, 103)
    assert {tokens.index("##ing"), tokens.index("##s")} < vocab.continuations
    assert 7592 not in vocab.continuations


def test_the_shipped_vocabulary_is_read_once() -> None:
    assert read_vocabulary(None) is read_vocabulary(None)


@given(
    st.lists(st.text(st.characters(exclude_characters="\n\r", exclude_categories=["Cs"])), unique=True),
    st.sampled_from(["\n", "\r\n"]),
    st.booleans(),
)
def test_a_file_gives_its_lines(tmp_path_factory, words: list[str], ending: str, ends: bool) -> None:
    """Whatever characters a token holds, its id is its line; only line ends end a line."""
    tokens = tuple(dict.fromkeys([*words, *SPECIAL]))
    path = tmp_path_factory.mktemp("vocabulary") / "vocab.txt"
    path.write_bytes((ending.join(tokens) + ending * ends).encode())

    assert tokens == read_vocabulary(str(path))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "vocab.txt: no vocabulary could be read (No such file or directory); give a vocab.txt"),
        (b"", "vocab.txt: the vocabulary has no [PAD], [UNK], [CLS], [SEP], [MASK]; "),
        (b"[PAD]\n[UNK]\n[CLS]\n[SEP]\n", "vocab.txt: the vocabulary has no [MASK]; "),
        (b"[PAD]\n\xff", "vocab.txt: byte 6 is not UTF-8; save the vocabulary as UTF-8"),
        (
            "\n".join(["a", *SPECIAL, "a"]).encode(),
            "vocab.txt:7: the token 'a' stands on an earlier line too; a token has one id",
        ),
    ],
)
def test_wrong_files_are_named(tmp_path: Path, content: bytes | None, message: str) -> None:
    path = tmp_path / "vocab.txt"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(InputError) as caught:
        read_vocabulary(str(path))

    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_reading_needs_no_torch() -> None:
    code = (
        "import sys; from flava_parts.inputs.vocabulary import read_vocabulary; read_vocabulary(None); "
        "print([name for name in ('torch', 'numpy', 'tokenizers', 'PIL') if name in sys.modules])"
    )

    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"
