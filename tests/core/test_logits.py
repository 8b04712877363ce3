"""Stored logits are small, and an ensemble of them is that of the exact ones."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from nnseg_core.case import Prediction, Restoration
from nnseg_core.errors import DatasetError
from nnseg_core.geometry import Geometry, whole
from nnseg_core.logits import compact, read_logits, recorded, write_logits

SHAPE = (40, 48, 48)


def logits(seed: int) -> np.ndarray:
    """What a trained network says: sure inside and outside of two balls, smooth between."""
    random = np.random.default_rng(seed)
    z, y, x = np.indices(SHAPE, dtype=np.float32)
    near = [10 - np.sqrt((z - 20) ** 2 + (y - 24) ** 2 + (x - c) ** 2) for c in (14, 33)]
    wobble = random.normal(0, 0.3, (2, 4, 4, 4)).repeat(10, 1).repeat(12, 2).repeat(12, 3)
    return np.stack([np.zeros(SHAPE), *(2 * (np.array(near) + wobble))]).astype(np.float32)


def prediction(values: np.ndarray) -> Prediction:
    z, y, x = values.shape[1:]
    restoration = Restoration(
        original=Geometry(shape=(z, y, x), spacing=(2.0, 1.0, 1.0)),
        axes=(0, 1, 2),
        crop=whole((z, y, x)),
        spacing=(2.0, 1.0, 1.0),
    )
    return Prediction(identifier="case", logits=values, restoration=restoration)


def softmax(values: np.ndarray) -> np.ndarray:
    raised = np.exp(values.astype(np.float32) - values.max(axis=0))
    return raised / raised.sum(axis=0)


def test_they_take_less_than_a_tenth_of_float32(tmp_path: Path) -> None:
    path = tmp_path / "case.logits.b2nd"

    write_logits(path, prediction(logits(0)), exclusive=True)

    assert path.stat().st_size < 0.1 * logits(0).nbytes


def test_probabilities_of_classes_are_kept_to_the_third_digit() -> None:
    stored = compact(logits(0), exclusive=True)

    np.testing.assert_allclose(softmax(stored), softmax(logits(0)), atol=0.004)
    assert stored.dtype == np.float16


def test_noise_of_unsure_networks_takes_less_than_a_tenth_too(tmp_path: Path) -> None:
    noise = np.zeros((3, *SHAPE), dtype=np.float32)
    noise[1:] = np.random.default_rng(0).normal(-7, 0.5, (2, *SHAPE))
    path = tmp_path / "case.logits.b2nd"

    write_logits(path, prediction(noise), exclusive=True)

    assert path.stat().st_size < 0.1 * noise.nbytes


def test_probabilities_of_regions_are_kept_to_the_third_digit() -> None:
    values = logits(0)[1:]

    stored = compact(values, exclusive=False).astype(np.float32)

    np.testing.assert_allclose(1 / (1 + np.exp(-stored)), 1 / (1 + np.exp(-values)), atol=0.004)
    np.testing.assert_array_equal(stored > 0, values > 0)


def test_an_ensemble_labels_the_same_voxels() -> None:
    first, second = logits(0), logits(1)

    exact = (softmax(first) + softmax(second)).argmax(axis=0)
    stored = [softmax(compact(values, exclusive=True)) for values in (first, second)]

    differing = (exact != (stored[0] + stored[1]).argmax(axis=0)).mean()
    assert differing < 1e-3


def test_what_is_read_in_slabs_is_written_whole(tmp_path: Path) -> None:
    path, values = tmp_path / "case.logits.b2nd", logits(0)

    with recorded(path, prediction(values), exclusive=True) as seen:
        np.testing.assert_array_equal(seen.logits[:, 3:7], values[:, 3:7])
        np.testing.assert_array_equal(seen.logits[:, 5:30], values[:, 5:30])
        assert not path.exists()

    found = read_logits(path)
    np.testing.assert_array_equal(np.asarray(found.logits), compact(values, exclusive=True))
    assert found.restoration == prediction(values).restoration
    assert found.identifier == "case"


def test_what_fails_leaves_no_file(tmp_path: Path) -> None:
    path = tmp_path / "case.logits.b2nd"

    with (
        pytest.raises(ZeroDivisionError),
        recorded(path, prediction(logits(0)), exclusive=True),
    ):
        raise ZeroDivisionError

    assert list(tmp_path.iterdir()) == []


def test_a_damaged_file_is_named(tmp_path: Path) -> None:
    path = tmp_path / "case.logits.b2nd"
    path.write_bytes(b"nothing")

    with pytest.raises(DatasetError, match=r"case\.logits\.b2nd is damaged"):
        read_logits(path)
