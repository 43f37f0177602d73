"""Which texts of a row are its captions, whatever file it comes from."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flava_parts.data.sources.caption_rule import CaptionRule, UnusableError
from flava_parts.data.sources.strings import Strings


@pytest.mark.parametrize("caption", ["a \ud83d hand", ["a hand", "\udc8f"]])
def test_half_a_character_is_no_text(caption: object) -> None:
    """JSON can say it, `"\\ud83d"`, but no tokenizer takes it and no file holds it."""
    with pytest.raises(UnusableError, match=r"^caption: half a character, ") as caught:
        CaptionRule(("caption",)).captions({"caption": caption})

    assert "bad-utf-8" == caught.value.reason


@pytest.mark.parametrize(("cell", "spelt"), [(True, "true"), (False, "false"), (None, "null"), (3, "3"), ("en", "en")])
def test_values_are_wanted_as_their_file_spells_them(cell: object, spelt: str) -> None:
    rule = CaptionRule(("caption",), where={"ok": spelt})

    assert ("a cat",) == rule.captions({"caption": "a cat", "ok": cell})
    with pytest.raises(UnusableError, match=f"^ok is other, not {spelt}$") as caught:
        rule.captions({"caption": "a cat", "ok": "other"})
    assert "filtered" == caught.value.reason


@given(st.lists(st.text(st.characters(), max_size=9)))
def test_strings_come_back_as_they_went_in(strings: list[str]) -> None:
    """With halves of characters too, as in the names of files that are no UTF-8."""
    assert strings == list(Strings.of(strings))
