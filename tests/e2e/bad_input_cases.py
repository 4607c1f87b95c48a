"""Bad files, and what must be said about each; the mesh that they come to."""

from dataclasses import dataclass

WORKLOADS = """
apiVersion: apps/v1
kind: Deployment
metadata: {name: curl}
spec:
  selector: {matchLabels: {app: curl}}
  template:
    metadata: {labels: {app: curl}}
    spec:
      terminationGracePeriodSeconds: 0
      containers: [{name: curl, image: curlimages/curl, command: [sleep, infinity]}]
---
apiVersion: v1
kind: Service
metadata: {name: shop}
spec:
  ports: [{name: http, port: 8000, targetPort: 8080}]
  selector: {app: httpbin}
---
apiVersion: v1
kind: Service
metadata: {name: steady}
spec:
  ports: [{name: http, port: 8000, targetPort: 8080}]
  selector: {app: httpbin}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: httpbin}
spec:
  selector: {matchLabels: {app: httpbin}}
  template:
    metadata: {labels: {app: httpbin, version: v1}}
    spec:
      terminationGracePeriodSeconds: 0
      containers: [{name: httpbin, image: mccutchen/go-httpbin, ports: [{containerPort: 8080}]}]
"""

RULES = """
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: shop}
spec:
  host: shop
  subsets: [{name: v1, labels: {version: v1}}]
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: shop}
spec:
  hosts: [shop]
  http:
  - route:
    - destination: {host: shop, subset: v1}
    headers: {response: {set: {x-rules: good}}}
"""

BAD_FROM_THE_START = """
apiVersion: apps/v1
kind: Deployment
metadata: {name: no-program}
spec:
  selector: {matchLabels: {app: no-program}}
  template:
    metadata: {labels: {app: no-program}}
    spec: {containers: [{name: app, image: example.com/unknown:1}]}
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: steady}
spec:
  hots: steady
"""

SHOP = """apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: shop}
spec:
  hosts: [shop]
  http:
"""

GOOD = """
---
apiVersion: v1
kind: ConfigMap
metadata: {name: NAME}
data: {is: good}
"""

CLIENT = """
import http.client, time
open_to = {}
while True:
    for host in ("shop", "steady"):
        try:
            if host not in open_to:
                open_to[host] = http.client.HTTPConnection(host, 8000, timeout=10)
            open_to[host].request("GET", "/status/200")
            answer = open_to[host].getresponse()
            answer.read()
            said = f"{host} {answer.status} {answer.getheader('x-rules')}"
        except OSError as error:
            open_to.pop(host)
            said = f"{host} 0 {error}"
        print(said, flush=True)
    time.sleep(0.04)
"""


@dataclass(frozen=True)
class Case:
    """A bad file, and what must be said about it. ``line`` counts in the whole file."""

    text: str
    about: str
    line: int
    field: str
    why: str
    remedy: str


# The wrong line is always marked by its number; the objects are refused, so the old rules hold.
REFUSED = {
    "unknown-field": Case(
        SHOP + "  - rout:\n    - destination: {host: shop}\n",
        "VirtualService default/shop",
        7,
        "spec.http[0].rout",
        'there is no field "rout" here',
        'Did you mean "route"?',
    ),
    "wrong-type": Case(
        SHOP + "  - route:\n    - destination: {host: shop}\n      weight: many\n",
        "VirtualService default/shop",
        9,
        "spec.http[0].route[0].weight",
        "expected a whole number",
        "",
    ),
    "not-a-duration": Case(
        SHOP + "  - timeout: soon\n    route:\n    - destination: {host: shop}\n",
        "VirtualService default/shop",
        7,
        "spec.http[0].timeout",
        "'soon' is not a duration",
        "Write a duration such as 10s",
    ),
    "invalid-regex": Case(
        SHOP + "  - match:\n    - headers: {end-user: {regex: '(ja[son'}}\n"
        "    route:\n    - destination: {host: shop}\n",
        "VirtualService default/shop",
        8,
        "spec.http[0].match[0].headers.end-user.regex",
        "is not a regular expression",
        "RE2 syntax",
    ),
    "unknown-kind": Case(
        SHOP.replace("VirtualService", "VirtualServise") + "  - route: []\n",
        "VirtualServise default/shop",
        2,
        "kind",
        'there is no kind "VirtualServise"',
        'Did you mean "VirtualService"?',
    ),
    "unsupported-kind": Case(
        "apiVersion: extensions.istio.io/v1alpha1\nkind: WasmPlugin\nmetadata: {name: shop}\n",
        "WasmPlugin default/shop",
        2,
        "kind",
        "is not supported yet",
        "Leave it out",
    ),
    "duplicate": Case(
        2 * (SHOP + "  - directResponse: {status: 418}\n---\n"),
        "VirtualService default/shop",
        11,
        "metadata.name",
        "is written twice; the first one is at",
        "Remove or rename one of them",
    ),
    "no-yaml": Case(
        SHOP + "  - route: [{destination: {host: shop}\n",
        "",
        9,
        "",
        "this is not YAML: a mapping that began with '{' is not closed (see line 7)",
        "Add a '}'",
    ),
}

# These are right in themselves, and wrong in this mesh: Istio takes them, so they hold, and it is told.
IN_FORCE = {
    "missing-host": Case(
        SHOP + "  - route:\n    - destination: {host: shopp}\n",
        "VirtualService default/shop",
        8,
        "spec.http[0].route[0].destination.host",
        "there is no service shopp.default.svc.cluster.local",
        "check the spelling",
    ),
    "missing-subset": Case(
        SHOP + "  - route:\n    - destination: {host: shop, subset: v9}\n",
        "VirtualService default/shop",
        8,
        "spec.http[0].route[0].destination.subset",
        "defines the subset v9",
        "defined subsets: v1",
    ),
}
