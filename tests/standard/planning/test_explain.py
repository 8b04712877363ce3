"""Reasons say what the plan says, with the numbers that decided it."""

import json
import re
from dataclasses import replace
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from nnseg_core.dataset import DatasetDescription, Labels, describe
from nnseg_core.files import read_fingerprint
from nnseg_core.fingerprint import Fingerprint, IntensityStatistics
from nnseg_standard.networks.plain_unet import PlainUnet
from nnseg_standard.networks.residual_unet import ResidualUnet
from nnseg_standard.planning.planner import StandardPlanner
from nnseg_standard.planning.wording import gigabytes, number, percent, span, times
from nnseg_standard.presets import residual_l, residual_m

PLANNERS = {
    "standard_8gb": StandardPlanner(),
    "standard_16gb": StandardPlanner(memory=16.0),
    "residual_m": residual_m(),
    "residual_l": residual_l(),
    "small": StandardPlanner(memory=2.0),
    "spacing": StandardPlanner(spacing=(1.0, 1.1, 1.2)),
    "patch_3d": StandardPlanner(patch_size=(40, 50, 60)),
    "patch_2d": StandardPlanner(patch_size=(130, 200)),
}
DATASETS = (
    *("00_ct_body", "01_ct_thick", "02_mri_brain4", "03_mri_cardiac", "04_mri_prostate2"),
    *("05_small3d", "06_micro_iso", "07_em_aniso", "08_pet_ct", "09_rgb2d"),
    *("10_gray2d_large", "11_tiny2d", "12_liver_lowres", "13_odd_aniso", "14_thin"),
)
ARCHITECTURES = {"plain_unet": PlainUnet(), "residual_unet": ResidualUnet()}
CHOICES = (
    *("spacing", "patch_size", "strides", "kernel_sizes", "features"),
    *("batch_size", "batch_dice"),
)


@cache
def recorded(path: Path):
    golden = json.loads(path.read_text())
    with TemporaryDirectory() as folder:
        measured = Path(folder) / "fingerprint.json"
        measured.write_text(json.dumps(golden["fingerprint"]))
        return describe(golden["dataset"], path.stem, measured), read_fingerprint(measured)


def explained(golden_folder: Path, dataset, planner):
    """Planner, fingerprint, plan and reasons by (configuration, choice) of a recorded dataset."""
    description, fingerprint = recorded(golden_folder / "plans" / f"{dataset}.json")
    chosen = PLANNERS[planner]
    asked = (description, fingerprint, ARCHITECTURES[chosen.architecture.name])
    explanation = chosen.explain(*asked)
    assert explanation.plan == chosen.plan(*asked)
    reasons = {(r.configuration, r.choice): r for r in explanation.reasons}
    return chosen, fingerprint, explanation.plan, reasons


@pytest.mark.parametrize("planner", PLANNERS)
@pytest.mark.parametrize("dataset", DATASETS)
def test_reasons_have_the_numbers_of_the_plan(dataset, planner, golden_folder):
    chosen, _, plan, reasons = explained(golden_folder, dataset, planner)

    assert reasons[None, "axes"].value == ", ".join("zyx"[axis] for axis in plan.axes)
    assert reasons[None, "configurations"].value == ", ".join(plan.configurations)
    for name, configuration in plan.configurations.items():
        if configuration.previous:
            assert reasons[name, "previous"].value == configuration.previous
            continue
        of_this = {choice: reasons[name, choice] for choice in CHOICES}
        assert of_this["spacing"].value == f"{times(configuration.spacing)} mm"
        assert of_this["patch_size"].value == times(configuration.patch_size)
        assert of_this["batch_size"].value == str(configuration.batch_size)
        assert of_this["batch_dice"].value == ("on" if configuration.batch_dice else "off")
        assert of_this["strides"].value == f"{len(configuration.strides)} stages"
        first, last = configuration.features[0], configuration.features[-1]
        assert of_this["features"].value == f"{first} to {last}"
        check_patch(of_this["patch_size"].text, configuration, chosen)
        check_pooling(of_this["strides"].text, configuration, plan)
        check_kernels(of_this["kernel_sizes"].text, configuration, plan)
        check_batch(of_this["batch_size"].text, configuration)


