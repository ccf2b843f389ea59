"""Servers that stand in for a provider, for drills that say ``emulator:`` and for tests.

`emulator` gives one by name; `exitdrill.emulator.interface` says what starting and stopping mean. What they
are filled with is in `exitdrill.emulator.seed`, how Azurite gets here in `exitdrill.emulator.install`.
Importing this package imports no SDK and starts nothing.
"""

from exitdrill.emulator.azurite import Azurite
from exitdrill.emulator.interface import Emulator, Running
from exitdrill.emulator.moto import Moto
from exitdrill.emulator.seaweedfs import SeaweedFS
from exitdrill.errors import DefinitionError

__all__ = ["NAMES", "Emulator", "Running", "emulator"]

_ALL: dict[str, type[Emulator]] = {cls.name: cls for cls in (Azurite, Moto, SeaweedFS)}

NAMES = tuple(sorted(_ALL))
"""What a place may say after ``emulator:``."""


def emulator(name: str) -> Emulator:
    """The emulator of that name, not yet started.

    Raises:
        DefinitionError: There is none.
    """
    cls = _ALL.get(name)
    if cls is None:
        raise DefinitionError(f"no emulator is called {name!r}", expected=f"one of {', '.join(NAMES)}")
    return cls()
