"""The bench: what is measured, and what the results say.

Cells, grids, the evaluation, numbers and the checklist.
"""
