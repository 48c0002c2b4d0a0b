"""The version of the package and of its sources; read by the build without importing torch."""

import subprocess
from functools import cache
from hashlib import sha256
from pathlib import Path

__version__ = "0.2.0"

NOT_COMPUTING = (
    *("*.md", "*.html", "*.toml", "*.safetensors"),
    *("cli", "report", "deploy"),
    *("bench/checks.py", "bench/columns.py", "bench/findings.py", "bench/weak_attacks.py"),
    *("bench/metrics.py", "bench/provenance.py", "bench/workload.py", "bench/gallery.py"),
    *("bench/outlook.py", "bench/cost.py"),
    *("bench/explainer.py", "bench/explanation.py", "bench/frequencies.py"),
    *("runtime/progress.py", "runtime/forecast.py", "runtime/rehearsal.py"),
    *("training/card.py", "training/log.py"),
    *("__init__.py", "__main__.py", "errors.py", "hints.py", "version.py", "grid.py", "train.py"),
)
"""Paths in the package that ``revision`` leaves out: git patterns, whose ``*`` also crosses folders.

The rule leaves out what tells of finished numbers (pages, texts, templates, checks, averages), what only
hands names on, and what a result or a card remembers by itself (the cell, the recipe, the digest of the
weights). Everything else computes; so does a file that is new.
"""


@cache
def revision() -> str:
    """The revision of the package's own sources (``revision_of``)."""
    return revision_of(Path(__file__).parent)


def revision_of(package: Path) -> str:
    """Name the revision of what computes in a package.

    Args:
        package: its folder.

    Returns: the git revision at which what computes last changed, with "+" and a digest of what changed
        since; "released" outside a checkout.
    """

    def git(*arguments: str) -> str:
        command = ["git", "-C", str(package), *arguments]
        done = subprocess.run(command, capture_output=True, check=True, timeout=10)
        # What changed is text in UTF-8, whatever the locale.
        return done.stdout.decode("utf-8", "surrogateescape").replace("\r\n", "\n").strip()

    computing = ["--", ".", *(f":(exclude){pattern}" for pattern in NOT_COMPUTING)]
    try:
        git("ls-files", "--error-unmatch", "version.py")
        commit = git("log", "-1", "--format=%h", "--abbrev=12", *computing)
        changed = git("status", "--porcelain", *computing)
        if not changed:
            return commit
        changes = changed + git("diff", "HEAD", *computing)
    except (OSError, subprocess.SubprocessError):
        return "released"
    return f"{commit}+{sha256(changes.encode('utf-8', 'surrogateescape')).hexdigest()[:6]}"
