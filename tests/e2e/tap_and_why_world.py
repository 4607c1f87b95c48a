"""A mesh with a rule for each way to fail, and who asks in it.

The line that is to be named for a failure ends with a comment, its name.
"""

import json
import sys
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from click.testing import Result
from inside import Inside, inside
from manifests import account, deployment, mesh_config, service
from mesh import SAMPLES, Mesh, client_of, eventually
from signers import authority
from typer.testing import CliRunner

from argosy.citadel.signer import pem
from argosy.cli.main import application

CURL = (sys.executable, "-c", "import time; time.sleep(1e9)")
HOSTS = (
    *("httpbin", "empty", "small", "slow", "flaky", "narrow", "faulty", "plain", "versions"),
    *("untrusted", "misnamed", "nowhere"),
)
AUTHORIZERS = """extensionProviders:
- name: gatekeeper
  envoyExtAuthzHttp: {service: ext-authz.default.svc.cluster.local, port: 8000}
- name: unreachable
  envoyExtAuthzGrpc: {service: ext-authz.default.svc.cluster.local, port: 9999}
"""
STRANGERS = "@STRANGERS@"
"""The file of an authority that signed nothing here."""

JWKS = '{"keys":[{"kty":"oct","k":"c2VjcmV0LXNlY3JldC1zZWNyZXQtc2VjcmV0","alg":"HS256"}]}'
RULES = f"""
apiVersion: v1
kind: Service
metadata: {{name: refused}}
spec:
  selector: {{app: httpbin}}
  ports:
  - name: http
    port: 8000
    targetPort: 9999  # refused
---
apiVersion: v1
kind: Service
metadata: {{name: empty}}
spec:
  selector: {{app: nobody}}  # empty
  ports: [{{name: http, port: 8000, targetPort: 8080}}]
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {{name: versions}}
spec:
  host: versions
  subsets:
  - name: v9
    labels: {{version: v9}}  # versions
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: versions}}
spec:
  hosts: [versions]
  http:
  - route: [{{destination: {{host: versions, subset: v9}}}}]
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {{name: small}}
spec:
  host: small
  trafficPolicy:
    connectionPool:  # small
      tcp: {{maxConnections: 1}}
      http: {{http1MaxPendingRequests: 1, maxRequestsPerConnection: 1}}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: slow}}
spec:
  hosts: [slow]
  http:
  - match: [{{uri: {{prefix: /status}}}}]
    timeout: 9s
    route: [{{destination: {{host: slow}}}}]
  - route: [{{destination: {{host: slow}}}}]
    timeout: 0.3s  # slow
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: flaky}}
spec:
  hosts: [flaky]
  http:
  - route: [{{destination: {{host: flaky}}}}]
    retries: {{attempts: 2, retryOn: 5xx}}  # flaky
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: narrow}}
spec:
  hosts: [narrow]
  http:  # narrow
  - match: [{{uri: {{exact: /known}}}}]
    route: [{{destination: {{host: narrow}}}}]
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: faulty}}
spec:
  hosts: [faulty]
  http:
  - fault:
      abort: {{httpStatus: 418, percentage: {{value: 100}}}}  # faulty
    route: [{{destination: {{host: faulty}}}}]
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {{name: plain}}
spec:
  host: plain
  trafficPolicy:
    tls: {{mode: DISABLE}}
---
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {{name: strict}}
spec:
  selector: {{matchLabels: {{app: httpbin}}}}
  mtls:
    mode: STRICT  # plain
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {{name: untrusted}}
spec:
  host: untrusted
  trafficPolicy:
    tls: {{mode: SIMPLE, caCertificates: {STRANGERS}}}  # untrusted
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {{name: misnamed}}
spec:
  host: misnamed
  trafficPolicy:
    tls:
      mode: ISTIO_MUTUAL
      subjectAltNames: [spiffe://cluster.local/ns/default/sa/other]  # misnamed
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: nowhere}}
spec:
  hosts: [nowhere]
  http:
  - route: [{{destination: {{host: nowhere, subset: v7}}}}]  # nowhere
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {{name: ask}}
spec:
  selector: {{matchLabels: {{app: httpbin}}}}
  action: CUSTOM
  provider: {{name: gatekeeper}}
  rules:  # external
  - to: [{{operation: {{paths: [/anything/external]}}}}]
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {{name: ask-in-vain}}
spec:
  selector: {{matchLabels: {{app: vault}}}}
  action: CUSTOM
  provider: {{name: unreachable}}
  rules:  # unreachable
  - to: [{{operation: {{paths: [/anything/*]}}}}]
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {{name: no-secrets}}
spec:
  selector: {{matchLabels: {{app: httpbin}}}}
  action: DENY
  rules:
  - to: [{{operation: {{paths: [/anything/other]}}}}]
  - to: [{{operation: {{paths: [/anything/secret]}}}}]  # denied
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {{name: tokens}}
spec:
  selector: {{matchLabels: {{app: httpbin}}}}
  action: DENY
  rules:
  - from: [{{source: {{notRequestPrincipals: ["*"]}}}}]  # missing
    to: [{{operation: {{paths: [/anything/private]}}}}]
---
apiVersion: security.istio.io/v1
kind: RequestAuthentication
metadata: {{name: issuers}}
spec:
  selector: {{matchLabels: {{app: httpbin}}}}
  jwtRules:  # invalid
  - issuer: somebody
    jwks: '{JWKS}'
"""


