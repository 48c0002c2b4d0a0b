"""What the tests of the bench share: a small grid, and what is in a folder."""

from pathlib import Path
from typing import Any

from rain.bench.grid import Grid, expand


def grid(pictures: Path, **changes: Any) -> Grid:
    table = {
        "dataset": f"csv:{pictures}",
        "size": "native",
        "classifier": "models:tiny",
        "defenses": ["none", "jpeg", "rain(enhancer=bicubic)"],
        "examples": 7,
        "chunk": 4,
        "draws": 3,
        "gallery": 2,
        "attacks": [
            {"attack": "none"},
            {
                "attack": "pgd(steps=3)",
                "access": ["transfer", "frozen", "static", "adaptive"],
                "eps": "8/255",
                "eot": 4,
            },
        ],
    }
    return expand(table | changes)


def cell_of(results: list[Any], defense: str, access: str) -> Any:
    (found,) = [
        result for result in results if result.cell.defense == defense and result.cell.access == access
    ]
    return found


def contents(folder: Path) -> dict[str, bytes]:
    """Every file of a folder, by its path within."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
