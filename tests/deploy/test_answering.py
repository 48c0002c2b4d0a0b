"""What a service says of itself: no folder of its machine."""

import pytest

from rain.deploy.answering import without_paths


def test_paths_of_the_server_are_not_told() -> None:
    assert (
        without_paths("torchvision/resnet50(weights=/home/me/w.pt)") == "torchvision/resnet50(weights=w.pt)"
    )
    assert without_paths("spandrel:/home/me/x.pth") == "spandrel:x.pth"
    assert (
        without_paths("rain(enhancer=edsr(weights='/my dir/e.pt'), keep=2)")
        == "rain(enhancer=edsr(weights=e.pt), keep=2)"
    )
    assert without_paths("chain(parts=jpeg+rain)") == "chain(parts=jpeg+rain)"


@pytest.mark.parametrize(
    ("spec", "shown"),
    [
        ("resnet(weights=/home/jo hn/secret/w.safetensors)", "resnet(weights=w.safetensors)"),
        ("resnet(weights=/home/a+b/secret/w.pt, crop=8)", "resnet(crop=8, weights=w.pt)"),
        ("resnet(weights='/home/a, b/(c)/w.pt')", "w.pt')"),  # no spec: a comma in a path
        ("rain(enhancer=edsr(weights=/a b/c=d/e.pt), keep=2)", "rain(enhancer=edsr(weights=e.pt), keep=2)"),
        (
            "chain(parts=jpeg+rain(enhancer=edsr(weights=/a b/e.pt)))",
            "chain(parts=jpeg+rain(enhancer=edsr(weights=e.pt)))",
        ),
        ("rain(enhancer=spandrel:/home/my dir/x.pth)", "rain(enhancer=spandrel:x.pth)"),
        ("spandrel:/home/my dir (old)/x.pth", "spandrel:x.pth"),
        (r"edsr(weights=C:\Users\jo hn\e.pt)", "edsr(weights=e.pt)"),
        (
            "gated(defense=rain(enhancer=edsr(weights=~/my/e.pt)))",
            "gated(defense=rain(enhancer=edsr(weights=e.pt)))",
        ),
        ("timm/resnet50(weights=/a b/w.pt)", "timm/resnet50(weights=w.pt)"),
        ("bit_depth(noise=4/255)", "bit_depth(noise=4/255)"),
        ("rain(shift=0.1, keep=2)", "rain(shift=0.1, keep=2)"),
        ("models:tiny", "models:tiny"),
        ("/home/jo hn/mine.py:make", "mine.py:make"),
        ("mine.py:make(weights=/a b/w.pt)", "mine.py:make(weights=w.pt)"),
        ("broken(weights=/home/jo hn/secret", "secret"),
    ],
)
def test_no_folder_of_the_server_is_told_whatever_its_name(spec: str, shown: str) -> None:
    assert without_paths(spec) == shown
