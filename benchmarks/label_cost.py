r"""How many labels a model costs: the loop turned on drawn boards, the choice of what is labelled left to each miner.

480 boards of eight families, 40 % of one and 3 % of another. A quarter of them have defects: still more than a line
makes. Each is seen in 1 to 5 frames: moved by up to 2 px, lighter or darker by up to 6 of 255, noisy, compressed. The
model that serves first has learnt 8 boards with defects of the commonest family. Then, each round, the served model
predicts what there is to choose from, the miner chooses 8 frames, a tenth of them by lot as ever, and the truth is what
people say. The next model is trained from scratch on all that is labelled, always for 800 steps: would it go on from
the last one, it were better for being older, however few labels it had. It is judged on 128 boards with defects, of all
families alike, that no pool has. In `pool` all frames are there from the start; in `stream`, on demand, a frame
is chosen in the round in which it arrives, or never.

For each number N of labels that people were asked for, with which Random reaches some average precision, the table
says with how many another miner first reaches it, as a share of N: on the mean curves of all seeds, and in single seeds
the least, the median and the most. Goal: Informative needs at most 40 % of Random's labels, by the median over the
numbers N.

Each loop computes in one thread; `--processes` of them run side by side. `--short` turns each once, small,
shows that everything works, and keeps its figures under .cache alone.

Command to run:

    .venv/bin/python -m benchmarks.label_cost
    .venv/bin/python -m benchmarks.label_cost --data ../shared/datasets/deeppcb
"""

from __future__ import annotations

import logging
import os
import shlex
import statistics
import sys
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from rich.console import Console
from rich.table import Table

from benchmarks.goals import Goal, decided, keep, seeds, with_earlier
from benchmarks.side_by_side import side_by_side
from benchmarks.turned_loops import Curve, Protocol, Size, Turn, Turned, real_boards, turn
from data.formats import FormatRefused
from pipelines.job import HardExampleMining
from pipelines.train import code_version

logger = logging.getLogger(__name__)
BASELINE = "Random"
MINERS: dict[str, HardExampleMining] = {
    BASELINE: HardExampleMining(name="Random", parameters={"random_ratio": 1.0}),
    # Where nothing was found, IBT of Sedna never asks.
    "IBT": HardExampleMining(name="IBT", parameters={"threshold_img": 0.9, "threshold_box": 0.6}, mine_empty=False),
    "Informative": HardExampleMining(name="Informative"),
    "Informative, no balance": HardExampleMining(name="Informative", parameters={"balance": 0}),
    "Informative, no diversity": HardExampleMining(name="Informative", parameters={"diversity": 0}),
}
JUDGED = "Informative"
LARGEST_SHARE = 0.4
COMPARED = (BASELINE, "IBT", JUDGED)
SEEDS = 5
FULL = Size(boards=480, test=16, first=8, rounds=8, budget=8, recipe={"steps": 800, "crop": 128})
SHORT = Size(boards=80, test=2, first=4, rounds=3, budget=8, recipe={"steps": 60, "crop": 128})


def labels_to_reach(curve: Sequence[tuple[float, float]], level: float) -> float | None:
    """With how many labels a curve first reaches a level, between its points on straight lines; None if it does not.

    A curve that starts above the level reaches it with the labels of its first point, though fewer may do.
    """
    before: tuple[float, float] | None = None
    for labels, reached in curve:
        if reached >= level:
            if before is None:
                return labels
            return before[0] + (labels - before[0]) * (level - before[1]) / (reached - before[1])
        before = labels, reached
    return None


def shares(
    baseline: Sequence[tuple[float, float]], curve: Sequence[tuple[float, float]]
) -> list[tuple[float, float | None]]:
    """For each number N of labels of the baseline: the labels that the curve needs for its best until N, as share of N.

    None where the curve does not reach it, and of no labels.
    """
    best = 0.0
    needed = []
    for labels, reached in baseline:
        best = max(best, reached)
        enough = labels_to_reach(curve, best)
        needed.append((labels, enough / labels if labels and enough is not None else None))
    return needed


def at(curve: Sequence[tuple[float, float]], grid: Sequence[float]) -> np.ndarray:
    """A curve's values at some numbers of labels, between its points on straight lines; after its last, the last."""
    labels, reached = zip(*curve, strict=True)
    values: np.ndarray = np.interp(np.array(grid, float), np.array(labels, float), np.array(reached, float))
    return values


def summary(turned: Sequence[Turned]) -> dict[str, Any]:
    """What is kept of all loops: each miner's mean curve, and its labels as a share of the baseline's."""
    kept: dict[str, Any] = {}
    for protocol in dict.fromkeys(each.protocol for each in turned):
        curves: dict[str, dict[int, Curve]] = defaultdict(dict)
        for each in turned:
            if each.protocol == protocol:
                curves[each.miner][each.seed] = each.curve
        grid = [labels for labels, _ in next(iter(curves[BASELINE].values()))]
        values = {miner: np.array([at(curve, grid) for curve in seeds.values()]) for miner, seeds in curves.items()}
        means = {miner: list(zip(grid, each.mean(axis=0).tolist(), strict=True)) for miner, each in values.items()}
        kept[protocol] = {
            miner: {
                "mean_ap": [[labels, round(ap, 4)] for labels, ap in means[miner]],
                "deviation_of_ap": values[miner].std(axis=0).round(4).tolist(),
                "labels_as_share_of_random": [
                    {"labels": labels, "share": _rounded(share), **_spread(curves[BASELINE], curves[miner], place)}
                    for place, (labels, share) in enumerate(shares(means[BASELINE], means[miner]))
                ],
            }
            for miner in curves
        }
    return kept


