"""``python -m exitdrill.emulator`` installs what emulators need that pip does not bring, and prints where."""

import sys

from exitdrill.emulator.install import azurite_js
from exitdrill.errors import ExitdrillError


def _main() -> int:
    try:
        script = azurite_js()
    except ExitdrillError as error:
        sys.stderr.write(f"{error}\n")
        return error.exit_code
    sys.stdout.write(f"{script}\n")
    return 0


if __name__ == "__main__":
    sys.exit(_main())
