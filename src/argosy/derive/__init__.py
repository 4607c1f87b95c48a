"""The incremental engine: cells, and formulas over cells and other formulas.

The engine records what each formula reads while it runs. When cells change, it runs again
exactly the formulas that read a changed value and that somebody observes. It knows no mesh,
does no I/O, and belongs to one thread (in an asyncio program: to the event loop's).

The rules for formulas:

* A formula is a pure function. It reads through its ``get`` only, and only while it runs.
* Arguments are positional and hashable; arguments that are equal name the same node.
* Values are immutable and compare by content: an equal value ends the work (early cut-off).
* It may catch the errors of what it reads, except ``CycleError``, which always wins.

A chain of formulas that are all computed for the first time uses about four Python frames a
link, so it can be some 200 links deep under Python's default recursion limit of 1,000; deeper,
``RecursionError`` leaves the engine, which stays usable. Checking a chain that was computed
before needs no recursion, whatever its depth.
"""

from argosy.derive.engine import Engine, Refreshed
from argosy.derive.formula import ABSENT, Absent, Formula, Reader, formula
from argosy.derive.outcome import Change, CycleError, Failed, NodeName

__all__ = [
    "ABSENT",
    "Absent",
    "Change",
    "CycleError",
    "Engine",
    "Failed",
    "Formula",
    "NodeName",
    "Reader",
    "Refreshed",
    "formula",
]
