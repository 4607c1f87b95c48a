"""Tokens that are meant to be checked where nobody does."""

from tests.pilot.analyze.test_cases import analyze

from argosy.base.problems import Severity

POLICY = """\
apiVersion: security.istio.io/v1
kind: RequestAuthentication
metadata: {name: NAME, namespace: default}
spec:
  selector: {matchLabels: {app: APP}}
  jwtRules:
  - {issuer: https://issuer.example.com}
"""
DEPLOYMENT = """\
apiVersion: apps/v1
kind: Deployment
metadata: {name: NAME}
spec:
  selector: {matchLabels: {app: NAME}}
  template:
    metadata:
      labels: {app: NAME}
      annotations: {inject.istio.io/templates: TEMPLATE}
    spec:
      containers: [{name: a, image: b}]
"""


def test_a_workload_without_a_proxy_checks_nothing() -> None:
    texts = (
        POLICY.replace("NAME", "for-grpc").replace("APP", "grpc"),
        POLICY.replace("NAME", "for-web").replace("APP", "web"),
        DEPLOYMENT.replace("NAME", "grpc").replace("TEMPLATE", "grpc-agent"),
        DEPLOYMENT.replace("NAME", "web").replace("TEMPLATE", "sidecar"),
    )
    found = [m for m in analyze("---\n".join(texts)) if m.code == "NotForProxylessGrpc"]
    (message,) = found
    assert str(message.object).endswith("for-grpc")
    assert message.level is Severity.WARNING
    assert "pod grpc has" in str(message)
