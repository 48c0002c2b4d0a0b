"""Barrage of random transforms: many weak transformations, drawn and ordered by chance."""

import torch
from torch import Generator, Tensor

from rain.defense import Defense, Draw
from rain.defenses._barrage import FAMILIES, STRENGTHS, Chance, apply
from rain.errors import OptionError
from rain.images import Images
from rain.options import check_integer
from rain.registry import DEFENSES
from rain.seeding import drawing_from

NAMES = tuple(FAMILIES)


@DEFENSES.register
class Bart(Defense):
    """Apply a few of ten families of weak transformations, drawn and ordered by chance for each image.

    Most have their exact gradient. Rounding and JPEG have BPDA's, the identity; histograms, their ends and
    the size of Poisson noise are taken as given. One image is transformed after the other.

    Args:
        count: how many of the ten families are applied, 1 to 10. The authors go up to ten; the default is 5.

    Raises:
        OptionError: ``count`` is out of range, or ``torch.export`` traces.

    Convention: of a family one member is drawn. Strengths are uniform over the authors' ranges, where these
        are published, and values are clamped to [0, 1] after each. Swirl and zoom grow with the image; the
        neighbourhoods of medians and means shrink with one of less than 224 pixels.

    Source: Raff et al., "Barrage of random transforms for adversarially robust defense" (CVPR 2019); broken
        by Sitawarin et al., "Demystifying the adversarial robustness of random transformation defenses"
        (AAAI 2022), by attacks through its gradients.

    Differs: the authors train the classifier on what the barrage makes. One that never saw it loses much
        accuracy. Families: colour levels, JPEG, swirl, noise, spectrum, zoom, colour spaces, contrast, grey
        and smoothing. Left out are members without a gradient: seam carving (zoom), adaptive equalisation
        (contrast), bilateral, wavelet, Chambolle's and non-local smoothing. Poisson noise is Gaussian of the
        same variance. The spectrum keeps at least the lowest twentieth, and hue goes around in a circle.
    """

    def __init__(self, count: int = 5):
        super().__init__()
        self.count = check_integer(count, "count", 1, len(NAMES))

    def draw(self, images: Images, generator: Generator | None = None) -> Draw:
        """Draw for each image the order of the families, and what each of them gets.

        "order" (N, 10): the families by number, of which the first ``count`` are applied. "members" (N, 10)
        and "strengths" (N, 10, 8): numbers in [0, 1) for each family. "noise" and "uniform" (N, 3, H, W):
        Gaussian and even noise, float32.
        """
        count, families = images.shape[0], len(NAMES)
        options = {"dtype": torch.float32, **drawing_from(generator, images.device)}
        drawn = {
            "order": torch.rand((count, families), **options).argsort(1),
            "members": torch.rand((count, families), **options),
            "strengths": torch.rand((count, families, STRENGTHS), **options),
            "noise": torch.randn(images.shape, **options),
            "uniform": torch.rand(images.shape, **options),
        }
        return {name: tensor.to(images.device) for name, tensor in drawn.items()}

    def transform(self, images: Images, draw: Draw) -> Images:
        """Apply the families of the draw to each image, in its order."""
        return self.stages(images, draw)[f"step{self.count}"]

    def stages(self, images: Images, draw: Draw) -> dict[str, Images]:
        """Give the pictures after each family: "step1", "step2", ..."""
        if torch.compiler.is_exporting():
            what = "bart takes another path for each draw, and runs a real encoder"
            raise OptionError(f"{what}: it cannot be exported, apply it before the exported model")
        steps = [f"step{number + 1}" for number in range(self.count)]
        if not images.shape[0]:
            return {name: images.clone() for name in steps}
        # Colours, spectra and coordinates need more digits than half precision has, and torch.histc in
        # bfloat16 writes beyond its last bin.
        wide = images.float() if images.dtype in (torch.float16, torch.bfloat16) else images
        with torch.autocast(images.device.type, enabled=False):
            rows = [self._steps(wide[row : row + 1], _of_row(draw, row)) for row in range(images.shape[0])]
        return {
            name: torch.cat([row[place] for row in rows]).to(images.dtype) for place, name in enumerate(steps)
        }

    def _steps(self, image: Images, draw: Draw) -> list[Tensor]:
        """One image (1, 3, H, W) after each family."""
        noise, uniform = draw["noise"].to(image.dtype), draw["uniform"].to(image.dtype)
        members, strengths = draw["members"][0].tolist(), draw["strengths"][0].tolist()
        pictures = []
        for family in draw["order"][0, : self.count].tolist():
            chance = Chance(members[family], strengths[family], noise, uniform)
            image = apply(NAMES[family], image, chance)
            pictures.append(image)
        return pictures


def _of_row(draw: Draw, row: int) -> Draw:
    """What was drawn for one image."""
    return {name: tensor[row : row + 1] for name, tensor in draw.items()}
