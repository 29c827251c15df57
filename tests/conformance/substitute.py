"""Importing this puts FuloadExecutor in the place of ProcessPoolExecutor: who
takes the standard's class from concurrent.futures gets ours."""

from __future__ import annotations

import concurrent.futures.process

from fuload_exec import FuloadExecutor

concurrent.futures.ProcessPoolExecutor = FuloadExecutor
concurrent.futures.process.ProcessPoolExecutor = FuloadExecutor
