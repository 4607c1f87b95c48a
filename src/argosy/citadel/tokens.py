"""Workload tokens: JWTs by which a node proves for which pod it asks.

They look like Kubernetes' projected service account tokens, so what reads those reads these:
https://kubernetes.io/docs/reference/access-authn-authz/service-accounts-admin/#schema-for-service-account-private-claims
"""

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from cryptography.hazmat.primitives.asymmetric import ec
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import ECKey

from argosy.base.names import Namespace, TrustDomain
from argosy.citadel.identity import Caller, Proof, SpiffeId
from argosy.citadel.refusal import RefusedError
from argosy.citadel.signer import private_pem

AUDIENCE = "istio-ca"
"""Whom a workload token is for: Istio's name of the certificate authority."""

MAXIMUM_SIZE = 8_192
"""Bytes of a token; one of ours has about 700."""

MINIMUM_LIFETIME = timedelta(minutes=10)
"""Kubernetes' rule for requested tokens."""

MAXIMUM_LIFETIME = timedelta(hours=48)
LEEWAY = timedelta(seconds=30)
"""By how much clocks may differ."""

_ALGORITHM = "ES256"
_SUBJECT = "system:serviceaccount:"
_PRIVATE_CLAIM = "kubernetes.io"


@dataclass(frozen=True, slots=True)
class WorkloadToken:
    """What a verified token says. ``pod`` and ``pod_uid`` are empty for a token of no pod."""

    namespace: Namespace
    service_account: str
    pod: str
    pod_uid: str
    expires: datetime
    id: str

    def caller(self, trust_domain: TrustDomain) -> Caller:
        identity = SpiffeId(trust_domain, self.namespace, self.service_account)
        return Caller(identity, Proof.TOKEN, self.pod)


class TokenAuthority:
    """Issues and verifies the tokens of one mesh. ``key`` must be a P-256 key."""

    def __init__(self, key: ec.EllipticCurvePrivateKey, mesh: str) -> None:
        self._key = ECKey.import_key(private_pem(key))
        self._mesh = mesh
        self._issuer = f"https://argosy.local/meshes/{mesh}"
        self._header = {"alg": _ALGORITHM, "kid": self._key.thumbprint()}

    def issue(
        self,
        identity: SpiffeId,
        now: datetime,
        *,
        pod: str = "",
        pod_uid: str = "",
        audiences: Sequence[str] = (),
        lifetime: timedelta = timedelta(hours=1),
    ) -> tuple[str, datetime]:
        """A token and when it expires. Without ``audiences`` it is for ``AUDIENCE``.

        Raises ``RefusedError`` (400) below ``MINIMUM_LIFETIME``; above ``MAXIMUM_LIFETIME`` it
        is cut to that.
        """
        if lifetime < MINIMUM_LIFETIME:
            raise RefusedError(400, "a token lives at least 600 seconds")
        issued = int(now.timestamp())
        expires = issued + int(min(lifetime, MAXIMUM_LIFETIME).total_seconds())
        private: dict[str, object] = {
            "namespace": identity.namespace,
            "serviceaccount": {"name": identity.service_account},
        }
        if pod:
            private["pod"] = {"name": pod, "uid": pod_uid}
        claims = {
            "iss": self._issuer,
            "sub": f"{_SUBJECT}{identity.namespace}:{identity.service_account}",
            "aud": list(audiences) or [AUDIENCE],
            "iat": issued,
            "nbf": issued,
            "exp": expires,
            "jti": str(uuid.uuid4()),
            "mesh": self._mesh,
            _PRIVATE_CLAIM: private,
        }
        token = jwt.encode(self._header, claims, self._key, algorithms=[_ALGORITHM])
        return token, datetime.fromtimestamp(expires, UTC)

    def verify(self, token: str, now: datetime, audience: str = AUDIENCE) -> WorkloadToken:
        """What the token says. Raises ``RefusedError`` (401) unless it is ours and in force."""
        if len(token) > MAXIMUM_SIZE:
            raise RefusedError(401, f"the token is larger than {MAXIMUM_SIZE} bytes")
        rules = jwt.JWTClaimsRegistry(
            now=int(now.timestamp()),
            leeway=int(LEEWAY.total_seconds()),
            iss={"essential": True, "value": self._issuer},
            aud={"essential": True, "value": audience},
            mesh={"essential": True, "value": self._mesh},
            sub={"essential": True},
            exp={"essential": True},
            nbf={"essential": True},
            iat={"essential": True},
            jti={"essential": True},
        )
        try:
            claims = jwt.decode(token, self._key, algorithms=[_ALGORITHM]).claims
            rules.validate(claims)
            return _workload(claims)
        except (JoseError, ValueError) as error:
            # Neither the token nor its parts: this text ends in logs.
            raise RefusedError(401, f"the workload token is not valid: {error}") from None


def _workload(claims: Mapping[str, object]) -> WorkloadToken:
    private = _mapping(claims, _PRIVATE_CLAIM)
    namespace = _text(private, "namespace")
    account = _text(_mapping(private, "serviceaccount"), "name")
    if claims["sub"] != f"{_SUBJECT}{namespace}:{account}":
        raise ValueError("sub and kubernetes.io disagree")
    pod = _mapping(private, "pod") if "pod" in private else {"name": "", "uid": ""}
    expires = claims["exp"]
    if not isinstance(expires, int):
        raise ValueError("exp is not a whole number")
    return WorkloadToken(
        Namespace(namespace),
        account,
        _text(pod, "name"),
        _text(pod, "uid"),
        datetime.fromtimestamp(expires, UTC),
        _text(claims, "jti"),
    )


def _mapping(claims: Mapping[str, object], name: str) -> Mapping[str, object]:
    value = claims.get(name)
    if not isinstance(value, dict):
        raise ValueError(f"claim {name} is not an object")
    return value


def _text(claims: Mapping[str, object], name: str) -> str:
    value = claims.get(name)
    if not isinstance(value, str):
        raise ValueError(f"claim {name} is not a text")
    return value
