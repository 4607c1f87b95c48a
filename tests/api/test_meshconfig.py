from argosy.api.core import ConfigMap
from argosy.api.decode import decode_yaml
from argosy.api.meshconfig import MeshConfig, mesh_config
from argosy.api.validate import validate
from argosy.base.problems import Severity

HEAD = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: istio, namespace: istio-system}\n"


def config_map(mesh: str) -> ConfigMap:
    block = "".join(f"    {line}\n" for line in mesh.splitlines())
    decoded = decode_yaml(f"{HEAD}data:\n  mesh: |\n{block}", "istio.yaml")
    assert decoded.problems == ()
    (obj,) = decoded.objects
    assert isinstance(obj, ConfigMap)
    return obj


def test_without_settings_istios_defaults_hold() -> None:
    compiled = mesh_config(ConfigMap())
    assert compiled.problems == ()
    config = compiled.value
    assert config == MeshConfig()
    assert config is not None
    assert config.outbound_traffic_policy.mode == "ALLOW_ANY"
    assert config.trust_domain == "cluster.local"
    assert config.root_namespace == "istio-system"
    assert config.connect_timeout == 10_000
    assert config.protocol_detection_timeout == 0
    assert config.enable_auto_mtls


def test_settings_are_read() -> None:
    compiled = mesh_config(
        config_map(
            "outboundTrafficPolicy: {mode: REGISTRY_ONLY}\n"
            "connectTimeout: 2.5s\n"
            "pathNormalization: {normalization: MERGE_SLASHES}\n"
            "defaultHttpRetryPolicy: {attempts: 0}\n"
            "meshMTLS: {minProtocolVersion: TLSV1_3}\n"
            "defaultConfig: {concurrency: 2}\n"
        )
    )
    assert compiled.problems == ()
    config = compiled.value
    assert config is not None
    assert config.outbound_traffic_policy.mode == "REGISTRY_ONLY"
    assert config.connect_timeout == 2500
    assert config.path_normalization.normalization == "MERGE_SLASHES"
    assert config.default_http_retry_policy is not None
    assert config.mesh_mtls is not None
    assert config.mesh_mtls.min_protocol_version == "TLSV1_3"
    assert config.default_config.concurrency == 2


def test_settings_that_have_no_effect_are_warned_of() -> None:
    compiled = mesh_config(config_map("verifyCertificateAtClient: true\ntrustDomian: a\n"))
    assert compiled.value == MeshConfig()
    assert [(p.field, p.code, p.severity) for p in compiled.problems] == [
        ("data.mesh.verifyCertificateAtClient", "UnknownField", Severity.WARNING),
        ("data.mesh.trustDomian", "UnknownField", Severity.WARNING),
    ]
    assert '"trustDomain"' in compiled.problems[1].hint


def test_wrong_settings_are_errors_of_the_config_map() -> None:
    obj = config_map("connectTimeout: soon\noutboundTrafficPolicy: {mode: DENY}\n")
    assert mesh_config(obj).value is None
    assert [(p.field, p.code) for p in validate(obj)] == [
        ("data.mesh.connectTimeout", "InvalidDuration"),
        ("data.mesh.outboundTrafficPolicy.mode", "InvalidValue"),
    ]
    for broken in ("a: [", "- 1", "text"):
        obj = config_map(broken)
        assert mesh_config(obj).value is None
        assert [p.severity for p in validate(obj)] == [Severity.ERROR]


def test_other_config_maps_are_not_looked_at() -> None:
    text = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: istio}\ndata: {mesh: 'a: ['}\n"
    (obj,) = decode_yaml(text, "f").objects
    assert validate(obj) == ()
