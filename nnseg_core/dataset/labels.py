"""What the values in label maps mean: classes, regions, and voxels that nobody has annotated."""

from __future__ import annotations

from dataclasses import dataclass

BACKGROUND = "background"
IGNORE = "ignore"

LARGEST = 2**15 - 1
"""Of all label values: they are kept as int16."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Labels:
    """Classes or regions, by name. Background is 0 and is not listed.

    ``values`` maps each foreground name to the label values it covers: one for a class, several
    for a region. One region among them makes all of them regions (nnU-Net's rule): the network
    then has a sigmoid per region instead of a softmax over classes. ``paint_order`` holds, per
    region, the integer painted where that region was found; later ones paint over earlier ones.
    ``ignore`` is the value, or the values, of voxels that do not count.
    """

    values: dict[str, tuple[int, ...]]
    ignore: int | tuple[int, ...] | None = None
    paint_order: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        if not self.values:
            raise ValueError("labels need at least one name beside background")
        if any(len(covered) == 0 for covered in self.values.values()):
            raise ValueError("a region covers no label value")
        if self.is_regions and len(self.paint_order) != len(self.values):
            raise ValueError(
                f"{len(self.values)} regions need as many entries in regions_class_order, "
                f"but it has {len(self.paint_order)}"
            )
        self._check_values()

    def _check_values(self) -> None:
        used = [value for covered in self.values.values() for value in covered]
        for value in (*used, *self.ignored, *self.paint_order):
            if not 0 <= value <= LARGEST:
                raise ValueError(f"label values must lie between 0 and {LARGEST}, not at {value}")
        for value in self.ignored:
            if value in (0, *used):
                raise ValueError(f"the ignore label has value {value}, which another label has too")
        if not self.is_regions and len({0, *used}) <= len(used):
            raise ValueError(
                f"each label needs a value of its own, and 0 is background's; they have {used}"
            )

    @property
    def is_regions(self) -> bool:
        """Whether the names are regions that may overlap."""
        return any(len(covered) > 1 for covered in self.values.values())

    @property
    def foreground(self) -> tuple[int, ...]:
        """All label values but background and the ignore label, ascending."""
        return tuple(sorted({v for covered in self.values.values() for v in covered if v != 0}))

    @property
    def ignored(self) -> tuple[int, ...]:
        """The values of voxels that do not count; none where all do."""
        if self.ignore is None:
            return ()
        return (self.ignore,) if isinstance(self.ignore, int) else self.ignore

    @property
    def output_names(self) -> tuple[str, ...]:
        """The names in the order of the network's outputs, background left out."""
        if self.is_regions:
            return tuple(self.values)
        return tuple(sorted(self.values, key=lambda name: self.values[name]))

    @property
    def outputs(self) -> int:
        """Channels of the network's output: one per region, or one per class with background."""
        return len(self.values) if self.is_regions else len(self.foreground) + 1

    @property
    def declared(self) -> int:
        """Entries of the ``labels`` dictionary, background and ignore included."""
        return 1 + len(self.values) + (self.ignore is not None)
