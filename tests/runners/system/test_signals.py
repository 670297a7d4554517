"""Signals that unwind a session: each raises once, ignored ones stay ignored, all are restored."""

import os
import signal
import subprocess

import pytest

from runners.system.signals import interrupted_by_signals

HANDLED = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@pytest.mark.parametrize("number", HANDLED)
def test_each_unwinds_the_block(number):
    before = [signal.getsignal(n) for n in HANDLED]
    with pytest.raises(KeyboardInterrupt), interrupted_by_signals():
        os.kill(os.getpid(), number)
    assert [signal.getsignal(n) for n in HANDLED] == before


def test_a_second_one_does_not_interrupt_the_clean_up():
    cleaned = []

    def session():
        try:
            os.kill(os.getpid(), signal.SIGTERM)
        finally:
            os.kill(os.getpid(), signal.SIGTERM)
            os.kill(os.getpid(), signal.SIGHUP)
            cleaned.append(True)

    with pytest.raises(KeyboardInterrupt), interrupted_by_signals():
        session()
    assert cleaned


@pytest.mark.parametrize("number", HANDLED)
def test_an_ignored_one_stays_ignored(number):
    before = signal.signal(number, signal.SIG_IGN)
    try:
        with interrupted_by_signals(), interrupted_by_signals():
            os.kill(os.getpid(), number)
            assert signal.getsignal(number) is signal.SIG_IGN
        assert signal.getsignal(number) is signal.SIG_IGN
    finally:
        signal.signal(number, before)


def test_the_outer_block_still_unwinds_after_an_inner_one():
    def session():
        with interrupted_by_signals():
            subprocess.run(["true"], check=True)
        os.kill(os.getpid(), signal.SIGHUP)

    with pytest.raises(KeyboardInterrupt), interrupted_by_signals():
        session()
