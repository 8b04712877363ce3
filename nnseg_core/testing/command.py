"""The command line within a test's own process."""

from __future__ import annotations

import sys
from unittest.mock import patch

from nnseg_core.cli import main


def run(*arguments: object) -> int:
    """Run ``nnseg`` with ``arguments`` in this process and return its exit code.

    What it prints goes where ``print`` writes; defects are raised.
    """
    with patch.object(sys, "argv", ["nnseg", *map(str, arguments)]):
        try:
            main()
        except SystemExit as end:
            return int(end.code or 0)
    return 0
