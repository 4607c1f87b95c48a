"""The page of all analysis messages, made from the table of codes."""

from collections.abc import Iterator

from argosy.pilot.analyze.codes import CODES, Code

_HEAD = """\
# Analysis messages

What [`argosy analyze`](../tasks/analyze.md) tells, with Istio's codes and levels. Problems that Istio has
no code for are told under their own names, with a level that says whether the object is in force
(*Error*: it, or a part of it, is not).

This page is made from the table in `src/argosy/pilot/analyze/codes.py`.

| code | name | level | at |
|---|---|---|---|
"""
_TAIL = """
## Not told yet

- About kinds and fields that Argosy does not read yet (policies, JWT, telemetry): IST0119, IST0149,
  IST0157, IST0159, IST0160, IST0166, IST0167, IST0175.
- About what a mesh on one machine has not (webhooks, several clusters, upgrades, CRDs): IST0126,
  IST0139, IST0141, IST0142, IST0148, IST0156, IST0158, IST0163, IST0164, IST0165, IST0168, IST0169,
  IST0170, IST0172, IST0176.
- IST0143 (an application that listens on localhost only): nobody can see it in the objects, and here
  sidecars reach their application over loopback.
- IST0140 (a subset has no effect at an ingress gateway): here it has.
"""


def page() -> str:
    rows = "".join(f"{row}\n" for row in _rows())
    return f"{_HEAD}{rows}\n{''.join(map(_section, CODES)).rstrip()}\n{_TAIL}"


def _rows() -> Iterator[str]:
    for code in CODES:
        kinds = ", ".join(code.kinds)
        anchor = f"{code.id}-{code.name}".lower()
        yield f"| [{code.id}](#{anchor}) | {code.name} | {code.level.value} | {kinds} |"


def _section(code: Code) -> str:
    return f"## {code.id} {code.name}\n\n{code.meaning}\n\n{code.remedy}\n[Istio's page]({code.page})\n\n"
