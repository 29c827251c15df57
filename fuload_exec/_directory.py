"""Where the program is, and where it was started: workers find relative paths there."""

from __future__ import annotations

import os
import sys


def working_directory() -> str | None:
    try:
        return os.getcwd()
    except OSError:  # removed
        return None


_AT_IMPORT = working_directory()


def original_directory() -> str | None:
    """Where the program was started, as far as is known."""
    process = sys.modules.get("multiprocessing.process")
    return _AT_IMPORT if process is None else process.ORIGINAL_DIR
