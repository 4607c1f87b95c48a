"""The Common Expression Language as Envoy takes it, as far as that can be told without Envoy.

Envoy refuses a whole listener for one expression that it cannot build. It has the functions of the
specification, but for those that convert to text, no loops, and no messages.
https://github.com/google/cel-spec/blob/master/doc/langdef.md
"""

import re
import sys
from collections.abc import Iterator
from functools import cache, lru_cache
from importlib.machinery import PathFinder
from importlib.util import find_spec, module_from_spec
from threading import Lock
from typing import Any

import re2

MAX_DEPTH = 32
"""How deep Envoy reads expressions within each other."""

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
"""What Envoy 1.39 has been asked for one by one."""

_COMPILED = "cel.cel"
_LOADING = Lock()
_TEXT = re.compile(
    r"""[rR]?[bB]?[rR]?(?:\"{3}.*?\"{3}|'{3}.*?'{3}|"(?:\\.|[^"\\])*"|'(?:\\.|[^'\\])*')"""
    r"|//[^\n]*",
    re.DOTALL,
)
_LOOP = re.compile(r"\.\s*(all|exists|exists_one|map|filter)\s*\(")
_GLOBAL = re.compile(r"(?<![.\w])(get[A-Z]\w*)\s*\(")
_MESSAGE = re.compile(r"(?!in\b)\b[A-Za-z_]\w*\s*\{")
_PATTERN = re.compile(r"""\bmatches\s*\(\s*(?:[^,()]+,\s*)?([rR]?)("[^"\\]*"|'[^'\\]*')\s*\)""")
_SIGNS = re.compile(r"[-!\s]+")
_PATH = re.compile(r"\w+(?:\s*\.\s*\w+)+")
_SUM = re.compile(r"[-+*/%]")
_REASON = re.compile(r"ERROR: <input>:(\d+):(\d+): (.*)")
_EXPECTING = re.compile(r" expecting \{.*\}\Z")


class CelError(ValueError):
    """Why a text is no expression."""


def check_expression(expression: str) -> None:
    """Raises ``CelError``. Names of attributes are not looked up: they may have no value at all."""
    if reason := _error(expression):
        raise CelError(reason)


@lru_cache(maxsize=4096)
def _error(expression: str) -> str:
    bare = _TEXT.sub("''", expression)
    if _depth(bare) > MAX_DEPTH:
        return f"it is nested more than {MAX_DEPTH} deep"
    try:
        program = _library().compile(expression)
    except ValueError as error:
        found = _REASON.search(str(error))
        if found is None:
            return "it cannot be read"
        reason = _EXPECTING.sub("", found[3]).replace("Syntax error: ", "")
        return f"{reason} at character {found[2]}"
    return next(_refused(expression, bare, program.functions()), "")


def _refused(expression: str, bare: str, functions: list[str]) -> Iterator[str]:
    """What can be read, and Envoy cannot build."""
    if loop := _LOOP.search(bare):
        yield f"Envoy has no loops, such as {loop[1]}"
    if message := _MESSAGE.search(bare):
        yield f"Envoy makes no messages, such as {message[0]}}}"
    if method := _GLOBAL.search(bare):
        yield f"{method[1]} is called as time.{method[1]}()"
    for name in functions:
        if name[0].isalpha() and name not in FUNCTIONS:
            yield f"there is no function {name}"
    for raw, literal in _PATTERN.findall(expression):
        if raw or "\\" not in literal:
            try:
                re2.compile(literal[1:-1], _quiet())
            except re2.error:
                yield f"{literal} is not a regular expression"


def _depth(bare: str) -> int:
    """About how deep a text without literals is nested."""
    depth = deepest = 0
    for char in bare:
        depth += (char in "([{") - (char in ")]}")
        deepest = max(deepest, depth)
    signs = max((len(run.strip()) for run in _SIGNS.findall(bare)), default=0)
    path = max((run.count(".") for run in _PATH.findall(bare)), default=0)
    return max(deepest, signs, path + 1, bare.count("?"), len(_SUM.findall(bare)))


@cache
def _quiet() -> Any:
    options = re2.Options()
    options.log_errors = False
    return options


@cache
def _library() -> Any:
    """The compiled part of ``common-expression-language``, alone.

    The package itself would load its command too, with all that draws on a terminal. The compiled
    part ends the process that loads it twice.
    """
    with _LOADING:
        return sys.modules.get(_COMPILED) or _load()


def _load() -> Any:
    package = find_spec("cel")
    assert package is not None, "it is a dependency of this package"
    spec = PathFinder.find_spec(_COMPILED, package.submodule_search_locations)
    assert spec is not None, "the package has no compiled part"
    assert spec.loader is not None, "it is a file"
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    sys.modules[_COMPILED] = module
    return module
