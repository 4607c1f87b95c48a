"""Secrets of certificates as YAML, as Istio's tasks create them with ``kubectl create secret``."""

import base64
import json
import ssl

from argosy.testing.certificates import Credential

GATEWAYS = "istio-system"
"""Where the gateways of ``argosy up`` run, and so their Secrets."""


def secret(
    name: str, data: dict[str, str], kind: str = "Opaque", *, namespace: str = GATEWAYS
) -> str:
    """The generic form unless ``kind`` says otherwise."""
    encoded = {key: base64.b64encode(text.encode()).decode() for key, text in data.items()}
    metadata = {"name": name, "namespace": namespace}
    document = {"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "type": kind}
    return json.dumps({**document, "data": encoded})


def tls(name: str, own: Credential, *, namespace: str = GATEWAYS, **more: str) -> str:
    """A certificate and its key; ``more`` are further entries, such as ``ca.crt``."""
    data = {"tls.crt": own.certificate, "tls.key": own.key, **more}
    return secret(name, data, "kubernetes.io/tls", namespace=namespace)


def mutual(name: str, own: Credential, *, namespace: str = GATEWAYS) -> str:
    """A certificate, its key, and the authority that signed it and the other side's."""
    return tls(name, own, namespace=namespace, **{"ca.crt": own.roots})


def certificate_of(credential: Credential) -> bytes:
    """DER."""
    return ssl.PEM_cert_to_DER_cert(credential.certificate)
