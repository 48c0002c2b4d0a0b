"""Class activation maps: where in a picture a classifier looks."""

from collections.abc import Callable
from threading import get_ident
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rain.errors import OptionError
from rain.images import Images

TOP = 5
"""Of so many of the likeliest classes the maps count, each half as much as the one before it."""

PROBE = 96
"""Side of the pictures by which the layers are looked for, where a classifier does not say what it sees."""


class ActivationMap:
    """The robust class activation map of a classifier.

    Args:
        classifier: whose last features, averaged over the picture, enter a linear layer that gives the
            logits. It is used, not copied.

    Raises:
        OptionError: it has no such layers.

    Source: Zhou et al., "Learning deep features for discriminative localization" (arXiv 1512.04150); Prakash
        et al. (arXiv 1801.08926) for the classes together.
    """

    def __init__(self, classifier: nn.Module):
        self.classifier = classifier
        self._last, self._head = _find_layers(classifier)

    @torch.no_grad()
    def __call__(self, images: Images) -> Tensor:
        """Where the classifier looks: (N, H, W), from 0, the least in a picture, to 1, the most.

        Convention: what the classifier cuts off before it looks has 0, and all pixels of a map without a
            difference.
        """
        outputs: list[Tensor] = []
        with _Hooks([(self._last, lambda _, output: outputs.append(output))]):
            logits = self.classifier(images.detach().clone())  # it may work in place
        likeliest = logits.topk(min(TOP, logits.shape[1]), dim=1).indices
        shares = 0.5 ** torch.arange(1, likeliest.shape[1] + 1, device=images.device)
        weights = (self._head.weight[likeliest].float() * shares[:, None]).sum(1)
        maps = torch.einsum("nf,nfhw->nhw", weights, outputs[-1].float())
        return _placed(_stretched(maps), self.classifier, images)


class _Hooks:
    """Calls functions of a layer's input and output, of what this thread computes within."""

    def __init__(self, watched: list[tuple[nn.Module, Callable[[Any, Any], None]]]):
        self.watched = watched

    def __enter__(self) -> None:
        own = get_ident()

        def watch(function: Callable[[Any, Any], None]) -> Any:
            def hook(module: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
                if get_ident() == own:
                    function(inputs[0] if inputs else None, output)

            return hook

        self.handles = [layer.register_forward_hook(watch(function)) for layer, function in self.watched]

    def __exit__(self, *error: object) -> None:
        for handle in self.handles:
            handle.remove()


@torch.no_grad()
def _find_layers(classifier: nn.Module) -> tuple[nn.Module, nn.Linear]:
    """The layer whose features are averaged, and the one that makes logits of the averages."""
    features: list[tuple[nn.Module, Tensor]] = []
    heads: list[tuple[nn.Linear, Tensor, Tensor]] = []

    def watch(layer: nn.Module) -> Callable[[Any, Any], None]:
        def note(entering: Any, output: Any) -> None:
            if isinstance(layer, nn.Linear):
                heads.append((layer, entering, output))
            elif isinstance(output, Tensor) and output.ndim == 4 and output[0, 0].numel() > 1:
                features.append((layer, output))

        return note

    side = getattr(classifier, "crop", None) or PROBE
    weight = next(classifier.parameters(), torch.zeros(()))
    probe = torch.rand((2, 3, side, side), generator=torch.Generator().manual_seed(0)).to(weight)
    with _Hooks([(layer, watch(layer)) for layer in classifier.modules()]):
        logits = classifier(probe)
    if heads and heads[-1][2].shape == logits.shape:
        head, averages, _ = heads[-1]
        for layer, output in reversed(features):
            if _are_averages(averages, output):
                return layer, head
    name = type(classifier).__name__
    what = f"{name} has no linear layer behind the average of its last features"
    raise OptionError(f"pixel_deflection(map=cam) needs a map of what the classifier looks at, and {what}")


def _are_averages(averages: Tensor, features: Tensor) -> bool:
    means = features.mean((2, 3))
    size = float(means.abs().max())
    return means.shape == averages.shape and torch.allclose(means, averages, rtol=1e-2, atol=1e-2 * size)


def _stretched(maps: Tensor) -> Tensor:
    """Stretch each map (N, h, w) to reach from 0 to 1."""
    flat = maps.flatten(1)
    low, high = flat.amin(1)[:, None, None], flat.amax(1)[:, None, None]
    width = torch.where(high > low, high - low, 1)
    return (maps - low) / width


def _placed(maps: Tensor, classifier: nn.Module, images: Images) -> Tensor:
    """Enlarge maps to the part of the pictures that the classifier sees: (N, H, W)."""
    height, width = images.shape[2:]
    resize, crop = getattr(classifier, "resize", None), getattr(classifier, "crop", None)
    if not resize or not crop or (height, width) == (crop, crop):
        return F.interpolate(maps[:, None], (height, width), mode="bilinear", align_corners=False)[:, 0]
    # The shorter side is resized, and the centre cut out.
    side = max(1, round(min(height, width) * crop / resize))
    inner = F.interpolate(maps[:, None], (side, side), mode="bilinear", align_corners=False)[:, 0]
    top, left = round((height - side) / 2), round((width - side) / 2)
    return F.pad(inner, (left, width - side - left, top, height - side - top))
