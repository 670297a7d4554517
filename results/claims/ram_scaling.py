"""Whether the blackout says that RAM stayed where it was: its growth beside that of a copy."""

from __future__ import annotations

from results.stats.slopes import Growth

from .catalogue import Finding, Found

# A blackout that grows by less than this share of the time that a copy takes holds no copy.
_SHARE = 0.1


def ram_growth(build: str, found: Growth, evidence: tuple[str, ...], copy_ns: float) -> Finding:
    """The finding of guests of growing size that write to the same amount of RAM.

    Bookkeeping by page may grow with RAM (QEMU's dirty bitmap does): the claim is refuted when
    the blackout surely grows by a tenth of what it takes to copy that RAM (`copy_ns` per GiB).
    """

    def said(state: Found, text: str) -> Finding:
        return Finding("claim", 2, build, "blackout by RAM", state, text, evidence)

    slope = next((s for s in found.slopes if s.name == "blackout" and not s.is_phase), None)
    if slope is None:
        return said("not testable", "too few sizes have a valid transfer")
    sizes = [point.value for point in found.points]
    text = (
        f"{slope.slope_ns / 1e6:+.2f} ms per GiB [{slope.low_ns / 1e6:+.2f}, "
        f"{slope.high_ns / 1e6:+.2f}] from {min(sizes):g} to {max(sizes):g} GiB, where a copy "
        f"takes {copy_ns / 1e6:.0f} ms per GiB"
    )
    if slope.low_ns > _SHARE * copy_ns:
        return said("refuted", text)
    if slope.high_ns > _SHARE * copy_ns:
        return said("not testable", f"{text}: too few boots to tell them apart")
    return said("shown", text)
