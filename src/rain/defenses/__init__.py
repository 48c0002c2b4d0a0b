"""Defences: images to images, one file each."""
