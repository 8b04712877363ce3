"""Which fold of the stage before segments which case."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from nnseg_core import files
from nnseg_core.cascade import inputs_of
from nnseg_core.errors import DatasetError, ModelError, NnsegError
from nnseg_core.pipeline.cascade import EarlierStage, as_trained, folds_by_case
from nnseg_core.pipeline.preprocessing import shares_cases_with
from nnseg_core.pipeline.training import TrainingRequest, require_previous
from nnseg_core.plan import Plan
from nnseg_core.splits import Split, Splits, make_splits
from nnseg_core.store import CaseStore

CASES = tuple("abcdefg")


def splits(*folds: Split, scheme: str = "k-fold") -> Splits:
    return Splits(scheme=scheme, cases=CASES, folds=folds)


@pytest.mark.parametrize("count", [2, 3, 5, 7])
@pytest.mark.parametrize("fold", ["0", "all"])
def test_with_any_number_of_folds_no_case_is_seen_before(count: int, fold: str) -> None:
    drawn = splits(*make_splits(CASES, count))

    found = folds_by_case(drawn, fold, CASES, trained=())

    assert set(found) == set(CASES)
    assert set(found.values()) == {str(number) for number in range(count)}
    for case, number in found.items():
        assert case in drawn.folds[int(number)].validation


def test_a_case_left_out_of_all_folds_goes_to_one_that_did_not_train_with_it() -> None:
    drawn = splits(*make_splits(CASES[:6], 3))

    assert folds_by_case(drawn, "0", CASES, trained=())["g"] == "0"


def test_a_case_that_trains_every_fold_is_named() -> None:
    fixed = splits(Split(train=CASES[:5], validation=CASES[5:]), scheme="fixed")

    with pytest.raises(DatasetError, match="5 cases, such as a, train every fold.*--fold all"):
        folds_by_case(fixed, "0", CASES, trained=("0",))
    assert set(folds_by_case(fixed, "all", CASES, trained=("0", "all")).values()) == {"all"}


def test_fold_all_prefers_folds_that_have_not_seen_a_case() -> None:
    drawn = splits(*make_splits(CASES, 2))

    def used(*trained: str) -> set[str]:
        return set(folds_by_case(drawn, "all", CASES, trained).values())

    assert used("0", "1", "all") == {"0", "1"}
    assert used("0", "all") == {"all"}
    assert used() == {"0", "1"}
    assert set(folds_by_case(None, "all", CASES, ()).values()) == {"all"}
    assert set(folds_by_case(drawn, "1", CASES, ("all",)).values()) == {"0", "1"}


@pytest.fixture
def plan(make_model: Callable[..., Path], tmp_path: Path) -> Plan:
    """Of two stages."""
    made = make_model(tmp_path / "made", (8, 8, 8), (4, 8), classes=3)
    low = next(iter((one := files.read_plan(made / "plan.json")).configurations.values()))
    return replace(one, configurations={"low": low, "high": replace(low, previous="low")})


def test_a_cascade_cannot_be_trained_without_its_stage_before(plan: Plan, tmp_path: Path) -> None:
    request = TrainingRequest(
        plan=plan,
        name="high",
        fold="0",
        split=Split(train=("a",), validation=("b",)),
        store=CaseStore(folder=tmp_path),
        folder=tmp_path / "model",
    )

    with pytest.raises(NnsegError, match="high is a cascade: it starts from segmentations by low"):
        require_previous(request)


def test_a_cascade_shares_cases_with_the_configuration_of_its_grid(plan: Plan) -> None:
    low = plan.configurations["low"]
    coarse = replace(low, spacing=(2.0, 2.0, 2.0))
    stages = {"low": coarse, "full": low, "high": replace(low, previous="low")}

    both = replace(plan, configurations=stages)

    assert [shares_cases_with(both, name) for name in both.configurations] == [
        "low",
        "full",
        "full",
    ]
    own = replace(plan, configurations={"low": coarse, "high": stages["high"]})
    assert shares_cases_with(own, "high") == "high"


def test_a_model_of_another_dataset_is_no_stage_before(
    plan: Plan, make_model: Callable[..., Path], tmp_path: Path
) -> None:
    made = make_model(tmp_path / "foreign", (8, 8, 8), (4, 8), classes=5)

    with pytest.raises(ModelError, match="was not trained as low of this plan.*--previous"):
        as_trained(made, plan, "low")
    assert as_trained(tmp_path / "nothing", plan, "low") is plan


def test_a_network_has_an_input_for_each_label_of_the_stage_before(plan: Plan) -> None:
    inputs = [inputs_of(plan.dataset, c) for c in plan.configurations.values()]

    assert inputs == [1, 3]


def test_folds_are_trained_in_the_order_of_their_numbers(tmp_path: Path, plan: Plan) -> None:
    stage = EarlierStage(
        name="low",
        folder=tmp_path,
        plan=plan,
        splits=None,
        segmented_by={"a": "10", "b": "2", "c": "0", "d": "2"},
    )
    (tmp_path / "fold_2").mkdir()
    (tmp_path / "fold_2" / "weights.safetensors").touch()

    assert stage.folds == ("0", "2", "10")
    assert stage.missing == ("0", "10")
