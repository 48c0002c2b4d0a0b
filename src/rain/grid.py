"""Grids, under their public name: ``rain.grid.read`` gives what ``rain.run`` takes (``rain.bench.grid``)."""

from rain.bench.grid import Grid, expand, read, shipped

__all__ = ["Grid", "expand", "read", "shipped"]
