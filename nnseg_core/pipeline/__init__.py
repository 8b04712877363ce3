"""The steps, in the order in which they run. Each takes a project and returns what it made.

No step reads the environment, prints, or looks a name up; the command line does that around them.
"""

from __future__ import annotations

from nnseg_core.pipeline.cascade import EarlierStage, earlier_stage, with_previous_stage
from nnseg_core.pipeline.examine import examine
from nnseg_core.pipeline.moving import move_plan
from nnseg_core.pipeline.planning import make_plan, plan_from_fingerprint, read_or_make_plan
from nnseg_core.pipeline.preprocessing import preprocess
from nnseg_core.pipeline.selection import select
from nnseg_core.pipeline.splitting import (
    read_or_make_all_splits,
    read_or_make_folds,
    read_or_make_splits,
)
from nnseg_core.pipeline.trained_plan import require_same_plan
from nnseg_core.pipeline.trained_splits import require_same_split
from nnseg_core.pipeline.training import (
    TrainingRequest,
    require_samples_for_all,
    train,
)
from nnseg_core.pipeline.validation import validate

__all__ = [
    "EarlierStage",
    "TrainingRequest",
    "earlier_stage",
    "examine",
    "make_plan",
    "move_plan",
    "plan_from_fingerprint",
    "preprocess",
    "read_or_make_all_splits",
    "read_or_make_folds",
    "read_or_make_plan",
    "read_or_make_splits",
    "require_same_plan",
    "require_same_split",
    "require_samples_for_all",
    "select",
    "train",
    "validate",
    "with_previous_stage",
]
