"""No defence: the bare classifier, beside which every other one is read."""

from torch import Generator

from rain.defense import Defense, Draw
from rain.images import Images
from rain.registry import DEFENSES


@DEFENSES.register
class NoDefense(Defense):
    """Pass images on unchanged."""

    random = False
    keeps_places = True

    def draw(self, images: Images, generator: Generator | None = None) -> Draw:
        """Draw nothing."""
        return {}

    def transform(self, images: Images, draw: Draw) -> Images:
        """Return the images."""
        return images
