"""The mesh's certificates for people and agents: the trust document, the table, the rotation.

``services.TrustProvider`` over the keeper; and the voice that warns in the log before something ends.
"""

import asyncio
from collections.abc import Sequence
from datetime import datetime

import structlog
from cryptography import x509

from argosy.base.clock import Clock
from argosy.citadel.expiry import ExpiryWarning, Level, authority_warning, leaf_warning
from argosy.citadel.issuer import fingerprint
from argosy.citadel.reports import CertificateReport
from argosy.citadel.rotation import Progress, Step
from argosy.citadel.service import CertificateService
from argosy.citadel.signer import pem
from argosy.citadel.trust import Trust, TrustDocument
from argosy.server.http import services
from argosy.server.trust import RotationRefusedError, TrustKeeper

_PAUSE_SECONDS = 60.0
_log = structlog.get_logger()


class MeshCertificates:
    """``address``: host and port of the certificate service, empty until it listens."""

    def __init__(self, keeper: TrustKeeper, issuing: CertificateService, clock: Clock) -> None:
        self._keeper = keeper
        self._issuing = issuing
        self._clock = clock
        self._said: dict[str, tuple[Level, datetime]] = {}
        self.address = ""

    async def run(self) -> None:
        """Warn, again and again, until cancelled."""
        while True:
            self.warn()
            await asyncio.sleep(_PAUSE_SECONDS)

    def warn(self) -> None:
        """Each warning when it gets louder, and as often as its level says."""
        now = self._clock.now()
        for warning in self.warnings():
            before = self._said.get(warning.about)
            lately = before is not None and now - before[1] < warning.level.every
            if before is not None and before[0] is warning.level and lately:
                continue
            self._said[warning.about] = (warning.level, now)
            speak = _log.error if warning.level is Level.ERROR else _log.warning
            speak("certificate.expires", about=warning.about, message=warning.message)

    def reports(self) -> list[CertificateReport]:
        """Of every proxy that there is: the last, if there was one."""
        found = (self._keeper.reports.of(name) for name in sorted(self._keeper.proxies()))
        return [report for report in found if report is not None]

    # ``services.TrustProvider``.

    async def document(self, version: str, seconds: float) -> TrustDocument:
        if version and seconds:
            await self._keeper.changed(version, seconds)
        return self._keeper.trust.document

    def report(self, reports: Sequence[CertificateReport]) -> None:
        self._keeper.take(list(reports))

    def overview(self) -> services.CertificateOverview:
        trust = self._keeper.trust
        issuers = {issuer.fingerprint: issuer for issuer in (trust.current, trust.coming) if issuer}
        authorities = []
        for issuer in issuers.values():
            for each in issuer.authority.certificates:
                authorities.append(_authority(each, signs=each == trust.authority.certificate))
        for root in trust.roots:
            authorities.append(_authority(root, signs=False))
        unique = {one.fingerprint: one for one in reversed(authorities)}
        names = {print_: issuer.authority for print_, issuer in issuers.items()}
        return services.CertificateOverview(
            trust_domain=trust.trust_domain,
            trust_domain_aliases=trust.aliases,
            address=self.address,
            plugged=self._keeper.is_plugged,
            roots=trust.roots_pem,
            revocations=bool(trust.crl),
            authorities=tuple(reversed(unique.values())),
            workloads=tuple(
                services.WorkloadCertificate(
                    report=found,
                    issuer=_signer(trust, found.signer)
                    or (_name(names[found.issuer].certificate) if found.issuer in names else ""),
                    root=_name(names[found.issuer].root) if found.issuer in names else "",
                )
                for found in self.reports()
            ),
            warnings=tuple(
                services.CertificateWarning(one.level.value, one.about, one.message)
                for one in self.warnings()
            ),
        )

    def rotation(self) -> services.RotationStatus:
        keeper = self._keeper
        log, reached = keeper.log, keeper.progress()
        steps = []
        for step in Step:
            known = reached if reached and reached.step is step else log.done.get(step)
            if known is not None:
                steps.append(_step(known, done=step in log.done))
            elif reached is not None and _before(step, reached.step):
                steps.append(services.RotationStep(step.value, step.title, done=True))
            else:
                steps.append(services.RotationStep(step.value, step.title))
        coming = keeper.trust.coming
        return services.RotationStatus(
            active=reached is not None or keeper.is_requested,
            step=reached.step.value if reached else "",
            steps=tuple(steps),
            old=_name(keeper.trust.current.authority.root),
            new=_name(coming.authority.root) if coming else "",
            began=log.began.isoformat() if log.began else "",
            ended=log.ended.isoformat() if log.ended else "",
            proxies=tuple(sorted(keeper.proxies())),
        )

    def rotate(self, *, dry_run: bool) -> services.RotationStatus:
        try:
            self._keeper.begin(dry_run=dry_run)
        except RotationRefusedError as error:
            raise services.RefusedError(409, str(error)) from error
        return self.rotation()

    def warnings(self) -> list[ExpiryWarning]:
        """What people must hear of now."""
        trust, now = self._keeper.trust, self._clock.now()
        hint = (
            "plug in a new authority" if self._keeper.is_plugged else "run argosy certs rotate-root"
        )
        found: list[ExpiryWarning | None] = []
        if self._keeper.mistake:
            words = f"the authority that is plugged in is not used: {self._keeper.mistake}"
            found.append(ExpiryWarning(Level.ERROR, "authority", words))
        certificates = dict.fromkeys((*trust.authority.certificates, *trust.roots))
        found += [authority_warning(_name(one), one, now, hint) for one in certificates]
        for report in self.reports():
            if not report.not_after:
                continue
            begins = datetime.fromisoformat(report.not_before)
            ends = datetime.fromisoformat(report.not_after)
            found.append(leaf_warning(report.client, begins, ends, now, report.last_failure))
        return [warning for warning in found if warning is not None]


def _signer(trust: Trust, name: str) -> str:
    """Its full name, if it is one of MeshConfig's."""
    found = trust.document.get_signer(name)
    return name if found is None else found.name


def _before(step: Step, reached: Step) -> bool:
    order = list(Step)
    return order.index(step) < order.index(reached)


def _step(known: Progress, *, done: bool) -> services.RotationStep:
    proofs = tuple(
        services.RotationProof(proof.proxy, proof.missing, proof.serial) for proof in known.proofs
    )
    return services.RotationStep(known.step.value, known.step.title, done=done, proofs=proofs)


def _authority(certificate: x509.Certificate, *, signs: bool) -> services.AuthorityCertificate:
    return services.AuthorityCertificate(
        subject=_name(certificate),
        root=certificate.subject == certificate.issuer,
        signs=signs,
        serial=f"{certificate.serial_number:x}",
        fingerprint=fingerprint(certificate),
        not_before=certificate.not_valid_before_utc.isoformat(),
        not_after=certificate.not_valid_after_utc.isoformat(),
        pem=pem(certificate),
    )


def _name(certificate: x509.Certificate) -> str:
    return certificate.subject.rfc4514_string() or f"serial {certificate.serial_number:x}"
