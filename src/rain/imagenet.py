"""What is known about ImageNet's classes, for classifiers and datasets alike."""


def categories() -> tuple[str, ...]:
    """Name the 1000 ImageNet classes, in the order of the logits and of the labels."""
    from torchvision.models import ResNet50_Weights  # loading torchvision takes a second

    return tuple(ResNet50_Weights.DEFAULT.meta["categories"])
