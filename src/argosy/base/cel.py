"""The Common Expression Language, as far as it can be checked without Envoy.

https://github.com/google/cel-spec/blob/master/doc/langdef.md
"""

import re
from functools import cache, lru_cache
from importlib.machinery import PathFinder
from importlib.util import find_spec, module_from_spec
from typing import Any

MAX_DEPTH = 32
"""Of brackets and operators before their operand, within each other."""

FUNCTIONS = frozenset(
    [
        "size",
        "matches",
        "contains",
        "startsWith",
        "endsWith",
        "int",
        "uint",
        "double",
        "string",
        "bytes",
        "bool",
        "type",
        "duration",
        "timestamp",
        "dyn",
        "getDate",
        "getDayOfMonth",
        "getDayOfWeek",
        "getDayOfYear",
        "getFullYear",
        "getHours",
        "getMilliseconds",
        "getMinutes",
        "getMonth",
        "getSeconds",
    ]
)
"""Those of the specification, which Envoy has. Calls of any other make Envoy refuse a listener."""

_REASON = re.compile(r"ERROR: <input>:(\d+):(\d+): (.*)")
_SIGNS = re.compile(r"[-!\s]+")
_EXPECTING = re.compile(r" expecting \{.*\}\Z")


class CelError(ValueError):
    """Why a text is no expression."""


@cache
def _library() -> Any:
    """The compiled part of ``common-expression-language``, alone.

    The package itself would load its command too, with all that draws on a terminal.
    """
    package = find_spec("cel")
    assert package is not None, "it is a dependency of this package"
    spec = PathFinder.find_spec("cel.cel", package.submodule_search_locations)
    assert spec is not None, "the package has no compiled part"
    assert spec.loader is not None, "it is a file"
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@lru_cache(maxsize=4096)
def _error(expression: str) -> str:
    if _depth(expression) > MAX_DEPTH:
        return f"it is nested more than {MAX_DEPTH} deep"
    try:
        program = _library().compile(expression)
    except ValueError as error:
        found = _REASON.search(str(error))
        if found is None:
            return "it cannot be read"
        reason = _EXPECTING.sub("", found[3]).replace("Syntax error: ", "")
        return f"{reason} at character {found[2]}"
    for name in program.functions():
        if name[0].isalpha() and name not in FUNCTIONS:
            return f"there is no function {name}"
    return ""


def _depth(expression: str) -> int:
    """At least how deep the text is nested."""
    depth = deepest = 0
    for char in expression:
        depth += (char in "([{") - (char in ")]}")
        deepest = max(deepest, depth)
    signs = max((len(run) for run in _SIGNS.findall(expression)), default=0)
    return max(deepest, signs, expression.count("?"))


def check_expression(expression: str) -> None:
    """Raises ``CelError``. Names of attributes are not looked up: they may have no value at all."""
    if reason := _error(expression):
        raise CelError(reason)
