"""Counters of the issuing service, plain numbers for whoever exports metrics."""

from dataclasses import dataclass


@dataclass(slots=True)
class Statistics:
    """Since the service was made.

    Of the ``requests`` each is ``issued``, or refused: ``unauthenticated`` (nobody of this mesh),
    ``forbidden`` (asks for what it may not have), ``limited`` (asks too often), ``unreadable``
    (the signing request), ``unsigned`` (the authority could not).
    """

    requests: int = 0
    issued: int = 0
    unauthenticated: int = 0
    forbidden: int = 0
    limited: int = 0
    unreadable: int = 0
    unsigned: int = 0
