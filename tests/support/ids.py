"""Names of parameters in the names of tests."""

from __future__ import annotations

import re

LONGEST_ID = 60


def shown(value: object) -> str:
    """repr() without addresses: the processes of a parallel run must agree on the names.
    Not all of a long one: a test's name stands in its environment, which has a limit."""
    text = re.sub(r" (at 0x|handle )[0-9a-f]+", "", repr(value))
    return text if len(text) <= LONGEST_ID else f"{text[:LONGEST_ID]}... of {len(text)}"
