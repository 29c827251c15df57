"""Names of parameters in the names of tests."""

from __future__ import annotations

import re


def shown(value: object) -> str:
    """repr() without addresses: the processes of a parallel run must agree on the names."""
    return re.sub(r" (at 0x|handle )[0-9a-f]+", "", repr(value))
