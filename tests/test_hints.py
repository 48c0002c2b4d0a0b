import pytest

from rain.errors import DatasetError, RainError, UnknownNameError
from rain.registry import load_classifier, load_dataset, load_enhancer
from rain.training.sources import Sources


@pytest.mark.parametrize("spec", ["mypackage.model", "my/net.py", "eficientnet_lite0", "resnet50"])
def test_a_classifier_typed_wrong_is_told_how_an_own_one_is_written(spec: str) -> None:
    with pytest.raises(
        UnknownNameError, match=rf"no classifier '{spec}'.*your own is PACKAGE\.MODULE:FUNCTION"
    ):
        load_classifier(spec)


def test_what_is_learnt_from_may_be_a_path_and_a_dataset_typed_wrong_is_none() -> None:
    with pytest.raises(DatasetError, match="nowhere/pictures: no such folder; it must hold pictures"):
        Sources(("nowhere/pictures",))
    with pytest.raises(UnknownNameError, match="no dataset 'foldr:nowhere'; did you mean 'folder'"):
        Sources(("foldr:nowhere",))


LONG = 300 * "x"
"""A name that is longer than any file's."""


@pytest.mark.parametrize(
    "spec", [LONG, f"folder:{LONG}", f"csv:{LONG}", f"csv:{LONG}.csv", f"pictures:{LONG}"]
)
def test_a_name_that_no_file_can_have_is_no_file(spec: str) -> None:
    with pytest.raises(RainError, match=r"no such|no dataset|not a CSV file|File name too long"):
        load_dataset(spec)
    with pytest.raises(RainError, match="no such file"):
        load_enhancer(f"compact(weights={LONG})")
