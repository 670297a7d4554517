"""Rows of the table of claims: one refutation refutes, and untestable claims give the reason."""

from __future__ import annotations

from results.claims.catalogue import CLAIMS, Finding, Found, pair_name, refuted, rows


def finding(
    claim: int, found: Found, detail: str = "seen", build: str = "a", **more: str
) -> Finding:
    evidence = (more["run"],) if "run" in more else ()
    return Finding("claim", claim, build, more.get("test", "test"), found, detail, evidence)


def test_every_claim_has_a_row_for_every_build() -> None:
    found = rows([], ["a", "a -> b"])
    assert [row.claim.number for row in found] == [n for n in range(1, 13) for _ in range(2)]
    assert {row.verdict for row in found} == {"not testable here: it was not tested"}
    assert len({claim.title for claim in CLAIMS}) == 12


def test_one_refutation_refutes() -> None:
    found = rows(
        [finding(2, "shown"), finding(2, "refuted", "RAM moved"), finding(3, "shown")], "a"
    )
    by_number = {row.claim.number: row for row in found}
    assert by_number[2].verdict == "refuted"
    assert by_number[2].detail.startswith("test: RAM moved")
    assert by_number[3].verdict == "shown"
    assert refuted(found)
    assert not refuted(row for row in found if row.claim.number != 2)


def test_the_detail_of_a_shown_claim_lists_untestable_findings() -> None:
    (row,) = (
        r
        for r in rows(
            [
                finding(7, "not testable", "no SGX", test="epc", run="r2"),
                finding(7, "shown", "refused", test="share=off", run="r1"),
            ],
            "a",
        )
        if r.claim.number == 7
    )
    assert row.verdict == "shown"
    assert row.detail == "share=off: refused; epc: not testable: no SGX"
    assert row.evidence == ("r2", "r1")


def test_equal_reasons_are_merged() -> None:
    why = [finding(1, "not testable", "busy host"), finding(1, "not testable", "busy host")]
    row = rows(why, "a")[0]
    assert row.verdict == "not testable here: busy host"


def test_findings_belong_to_their_build() -> None:
    found = rows([finding(5, "shown", build="a -> b")], ["a", "a -> b"])
    assert [r.found for r in found if r.claim.number == 5] == ["not testable", "shown"]
    assert pair_name("a", "b") == "a -> b"
    assert pair_name("a", "a") == "a"
