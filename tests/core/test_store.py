"""Preprocessed cases on disk."""

import multiprocessing
import pickle
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from nnseg_core.case import OUTSIDE, PreprocessedCase, Restoration
from nnseg_core.errors import DatasetError, DiskFull
from nnseg_core.geometry import Box, Geometry, whole
from nnseg_core.store import CaseStore

PATCH = (16, 16, 16)


def make_case(identifier="case", shape=(2, 20, 30, 40), seed=0):
    random = np.random.default_rng(seed)
    return PreprocessedCase(
        identifier=identifier,
        image=random.standard_normal(shape).astype(np.float32),
        label=random.integers(-1, 4, shape[1:]).astype(np.int16),
        foreground={
            "Leber & Milz": random.integers(0, 20, (7, 3)).astype(np.int32),
            "absent": np.zeros((0, 3), np.int32),
        },
        restoration=Restoration(
            original=Geometry(shape=(50, 60, 70), spacing=(3.0, 0.1, 0.7), origin=(0.1, -2.0, 3.0)),
            axes=(2, 0, 1),
            crop=Box(start=(1, 2, 3), stop=(41, 52, 63)),
            spacing=(0.3, 1.0, 1 / 3),
        ),
    )


def assert_same(found, expected):
    assert (found.identifier, found.restoration) == (expected.identifier, expected.restoration)
    assert found.image.dtype == np.float32
    assert np.array_equal(found.image, expected.image)
    assert (found.label is None) == (expected.label is None)
    if expected.label is not None:
        assert found.label.dtype == np.int16
        assert np.array_equal(found.label, expected.label)
    assert found.foreground.keys() == expected.foreground.keys()
    for name, points in expected.foreground.items():
        assert found.foreground[name].dtype == np.int32
        assert np.array_equal(found.foreground[name], points)
        assert found.foreground[name].shape == points.shape


@pytest.fixture
def store(tmp_path):
    return CaseStore(folder=tmp_path / "new" / "3d")


def padded(case, margin):
    """The case as nnU-Net would pad it: image 0, label outside."""
    space = [(margin, margin)] * 3
    return (
        np.pad(case.image, [(0, 0), *space]),
        np.pad(case.label, space, constant_values=OUTSIDE),
    )


def test_a_case_is_read_as_it_was_written(store):
    case = make_case()

    store.write(case, PATCH)

    assert_same(store.read("case"), case)
    assert store.shape("case") == (20, 30, 40)
    assert list(store.foreground("case")) == ["Leber & Milz", "absent"]
    assert {file.name for file in (store.folder / "case").iterdir()} == {
        "image.b2nd", "label.b2nd", "foreground.safetensors", "case.json",
    }  # fmt: skip


def test_what_is_not_contiguous_or_not_narrow_is_stored_all_the_same(store):
    case = make_case()
    turned = replace(
        case,
        image=case.image.transpose(0, 3, 2, 1),
        label=case.label.transpose(2, 1, 0).astype(np.int64),
        foreground={"a": case.foreground["Leber & Milz"].astype(np.int64)[:, ::-1]},
    )

    store.write(turned, PATCH)

    assert_same(store.read("case"), turned)


def test_a_case_tells_what_it_was_made_from(store):
    store.write(make_case(), PATCH, key="these files")
    assert store.key("case") == "these files"
    assert store.key("other") is None

    store.write(make_case(), PATCH)
    assert store.key("case") == ""


def test_a_planar_case_keeps_its_geometry(store):
    case = make_case(shape=(3, 1, 30, 40))
    planar = Geometry(
        shape=(1, 30, 40),
        spacing=(999.0, 1.0, 1.0),
        origin=(0.0, 0.0),
        direction=(1.0, 0.0, 0.0, 1.0),
    )
    case = replace(case, restoration=replace(case.restoration, original=planar))

    store.write(case, (16, 16))

    assert_same(store.read("case"), case)
    assert store.read("case").restoration.original.is_planar


