"""Signals become wishes while a run lasts, and what they meant before afterwards."""

import os
import signal
import threading

from paralift.training.signals import Signals


def test_wishes():
    before = {number: signal.getsignal(number) for number in (signal.SIGUSR1, signal.SIGUSR2, signal.SIGTERM)}
    for number, wish in ((signal.SIGUSR1, "save"), (signal.SIGUSR2, "stop"), (signal.SIGTERM, "stop")):
        with Signals() as signals:
            assert not signals.save and not signals.stop
            os.kill(os.getpid(), number)
            assert getattr(signals, wish) and signals.save + signals.stop == 1
    assert {number: signal.getsignal(number) for number in before} == before


def test_other_threads_take_nothing_down():
    found = []

    def run():
        with Signals():
            found.append(signal.getsignal(signal.SIGUSR1))

    before = signal.getsignal(signal.SIGUSR1)
    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert found == [before]


def test_a_wish_from_before_is_handed_on_and_one_from_after_does_no_harm():
    with Signals() as around:
        os.kill(os.getpid(), signal.SIGUSR2)
        with Signals() as inner:
            assert (inner.save, inner.stop) == (False, True)
        os.kill(os.getpid(), signal.SIGUSR1)
        assert (around.save, around.stop) == (True, True)
