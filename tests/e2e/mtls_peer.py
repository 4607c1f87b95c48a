"""Run inside a workload: speaks mesh mTLS with a certificate of the test's choice.

Reads one JSON line for each connection: {"host", "port", "certificate", "key", "version"?}; answers with
one: {"status": 200, "resumed": false} or {"status": 0, "error": ...}. A certificate that has been shown
before is shown with the TLS session of then.
"""

import json
import socket
import ssl
import sys
import tempfile
from pathlib import Path
from typing import Any

_SECONDS = 15.0


contexts: dict[tuple[str, str], ssl.SSLContext] = {}
sessions: dict[ssl.SSLContext, ssl.SSLSession] = {}


def context_of(wanted: dict[str, Any]) -> ssl.SSLContext:
    version = wanted.get("version", "TLSv1_3")
    known = contexts.get((wanted["certificate"], version))
    if known is not None:
        return known
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.maximum_version = ssl.TLSVersion[version]
    context.set_alpn_protocols(["istio-http/1.1", "istio", "http/1.1"])
    with tempfile.TemporaryDirectory() as directory:
        certificate, key = Path(directory, "crt"), Path(directory, "key")
        certificate.write_text(wanted["certificate"])
        key.write_text(wanted["key"])
        context.load_cert_chain(certificate, key)
    contexts[wanted["certificate"], version] = context
    return context


def speak(wanted: dict[str, Any]) -> dict[str, Any]:
    context = context_of(wanted)
    host = wanted["host"]
    try:
        with (
            socket.create_connection((host, wanted["port"]), timeout=_SECONDS) as opened,
            context.wrap_socket(
                opened, server_hostname=host, session=sessions.get(context)
            ) as secured,
        ):
            secured.sendall(
                f"GET /get HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode()
            )
            line = secured.makefile("rb").readline().split()
            resumed = bool(secured.session_reused)
            if secured.session is not None:
                sessions[context] = secured.session
    except OSError as error:
        return {"status": 0, "error": f"{type(error).__name__}: {error}"}
    if len(line) < 2:
        return {"status": 0, "error": "closed", "resumed": resumed}
    return {"status": int(line[1]), "resumed": resumed}


def main() -> None:
    for line in sys.stdin:
        sys.stdout.write(json.dumps(speak(json.loads(line))) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
