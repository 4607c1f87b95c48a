"""Who signs and who is trusted, in each step, and what agents are told."""

from dataclasses import replace
from datetime import UTC, datetime

from argosy.base.names import TrustDomain
from argosy.citadel.issuer import Issuer, self_made
from argosy.citadel.rotation import Step
from argosy.citadel.signer import create_intermediate, create_root, pem
from argosy.citadel.trust import Trust
from argosy.model.secret import TrustAnchor

NOW = datetime(2026, 11, 23, tzinfo=UTC)
DOMAIN = TrustDomain("cluster.local")


def issuer() -> Issuer:
    return self_made(create_intermediate(create_root(DOMAIN, NOW), DOMAIN, NOW))


def test_each_step_of_a_rotation() -> None:
    old, new = issuer(), issuer()
    at_rest = Trust(old, DOMAIN)
    steps = {step: replace(at_rest, coming=new, step=step) for step in Step}
    assert at_rest.roots == old.roots
    assert steps[Step.TRUST].roots == (*old.roots, *new.roots)
    assert steps[Step.SWITCH].roots == (*old.roots, *new.roots)
    assert steps[Step.WITHDRAW].roots == new.roots
    assert at_rest.issuer is steps[Step.TRUST].issuer is old
    assert steps[Step.SWITCH].issuer is steps[Step.WITHDRAW].issuer is new
    ended = Trust(new, DOMAIN)
    assert ended.document == steps[Step.WITHDRAW].document, "the end changes nothing for agents"


def test_the_document_changes_with_what_it_says() -> None:
    old, new = issuer(), issuer()
    at_rest = Trust(old, DOMAIN).document
    both = Trust(old, DOMAIN, new, Step.TRUST).document
    switched = Trust(old, DOMAIN, new, Step.SWITCH).document
    assert at_rest.bundle != both.bundle == switched.bundle
    assert at_rest.issuer == both.issuer != switched.issuer
    assert len({at_rest.version, both.version, switched.version}) == 3
    assert Trust(old, TrustDomain("new-td")).document.version != at_rest.version


def test_other_trust_domains_have_their_own_roots() -> None:
    own = issuer()
    trust = Trust(
        own,
        DOMAIN,
        aliases=("old-td",),
        anchors=(TrustAnchor("MORE\n", ()), TrustAnchor("THEIRS\n", ("partner",))),
    )
    found = {domain.name: domain.roots for domain in trust.document.domains}
    mine = pem(own.authority.root)
    assert found == {
        "cluster.local": f"{mine}MORE\n",
        "old-td": f"{mine}MORE\n",
        "partner": "THEIRS\n",
    }
    partner = replace(trust, aliases=("old-td", "partner")).document.domains
    assert {domain.name: domain.roots for domain in partner} == found, (
        "an alias of theirs is theirs"
    )
    listed = replace(trust, current=replace(own, crl="LIST\n"))
    assert listed.document.domains == (), "Envoy cannot check both: then nobody else is trusted"
    assert trust.document.roots == mine, "the control plane is known by the mesh's own root only"
    assert Trust(own, DOMAIN).document.domains == ()


def test_roots_of_a_signer_are_parsed_once() -> None:
    """They are asked for at each connection to the control plane."""
    root = create_root(DOMAIN, NOW).root
    trust = Trust(issuer(), DOMAIN, anchors=(TrustAnchor(pem(root), (), signers=("a/foo",)),))
    (found,) = trust.roots_of("foo")
    assert found == root
    assert replace(trust, current=issuer()).roots_of("a/foo")[0] is found
    assert trust.roots_of("bar") == ()
