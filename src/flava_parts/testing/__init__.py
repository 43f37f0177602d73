"""Testing parts: whether one keeps its kind's contract. Imports torch; pytest only where `conformance` is called."""

from __future__ import annotations

from .check import check_part as check_part
from .check import laws_of as laws_of
from .conformance import conformance as conformance
from .report import Check as Check
from .report import Report as Report

__all__ = ["Check", "Report", "check_part", "conformance", "laws_of"]
