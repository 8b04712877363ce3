"""What a dataset is: channels, labels, cases. And how nnU-Net's folder is read in place."""

from nnseg_core.dataset.description import (
    KEYS,
    DatasetDescription,
    describe,
    read_description,
    read_raw,
)
from nnseg_core.dataset.folder import CaseRef, Dataset, find_images, open_dataset
from nnseg_core.dataset.labels import BACKGROUND, IGNORE, LARGEST, Labels

__all__ = [
    "BACKGROUND",
    "IGNORE",
    "KEYS",
    "LARGEST",
    "CaseRef",
    "Dataset",
    "DatasetDescription",
    "Labels",
    "describe",
    "find_images",
    "open_dataset",
    "read_description",
    "read_raw",
]
