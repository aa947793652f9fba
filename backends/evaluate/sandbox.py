"""Programs that a model wrote, run where they can do no harm: Linux namespaces, no privileges.

Inside there is no network, no other process, no writable file but an empty /tmp of 64 MiB, no
capability and no environment; time, memory and processes are limited. Files can be read, but
nothing leads out except the output that is scored.
"""

import os
import platform
import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path
from tempfile import TemporaryFile
from typing import NamedTuple

from knowledge.errors import UserError

SECONDS = 10
MEMORY = 1 << 30  # bytes of address space
NEEDED = ("prlimit", "unshare", "mount", "setpriv", "sh")
LONGEST_OUTPUT = 1 << 20  # bytes

# Every mount becomes read-only before the program starts; /run hides the sockets of services.
ENTER = r"""
set -e
mount --make-rprivate /
mount -t tmpfs tmpfs /run
if [ -n "$SHOWN" ]; then : > /run/shown; mount --bind "$SHOWN" /run/shown; fi
cut -d' ' -f5 /proc/self/mountinfo | while read -r place; do
  mount -o remount,bind,ro "$(printf '%b' "$place")" 2>/dev/null || true
done
mount -t proc -o ro proc /proc
mount -t tmpfs -o size=64m,nosuid,nodev tmpfs /tmp
for place in / /home /root /var /usr /dev/shm; do
  if ( : > "$place/.advisor-probe" ) 2>/dev/null; then exit 97; fi
done
cd /tmp
exec setpriv --no-new-privs --bounding-set=-all --inh-caps=-all "$@"
"""
LIMITS = (
    "prlimit", f"--cpu={SECONDS}", f"--as={MEMORY}", f"--fsize={64 << 20}", "--core=0",
)  # fmt: skip
CLEAN = {"PATH": "/usr/bin:/bin:/usr/sbin:/sbin", "LANG": "C.UTF-8"}
UNSHARE = (
    *LIMITS, "unshare", "--user", "--map-root-user", "--net", "--mount", "--pid", "--ipc", "--uts",
    "--fork", "--kill-child",
)  # fmt: skip


class Ran(NamedTuple):
    """What a program said; `fault` is why it did not end well."""

    output: str
    fault: str | None


def require() -> None:
    """Look whether programs can be shut in here.

    Raises:
        UserError: they cannot, and why.
    """
    reason = _missing()
    if reason is not None:
        raise UserError(f"answers cannot be executed: {reason}; set sandbox to false to go without")


def python(program: str, shown: Path | None = None, seconds: float = SECONDS) -> Ran:
    """What a Python program says, run in the sandbox (standard library only).

    Args:
        shown: a file that it may read as `/run/shown`, wherever it lies outside.
    Raises:
        UserError: there is no sandbox here.
    """
    require()
    command = (*UNSHARE, "sh", "-c", ENTER, "sh", _interpreter(), "-I", "-S", "-")
    # Files, not pipes: the limit on a file's size holds for what a program prints, too.
    with TemporaryFile() as out, TemporaryFile() as err:
        try:
            done = subprocess.run(
                command,
                input=program.encode(),
                stdout=out,
                stderr=err,
                timeout=seconds,
                env={**CLEAN, "SHOWN": "" if shown is None else str(shown.resolve())},
                cwd="/",
                check=False,
            )
        except subprocess.TimeoutExpired:
            return Ran("", f"it ran longer than {seconds:g} s")
        out.seek(0)
        output = out.read(LONGEST_OUTPUT).decode(errors="replace")
        if done.returncode == 0:
            return Ran(output, None)
        err.seek(max(0, err.seek(0, os.SEEK_END) - 2000))
        lines = err.read().decode(errors="replace").strip().splitlines()
    return Ran(output, lines[-1][:200] if lines else f"it ended with code {done.returncode}")


def _interpreter() -> str:
    """The interpreter itself, not a virtual environment's link: that may lie in the hidden /tmp."""
    return str(Path(sys.executable).resolve())


@cache
def _missing() -> str | None:
    """Why there is no sandbox; found out by trying it once."""
    if platform.system() != "Linux":
        return "the sandbox needs Linux"
    absent = [name for name in NEEDED if shutil.which(name) is None]
    if absent:
        return f"the sandbox needs {', '.join(absent)} (util-linux)"
    command = (*UNSHARE, "sh", "-c", ENTER, "sh", _interpreter(), "-I", "-S", "-c", "")
    done = subprocess.run(command, capture_output=True, timeout=60, check=False, cwd="/", env=CLEAN)
    if done.returncode == 0:
        return None
    if done.returncode == 97:
        return "the file system could not be made read-only"
    said = done.stderr.decode(errors="replace").strip().splitlines()
    return f"namespaces are not allowed here ({said[-1][:120] if said else 'no reason given'})"
