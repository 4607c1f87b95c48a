"""Objects as bytes for the journal: msgpack with our field names, origin included."""

from collections.abc import Mapping
from typing import Any

import msgspec

from argosy.api.meta import Duration, Object


class MsgpackCodec:
    """``structs`` maps each kind to its type."""

    def __init__(self, structs: Mapping[str, type[Object]]) -> None:
        self._encoder = msgspec.msgpack.Encoder(enc_hook=_encode)
        self._decoders = {
            kind: msgspec.msgpack.Decoder(struct, dec_hook=_decode)
            for kind, struct in structs.items()
        }

    def encode(self, value: Object) -> bytes:
        return self._encoder.encode(value)

    def decode(self, kind: str, body: bytes) -> Object:
        """Raises ``ValueError`` for an unknown kind and for bytes that do not fit it."""
        decoder = self._decoders.get(kind)
        if decoder is None:
            raise ValueError(f"unknown kind {kind}")
        try:
            return decoder.decode(body)
        except msgspec.MsgspecError as error:
            raise ValueError(str(error)) from error


def _encode(value: Any) -> Any:
    if isinstance(value, Duration):
        return value.milliseconds
    raise NotImplementedError(f"the journal cannot hold {type(value).__name__}")


def _decode(kind: type, value: Any) -> Any:
    if kind is Duration:
        return Duration(value)
    raise NotImplementedError(f"the journal cannot hold {kind.__name__}")
