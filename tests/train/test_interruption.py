"""Signals are remembered, and raise only where nothing is half done."""

import os
import signal
import time

import pytest

from flava_parts.train.interruption import SIGNALS, Interrupted, Interruption


@pytest.mark.parametrize("number", SIGNALS)
def test_a_signal_is_remembered_and_raises_only_at_once(number: signal.Signals) -> None:
    with Interruption() as interruption:
        os.kill(os.getpid(), number)
        assert (number, True) == (interruption.signal, interruption.asked)
        with pytest.raises(Interrupted), interruption.at_once():
            pytest.fail("what may be given up is not even begun")


@pytest.mark.parametrize("number", SIGNALS)
def test_what_waits_is_given_up_at_once(number: signal.Signals) -> None:
    began = time.monotonic()
    signal.setitimer(signal.ITIMER_REAL, 0.05)
    before = signal.signal(signal.SIGALRM, lambda *_: os.kill(os.getpid(), number))
    try:
        with Interruption() as interruption, pytest.raises(Interrupted), interruption.at_once():
            time.sleep(30)
    finally:
        signal.signal(signal.SIGALRM, before)

    assert 5 > time.monotonic() - began


def test_what_all_processes_do_together_nobody_gives_up() -> None:
    """But what one of several does apart it does."""
    with Interruption(alone=False) as interruption, interruption.at_once(together=True):
        os.kill(os.getpid(), signal.SIGTERM)
        assert interruption.asked
        with pytest.raises(Interrupted), interruption.at_once():
            pytest.fail("what may be given up is not even begun")


def test_a_second_ctrl_c_stops_at_once_but_a_second_sigterm_does_not() -> None:
    with Interruption():
        os.kill(os.getpid(), signal.SIGTERM)
        os.kill(os.getpid(), signal.SIGTERM)
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)


def test_handlers_are_given_back() -> None:
    before = [signal.getsignal(number) for number in SIGNALS]
    with Interruption():
        assert before != [signal.getsignal(number) for number in SIGNALS]

    assert before == [signal.getsignal(number) for number in SIGNALS]
