"""Reports without what may be a secret: a report is sent to others, the store is not.

What a report tells about the host is listed in docs/what-a-report-tells.md.
"""

from __future__ import annotations

import re
from dataclasses import replace

from results.claims.document import ClaimsDocument
from results.records.run import Run
from results.records.scenario import Session

REDACTED = "[redacted]"
# Parameters of the kernel whose values may explain a blackout and tell nothing else.
_KERNEL = frozenset({
    "BOOT_IMAGE", "amd_iommu", "amd_pstate", "apparmor", "audit", "cgroup_enable",
    "clocksource", "console", "cpufreq.default_governor", "crashkernel", "default_hugepagesz",
    "hugepages", "hugepagesz", "idle", "init", "intel_idle.max_cstate", "intel_iommu",
    "intel_pstate", "iommu", "irqaffinity", "isolcpus", "l1tf", "lockdown", "loglevel", "lsm",
    "maxcpus", "mds", "mem", "memmap", "mitigations", "nohz", "nohz_full", "nosmt", "nr_cpus",
    "numa", "numa_balancing", "panic", "pci", "preempt", "processor.max_cstate", "pti",
    "rcu_nocbs", "reboot", "retbleed", "rootflags", "rootfstype", "selinux", "skew_tick",
    "spec_store_bypass_disable", "spectre_v2", "systemd.unified_cgroup_hierarchy",
    "transparent_hugepage", "tsc", "tsx", "tsx_async_abort",
})  # fmt: skip
# Of what must not be shown. All repetitions are bounded: a log may be one word of a megabyte.
_NAME = (
    r"(?:password|passwort|passwd|passphrase|passcode|(?<![A-Za-z])pass(?![A-Za-z])|secret|"
    r"token|(?:api|access|private)[-_]?key|credential|cookie|bearer|authorization)s?[\w.-]{0,40}"
)
# NAME=VALUE, NAME: VALUE and --name VALUE, with or without quotes around the value.
_FLAG = rf"(?<![\w-])--?[\w.-]{{0,40}}{_NAME}"
_VALUE = r"\"[^\"]*\"|'[^']*'"
_OPTION = re.compile(rf"({_FLAG} {{1,8}})({_VALUE}|[^-\s][^\s]*)", re.IGNORECASE)
_ASSIGNED = re.compile(
    rf"({_NAME}\"?\s?[=:]\s?)({_VALUE}|(?:basic |bearer )?[^\s,;&\"']+)", re.IGNORECASE
)
_USER = re.compile(r"(?<=://)[^/@\s]+@")  # user:password@ of an address
_QEMU_SECRET = re.compile(r"(\bsecret\w*,(?:[^\s]{0,200}?,)?data=)[^,\s]+")


def redacted_text(text: str) -> str:
    """`text` with what is named as a secret in it replaced: passwords, tokens, credentials."""
    text = _QEMU_SECRET.sub(rf"\1{REDACTED}", _USER.sub(f"{REDACTED}@", text))
    return _ASSIGNED.sub(rf"\1{REDACTED}", _OPTION.sub(rf"\1{REDACTED}", text))


def redacted_words(words: tuple[str, ...]) -> tuple[str, ...]:
    """A command line: the value of an option may be a word of its own."""
    found: list[str] = []
    for word in words:
        after = found[-1] if found else ""
        if re.fullmatch(_FLAG, after, re.IGNORECASE) and not word.startswith("-"):
            found.append(REDACTED)
        else:
            found.append(redacted_text(word))
    return tuple(found)


def redacted_kernel_parameters(line: str) -> str:
    """The kernel's command line: of parameters that are not known to be harmless only the names."""
    return " ".join(
        word if not equals or name in _KERNEL or name.startswith("kvm") else f"{name}={REDACTED}"
        for word in line.split()
        for name, equals, _ in (word.partition("="),)
    )


def redacted_session(session: Session) -> Session:
    """The session as a report shows it."""
    environment = {
        key: redacted_kernel_parameters(value) if key == "cmdline" else redacted_text(value)
        for key, value in session.environment.items()
    }
    return replace(session, command=redacted_words(session.command), environment=environment)


def redacted_claims(document: ClaimsDocument) -> ClaimsDocument:
    """Findings quote what QEMU printed."""
    findings = tuple(
        replace(f, detail=redacted_text(f.detail), quote=redacted_text(f.quote))
        for f in document.findings
    )
    return replace(document, findings=findings)


def redacted_run(run: Run) -> Run:
    """A failed run as a report shows it; QEMU's log may quote its command line."""
    return replace(run, reason=redacted_text(run.reason), log_tail=redacted_text(run.log_tail))
