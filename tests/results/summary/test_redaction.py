"""What a report does not tell: passwords, tokens, and parameters of the kernel."""

from __future__ import annotations

import time
from dataclasses import replace

import pytest

from results.records.scenario import Session
from results.summary.redaction import (
    redacted_kernel_parameters,
    redacted_session,
    redacted_text,
    redacted_words,
)

SECRET = "hunter2xyz"


@pytest.mark.parametrize(
    "text",
    [
        f"password={SECRET}",
        f"DB_PASSWORD={SECRET} make",
        f'"api_key": "{SECRET}"',
        f"--token {SECRET} --next",
        f"--token={SECRET}",
        f"https://me:{SECRET}@mirror.example/debian",
        f"Authorization: Bearer {SECRET}",
        f"AWS_SECRET_ACCESS_KEY={SECRET}",
        f"-object secret,id=sec0,data={SECRET}",
        f"GITHUB_TOKEN='{SECRET}'",
        f"passphrase: {SECRET}",
        f"db.pass={SECRET}",
        f"DB_PASS={SECRET}",
        f"--pass {SECRET}",
        f"systemd.set_credential=x:{SECRET}",
    ],
)
def test_what_is_named_a_secret_is_not_shown(text):
    shown = redacted_text(text)
    assert SECRET not in shown
    assert "[redacted]" in shown
    assert redacted_text(shown).count("[redacted]") == shown.count("[redacted]")


@pytest.mark.parametrize(
    "text",
    [
        "qemu-system-x86_64: load of migration failed: Invalid argument",
        "QEMU 10.0.2 (Debian 1:10.0.2+ds-2), build id 8b2f0d1c9e",
        "kvm.halt_poll_ns=200000 kvm_intel.nested=1",
        "mds: Mitigation: Clear CPU buffers; spectre_v2: Retpolines",
        "spec_store_bypass: Mitigation: Speculative Store Bypass disabled via prctl",
        "bypass=1 passed: 3 compass=n",
        "-machine q35 -k en-us -keyboard de",
        "pausebench run anon --ram 1G --seed 7",
    ],
)
def test_what_explains_a_result_stays(text):
    assert redacted_text(text) == text


@pytest.mark.parametrize(
    "unit", ["a", "token", "secret,", "--token", "://", "--token ", "pass=", "x://a", "-", '"', "="]
)
def test_a_long_text_takes_no_longer_than_its_length(unit):
    started = time.thread_time()
    redacted_text(unit * (1_000_000 // len(unit)))
    redacted_words((unit * 10_000,) * 3)
    assert time.thread_time() - started < 5


def test_of_the_kernels_parameters_only_known_ones_have_values():
    line = (
        f"BOOT_IMAGE=/vmlinuz root=UUID=1234-{SECRET} ro quiet isolcpus=2-5 mitigations=off "
        f"luks.key={SECRET} ip=10.0.0.7 my.token={SECRET} kvm.nx_huge_pages=off hugepages=64"
    )
    assert redacted_kernel_parameters(line) == (
        "BOOT_IMAGE=/vmlinuz root=[redacted] ro quiet isolcpus=2-5 mitigations=off "
        "luks.key=[redacted] ip=[redacted] my.token=[redacted] kvm.nx_huge_pages=off hugepages=64"
    )


def test_a_secret_that_is_a_word_of_its_own():
    words = ("pausebench", "run", "--api-token", SECRET, "--ram", "1G", "--password", "--quiet")
    assert redacted_words(words) == (
        "pausebench", "run", "--api-token", "[redacted]", "--ram", "1G", "--password", "--quiet",
    )  # fmt: skip


def test_a_session():
    session = Session(
        "20261123-221500-3f2a", 1, ("x", f"--token={SECRET}"), (),
        {"host": "h1", "cmdline": f"luks.key={SECRET} quiet", "note": f"https://u:{SECRET}@h/"},
    )  # fmt: skip
    shown = redacted_session(session)
    assert SECRET not in repr(shown)
    assert shown.environment["host"] == "h1"
    assert replace(shown, command=session.command, environment=session.environment) == session
