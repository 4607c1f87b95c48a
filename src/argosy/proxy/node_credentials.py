"""A workload's certificate, asked for with a token that only this pod's agent gets."""

from collections.abc import Callable, Sequence
from pathlib import Path

from argosy.api.core_pod import Pod
from argosy.base.clock import SystemClock
from argosy.base.names import TrustDomain
from argosy.citadel.identity import SpiffeId
from argosy.model.proxy import ProxyType
from argosy.pilot.compile.roles import proxy_type
from argosy.proxy.certificates import CertificateRunner, IssueError
from argosy.proxy.node_api import ApiClient, ApiError

AUDIENCE = "istio-ca"
_TOKEN_SECONDS = 600
CERTIFICATES = "certs"


def credentials(
    api: ApiClient, trust_domain: Callable[[], TrustDomain]
) -> Callable[[Pod, Path], CertificateRunner]:
    """Makes the keeper of a pod's certificate; its files go below the pod's directory.

    ``trust_domain`` is the mesh's at the moment: a certificate keeps it until it is renewed.
    """

    def keeper(pod: Pod, directory: Path) -> CertificateRunner:
        namespace, name = pod.metadata.namespace, pod.metadata.name
        account = pod.spec.account

        async def issue(csr: str) -> Sequence[str]:
            try:
                token = await api.workload_token(namespace, account, name, AUDIENCE, _TOKEN_SECONDS)
                return await api.sign(csr, token)
            except ApiError as error:
                raise IssueError(str(error)) from error

        def identity() -> str:
            return str(SpiffeId.of(trust_domain(), namespace, account))

        pem = proxy_type(pod) is ProxyType.GRPC
        place = directory / CERTIFICATES
        return CertificateRunner(identity, place, issue, SystemClock(), pem=pem)

    return keeper
