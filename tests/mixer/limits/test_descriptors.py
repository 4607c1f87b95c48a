"""The files of envoyproxy/ratelimit, as its documentation says they are read."""

from datetime import timedelta
from pathlib import Path

import pytest

from argosy.mixer.limits.descriptors import Configuration, ConfigurationError
from argosy.mixer.limits.service import configuration_directory, redis_url

ISTIOS = """
domain: ratelimit
descriptors:
  - key: PATH
    value: "/productpage"
    rate_limit: {unit: minute, requests_per_unit: 1}
  - key: PATH
    value: "api"
    rate_limit: {unit: MINUTE, requests_per_unit: 2}
  - key: PATH
    rate_limit: {unit: minute, requests_per_unit: 100}
"""
NESTED = """
domain: nested
descriptors:
  - key: client
    value: free
    descriptors:
      - key: path
        value: /v1*
        rate_limit: {unit: day, requests_per_unit: 5}
        shadow_mode: true
      - key: path
        rate_limit: {unlimited: true}
  - key: client
    rate_limit: {unit: second, requests_per_unit: 7, name: others}
"""


def requests(configuration: Configuration, domain: str, *entries: tuple[str, str]) -> object:
    found = configuration.find(domain, entries)
    return found and found.rate and found.rate.requests


def test_the_configuration_of_istios_task() -> None:
    found = Configuration([("config.yaml", ISTIOS)])
    assert requests(found, "ratelimit", ("PATH", "/productpage")) == 1
    assert requests(found, "ratelimit", ("PATH", "api")) == 2
    assert requests(found, "ratelimit", ("PATH", "/other")) == 100
    assert requests(found, "ratelimit", ("METHOD", "GET")) is None
    assert requests(found, "else", ("PATH", "api")) is None
    assert requests(found, "ratelimit", ("PATH", "api"), ("x", "y")) is None


def test_nested_descriptors() -> None:
    found = Configuration([("a.yaml", ISTIOS), ("b.yaml", NESTED)])
    assert found.domains == ("nested", "ratelimit")
    shadow = found.find("nested", [("client", "free"), ("path", "/v1/x")])
    assert shadow is not None
    assert shadow.shadow
    assert shadow.rate is not None
    assert (shadow.rate.requests, shadow.rate.period) == (5, timedelta(days=1))
    unlimited = found.find("nested", [("client", "free"), ("path", "/v2")])
    assert unlimited is not None
    assert unlimited.rate is None
    assert found.find("nested", [("client", "free")]) is None
    others = found.find("nested", [("client", "paid")])
    assert others is not None
    assert others.name == "others"


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("domain: [", "config.yaml"),
        ("descriptors: []", "domain"),
        ("domain: a\ndescriptors: [{key: x, limit: {}}]", "limit"),
        (
            "domain: a\ndescriptors: [{key: x, rate_limit: {unit: eon, requests_per_unit: 1}}]",
            "eon",
        ),
        ("domain: a\ndescriptors: [{key: x, rate_limit: {}}]", "either a unit, or unlimited"),
    ],
)
def test_files_that_cannot_be_read_are_named(text: str, why: str) -> None:
    with pytest.raises(ConfigurationError, match=why):
        Configuration([("config.yaml", text)])


def test_two_files_of_one_domain() -> None:
    with pytest.raises(ConfigurationError, match="is in two files"):
        Configuration([("a.yaml", ISTIOS), ("b.yaml", ISTIOS)])


def test_the_environment_is_that_of_the_original() -> None:
    variables = {"RUNTIME_ROOT": "/data", "RUNTIME_SUBDIRECTORY": "ratelimit"}
    assert configuration_directory(variables) == Path("/data/ratelimit/config")
    tcp = {"REDIS_SOCKET_TYPE": "tcp", "REDIS_URL": "redis:6379"}
    assert redis_url(tcp) == "redis://redis:6379"
    assert redis_url(tcp | {"REDIS_AUTH": "p@ss", "REDIS_TLS": "true"}) == (
        "rediss://:p%40ss@redis:6379"
    )
    assert redis_url({"REDIS_URL": "/run/redis.sock"}) == "unix:///run/redis.sock"
    assert redis_url({}) == ""
