"""What is not annotated in a case may be there: it teaches nothing, neither yes nor no."""

import numpy as np
import pytest
import torch

from nnseg_core.case import OUTSIDE
from nnseg_core.contracts import IGNORED
from nnseg_core.dataset.labels import Labels
from nnseg_core.errors import PlanError
from nnseg_core.geometry import Box
from nnseg_standard.losses.compound import DiceCE, DiceFocal, DiceTopK
from nnseg_standard.losses.correlation import Correlation
from nnseg_standard.losses.cross_entropy import CrossEntropy
from nnseg_standard.losses.dice import Dice
from nnseg_standard.losses.focal import FocalCE
from nnseg_standard.losses.generalized_dice import GeneralizedDice
from nnseg_standard.losses.top_k import TopK
from nnseg_standard.losses.tversky import Tversky
from nnseg_standard.partial import MarkedCases, PartialLabels, PartialTarget, merged
from nnseg_standard.preprocessing.foreground import ANNOTATED
from nnseg_standard.training.online_dice import count_classes

LABELS = Labels(values={"liver": (1,), "spleen": (5,), "kidney": (32767,)}, ignore=(2, 7))
PARTIAL = PartialLabels(
    labels=LABELS, annotated={"b": ("liver",), "c": ("liver", "kidney"), "d": ("liver",)}
)
REGIONS = Labels(values={"whole": (1, 2), "core": (2,)}, paint_order=(1, 2))


def as_batch(*labels) -> torch.Tensor:
    return torch.from_numpy(np.stack(labels))


def test_a_case_with_everything_annotated_stays_as_it_is():
    label = np.array([[OUTSIDE, 0, 1, 5, 7]], dtype=np.int16)

    assert PARTIAL.marked("a", label) is label


def test_codes_are_numbers_that_no_label_has_and_differ_by_what_is_annotated():
    label = np.array([[OUTSIDE, 0, 1, 2, 5, 7, 32767]], dtype=np.int16)

    b, c, d = (PARTIAL.marked(case, label)[0] for case in "bcd")

    assert b.tolist() == d.tolist()
    coded = {*b[[1, 2, 4, 6]].tolist(), *c[[1, 2, 4, 6]].tolist()}
    assert len(coded) == 8
    assert not coded & {0, 1, 2, 5, 7, 32767}
    assert b[[0, 3, 5]].tolist() == [OUTSIDE, 2, 7]  # what does not count stays


def test_more_lists_than_numbers_are_refused():
    labels = Labels(values={f"l{value}": (value,) for value in range(1, 20000)})
    cases = {"a": ("l1",), "b": ("l2",)}

    with pytest.raises(PlanError, match="2 different lists of 20000 labels, more than fit"):
        _ = PartialLabels(labels=labels, annotated=cases).codes


def test_codes_are_read_as_the_classes_they_stand_for():
    label = np.array([[OUTSIDE, 0, 1, 2, 5, 7, 32767]], dtype=np.int16)
    target = PartialTarget(PARTIAL)

    batch = as_batch(*(PARTIAL.marked(case, label) for case in "abc"))

    assert target.encode(batch).tolist() == [[[0, 0, 1, IGNORED, 2, IGNORED, 3]]] * 3
    assert target.known(batch).tolist() == [
        [True, True, True],
        [True, False, False],
        [True, False, True],
    ]


def test_regions_that_are_not_annotated_do_not_count_anywhere_in_their_case():
    partial = PartialLabels(labels=REGIONS, annotated={"b": ("whole",)})
    label = np.array([[0, 1, 2]], dtype=np.int16)

    whole, core = PartialTarget(partial).encode(as_batch(partial.marked("b", label)))[0]

    assert whole.tolist() == [[0, 1, 1]]
    assert core.tolist() == [[IGNORED, IGNORED, IGNORED]]