def test_a_case_without_label_has_no_patches(store):
    case = replace(make_case(), label=None, foreground={})

    store.write(case, PATCH)

    assert_same(store.read("case"), case)
    with pytest.raises(DatasetError, match="case 'case' in .* was prepared without a label"):
        store.patch("case", whole((20, 30, 40)))


@pytest.mark.parametrize(
    ("start", "stop"),
    [
        ((0, 0, 0), (20, 30, 40)),
        ((3, 5, 7), (19, 21, 23)),
        ((-4, 5, 7), (12, 21, 23)),
        ((10, 20, 30), (26, 36, 46)),
        ((-5, -5, -5), (25, 35, 45)),
        ((7, -9, 11), (8, 23, 43)),
        ((-9, 0, 0), (-2, 5, 5)),
        ((0, 0, 42), (5, 5, 49)),
        ((20, 0, 0), (25, 5, 5)),
    ],
)
def test_patches_may_reach_outside(store, start, stop):
    case = make_case()
    store.write(case, PATCH)

    image, label = store.patch("case", Box(start=start, stop=stop))

    slices = tuple(slice(low + 10, high + 10) for low, high in zip(start, stop, strict=True))
    expected_image, expected_label = padded(case, 10)
    assert (image.dtype, label.dtype) == (np.float32, np.int16)
    assert np.array_equal(image, expected_image[(slice(None), *slices)])
    assert np.array_equal(label, expected_label[slices])


def test_a_patch_belongs_to_the_caller(store):
    store.write(make_case(), PATCH)
    box = Box(start=(0, 0, 0), stop=(5, 5, 5))

    image, label = store.patch("case", box)
    image[:], label[:] = 7, 7

    assert np.array_equal(store.patch("case", box)[0], make_case().image[:, :5, :5, :5])


def test_cases_are_listed_sorted_and_only_when_complete(store):
    assert store.identifiers() == ()
    for name in ("b", "a c", "ä(1)#?%"):
        store.write(make_case(name), PATCH)
    (store.folder / "unfinished").mkdir()
    (store.folder / "plan.json").touch()

    assert store.identifiers() == ("a c", "b", "ä(1)#?%")
    assert_same(store.read("ä(1)#?%"), make_case("ä(1)#?%"))


@pytest.mark.parametrize("name", ["a/b", "a\\b", "..", "", ".hidden"])
def test_names_that_are_no_folder_are_refused(store, name):
    with pytest.raises(DatasetError, match="cannot be the name of a folder"):
        store.write(make_case(name), PATCH)

    assert not store.folder.exists()


def test_a_case_that_is_not_there_is_named(store):
    for use in (store.read, store.shape, store.foreground):
        with pytest.raises(DatasetError) as error:
            use("lost")
        assert str(error.value) == (
            f"case 'lost' is not in {store.folder}. Run 'nnseg preprocess' for this dataset."
        )


def test_a_damaged_file_is_named(store):
    store.write(make_case(), PATCH)
    path = store.folder / "case" / "image.b2nd"
    path.write_bytes(path.read_bytes()[:100])

    with pytest.raises(DatasetError, match=r"image.b2nd is damaged.* Remove .*case and run"):
        store.read("case")


def test_a_case_replaces_one_of_its_name(store):
    store.write(make_case(seed=1), PATCH)
    store.write(replace(make_case(seed=2), label=None), PATCH)

    assert_same(store.read("case"), replace(make_case(seed=2), label=None))
    assert [folder.name for folder in store.folder.iterdir()] == ["case"]


