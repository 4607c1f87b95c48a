"""Squid as Istio's task on external proxies deploys it, from the machine's own package.

https://istio.io/latest/docs/tasks/traffic-management/egress/http-proxy/
"""

import json
import os
import shutil
import subprocess

import pytest

INSTALL = "ARGOSY_TESTS_MAY_INSTALL"
"""Set to 1, tests run by root may install Debian packages that they need."""
PORT = 3128
ACCESS_LOG = "/var/log/squid/access.log"
_CONFIG = f"""
http_port {PORT}

acl SSL_ports port 443
acl CONNECT method CONNECT

http_access deny CONNECT !SSL_ports
http_access allow localhost manager
http_access deny manager
http_access allow all

coredump_dir /var/spool/squid
pid_filename none
shutdown_lifetime 0 seconds
max_filedescriptors 1024
"""


def require() -> str:
    """The program; skips the test where it cannot be had."""
    found = _find()
    if os.geteuid() != 0:
        pytest.skip("Squid changes to its own user when it starts, which needs root")
    if found is None and os.environ.get(INSTALL) == "1" and shutil.which("apt-get"):
        environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
        subprocess.run(
            ["apt-get", "install", "-y", "squid"], env=environment, capture_output=True, check=False
        )
        found = _find()
    if found is None:
        pytest.skip(f"Squid is not installed: apt-get install squid, or {INSTALL}=1")
    return found


def manifest(program: str, namespace: str) -> str:
    """A ConfigMap and a Deployment ``squid``; ``/etc/squid`` and what it writes are the pod's own."""
    config = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "proxy-configmap", "namespace": namespace},
        "data": {"squid.conf": _CONFIG},
    }
    written = {"logs": "/var/log/squid", "spool": "/var/spool/squid"}
    mounts = [{"name": name, "mountPath": path} for name, path in written.items()]
    container = {
        "name": "squid",
        "image": "sameersbn/squid:3.5.27",
        "command": [program, "-N", "-f", "/etc/squid/squid.conf"],
        "volumeMounts": [
            {"name": "proxy-config", "mountPath": "/etc/squid", "readOnly": True},
            *mounts,
        ],
        "readinessProbe": {"tcpSocket": {"port": PORT}, "periodSeconds": 1},
    }
    volumes = [
        {"name": "proxy-config", "configMap": {"name": "proxy-configmap"}},
        *({"name": name, "emptyDir": {}} for name in written),
    ]
    labels = {"app": "squid"}
    spec = {"volumes": volumes, "containers": [container], "terminationGracePeriodSeconds": 1}
    deployment = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "squid", "namespace": namespace},
        "spec": {
            "replicas": 1,
            "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": spec},
        },
    }
    return f"{json.dumps(config)}\n---\n{json.dumps(deployment)}\n---\n"


def _find() -> str | None:
    return shutil.which("squid", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
