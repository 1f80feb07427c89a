"""The families of synthetic boards: each a domain that a person tells from the others at a glance.

`flex` alone has curved traces: it is the family to hold back as one that a model has never seen.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Range = tuple[float, float]
Count = tuple[int, int]
PadStyle = Literal["vias", "ovals", "chips", "footprint", "holes"]


@dataclass(frozen=True)
class Family:
    """The style of a family's boards; lengths are pixels, a range is drawn from once per board or per element.

    Attributes:
        name: the family's name, the domain of its boards.
        seed: what its boards are drawn from, together with their index.
        corner: how traces turn: by 45 degrees, by 90 degrees, or along curves.
        buses: how many bundles of parallel traces.
        lanes: traces in a bundle; `stops`: the share of them that end on the board.
        trace: width of a trace; `gap`: distance between traces.
        wide_traces: how many wide traces, and `wide`: their width.
        planes: how many planes; `plane`: half a plane's side; `round_planes`: discs, slit by gaps.
        pads: how many groups of pads; `pad_styles`: which kinds.
        vias: how many vias that stand alone.
        inverted: draw gaps where the others have copper, so that copper prevails.
    """

    name: str
    seed: int
    corner: Literal["diagonal", "square", "curve"] = "diagonal"
    buses: Count = (0, 0)
    lanes: Count = (1, 1)
    stops: float = 0.35
    trace: Range = (8, 10)
    gap: Range = (10, 14)
    wide_traces: Count = (0, 0)
    wide: Range = (22, 40)
    planes: Count = (0, 0)
    plane: Range = (50, 160)
    round_planes: bool = False
    pads: Count = (0, 0)
    pad_styles: tuple[PadStyle, ...] = ("vias",)
    vias: Count = (0, 0)
    inverted: bool = False


FAMILIES = {
    family.name: family
    for family in (
        Family(
            "signal", 101, buses=(5, 9), lanes=(3, 8), trace=(6, 8.5), gap=(9, 20), planes=(0, 1), plane=(16, 60),
            pads=(3, 7), pad_styles=("footprint", "vias", "ovals", "chips"), vias=(4, 18),
        ),
        Family(
            "mixed", 102, buses=(3, 6), lanes=(2, 7), trace=(8, 11), gap=(8, 16), wide_traces=(3, 7), wide=(22, 44),
            planes=(0, 2), plane=(40, 120), pads=(5, 10), pad_styles=("ovals", "chips", "footprint", "holes"),
            vias=(0, 6),
        ),
        Family(
            "dense", 103, buses=(10, 16), lanes=(8, 20), stops=0.15, trace=(9, 13), gap=(7, 10), wide_traces=(0, 2),
            pads=(4, 9), pad_styles=("vias", "footprint", "chips", "holes"), vias=(6, 16),
        ),
        Family(
            "power", 104, wide_traces=(5, 9), wide=(34, 80), planes=(4, 9), plane=(50, 230), buses=(1, 4), lanes=(1, 4),
            trace=(10, 16), gap=(14, 26), pads=(2, 5), pad_styles=("holes", "ovals"),
        ),
        Family(
            "ground", 105, corner="square", inverted=True, buses=(10, 15), lanes=(1, 4), stops=0.2, trace=(9, 22),
            gap=(16, 40), wide_traces=(2, 5), wide=(24, 60), pads=(1, 4), pad_styles=("chips", "vias"),
        ),
        Family(
            "edge", 106, buses=(3, 5), lanes=(5, 9), stops=0.25, trace=(40, 62), gap=(22, 46), planes=(0, 2),
            plane=(40, 110), pads=(0, 2), pad_styles=("chips", "holes"),
        ),
        Family(
            "round", 107, planes=(6, 12), plane=(80, 290), round_planes=True, wide_traces=(0, 3), wide=(14, 24),
            buses=(0, 2), lanes=(1, 3), trace=(12, 18), gap=(14, 26),
        ),
        Family(
            "flex", 108, corner="curve", buses=(7, 13), lanes=(3, 10), stops=0.2, trace=(8, 16), gap=(8, 16),
            wide_traces=(0, 3), wide=(20, 40), pads=(3, 6), pad_styles=("vias", "holes"), vias=(0, 8),
        ),
    )
}  # fmt: skip