def test_merged_logits_give_background_the_probability_of_all_that_is_unknown():
    logits = torch.randn(2, 4, 3, 5, generator=torch.Generator().manual_seed(0))
    known = torch.tensor([[True, True, True], [True, False, False]])

    before, after = logits.softmax(dim=1), merged(logits, known).softmax(dim=1)

    torch.testing.assert_close(after[0], before[0])
    torch.testing.assert_close(after[1, 1], before[1, 1])
    torch.testing.assert_close(after[1, 0], before[1, [0, 2, 3]].sum(dim=0))
    assert after[1, 2:].max() < 1e-16


@pytest.mark.parametrize(
    "loss",
    [
        *(DiceCE(), DiceCE(batch_dice=True), Dice(), CrossEntropy(), TopK(share=0.9), DiceTopK()),
        *(DiceFocal(), FocalCE(), Tversky(), GeneralizedDice()),
        Correlation(background=True),
    ],
    ids=lambda loss: type(loss).__name__,
)
def test_it_costs_nothing_to_find_what_may_be_there(loss):
    """Where a case lacks the spleen, calling background spleen is as good as background."""
    known = torch.tensor([[True, False]])
    target = torch.zeros(1, 4, 4, dtype=torch.long)
    target[:, :2] = 1
    liver, spleen = (torch.full((1, 3, 4, 4), -9.0) for _ in range(2))
    liver[:, 1, :2], liver[:, 0, 2:] = 9.0, 9.0
    spleen[:, 1, :2], spleen[:, 2, 2:] = 9.0, 9.0

    costs = [float(loss(merged(logits, known), target)) for logits in (liver, spleen)]

    assert costs[0] == pytest.approx(costs[1], abs=1e-6)
    assert float(loss(spleen, target)) > costs[1] + 0.1  # as it would be without


def test_a_gradient_reaches_what_is_unknown_only_by_what_is_known():
    logits = torch.randn(1, 3, 4, requires_grad=True, generator=torch.Generator().manual_seed(1))
    target = torch.tensor([[0, 0, 1, 1]])

    CrossEntropy()(merged(logits, torch.tensor([[True, False]])), target).backward()

    assert logits.grad is not None
    assert torch.isfinite(logits.grad).all()
    at_background = logits.grad[0, :, :2]
    share = logits.detach().softmax(dim=1)[0, [0, 2], :2]
    torch.testing.assert_close(
        at_background[[0, 2]] / at_background[[0, 2]].sum(dim=0), share / share.sum(dim=0)
    )


def test_the_online_dice_counts_no_false_alarm_of_what_may_be_there():
    logits = torch.zeros(1, 3, 1, 4)
    logits[:, 2] = 5.0  # spleen everywhere
    target = torch.tensor([[[0, 0, 1, 1]]])

    counts = count_classes(merged(logits, torch.tensor([[True, False]])), target)

    assert counts.tolist() == [[0, 0], [0, 0], [2, 0]]


class Store:
    def shape(self, identifier):
        return (1, 1, 3)

    def foreground(self, identifier):
        none = np.zeros((0, 3), dtype=np.int32)
        return {ANNOTATED: none, "liver": none, "spleen": none}

    def patch(self, identifier, box):
        return np.zeros((1, 1, 1, 3), np.float32), np.array([[[0, 1, 7]]], dtype=np.int16)


def test_patches_are_marked_and_never_drawn_around_what_is_not_annotated():
    cases = MarkedCases(store=Store(), partial=PARTIAL)
    box = Box(start=(0, 0, 0), stop=(1, 1, 3))

    assert list(cases.foreground("a")) == [ANNOTATED, "liver", "spleen"]
    assert list(cases.foreground("b")) == [ANNOTATED, "liver"]
    assert cases.patch("a", box)[1].tolist() == [[[0, 1, 7]]]
    assert cases.patch("b", box)[1][0, 0].tolist() == [*PARTIAL.codes[0, :2].tolist(), 7]
    assert cases.shape("b") == (1, 1, 3)
