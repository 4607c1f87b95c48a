"""Access logs: off unless the mesh asks for them, then in Istio's default format."""

from envoy.config.accesslog.v3 import accesslog_pb2
from envoy.extensions.access_loggers.file.v3 import file_pb2

from argosy.model.listener import ListenerSettings

FILE_ACCESS_LOG = "envoy.access_loggers.file"

DEFAULT_FORMAT = (
    '[%START_TIME%] "%REQ(:METHOD)% %REQ(X-ENVOY-ORIGINAL-PATH?:PATH)% %PROTOCOL%" '
    "%RESPONSE_CODE% %RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS% "
    '%CONNECTION_TERMINATION_DETAILS% "%UPSTREAM_TRANSPORT_FAILURE_REASON%" '
    "%BYTES_RECEIVED% %BYTES_SENT% %DURATION% %RESP(X-ENVOY-UPSTREAM-SERVICE-TIME)% "
    '"%REQ(X-FORWARDED-FOR)%" "%REQ(USER-AGENT)%" "%REQ(X-REQUEST-ID)%" "%REQ(:AUTHORITY)%" '
    '"%UPSTREAM_HOST%" %UPSTREAM_CLUSTER_RAW% %UPSTREAM_LOCAL_ADDRESS% '
    "%DOWNSTREAM_LOCAL_ADDRESS% %DOWNSTREAM_REMOTE_ADDRESS% %REQUESTED_SERVER_NAME% "
    "%ROUTE_NAME%\n"
)
"""https://istio.io/latest/docs/tasks/observability/logs/access-log/#default-access-log-format"""


def access_logs(settings: ListenerSettings) -> list[accesslog_pb2.AccessLog]:
    """One entry a request, or a connection of opaque bytes; none when logging is off."""
    log = settings.access_log
    if log is None:
        return []
    config = file_pb2.FileAccessLog(path=log.path)
    match log.format:
        case str(text):
            config.log_format.text_format_source.inline_string = text or DEFAULT_FORMAT
        case fields:
            for key, operators in fields:
                config.log_format.json_format[key] = operators
    proto = accesslog_pb2.AccessLog(name=FILE_ACCESS_LOG)
    proto.typed_config.Pack(config, deterministic=True)
    return [proto]


def listener_access_logs(settings: ListenerSettings) -> list[accesslog_pb2.AccessLog]:
    """Connections that no filter chain took (``NR``), such as plaintext under STRICT mTLS."""
    logs = access_logs(settings)
    for log in logs:
        log.filter.response_flag_filter.flags.append("NR")
    return logs
