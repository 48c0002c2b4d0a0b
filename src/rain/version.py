"""The version of the package and of its sources; read by the build without importing torch."""

import subprocess
from functools import cache
from hashlib import sha256
from pathlib import Path

__version__ = "0.1.0"


@cache
def revision() -> str:
    """The git revision at which the package's sources last changed, with "+" and a digest of what changed since; "released" outside a checkout."""
    folder = Path(__file__).parent

    def git(*arguments: str) -> str:
        return subprocess.run(
            ["git", "-C", str(folder), *arguments], capture_output=True, text=True, check=True, timeout=10
        ).stdout.strip()

    try:
        if not git("ls-files", "--error-unmatch", "version.py"):
            return "released"
        changed = git("status", "--porcelain", "--", ".")
        changes = sha256((changed + git("diff", "HEAD", "--", ".")).encode()).hexdigest()[:6]
        return git("log", "-1", "--format=%h", "--abbrev=12", "--", ".") + (f"+{changes}" if changed else "")
    except (OSError, subprocess.SubprocessError):
        return "released"