def check_patch(text, configuration, planner):
    """What it was padded or shrunk to is the patch; it fits, and what came before did not."""
    assert text.count("more than the") == text.count("Shrunk from")
    memory = planner.memory
    needs = [gb(amount) for amount in re.findall(r"takes? ([\d.]+ [GM]B)", text)]
    if "Shrunk" in text:
        too_much, fits = needs
        assert too_much >= memory >= fits * 0.999
        steps, axes = re.search(r"Shrunk from .*? (once|twice|\d+ times) \((.*?)\)", text).groups()
        assert counted(steps) == sum(counted(part[2:]) for part in axes.split(", "))
    elif "padded to" in text:
        assert f"padded to {times(configuration.patch_size)} " in text
    else:
        assert times(configuration.patch_size) in text


def counted(words):
    return {"once": 1, "twice": 2}.get(words) or int(words.split()[0])


def gb(amount):
    value, unit = amount.split()
    return float(value) / (1000 if unit == "MB" else 1)


def check_pooling(text, configuration, plan):
    """Each axis is halved as often as its strides say."""
    words = {0: "kept at", 1: "halved once", 2: "halved twice"}
    for axis, strides in zip(
        "".join("zyx"[a] for a in plan.axes)[-len(configuration.patch_size) :],
        zip(*configuration.strides, strict=True),
        strict=True,
    ):
        often = strides.count(2)
        sentence = next(s for s in text.split(". ") if re.search(rf"\b{axis}\b.* (is|are) ", s))
        assert words.get(often, f"halved {often} times") in sentence


def check_kernels(text, configuration, plan):
    axes = "".join("zyx"[a] for a in plan.axes)[-len(configuration.patch_size) :]
    for axis, kernels in zip(axes, zip(*configuration.kernel_sizes, strict=True), strict=True):
        flat = kernels.count(1)
        assert (f"1 along {axis} in {span(1, flat)}," in text) == (flat > 0)


def check_batch(text, configuration):
    fitting = int(re.search(r"rounded to (\d+)", text)[1])
    allowed = int(re.search(r"which is (\d+) patch", text)[1])
    assert configuration.batch_size == max(min(fitting, allowed), 2)
    assert ("at least 2" in text) == (min(fitting, allowed) < 2)


@pytest.mark.parametrize("planner", ["standard_8gb", "residual_l", "small"])
@pytest.mark.parametrize("dataset", DATASETS)
def test_a_cascade_is_explained_by_how_little_a_patch_covers(dataset, planner, golden_folder):
    _, _, plan, reasons = explained(golden_folder, dataset, planner)
    text = reasons[None, "configurations"].text

    if "3d_fullres" not in plan.configurations:
        assert text == "The median image has one slice, so there is no 3D configuration."
        return
    full = plan.configurations["3d_fullres"]
    voxels = median = 1.0
    for size, whole in zip(full.patch_size, full.median_shape, strict=True):
        voxels, median = voxels * size, median * whole
    share = min(voxels / median, 1)
    assert f"a patch of 3d_fullres covers {percent(share)} of the median image" in text
    assert ("at least 25 %." in text) == (share >= 0.25)
    assert text.startswith("3d_lowres, and a cascade") == ("3d_lowres" in plan.configurations)


def test_a_coarse_axis_is_explained_with_its_percentile(golden_folder):
    _, fingerprint, plan, reasons = explained(golden_folder, "01_ct_thick", "standard_8gb")

    text = reasons[None, "spacing"].text
    along_z = sorted(spacing[0] for spacing in fingerprint.spacings)
    assert f"z 5.063 ({number(along_z[0])} to {number(along_z[-1])})" in text
    assert "z is 6.8 times as coarse as the others (more than 3)" in text
    spacing = plan.configurations["3d_fullres"].spacing[0]
    assert f"it has the 10th percentile of its spacings, {number(spacing)} mm." in text


STATISTICS = IntensityStatistics(**dict.fromkeys(IntensityStatistics.__slots__, 1.0))


