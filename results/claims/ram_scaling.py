"""Whether RAM stayed in place, by the blackout: its growth with RAM against that of a copy."""

from __future__ import annotations

from results.stats.slopes import Growth

from .catalogue import Finding, Found

# A blackout that grows by less than this share of the time to copy the RAM contains no copy.
_SHARE = 0.1


def ram_growth(build: str, found: Growth, evidence: tuple[str, ...], copy_ns: float) -> Finding:
    """The finding from guests of growing RAM size that write to the same amount of it.

    Per-page bookkeeping may grow with RAM (QEMU's dirty bitmap does): the claim is refuted when
    the lower bound of the growth exceeds a tenth of the time to copy that RAM (`copy_ns` per GiB).
    """

    def finding(state: Found, text: str) -> Finding:
        return Finding("claim", 2, build, "blackout by RAM", state, text, evidence)

    slope = next((s for s in found.slopes if s.name == "blackout" and not s.is_phase), None)
    if slope is None:
        return finding("not testable", "too few valid transfers at three RAM sizes")
    sizes = [point.value for point in found.points]
    text = (
        f"{slope.slope_ns / 1e6:+.2f} ms per GiB [{slope.low_ns / 1e6:+.2f}, "
        f"{slope.high_ns / 1e6:+.2f}] from {min(sizes):g} to {max(sizes):g} GiB; a copy "
        f"takes {copy_ns / 1e6:.0f} ms per GiB"
    )
    if slope.low_ns > _SHARE * copy_ns:
        return finding("refuted", text)
    if slope.high_ns > _SHARE * copy_ns:
        return finding("not testable", f"{text}: more boots are needed to tell them apart")
    return finding("shown", text)
