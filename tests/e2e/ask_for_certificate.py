"""Run inside a workload: asks the mesh's certificate service as an agent of Istio does.

Reads one JSON request a line from standard input; answers each with one JSON line:
{"code": "OK", "chain": [...]} or {"code": "UNAUTHENTICATED", "message": ...}.
"""

import asyncio
import json
import sys
from typing import Any

import grpc
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from argosy.citadel.grpc_service import METHOD, SERVICE, CertificateRequest, CertificateResponse

NAME = "istiod.istio-system.svc"


def csr(name: str) -> str:
    """Asks for a name of its own choice, which must not matter."""
    key = ec.generate_private_key(ec.SECP256R1())
    names = x509.SubjectAlternativeName([x509.UniformResourceIdentifier(name)])
    builder = x509.CertificateSigningRequestBuilder(x509.Name([])).add_extension(names, False)
    request = builder.sign(key, hashes.SHA256())
    return request.public_bytes(serialization.Encoding.PEM).decode()


async def ask(wanted: dict[str, Any]) -> dict[str, Any]:
    roots = wanted["roots"].encode()
    if "key" in wanted:
        credentials = grpc.ssl_channel_credentials(
            roots, wanted["key"].encode(), wanted["certificate"].encode()
        )
    else:
        credentials = grpc.ssl_channel_credentials(roots)
    options = (("grpc.ssl_target_name_override", NAME),)
    async with grpc.aio.secure_channel(wanted["address"], credentials, options) as channel:
        request: Any = CertificateRequest(
            csr=csr(wanted.get("name", "spiffe://cluster.local/ns/istio-system/sa/admin")),
            validity_duration=wanted.get("seconds", 0),
        )
        request.metadata.update(wanted.get("metadata", {}))
        body = wanted["body"].encode() if "body" in wanted else request.SerializeToString()
        call = channel.unary_unary(f"/{SERVICE}/{METHOD}", None, None)
        token = wanted.get("token", "")
        metadata = (("authorization", f"Bearer {token}"),) if token else ()
        try:
            answer = await call(body, metadata=metadata, timeout=20)
        except grpc.aio.AioRpcError as error:
            return {"code": error.code().name, "message": error.details()}
        response: Any = CertificateResponse.FromString(answer)
        return {"code": "OK", "chain": list(response.cert_chain)}


def main() -> None:
    for line in sys.stdin:
        sys.stdout.write(json.dumps(asyncio.run(ask(json.loads(line)))) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
