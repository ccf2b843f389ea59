"""The local connector: objects in a directory, under hashed names, readable without exitdrill.

`exitdrill_local.layout` says what stands where; `exitdrill_local.store` how it gets there and survives a crash.
"""

from exitdrill_local.connector import LocalConnector, LocalProvider, LocalSettings
from exitdrill_local.store import LocalStore

__all__ = ["LocalConnector", "LocalProvider", "LocalSettings", "LocalStore"]
