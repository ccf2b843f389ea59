"""AzCopy, from the npm package ``@azure-tools/azcopy-linux``, which carries the binary itself (amd64 only).

Installed once into the user's cache folder, without running any script of the package. The binary wants
Debian's ``libsecret-1-0``. It signs with a SAS, which the fast endpoint takes from anybody, over plain HTTP.
"""

import os
import platform
import shutil
import subprocess
import tempfile
from pathlib import Path

from platformdirs import user_cache_path

from exitdrill.errors import NotReadyError

__all__ = ["VERSION", "binary", "command", "environ"]

VERSION = "10.32.2"
_INSTALL_SECONDS = 300.0
_PACKAGE = "@azure-tools/azcopy-linux"
_SAS = "sv=2023-11-03&ss=b&srt=sco&sp=rl&se=2099-01-01T00:00:00Z&sig=YmVuY2g%3D"


def binary() -> Path:
    """The program, installed if need be. Raises NotReadyError with what is missing."""
    if platform.machine() != "x86_64":
        raise NotReadyError(f"the package has no binary for {platform.machine()}", resource="AzCopy")
    folder = user_cache_path("exitdrill") / f"azcopy-{VERSION}"
    program = folder / "azcopy"
    if not program.is_file():
        _install(folder)
    done = subprocess.run([program, "--version"], capture_output=True, text=True, timeout=60, check=False)
    if done.returncode:
        hint = "apt-get install libsecret-1-0" if "libsecret" in done.stderr else ""
        raise NotReadyError(f"it does not run: {done.stderr.strip()}", resource="AzCopy", hint=hint)
    return program


def _install(folder: Path) -> None:
    npm = shutil.which("npm")
    if npm is None:
        raise NotReadyError("npm is not installed", resource="AzCopy", hint="apt-get install npm")
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent) as name:
        flags = ("--ignore-scripts", "--no-audit", "--no-fund", "--no-save", "--loglevel=error")
        command = [npm, "install", "--prefix", name, *flags, f"{_PACKAGE}@{VERSION}"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=_INSTALL_SECONDS, check=False)
        found = Path(name, "node_modules", _PACKAGE, "dist", "bin", "azcopy_linux_amd64")
        if done.returncode or not found.is_file():
            raise NotReadyError(f"npm could not install it: {done.stderr.strip()[:500]}", resource="AzCopy")
        found.chmod(0o755)
        folder.mkdir(exist_ok=True)
        found.replace(folder / "azcopy")


def environ(folder: Path, concurrency: int) -> dict[str, str]:
    """Its logs and plans below ``folder``, and how many connections."""
    return {
        **os.environ,
        "AZCOPY_LOG_LOCATION": str(folder / "azcopy-log"),
        "AZCOPY_JOB_PLAN_LOCATION": str(folder / "azcopy-plan"),
        "AZCOPY_DISABLE_SYSLOG": "true",
        "AZCOPY_CONCURRENCY_VALUE": str(concurrency),
    }


def command(work: str, folder: Path, endpoint: str) -> list[str]:
    """Azure → a folder, without checking MD5s."""
    flags = ("--recursive", "--from-to=BlobLocal", "--check-md5=NoCheck", "--log-level=NONE", "--output-level=quiet")
    url = f"{endpoint}/{work}?{_SAS}"
    return [str(binary()), "copy", url, str(folder), *flags, "--skip-version-check"]