@dataclass(frozen=True)
class World:
    mesh: Mesh
    curl: Inside
    rules: Path

    def line(self, marker: str) -> str:
        """``file:line`` of a marked line."""
        lines = self.rules.read_text().splitlines()
        (number,) = [n for n, text in enumerate(lines, 1) if text.endswith(f"# {marker}")]
        return f"{self.rules}:{number}"

    def ask(self, url: str, **options: Any) -> tuple[str, list[int]]:
        """A request id of its own, and the statuses."""
        request = str(uuid.uuid4())
        headers = {"x-request-id": request, **options.pop("headers", {})}
        answers = self.curl.requests(url, headers=headers, **options)
        return request, [one.status for one in answers]

    def here(self, *argv: str) -> Result:
        """A command in this process, since most of its time goes to imports."""
        command = next(word for word in argv if word in ("why", "tap", "token"))
        return CliRunner().invoke(application([command]), argv, env=self.mesh.environment)

    def why(self, request: str, hops: int = 1) -> dict[str, Any]:
        """What is known as soon as so many hops have told of it."""

        def told() -> bool:
            return len(self.api(f"/mixer/records/requests/{request}")["items"]) >= hops

        eventually(told, f"{hops} hops of {request} have told of it", 20)
        done = self.here("why", request, "-o", "json")
        assert done.exit_code == 0, done.output
        found: dict[str, Any] = json.loads(done.stdout)
        return found

    def api(self, path: str) -> Any:
        with client_of(self.mesh) as client:
            return client.get(path).raise_for_status().json()


@contextmanager
def started(mesh: Mesh, where: Path) -> Iterator[World]:
    """``where`` is an empty directory for its files."""
    image, port = "mccutchen/go-httpbin", {"name": "http", "port": 8000, "targetPort": 8080}
    texts = [account("curl"), deployment("curl", *CURL, account="curl")]
    texts += [account("web"), deployment("httpbin", image=image, port=8080, account="web")]
    texts += [service(host, "httpbin", port) for host in HOSTS if host != "empty"]
    authorizer = (sys.executable, str(SAMPLES / "ext-authz" / "ext_authz.py"))
    texts += [deployment("vault", image=image, port=8080), service("vault", "vault", port)]
    texts += [deployment("ext-authz", *authorizer, port=9000), mesh_config(AUTHORIZERS) + "---\n"]
    ports: tuple[dict[str, object], ...] = (
        {"name": "http", "port": 8000},
        {"name": "grpc", "port": 9999},
    )
    texts += [service("ext-authz", "ext-authz", *ports)]
    (where / "workloads.yaml").write_text("".join(texts))
    strangers, rules = where / "strangers.pem", where / "rules.yaml"
    strangers.write_text(pem(authority().root))
    rules.write_text(RULES.replace(STRANGERS, str(strangers)))
    mesh.up(where / "workloads.yaml", options=("--no-gateway",))
    told = mesh.argosy("apply", "--wait", "-f", str(rules), check=False).stderr
    assert (told.count("Error: "), told.count("defines the subset v7")) == (1, 1), told
    with inside(mesh, "deploy/curl") as curl:
        world = World(mesh, curl, rules)
        eventually(
            lambda: curl.get("http://httpbin:8000/status/200").status == 200, "httpbin answers", 30
        )
        yield world
