"""Timed, verifiable cloud exit drills.

exitdrill moves what an organisation runs at one cloud to storage it owns, cuts the cloud off, brings it
up at another provider, and measures the time that took and what arrived. See ``docs/architecture.md``.
"""

import os
from importlib.metadata import version

__all__ = ["__version__"]

__version__ = version("exitdrill")

# Before Arrow is loaded, here and in the workers, which inherit it: Arrow's own allocators keep what they once took,
# beside what Python's keeps. https://arrow.apache.org/docs/cpp/env_vars.html
os.environ.setdefault("ARROW_DEFAULT_MEMORY_POOL", "system")
