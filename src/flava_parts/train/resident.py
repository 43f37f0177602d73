"""The memory that this process holds."""

from __future__ import annotations

import re
import resource
import sys
from pathlib import Path


def resident_peak() -> int:
    """The most bytes of memory that this process held so far.

    Where /proc tells: what getrusage says begins with what the parent held, which a small child of a large process
    never reaches.
    """
    status = Path("/proc/self/status")
    if status.exists():
        found = re.search(r"^VmHWM:\s*(\d+) kB", status.read_text(), re.MULTILINE)
        if found is not None:
            return int(found[1]) * 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