@pytest.mark.parametrize("failing", range(3))
def test_an_interrupted_replacement_leaves_the_old_or_the_new_case(store, monkeypatch, failing):
    """Stop at the first and second rename, and (2) before the old case is removed."""
    store.write(make_case(seed=1), PATCH)
    renames = []
    rename = Path.rename

    def stop_at(source, target):
        renames.append(target)
        if len(renames) == failing + 1:
            raise KeyboardInterrupt
        return rename(source, target)

    def stop_removing(folder, ignore_errors):
        if folder.name == ".case.old" and len(renames) == 2:
            raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(Path, "rename", stop_at)
        patched.setattr("nnseg_core.store.shutil.rmtree", stop_removing)
        with pytest.raises(KeyboardInterrupt):
            store.write(make_case(seed=2), PATCH)

    assert store.identifiers() == ("case",)
    assert_same(store.read("case"), make_case(seed=1 if failing < 2 else 2))
    store.write(make_case(seed=3), PATCH)
    assert_same(store.read("case"), make_case(seed=3))
    assert [folder.name for folder in store.folder.iterdir()] == ["case"]


def test_an_interrupted_first_write_leaves_no_case(store, monkeypatch):
    def stop(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr("nnseg_core.store.save_file", stop)
        with pytest.raises(KeyboardInterrupt):
            store.write(make_case(), PATCH)

    assert store.identifiers() == ()
    store.write(make_case(), PATCH)
    assert_same(store.read("case"), make_case())


def test_threads_read_at_the_same_time(store):
    cases = [make_case(name, seed=seed) for seed, name in enumerate("abcd")]
    for case in cases:
        store.write(case, PATCH)

    def read(index):
        random = np.random.default_rng(index)
        case = cases[index % len(cases)]
        start = random.integers(0, (4, 14, 24))
        box = Box(start=tuple(start.tolist()), stop=tuple((start + 16).tolist()))
        image, label = store.patch(case.identifier, box)
        return np.array_equal(image, case.image[(slice(None), *box.slices)]) and np.array_equal(
            label, case.label[box.slices]
        )

    with ThreadPoolExecutor(4) as pool:
        assert all(pool.map(read, range(200)))


def test_it_can_be_sent_to_a_process_after_use(store):
    store.write(make_case(), PATCH)
    store.patch("case", whole((20, 30, 40)))
    assert pickle.loads(pickle.dumps(store)) == store

    with multiprocessing.get_context("spawn").Pool(1) as pool:
        image, _ = pool.apply(store.patch, ("case", whole((20, 30, 40))))

    assert np.array_equal(image, make_case().image)


def test_the_same_case_gives_the_same_bytes(store):
    for name in ("a", "b"):
        store.write(replace(make_case(), identifier=name), PATCH)

    for file in ("image.b2nd", "label.b2nd", "foreground.safetensors"):
        first, second = (store.folder / name / file for name in ("a", "b"))
        assert first.read_bytes() == second.read_bytes()


@pytest.mark.parametrize(
    "error",
    [
        OSError(28, "No space left on device"),
        RuntimeError("Error while creating the NDArray"),  # blosc2's
        Exception("I/O error: No space left on device (os error 28)"),  # safetensors'
    ],
)
def test_a_full_disk_is_named_and_leaves_the_old_case(store, monkeypatch, error):
    store.write(make_case(), PATCH)

    def full(*arguments, **options):
        raise error

    with monkeypatch.context() as patched:
        patched.setattr("nnseg_core.store.save_file", full)
        patched.setattr("nnseg_core.store.free_disk", lambda folder: 1000)
        with pytest.raises(DiskFull, match="3d cannot be written: the disk is full"):
            store.write(make_case(seed=1), PATCH)

    assert_same(store.read("case"), make_case())
    assert [path.name for path in store.folder.iterdir()] == ["case"]


def test_another_error_of_blosc2_is_not_taken_for_a_full_disk(store, monkeypatch):
    def fail(*arguments, **options):
        raise RuntimeError("unknown codec")

    monkeypatch.setattr("nnseg_core.store.save_file", fail)

    with pytest.raises(RuntimeError, match="unknown codec"):
        store.write(make_case(), PATCH)
    assert list(store.folder.iterdir()) == []
