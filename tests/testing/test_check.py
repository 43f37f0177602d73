"""The conformance suite: each broken part is caught by the one law that names its fault, and by no other."""

from __future__ import annotations

import pytest
from testing.broken_parts import BROKEN, Broken, NotBuilt, TorchInFacts, Undescribed, WrongWidth

from flava_parts.errors import InputError
from flava_parts.testing import check_part, laws_of
from flava_parts.testing.check import BENCHES


@pytest.mark.parametrize("kind", BROKEN, ids=lambda kind: kind.__name__)
def test_a_broken_part_is_caught_by_the_law_that_names_its_fault(kind: type[Broken]) -> None:
    """With a reason, and with advice. `torch_free` starts a process, and is asked of two only."""
    laws = [law.name for law in laws_of(kind.kind) if law.name != "torch_free" or kind in (TorchInFacts, Undescribed)]
    failed = check_part(kind(**kind.small), only=laws).failed

    assert [kind.breaks] == [check.name for check in failed], [str(check) for check in failed]
    assert failed[0].why
    assert failed[0].mend


def test_every_law_has_a_part_that_breaks_it() -> None:
    """No law that cannot fail."""
    laws = {law.name for kind in BENCHES for law in laws_of(kind)}

    assert laws == {kind.breaks for kind in BROKEN}


def test_laws_say_what_they_hold_and_how_to_mend() -> None:
    """A sentence each; names are told once for each kind."""
    for kind in BENCHES:
        laws = laws_of(kind)
        assert len(laws) == len({law.name for law in laws})
        assert all(law.says.endswith(".") and law.mend for law in laws)


def test_a_report_says_why_and_how_to_mend() -> None:
    """In words, and as plain data."""
    report = check_part(WrongWidth(**WrongWidth.small), only=["facts", "described"])

    assert not report.ok
    assert (
        "broken.part, image encoder: 1 passed, 1 failed\n"
        "  passed          described: The part and each of its fields say what they are.\n"
        "  failed          facts: on the meta device last_hidden_state is (1, 17, 8), but the spec states (1, 17, 16)\n"
        "                  mend it: correct the facts, or the module: widths, grid, prefix and length follow from the "
        "spec's fields alone"
    ) == str(report)
    assert ["passed", "failed"] == [check["outcome"] for check in report.as_json()["checks"]]


def test_what_cannot_be_built_is_said_once() -> None:
    """The laws of its module say nothing about a part without a module."""
    checks = check_part(NotBuilt()).checks
    after = checks[[check.name for check in checks].index("builds") + 1 :]

    assert {("not applicable", "it cannot be built")} == {(check.outcome, check.why) for check in after}


def test_an_unknown_law_or_kind_is_an_input_error() -> None:
    """With what there is."""
    with pytest.raises(InputError, match="there is no law 'fakts' of image_encoder; there are described, "):
        check_part(WrongWidth(**WrongWidth.small), only=["fakts"])
    with pytest.raises(InputError, match="there is no kind 'teapot'; the kinds are image_encoder, "):
        laws_of("teapot")