def table(kept: Mapping[str, Any]) -> Iterator[Table]:
    """For each protocol the labels that every miner needs, as a share of the baseline's."""
    for protocol, miners in kept.items():
        shown = Table(
            "labels",
            f"AP of {BASELINE}",
            *(title for miner in miners if miner != BASELINE for title in (f"AP of {miner}", "labels needed", "seeds")),
            title=f"{protocol}: labels needed for what {BASELINE} reaches, as a share of its labels",
        )
        for place, (labels, ap) in enumerate(miners[BASELINE]["mean_ap"]):
            cells = []
            for miner, values in miners.items():
                if miner != BASELINE:
                    needed = values["labels_as_share_of_random"][place]
                    spread = " ".join(_text(needed[which]) for which in ("least", "median", "most"))
                    cells += [f"{values['mean_ap'][place][1]:.3f}", _text(needed["share"]), spread]
            shown.add_row(f"{labels:g}", f"{ap:.3f}", *cells)
        yield shown


def goals(record: Mapping[str, Any]) -> list[Goal]:
    """For each protocol the labels of the judged miner, by the median over the baseline's numbers of labels."""
    found = []
    for protocol, miners in record["summary"].items():
        if JUDGED not in miners:
            continue
        needed = [each["share"] for each in miners[JUDGED]["labels_as_share_of_random"] if each["labels"]]
        share = statistics.median(np.inf if each is None else each for each in needed)
        reached = f"{100 * share:.0f} %" if share < np.inf else "not reached"
        found.append(
            Goal(
                f"Labels that {JUDGED} needs for what {BASELINE} reaches, {protocol}",
                f"at most {100 * LARGEST_SHARE:g} % of {BASELINE}'s",
                f"{reached} (median of {len(needed)}; {seeds(record['seeds'], SEEDS)})",
                decided(bool(share <= LARGEST_SHARE), record["seeds"], SEEDS),
            )
        )
    return found


def run(
    data: Annotated[Path | None, typer.Option(help="A clone of DeepPCB, to be used instead of drawn boards.")] = None,
    protocol: Annotated[list[str], typer.Option(help="pool or stream; may be given twice.")] = ["pool"],  # noqa: B006
    miner: Annotated[list[str], typer.Option(help=f"Of {', '.join(MINERS)}.")] = list(COMPARED),  # noqa: B006
    seed: Annotated[int | None, typer.Option(help="One alone, instead of 0 to 4.")] = None,
    processes: Annotated[int, typer.Option(help="Loops side by side, one thread each.")] = 2,
    short: Annotated[bool, typer.Option("--short", help="Less than three minutes; kept under .cache alone.")] = False,
) -> None:
    """Turn the loop with each miner and each seed, and keep the result."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    size = SHORT if short else FULL
    protocols: list[Protocol] = [each for each in ("pool", "stream") if each in protocol]
    miners = [each for each in MINERS if each in {BASELINE, *miner}]
    tasks = [
        Turn(miner, MINERS[miner], protocol, seed, size, data)
        for seed in ([seed or 0] if seed is not None or short else range(SEEDS))
        for protocol in protocols
        for miner in miners
    ]
    try:
        if data is not None:
            real_boards(data, size.test)
    except (FileNotFoundError, FormatRefused) as error:
        sys.exit(str(error))
    turned: list[Turned] = []
    with side_by_side(processes) as pool:
        for each in pool.map(turn, tasks):
            turned.append(each)
            labels, ap = each.curve[-1]
            logger.info(
                "%s, %s, seed %d: AP %.3f with %d labels of %d boards, %.0f CPU s",
                each.miner, each.protocol, each.seed, ap, labels, each.boards, each.cpu_seconds,
            )  # fmt: skip
    name = "label_cost" if data is None else "label_cost_deeppcb"
    if not short:
        turned = with_earlier(name, asdict(size), turned, _place)
    kept = summary(turned)
    for shown in table(kept):
        Console().print(shown)
    options = [] if data is None else ["--data", str(data)]
    facts = {
        "command": shlex.join([".venv/bin/python", "-m", "benchmarks.label_cost", *options]),
        "size": asdict(size),
        "seeds": len({each.seed for each in turned}),
        "cores": os.cpu_count(),
        "code_version": code_version(),
    }
    keep(name, {**facts, "summary": kept, "outcomes": [asdict(each) for each in turned]}, short=short)


def _place(turned: Turned) -> tuple[int, str, int]:
    return turned.seed, turned.protocol, list(MINERS).index(turned.miner)


def _spread(baseline: Mapping[int, Curve], curves: Mapping[int, Curve], place: int) -> dict[str, float | None]:
    """The least, median and most of single seeds at one number of labels; None where it was not reached."""
    needed = [shares(baseline[seed], curve)[place][1] for seed, curve in curves.items()]
    ordered = sorted(np.inf if share is None else share for share in needed)
    values = {"least": ordered[0], "median": float(np.median(ordered)), "most": ordered[-1]}
    return {which: None if np.isinf(value) else _rounded(value) for which, value in values.items()}


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 4)


def _text(share: float | None) -> str:
    return "-" if share is None else f"{share:.0%}"


if __name__ == "__main__":
    typer.run(run)
