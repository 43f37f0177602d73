"""The mixture: ratios kept, batches of each stream counted, any step without those before it."""

from collections import Counter

from hypothesis import given, settings
from hypothesis import strategies as st

from flava_parts.data.mixture import ROUND, Mixture, Turn

RATIOS = st.dictionaries(st.text("abc", min_size=1, max_size=3), st.floats(1e-3, 1e3), min_size=1, max_size=5)


@given(RATIOS, st.integers(0, 2**62))
@settings(max_examples=25, deadline=None)
def test_a_round_keeps_the_ratios_and_counts_each_stream(ratios: dict[str, float], seed: int) -> None:
    """Each stream gets its share to within a step for each stream, and its batches are numbered without a gap."""
    mixture = Mixture(ratios=ratios, key=(seed,))
    counts: Counter[str] = Counter()
    for step in range(ROUND):
        stream, number = mixture.turn(step)
        assert counts[stream] == number
        if step % 97 == 0:
            assert dict.fromkeys(ratios, 0) | counts == mixture.had(step)
        counts[stream] += 1
    for name, ratio in ratios.items():
        assert abs(counts[name] - ROUND * ratio / sum(ratios.values())) <= len(ratios)
        assert counts[name] >= 1


@given(RATIOS, st.lists(st.integers(0, 10**9), min_size=1, max_size=5))
@settings(max_examples=25)
def test_a_step_depends_on_nothing_asked_before(ratios: dict[str, float], steps: list[int]) -> None:
    mixture = Mixture(ratios=ratios, key=(5,))

    assert [mixture.turn(step) for step in steps] == [Mixture(ratios=ratios, key=(5,)).turn(step) for step in steps]


def test_rounds_go_on_counting() -> None:
    mixture = Mixture(ratios={"pairs": 0.7, "images": 0.15, "texts": 0.15}, key=(0,))
    counts = Counter(mixture.turn(step).stream for step in range(2 * ROUND))
    turns = (mixture.turn(step) for step in range(2 * ROUND, 3 * ROUND))

    assert Counter(pairs=1400, images=300, texts=300) == counts
    assert Turn("pairs", 1400) == next(turn for turn in turns if turn.stream == "pairs")


def test_the_order_is_mixed_and_follows_the_seed() -> None:
    """No stream's steps come in one block, and another seed gives another order."""
    ratios = {"a": 1.0, "b": 1.0}
    mixtures = [Mixture(ratios=ratios, key=(seed,)) for seed in (0, 1)]
    first, second = ([mixture.turn(step).stream for step in range(100)] for mixture in mixtures)

    assert 30 <= first.count("a") <= 70
    assert first != second


def test_one_stream_takes_every_step() -> None:
    assert Turn("only", 123_456) == Mixture(ratios={"only": 0.3}, key=(0,)).turn(123_456)


@given(st.lists(st.floats(1e-6, 1e6), min_size=1, max_size=150))
def test_shares_are_as_near_as_whole_turns_come(ratios: list[float]) -> None:
    """However many streams there are: sixty equal ones get 16 or 17 turns of a thousand each."""
    mixture = Mixture(ratios={str(number): ratio for number, ratio in enumerate(ratios)}, key=(0,))
    turns = max(ROUND, 10 * len(ratios))
    shares = list(mixture.had(turns).values())
    quotas = [turns * ratio / sum(ratios) for ratio in ratios]

    assert turns == sum(shares)
    assert min(shares) >= 1
    if min(quotas) >= 1:
        assert all(abs(share - quota) <= 1 for share, quota in zip(shares, quotas, strict=True))


def test_equal_streams_have_equal_shares() -> None:
    shares = Mixture(ratios=dict.fromkeys(map(str, range(60)), 1.0), key=(0,)).had(ROUND)

    assert {16, 17} == set(shares.values())
