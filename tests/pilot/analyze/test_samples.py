"""Istio's own samples: they analyze clean, or with what istioctl says of them too."""

import os
from pathlib import Path

import pytest

from argosy.api.decode import decode_files
from argosy.cli.analyze import default_mesh
from argosy.pilot.analyze.messages import message, schema_message
from argosy.pilot.analyze.trial import TrialMesh

SAMPLES = Path(
    os.environ.get("ARGOSY_ISTIO_SAMPLES", Path(__file__).parents[4] / "shared" / "istio-samples")
)
pytestmark = pytest.mark.skipif(not SAMPLES.is_dir(), reason="Istio's samples are not here")

BOOKINFO = "bookinfo/platform/kube/bookinfo.yaml"
RULES = "bookinfo/networking"
OTHER_VERSIONS = [
    ("IST0173", "DestinationRule default/details"),
    *3 * [("IST0173", "DestinationRule default/ratings")],
]
"""Subsets of versions that bookinfo.yaml does not deploy."""

SETS: dict[str, tuple[tuple[str, ...], list[tuple[str, str]]]] = {
    "bookinfo": ((BOOKINFO,), []),
    "bookinfo with its gateway and subsets": (
        (BOOKINFO, f"{RULES}/bookinfo-gateway.yaml", f"{RULES}/destination-rule-all.yaml"),
        OTHER_VERSIONS,
    ),
    "bookinfo, all v1": (
        (
            BOOKINFO,
            f"{RULES}/bookinfo-gateway.yaml",
            f"{RULES}/destination-rule-all.yaml",
            f"{RULES}/virtual-service-all-v1.yaml",
        ),
        OTHER_VERSIONS,
    ),
    # The second rule of it is a route that the first, without a match, leaves nothing for.
    "faults for details": (
        (BOOKINFO, f"{RULES}/fault-injection-details-v1.yaml"),
        [("IST0130", "VirtualService default/details")],
    ),
    # TLS to Google with the system's certificate authorities.
    "egress to Google": (
        (f"{RULES}/egress-rule-google-apis.yaml",),
        [("IST0129", "DestinationRule default/originate-tls-for-googleapis")],
    ),
    "rules without what they are for": (
        (f"{RULES}/bookinfo-gateway.yaml", f"{RULES}/destination-rule-all.yaml"),
        [
            ("IST0101", "VirtualService default/bookinfo"),
            ("IST0174", "DestinationRule default/details"),
            ("IST0174", "DestinationRule default/productpage"),
            ("IST0174", "DestinationRule default/ratings"),
            ("IST0174", "DestinationRule default/reviews"),
        ],
    ),
    "httpbin": (("httpbin/httpbin.yaml", "httpbin/httpbin-gateway.yaml"), []),
    "helloworld": (("helloworld/helloworld.yaml", "helloworld/helloworld-gateway.yaml"), []),
    "curl and sleep": (("curl/curl.yaml", "sleep/sleep.yaml"), []),
    # Both have the host *, at different ports.
    "two samples at one gateway": (
        (
            BOOKINFO,
            f"{RULES}/bookinfo-gateway.yaml",
            "httpbin/httpbin.yaml",
            "httpbin/httpbin-gateway.yaml",
        ),
        [],
    ),
    "tcp-echo": (
        ("tcp-echo/tcp-echo-services.yaml", "tcp-echo/tcp-echo-all-v1.yaml"),
        [],
    ),
    "websockets": (("websockets/app.yaml", "websockets/route.yaml"), []),
}


@pytest.mark.parametrize("name", SETS)
def test_sample(name: str) -> None:
    files, expected = SETS[name]
    decoded = decode_files([(file, (SAMPLES / file).read_text()) for file in files])
    trial = TrialMesh(default_mesh(), decoded.objects, runs=False)
    messages = [
        *(schema_message(problem) for problem in decoded.problems),
        *(
            message(found, trial.written)
            for found in trial.analyze([value.key for value in decoded.objects])
        ),
    ]
    told = sorted((each.code, each.origin) for each in messages)
    assert told == sorted(expected), "\n".join(map(str, messages))