def reasons_for(spacings, shapes, channels=("MR",), relative_size=1.0, **options):
    description = DatasetDescription(
        name="a", channels=channels, labels=Labels(values={"organ": (1,)}), file_ending=".nii"
    )
    fingerprint = Fingerprint(
        spacings=tuple(spacings),
        shapes=tuple(shapes),
        relative_size=relative_size,
        intensities=(replace(STATISTICS, percentile_0_5=-900.0, mean=22.25),) * len(channels),
    )
    made = StandardPlanner(**options).explain(description, fingerprint, PlainUnet())
    return [(r.configuration, r.choice, r.value, r.text) for r in made.reasons]


def text_of(reasons, choice, configuration=None):
    return next(r[3] for r in reasons if r[:2] == (configuration, choice))


def test_a_coarse_axis_that_is_not_short_keeps_its_median():
    reasons = reasons_for([(5.0, 1.0, 1.0)] * 3, [(100, 200, 200)] * 3)

    assert text_of(reasons, "spacing") == (
        "All 3 cases have z 5, y 1, x 1 mm. z is 5 times as coarse as the others, but images are "
        "not more than 3 times as short along it (100 voxels, 200 along the shortest other), so "
        "it has its median too."
    )


def test_a_percentile_finer_than_the_others_is_not_taken():
    spacings = [(0.5, 1.0, 1.2)] * 2 + [(8.0, 1.0, 1.2)] * 3

    reasons = reasons_for(spacings, [(20, 200, 200)] * 5)

    assert "0.5 mm; or rather just above 1.2 mm, to stay the coarsest." in text_of(
        reasons, "spacing"
    )


def test_given_options_are_said_to_be_given():
    reasons = reasons_for(
        [(2.0, 1.0, 1.0)], [(64, 128, 128)], spacing=(1.0, 1.0, 1.0), patch_size=(30, 64, 64)
    )

    assert text_of(reasons, "spacing") == "Given. All 1 cases have z 2, y 1, x 1 mm."
    assert text_of(reasons, "patch_size", "3d_fullres").startswith(
        "Given as 30 x 64 x 64, padded to 32 x 64 x 64 so that it can be pooled 8 x 16 x 16 times."
    )


def test_a_given_patch_that_does_not_fit_says_so():
    reasons = reasons_for([(1.0, 1.0, 1.0)], [(300, 300, 300)], patch_size=(256, 256, 256))

    assert re.search(
        r"A batch of 2 takes 5\d\.\d GB, more than the 8 GB planned for\.$",
        text_of(reasons, "patch_size", "3d_fullres"),
    )


def test_an_axis_that_moves_to_the_front_is_named():
    reasons = reasons_for([(0.7, 0.8, 5.0)], [(512, 400, 60)])

    assert text_of(reasons, "axes") == (
        "x is the coarsest (x 5 mm, z 0.7, y 0.8 mm) and is moved to the front."
    )


def test_each_channel_has_a_reason_for_its_normalization():
    reasons = reasons_for([(1.0, 1.0, 1.0)], [(64, 64, 64)], ("CT", "T2"), relative_size=0.4)

    by_channel = {r[2]: r[3] for r in reasons if r[1] == "normalization"}
    assert "percentiles of the foreground of all cases, -900 to 1;" in by_channel["CT: ct"]
    assert "minus their mean, 22.25, " in by_channel["CT: ct"]
    assert by_channel["T2: zscore"].startswith("T2 is not the name of a normalization")
    assert "Cropping keeps 40 % of an image, less than 75 %" in text_of(
        reasons, "mask_normalization"
    )


def test_only_cases_that_change_count_as_resampled():
    spacings = [(5.0, 1.0, 1.0)] * 3 + [(5.0, 0.5, 0.5)]

    reasons = reasons_for(spacings, [(20, 100, 100)] * 4)

    assert text_of(reasons, "resampling").startswith(
        "1 of 4 cases have another spacing and are resampled. Their voxels are more than 3 times "
        "as long along z as along the finest axis"
    )


def test_numbers_are_written_as_people_read_them():
    assert (number(3.0), number(0.79012), number(12345.678)) == ("3", "0.7901", "1.235e+04")
    assert (percent(0.254), percent(0.004)) == ("25 %", "0.4 %")
    assert (gigabytes(7.859), gigabytes(0.0992), gigabytes(108.4)) == (
        "7.86 GB",
        "99.2 MB",
        "108 GB",
    )
    assert (span(1, 1), span(1, 2), span(2, 5)) == ("stage 1", "stages 1 and 2", "stages 2 to 5")
