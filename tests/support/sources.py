"""What the parts of _core define and use: read as text, without building them."""

from __future__ import annotations

import re

_STRING = re.compile(r'"""[\s\S]*?"""|\'\'\'[\s\S]*?\'\'\'|"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])*\'|#[^\n]*')
_TYPE = r"(?:(?:const|unsigned|long|object|inline|readonly|public) )*[\w.]+(?:\[[\w, ]+\])?[ *]+"
_CYTHON_FUNCTION = re.compile(rf"^( *)(?:async )?(?:def|cpdef|cdef) (?:{_TYPE})?(\w+)\(", re.M)


def python_code(text: str) -> str:
    """Without comments and strings, but for what f-strings compute; lines stay where they are."""

    def blank(match: re.Match[str]) -> str:
        token, start = match.group(), match.start()
        if token[0] == "#":
            return ""
        computed = ""
        if start and text[start - 1] in "fF":
            computed = " ".join(re.findall(r"\{([^{}]*?)(?:![rsa])?(?::[^{}]*)?\}", token))
        return f' "" {computed} ' + "\n" * token.count("\n")

    return _STRING.sub(blank, text)


def c_code(text: str) -> str:
    """Without comments, strings and character constants; lines stay where they are."""
    token = re.compile(r"/\*[\s\S]*?\*/|//[^\n]*|\"(?:\\.|[^\"\\\n])*\"|'(?:\\.|[^'\\\n])*'")
    return token.sub(lambda m: " " + "\n" * m.group().count("\n"), text)


def _names_of_externs(text: str) -> set[str]:
    """The names that a part's `cdef extern` blocks declare to Cython."""
    names: set[str] = set()
    for block in re.findall(r"^cdef extern from [^\n]+\n((?:(?: {4}[^\n]*)?\n)+)", text, re.M):
        block = python_code(block)
        names |= set(re.findall(rf"^ {{4}}{_TYPE}(\w+)(?: *\"\")? *\(", block, re.M))
        for line in re.findall(r"^ {4}(?:unsigned )?\w+ ([\w ,*]+)$", block, re.M):
            names |= set(re.findall(r"\w+", line))
        names |= set(re.findall(r"^ {4}(?:ctypedef|cdef) (?:struct|enum) (\w+)", block, re.M))
    return names


def defined(text: str) -> set[str]:
    """The names that a part of _core adds to the module."""
    names = _names_of_externs(text)
    code = python_code(text)
    names |= {name for indent, name in _CYTHON_FUNCTION.findall(code) if not indent}
    names |= set(re.findall(r"^(?:cdef )?(?:class|struct|union|enum) (\w+)[^\n]*:$", code, re.M))
    names |= set(re.findall(rf"^(?:cdef {_TYPE})?(\w+)(?:\[\w+\])?(?: = |: .* = |$)", code, re.M)) - {"else", "try"}
    for block in re.findall(r"^cdef enum[^\n]*:\n((?: {4}[^\n]*\n|\n)+)", code, re.M):
        names |= set(re.findall(r"^ {4}(\w+)", block, re.M))
        names |= set(re.findall(r", *(\w+)", block))
    return names


def _bound(code: str) -> set[str]:
    """The names that functions and structs of a part have for themselves: parameters, variables, members."""
    names = set(re.findall(r"^ +(?:[\w., \[\]]+, *)?(\w+)(?:, [\w., \[\]]+)? = ", code, re.M))
    names |= set(re.findall(r"\bas (\w+)", code))
    for targets in re.findall(r"\bfor ([\w, ()]+) in\b", code):
        names |= set(re.findall(r"\w+", targets))
    for parameters in re.findall(r"^ *(?:def|cpdef|cdef) [^(\n=]*\(([^)]*)\)", code, re.M):
        names |= set(re.findall(r"(\w+)(?: *=[^,]*)?(?:,|$)", parameters.replace("\n", " ")))
    for declared in re.findall(rf"^ +(?:cdef )?{_TYPE}(\w[\w, *]*)(?:\[\w+\])?(?: = .*)? *$", code, re.M):
        names |= set(re.findall(r"\w+", declared))
    return names


def used(text: str) -> set[str]:
    """The names of others that a part's code says; attributes and the names of keyword arguments are none."""
    text = re.sub(r'^cdef extern from [^\n]*:\n {4}"""[\s\S]*?"""', "", text, flags=re.M)
    code = python_code(text)
    names = set(
        re.findall(r"(?<![.\w])[A-Za-z_]\w*(?!\w)(?!=[^=])", re.sub(r"^ +(?:def|cpdef|cdef) [^(\n=]*\(", "", code, flags=re.M))
    )
    return names - _bound(code)
