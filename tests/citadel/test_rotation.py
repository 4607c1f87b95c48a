"""The rotation's decisions: no step before every proxy has proven the one before it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from argosy.citadel.rotation import Evidence, Step, Wanted, progress

WANTED = Wanted(bundle="both", issuer="new")
DONE = Evidence(True, "both", "new", "77", "both", "new")


def missing(step: Step, said: Evidence | None) -> str:
    (proof,) = progress(step, WANTED, {"a.default": said}).proofs
    return proof.missing


def test_a_proxy_that_says_so_has_done_the_step() -> None:
    for step in Step:
        assert missing(step, DONE) == ""


def test_what_an_agent_has_is_no_proof() -> None:
    written = Evidence(True, "old", "old", "77", agent_bundle="both", agent_issuer="new")
    assert missing(Step.TRUST, written) == "it does not say that it uses the new roots"
    assert missing(Step.SWITCH, written) == "it does not say that it uses the new certificate"


def test_the_agent_that_is_behind_is_named() -> None:
    behind = Evidence(True, "old", "old", "77", "old", "old")
    assert missing(Step.TRUST, behind) == "its agent has not fetched the new roots yet"
    assert missing(Step.WITHDRAW, behind) == "its agent has not fetched the new roots yet"
    assert missing(Step.SWITCH, behind) == "its agent has not fetched the new certificate yet"
    assert missing(Step.TRUST, None) == "its agent has not reported"


def test_a_proxy_that_does_not_run_begins_with_what_its_agent_has() -> None:
    assert missing(Step.TRUST, Evidence(False, agent_bundle="both")) == ""
    assert missing(Step.TRUST, Evidence(False, agent_bundle="old")) != ""
    assert missing(Step.SWITCH, Evidence(False)) == ""


def test_the_order() -> None:
    assert progress(Step.TRUST, WANTED, {"a": DONE}).following is Step.SWITCH
    assert progress(Step.SWITCH, WANTED, {"a": DONE}).following is Step.WITHDRAW
    assert progress(Step.WITHDRAW, WANTED, {"a": DONE}).following is None
    assert progress(Step.TRUST, WANTED, {}).following is Step.SWITCH, "nobody is there to prove"


words = st.sampled_from(["", "old", "both", "new"])
evidence = st.builds(Evidence, st.booleans(), words, words, st.just("77"), words, words)


@given(st.sampled_from(Step), st.dictionaries(st.text(max_size=5), st.none() | evidence))
def test_one_proxy_without_proof_holds_all_back(
    step: Step, proxies: dict[str, Evidence | None]
) -> None:
    reached = progress(step, WANTED, proxies)
    assert [proof.proxy for proof in reached.proofs] == sorted(proxies)
    shown = "new" if step is Step.SWITCH else "both"
    running = [said for said in proxies.values() if said is not None and said.running]
    if reached.done:
        said = [each.issuer if step is Step.SWITCH else each.bundle for each in running]
        assert all(each == shown for each in said)
        assert None not in proxies.values()
    else:
        with pytest.raises(AssertionError, match="not proven"):
            _ = reached.following
