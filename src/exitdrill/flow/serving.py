"""A Prefect server, as a program: ``python -m exitdrill.flow.serving PORT_FILE``.

It takes a free loopback port before it does anything slow and writes the number into PORT_FILE, so that no
port is ever guessed. Its settings come by the environment (`exitdrill.flow.environment.server_environment`).
"""

import gc
import os
import socket
import sys
from pathlib import Path

__all__ = ["main"]

_HOST = "127.0.0.1"


def main(port_file: Path) -> None:
    """Serve until a signal ends it."""
    gc.disable()  # importing the server makes millions of objects that stay; collecting among them costs a tenth
    listener = socket.socket()
    listener.bind((_HOST, 0))
    written = port_file.with_suffix(".new")
    written.write_text(str(listener.getsockname()[1]), encoding="ascii")
    written.replace(port_file)

    import uvicorn
    from prefect.server.api.server import create_app

    app = create_app(final=True)
    gc.freeze()
    gc.enable()
    config = uvicorn.Config(app, log_level="warning", access_log=False, timeout_graceful_shutdown=2)
    uvicorn.Server(config).run(sockets=[listener])


if __name__ == "__main__":
    os.umask(0o077)
    main(Path(sys.argv[1]))
