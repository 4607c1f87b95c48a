"""Access logs: none by default; otherwise Istio's."""

from envoy.extensions.access_loggers.file.v3 import file_pb2

from argosy.model.listener import AccessLog, ListenerSettings
from argosy.pilot.translate.access_log import access_logs, listener_access_logs


def written(log: AccessLog) -> file_pb2.FileAccessLog:
    (proto,) = access_logs(ListenerSettings(access_log=log))
    config = file_pb2.FileAccessLog()
    assert proto.typed_config.Unpack(config)
    return config


def test_off_by_default() -> None:
    assert access_logs(ListenerSettings()) == []
    assert listener_access_logs(ListenerSettings()) == []


def test_default_text_is_one_line_that_ends_with_the_route() -> None:
    config = written(AccessLog("/dev/stdout"))
    text = config.log_format.text_format_source.inline_string
    assert config.path == "/dev/stdout"
    assert text.startswith('[%START_TIME%] "%REQ(:METHOD)% ')
    assert text.endswith(" %REQUESTED_SERVER_NAME% %ROUTE_NAME%\n")
    assert text.count("\n") == 1


def test_formats_of_the_users_own() -> None:
    text = written(AccessLog("/x", "%PROTOCOL%\n")).log_format
    assert text.text_format_source.inline_string == "%PROTOCOL%\n"
    json = written(AccessLog("/x", (("method", "%REQ(:METHOD)%"),))).log_format
    assert dict(json.json_format) == {"method": "%REQ(:METHOD)%"}


def test_listeners_log_only_connections_that_nothing_took() -> None:
    (proto,) = listener_access_logs(ListenerSettings(access_log=AccessLog("/x")))
    assert list(proto.filter.response_flag_filter.flags) == ["NR"]
