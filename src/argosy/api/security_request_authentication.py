"""RequestAuthentication of ``security.istio.io``.

Fields as in https://istio.io/latest/docs/reference/config/security/request_authentication/
"""

from msgspec import field

from argosy.api.meta import Duration, IstioStatus, Object, Part, WorkloadSelector
from argosy.api.policy_target import PolicyTargetReference


class JWTHeader(Part, frozen=True, kw_only=True):
    """``prefix`` comes before the token, with its space: ``Bearer ``."""

    name: str
    prefix: str = ""


class ClaimToHeader(Part, frozen=True, kw_only=True):
    """``claim`` descends into nested claims by dots: ``address.country``."""

    header: str
    claim: str


class JWTRule(Part, frozen=True, kw_only=True):
    """``timeout`` is for fetching keys, in ms; None is 5 s.

    ``jwks_uri_of_old`` is an older spelling of ``jwks_uri`` that Istio reads too.
    """

    issuer: str = ""
    audiences: tuple[str, ...] = ()
    jwks_uri: str = ""
    jwks_uri_of_old: str = field(name="jwks_uri", default="")
    jwks: str = ""
    from_headers: tuple[JWTHeader, ...] = ()
    from_params: tuple[str, ...] = ()
    from_cookies: tuple[str, ...] = ()
    output_payload_to_header: str = ""
    forward_original_token: bool = False
    output_claim_to_headers: tuple[ClaimToHeader, ...] = ()
    timeout: Duration | None = None
    space_delimited_claims: tuple[str, ...] = ()

    @property
    def uri(self) -> str:
        return self.jwks_uri or self.jwks_uri_of_old


class RequestAuthenticationSpec(Part, frozen=True, kw_only=True):
    """``target_ref`` is the older form of ``target_refs``."""

    selector: WorkloadSelector | None = None
    target_ref: PolicyTargetReference | None = None
    target_refs: tuple[PolicyTargetReference, ...] = ()
    jwt_rules: tuple[JWTRule, ...] = ()


class RequestAuthentication(Object, frozen=True, kw_only=True):
    api_version: str = "security.istio.io/v1"
    kind: str = "RequestAuthentication"
    spec: RequestAuthenticationSpec = RequestAuthenticationSpec()
    status: IstioStatus | None = None
