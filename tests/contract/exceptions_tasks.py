"""What test_exceptions.py runs in workers, which import nothing else of it."""

from __future__ import annotations


class Reduced(Exception):
    """Rebuilt by a function of its own."""

    def __init__(self, one, other):
        super().__init__(f"{one} and {other}")
        self.one, self.other = one, other

    def __reduce__(self):
        return rebuild, (type(self), self.one, self.other)


def rebuild(cls, one, other):
    return cls(one, other)


class KeywordOnly(Exception):
    def __init__(self, *, code):
        super().__init__(code)
        self.code = code

    def __reduce__(self):
        return make_keyword_only, (self.code,)


def make_keyword_only(code):
    return KeywordOnly(code=code)


class Stateful(Exception):
    def __setstate__(self, state):
        self.restored = state


class Mandatory(Exception):
    """As most that are written in a hurry: what it gives to super() is not what it takes."""

    def __init__(self, code, reason):
        super().__init__(f"{code}: {reason}")


def fail_with_comment():
    raise RuntimeError(123)  # this very line


def fail_with_cause():
    try:
        try:
            {}["inner"]
        except KeyError as error:
            raise ValueError("middle") from error
    except ValueError:
        raise TypeError("outer")


def fail_without_context():
    try:
        1 // 0
    except ZeroDivisionError:
        raise ValueError("v") from None


def fail_mandatory():
    raise Mandatory(7, "of hurry")


def fail_behind_a_gate(path):
    open(path).close()
    raise ValueError("of a gate")


class Canary:
    pass


class CanaryError(Exception):
    pass


class Refuses:
    def __reduce__(self):
        raise CanaryError("c")
