"""The rotation of the root without a failed request: decisions only, no clock, no I/O.

Three steps, each done by every proxy before the next begins:

1. ``trust``: both roots are trusted; the old authority still signs.
2. ``switch``: the new authority signs; each proxy shows a new certificate. Whoever has one is
   trusted by all, whoever still has an old one too.
3. ``withdraw``: only the new root is trusted.

A proxy has done a step when it says by itself that it uses what the step asks for (``Evidence``):
what was sent to it, or written for it, counts for nothing. A proxy that does not run has nothing
to prove: it begins with what its agent has by then.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum


class Step(Enum):
    TRUST = "trust"
    SWITCH = "switch"
    WITHDRAW = "withdraw"

    @property
    def title(self) -> str:
        return _TITLES[self]


_TITLES = {
    Step.TRUST: "every proxy trusts both roots",
    Step.SWITCH: "every proxy shows a certificate of the new authority",
    Step.WITHDRAW: "no proxy trusts the old root",
}
_AFTER = {Step.TRUST: Step.SWITCH, Step.SWITCH: Step.WITHDRAW, Step.WITHDRAW: None}


@dataclass(frozen=True, slots=True)
class Evidence:
    """What one proxy uses, as it said itself; empty where it has not said anything yet.

    ``bundle`` is the version of the roots, ``issuer`` the fingerprint of the certificate that
    signed its own. ``agent_bundle`` and ``agent_issuer``: what its agent has for it. ``signer`` is
    who signed, where it is not the mesh: then the mesh's authority may change.
    """

    running: bool
    bundle: str = ""
    issuer: str = ""
    serial: str = ""
    agent_bundle: str = ""
    agent_issuer: str = ""
    signer: str = ""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What the present step asks of every proxy."""

    bundle: str
    issuer: str


@dataclass(frozen=True, slots=True)
class Proof:
    """One proxy in one step. ``missing`` is empty when it has done it."""

    proxy: str
    missing: str = ""
    serial: str = ""


@dataclass(frozen=True, slots=True)
class Progress:
    """The proofs of a step, sorted by proxy; ``following`` is the step after it."""

    step: Step
    proofs: tuple[Proof, ...]

    @property
    def done(self) -> bool:
        return not any(proof.missing for proof in self.proofs)

    @property
    def following(self) -> Step | None:
        """Raises ``AssertionError`` while a proxy has not proven the step."""
        assert self.done, "a proxy has not proven the step"
        return _AFTER[self.step]


def progress(step: Step, wanted: Wanted, proxies: Mapping[str, Evidence | None]) -> Progress:
    """How far ``step`` is. ``proxies`` are all that there must be; None: nothing was heard."""
    return Progress(
        step, tuple(_proof(step, wanted, name, said) for name, said in sorted(proxies.items()))
    )


def _proof(step: Step, wanted: Wanted, name: str, said: Evidence | None) -> Proof:
    if said is None:
        return Proof(name, "its agent has not reported")
    if step is Step.SWITCH:
        return Proof(name, _lacks("certificate", wanted.issuer, said, step), said.serial)
    return Proof(name, _lacks("roots", wanted.bundle, said, step), said.serial)


def _lacks(what: str, wanted: str, said: Evidence, step: Step) -> str:
    agent = said.agent_issuer if step is Step.SWITCH else said.agent_bundle
    shown = said.issuer if step is Step.SWITCH else said.bundle
    if step is Step.SWITCH and said.signer:
        return ""
    if not said.running:
        return "" if said.agent_bundle == wanted or step is Step.SWITCH else _AGENT
    if shown == wanted:
        return ""
    if agent != wanted:
        return f"its agent has not fetched the new {what} yet"
    return f"it does not say that it uses the new {what}"


_AGENT = "it does not run, and its agent has not fetched the new roots yet"
