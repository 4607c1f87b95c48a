"""What a caller gets to hear when it does not get what it asked for."""


class RefusedError(Exception):
    """A request is refused. ``code`` is the HTTP status: 400, 401, 403, 429 or 503.

    400 is a request that no caller may make, 401 a caller that proved nothing, 403 a caller
    that asks for another's, 429 one that asks too often, 503 an authority that cannot sign.
    """

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
