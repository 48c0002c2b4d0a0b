"""Defences: images to images, random or not. One file each; ``rain.defense.Defense`` is what they keep to."""
