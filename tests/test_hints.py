import pytest

from rain.errors import DatasetError, UnknownNameError
from rain.registry import load_classifier
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
