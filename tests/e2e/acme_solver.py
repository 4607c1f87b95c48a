"""Answers one ACME HTTP-01 challenge, with the flags of cert-manager's ``acmesolver``.

acme_solver.py --listen-port=8089 --domain=NAME --token=TOKEN --key=KEY

The key is told to who asks for the token's path at the domain; all else is not found.
"""

import argparse
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--listen-port", type=int, required=True)
    parser.add_argument("--domain", required=True)
    parser.add_argument("--token", required=True)
    parser.add_argument("--key", required=True)
    options = parser.parse_args()
    path = f"/.well-known/acme-challenge/{options.token}"

    class Solver(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            host = self.headers.get("Host", "").partition(":")[0]
            known = (host, self.path) == (options.domain, path)
            body = options.key.encode() if known else b""
            self.send_response(200 if known else 404)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    ThreadingHTTPServer(("0.0.0.0", options.listen_port), Solver).serve_forever()


if __name__ == "__main__":
    main()
