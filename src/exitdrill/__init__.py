"""Timed, verifiable cloud exit drills.

exitdrill moves what an organisation runs at one cloud to storage it owns, cuts the cloud off, brings it
up at another provider, and measures the time that took and what arrived. See ``docs/architecture.md``.
"""

from importlib.metadata import version

__all__ = ["__version__"]

__version__ = version("exitdrill")
