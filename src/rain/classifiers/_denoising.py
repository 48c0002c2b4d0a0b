"""Blocks that denoise features: non-local, mean and median means, between two residual blocks."""

import re

import torch.nn.functional as F
from torch import Tensor, nn

NONE = "none"
KINDS = ("nonlocal", "mean", "median")


class Denoise(nn.Module):
    """Add to features what a 1x1 convolution with batch norm makes of their denoised version.

    The convolution bears the name of the kind, so that a weight file says which one it is. Its batch norm
    starts at 0: an untrained block changes nothing.

    Args:
        kind: "nonlocal", each place a mean of all, weighted by how alike they are (a softmax of the products
            of two learnt embeddings, divided by the root of their length); "mean" or "median" of 3x3 places.
        features: channels, at least 1.

    Source: Xie et al., Feature denoising for improving adversarial robustness (arXiv 1812.03411), section 4:
    figure 4, and the Gaussian version of non-local means.
    """

    def __init__(self, kind: str, features: int):
        super().__init__()
        self.kind = kind
        if kind == "nonlocal":
            half = max(1, features // 2)
            self.theta = nn.Conv2d(features, half, 1, bias=False)
            self.phi = nn.Conv2d(features, half, 1, bias=False)
        norm = nn.BatchNorm2d(features)
        nn.init.zeros_(norm.weight)
        self.add_module(kind, nn.Sequential(nn.Conv2d(features, features, 1, bias=False), norm))

    def forward(self, values: Tensor) -> Tensor:
        """Keep the shape (N, features, h, w)."""
        change: Tensor = self.get_submodule(self.kind)(self._denoise(values))
        return values + change

    def _denoise(self, values: Tensor) -> Tensor:
        if self.kind == "nonlocal":
            return mean_of_alike(self.theta(values), self.phi(values), values)
        if self.kind == "median":
            return median(values)
        return F.avg_pool2d(values, 3, 1, padding=1, count_include_pad=False)


def mean_of_alike(queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
    """Average all places, weighted by how alike they are.

    Args:
        queries, keys: (N, D, h, w), the embeddings that are compared.
        values: (N, C, h, w), what is averaged.

    Shape: returns (N, C, h, w).
    """
    flat = [part.flatten(2).transpose(1, 2).contiguous() for part in (queries, keys, values)]
    averaged = F.scaled_dot_product_attention(flat[0], flat[1], flat[2])
    return averaged.transpose(1, 2).unflatten(2, values.shape[2:])


def median(values: Tensor) -> Tensor:
    """The median of the 3x3 places around each one; beyond the edge, the edge is repeated.

    Shape: (N, C, h, w) to the same.
    """
    padded = F.pad(values, (1, 1, 1, 1), mode="replicate")
    windows = padded.unfold(2, 3, 1).unfold(3, 3, 1).flatten(4)
    return windows.median(4).values


def kind_in(state: dict[str, Tensor]) -> str:
    """The kind of blocks that a weight file has; "none" if it has none."""
    for name in state:
        match = re.match(r"denoisers\.\d+\.(\w+)\.1\.weight$", name)
        if match and match[1] in KINDS:
            return match[1]
    return NONE
