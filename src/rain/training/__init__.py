"""Training: how DG, or a classifier, comes about from a recipe."""
