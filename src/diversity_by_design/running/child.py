"""Scripts as processes that end with the one that started them, however that ends.

Such a process is this module, run as a program: it watches its standard input, whose other end the parent alone has.
"""

from __future__ import annotations

import os
import runpy
import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path


def start(script: Path, arguments: Sequence[str]) -> subprocess.Popen[bytes]:
    """Start a Python script that ends when its standard input is closed, by the end of this process at the latest."""
    return subprocess.Popen([sys.executable, "-m", __name__, str(script), *arguments], stdin=subprocess.PIPE)


def _end_with_parent() -> None:
    while os.read(0, 1):
        pass
    os._exit(1)


def _run(script: str) -> None:
    """Run a script as Python itself would."""
    threading.Thread(target=_end_with_parent, daemon=True).start()
    sys.argv = sys.argv[1:]
    if not sys.flags.safe_path:
        sys.path[0] = str(Path(script).parent)
    runpy.run_path(script, run_name="__main__")


if __name__ == "__main__":
    _run(sys.argv[1])
