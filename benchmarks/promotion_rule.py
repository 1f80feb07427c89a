r"""Years of nightly candidates before the rule of promotion: which worse ones it lets serve, which gains it finds.

A candidate is a mixture (benchmarks/mixtures.py), drawn anew for each, in shares that make its metric over the whole
population of 2,000 real boards exactly so much better or worse than the served model's. A holdout is 300 boards drawn
from the population; no candidate ever learns from it. It is replaced 60 nights after it is due.

Goals: in at most 1 % of years a model that is half a point worse, or one that is a whole point worse, comes to serve;
one that is two points better serves within three nights, whether the holdout is new, in the middle of its life, or due.

Training and predicting take 700 CPU seconds, once; the rest takes half an hour on one core, and can be repeated alone.
`--short` takes two minutes: little training, 200 real boards, few years; it keeps its figures under .cache alone.

Command to run:

    .venv/bin/python -m benchmarks.promotion_rule ../shared/datasets/deeppcb
"""

from __future__ import annotations

import logging
import math
import shlex
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from rich.console import Console
from rich.table import Table

from benchmarks import mixtures
from benchmarks.boards import DEEPPCB
from benchmarks.goals import Goal, keep
from benchmarks.mixtures import MODELS, Candidates, Population, predict_all, read_reports
from data.formats import FormatRefused
from models.paired import Incomparable, PairedDelta, fewest_differing
from pipelines.holdout import DUE
from pipelines.job import PromotionRule
from pipelines.settings import ROOT
from pipelines.train import code_version

CACHE = ROOT / ".cache" / "promotion_rule"
NIGHTS = 365
HOLDOUT = 300
# How many nights a holdout that is due waits until as many new boards are labelled: five a night.
REFRESH_NIGHTS = 60
WORSE_YEARS = 0.01
STAGES = {"beginning": "new", "middle": "in the middle", "end": "due"}

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Size:
    """The detectors' training, how exactly candidates are as good as they should be; years and trials simulated."""

    training: mixtures.Training
    close_enough: float
    years: int
    trials: int
    cache: Path


FULL = Size(mixtures.FULL, mixtures.CLOSE_ENOUGH, years=1000, trials=400, cache=CACHE)
# Of few boards each counts for so much that few mixtures come closer.
SHORT = Size(mixtures.SHORT, 1e-3, years=5, trials=10, cache=CACHE.with_name("promotion_rule_short"))


@dataclass
class Gate:
    """The rule before one holdout of `boards` after another, the first of which has `decided` so often already.

    A holdout that is due is used for `REFRESH_NIGHTS` more.
    """

    population: Population
    rule: PromotionRule
    random: np.random.Generator
    served: np.ndarray
    decided: int = 0
    boards: int = HOLDOUT

    def __post_init__(self) -> None:
        self._begin()
        self._left *= (1 - 1 / self.rule.decisions) ** self.decided

    def judge(self, candidate: np.ndarray) -> bool:
        """Whether the candidate may serve; the floors, which only ever reject more, are left out."""
        alpha = self._left / self.rule.decisions
        self._left -= alpha
        promoted = self._value(candidate) > self._to_beat
        if self.rule.name == "bound":
            drawn = self._drawn
            promoted = promoted and is_better(self.population, candidate, self.served, drawn, self.rule, alpha)
            if self._left <= DUE * self.rule.error_budget:
                self._waited += 1
                if self._waited > REFRESH_NIGHTS:
                    self._begin()
        return promoted

    def serve(self, candidate: np.ndarray) -> None:
        """Compare with this one from now on."""
        self.served = candidate
        self._to_beat = self._value(candidate) + self.rule.margin

    def _begin(self) -> None:
        self._drawn = self.random.integers(0, self.population.boards, self.boards)
        self._left, self._waited = self.rule.error_budget, 0
        self.serve(self.served)

    def _value(self, choice: np.ndarray) -> float:
        return self.population.value(choice, self._drawn, self.rule.metric)


def is_better(
    population: Population,
    candidate: np.ndarray,
    served: np.ndarray,
    boards: np.ndarray,
    rule: PromotionRule,
    alpha: float,
) -> bool:
    """Whether the lower bound of what the candidate has more on these boards is above the rule's margin."""
    try:
        delta = PairedDelta.of(rule.metric, *(population.results(each, boards) for each in (candidate, served)))
    except Incomparable:
        return False
    return delta.differing >= fewest_differing(alpha) and delta.lower_bound(alpha) > rule.margin


@dataclass(frozen=True)
class Share:
    """How many of how many."""

    count: int
    of: int

    @property
    def upper(self) -> float:
        """What the true share is below, with confidence 95 % (Clopper and Pearson 1934)."""
        from scipy.special import betaincinv

        return 1.0 if self.count == self.of else float(betaincinv(self.count + 1, self.of - self.count, 0.95))

    def to_json(self) -> dict[str, Any]:
        """The share, and what it is below with confidence 95 %."""
        return {"share": round(self.count / self.of, 5), "of": self.of, "below": round(self.upper, 5)}


def worse_years(candidates: Candidates, rule: PromotionRule, delta: float, years: int) -> Share:
    """In how many years of candidates that are `delta` better, which is less than 0, one of them comes to serve."""
    count = 0
    nightly = candidates.draw(delta, NIGHTS)
    for year in range(years):
        random = np.random.default_rng([1, year])
        gate = Gate(candidates.population, rule, random, candidates.served)
        count += any(gate.judge(nightly[night]) for night in random.permutation(NIGHTS))
    return Share(count, years)


def equal_years(candidates: Candidates, rule: PromotionRule, years: int) -> float:
    """How many candidates that are just as good as the first served model come to serve in a year, in the mean."""
    count = 0
    nightly = candidates.draw(0.0, NIGHTS)
    for year in range(years):
        random = np.random.default_rng([2, year])
        gate = Gate(candidates.population, rule, random, candidates.served)
        for night in random.permutation(NIGHTS):
            if gate.judge(nightly[night]):
                gate.serve(nightly[night])
                count += 1
    return count / years


def found(
    candidates: Candidates,
    rule: PromotionRule,
    delta: float,
    nights: int,
    trials: int,
    decided: int = 0,
    boards: int = HOLDOUT,
) -> Share:
    """How often one of the candidates of `nights`, all `delta` better, comes to serve after `decided` decisions."""
    nightly = candidates.draw(delta, NIGHTS)
    count = 0
    for trial in range(trials):
        random = np.random.default_rng([3, trial, boards])
        gate = Gate(candidates.population, rule, random, candidates.served, decided, boards)
        chosen = random.permutation(NIGHTS)[:nights]
        count += any(gate.judge(nightly[night]) for night in chosen)
    return Share(count, trials)


def exceeded(candidates: Candidates, rule: PromotionRule, boards: int, alpha: float, draws: int) -> Share:
    """How often the bound at `alpha` calls one of two equally good models better: as often as it says?"""
    population, equal = candidates.population, candidates.draw(0.0, NIGHTS)
    count = 0
    for number in range(draws):
        random = np.random.default_rng([4, number])
        drawn_boards = random.integers(0, population.boards, boards)
        first, second = (equal[place] for place in random.choice(NIGHTS, 2, replace=False))
        # Either may be the candidate: of the two bounds at most one can be above 0.
        count += is_better(population, first, second, drawn_boards, rule, alpha)
        count += is_better(population, second, first, drawn_boards, rule, alpha)
    return Share(count, 2 * draws)


def told_apart(
    population: Population, rule: PromotionRule, boards: int, alphas: Sequence[float], draws: int
) -> list[Share]:
    """How often the last of the detectors is called better than the first on so many boards, at each of `alphas`."""
    counts = [0] * len(alphas)
    for number in range(draws):
        random = np.random.default_rng([7, number])
        drawn_boards = random.integers(0, population.boards, boards)
        served = np.full(population.boards, random.integers(0, 2))
        candidate = np.full(population.boards, population.answers - 1 - random.integers(0, 2))
        for place, alpha in enumerate(alphas):
            counts[place] += is_better(population, candidate, served, drawn_boards, rule, alpha)
    return [Share(count, draws) for count in counts]


def standard_error(candidates: Candidates, rule: PromotionRule, boards: int, draws: int) -> float:
    """The mean standard error of the difference between equally good models on so many boards."""
    population, equal = candidates.population, candidates.draw(0.0, draws)
    errors = []
    for number, candidate in enumerate(equal):
        drawn_boards = np.random.default_rng([6, number]).integers(0, population.boards, boards)
        results = (population.results(each, drawn_boards) for each in (candidate, candidates.served))
        errors.append(PairedDelta.of(rule.metric, *results).standard_error)
    return float(np.mean(errors))


def decisions_until(rule: PromotionRule, share: float) -> int:
    """After how many decisions only `share` of a holdout's error budget is left."""
    return math.ceil(math.log(share) / math.log(1 - 1 / rule.decisions))


def measure(candidates: Candidates, rule: PromotionRule, years: int, trials: int) -> dict[str, Any]:
    """Everything that is measured of the rule, of other budgets, and of the rule without a bound."""
    point = rule.model_copy(update={"name": "point"})
    due = decisions_until(rule, DUE)
    stages = {"beginning": 0, "middle": due // 2, "end": due}

    def gains(of: PromotionRule) -> dict[str, Any]:
        return {name: found(candidates, of, 0.02, 3, trials, decided).to_json() for name, decided in stages.items()}

    def part(of: int) -> int:
        return max(1, years // of)

    results: dict[str, Any] = {
        "decisions_until_due": due,
        "years_with_a_worse_model": {
            name: {
                "-0.5": worse_years(candidates, of, -0.005, count).to_json(),
                "-1": worse_years(candidates, of, -0.01, fewer).to_json(),
            }
            for name, of, count, fewer in (
                ("bound", rule, years, part(5)),
                ("point", point, part(10), part(20)),
            )
        },
        "equal_models_a_year": {
            name: round(equal_years(candidates, of, part(10)), 3) for name, of in (("bound", rule), ("point", point))
        },
        "two_points_in_three_nights": gains(rule),
        "two_points_in_three_nights_by_boards": {
            str(boards): found(candidates, rule, 0.02, 3, trials, boards=boards).to_json()
            for boards in (50, 100, 200, 600)
        },
        "one_point_in_thirty_nights": found(candidates, rule, 0.01, 30, trials).to_json(),
    }
    logger.info("the rule is measured; other budgets come next")
    others = [rule.model_copy(update={"error_budget": budget}) for budget in (0.05, 0.2)]
    results["other_error_budgets"] = {
        str(other.error_budget): {
            "years_with_a_worse_model": worse_years(candidates, other, -0.005, part(5)).to_json(),
            "two_points_in_three_nights": gains(other),
        }
        for other in others
    }
    logger.info("how often the bound is wrong comes last")
    results["bound_above_an_equal_model"] = {
        str(boards): {str(alpha): exceeded(candidates, rule, boards, alpha, 5 * trials).to_json() for alpha in (0.01,)}
        for boards in (30, 100, 300)
    }
    results["standard_error"] = {
        str(boards): round(standard_error(candidates, rule, boards, 100), 4) for boards in (30, 100, 300, 1000)
    }
    alphas = (0.0025, 0.1)
    results["last_detector_better_than_first"] = {
        str(boards): {
            str(alpha): share.to_json()
            for alpha, share in zip(
                alphas, told_apart(candidates.population, rule, boards, alphas, trials), strict=True
            )
        }
        for boards in (30, 45, 90, 150)
    }
    results["milliseconds_a_decision"] = {
        str(boards): _milliseconds(candidates, rule, boards) for boards in (300, 5000)
    }
    return results


def _milliseconds(candidates: Candidates, rule: PromotionRule, boards: int) -> float:
    """CPU time of one paired difference and its bound."""
    population = candidates.population
    chosen = np.random.default_rng(5).integers(0, population.boards, boards)
    results = [population.results(each, chosen) for each in (candidates.draw(0.0, 1)[0], candidates.served)]
    began, times = time.process_time(), 10
    for _ in range(times):
        PairedDelta.of(rule.metric, *results).lower_bound(0.001)
    return round(1000 * (time.process_time() - began) / times, 1)


def table(results: dict[str, Any]) -> Table:
    """What is wanted and what was reached."""
    shown = Table("", "wanted", "bound", "point", title=f"The rule of promotion, on {HOLDOUT} boards")
    both = ("bound", "point")
    worse, equal = results["years_with_a_worse_model"], results["equal_models_a_year"]
    for delta in worse["bound"]:
        shown.add_row(
            f"years a model {delta} points serves in",
            f"at most {100 * WORSE_YEARS:g} %",
            *(_share(worse[x][delta]) for x in both),
        )
    shown.add_row("equal models that come to serve, a year", "", *(f"{equal[name]:g}" for name in both))
    for stage, share in results["two_points_in_three_nights"].items():
        shown.add_row(f"+2 found in three nights, {stage}", "100 %", _share(share), "")
    for boards, share in results["two_points_in_three_nights_by_boards"].items():
        shown.add_row(f"+2 found in three nights, {boards} boards", "", _share(share), "")
    shown.add_row("+1 found in thirty nights", "", _share(results["one_point_in_thirty_nights"]), "")
    for budget, other in results["other_error_budgets"].items():
        shown.add_section()
        shown.add_row(
            f"budget {budget}: years a model -0.5 points serves in", "", _share(other["years_with_a_worse_model"]), ""
        )
        for stage, share in other["two_points_in_three_nights"].items():
            shown.add_row(f"budget {budget}: +2 found in three nights, {stage}", "", _share(share), "")
    shown.add_section()
    for boards, shares in results["bound_above_an_equal_model"].items():
        for alpha, share in shares.items():
            shown.add_row(f"equal called better, {boards} boards", f"{100 * float(alpha):g} %", _share(share), "")
    for boards, shares in results["last_detector_better_than_first"].items():
        for alpha, share in shares.items():
            what = f"last detector better than first, {boards} boards, {100 * (1 - float(alpha)):g} % sure"
            shown.add_row(what, "", _share(share), "")
    for boards, error in results["standard_error"].items():
        shown.add_row(f"standard error of a difference, {boards} boards", "", f"{error:g}", "")
    for boards, milliseconds in results["milliseconds_a_decision"].items():
        shown.add_row(f"CPU time of a decision, {boards} boards", "", f"{milliseconds:g} ms", "")
    return shown


def _share(share: dict[str, Any]) -> str:
    return f"{100 * share['share']:.3g} % of {share['of']}"


def goals(record: Mapping[str, Any]) -> list[Goal]:
    """What the rule should keep out, and what it should find."""
    found = [
        Goal(
            f"Years in which a worse model serves ({delta} points)",
            f"at most {100 * WORSE_YEARS:g} %",
            _share(share),
            share["share"] <= WORSE_YEARS,
        )
        for delta, share in record["years_with_a_worse_model"]["bound"].items()
    ]
    gains = record["two_points_in_three_nights"]
    reached = ", ".join(f"{100 * gains[stage]['share']:.3g} % {words}" for stage, words in STAGES.items())
    return [
        *found,
        Goal(
            "Better models (+2 points) that serve within three nights, by the age of the holdout",
            "100 %",
            reached,
            all(share["share"] == 1 for share in gains.values()),
        ),
    ]


def run(
    deeppcb: Annotated[Path, typer.Argument(help="A clone of DeepPCB.")] = DEEPPCB,
    cache: Annotated[Path | None, typer.Option(help="Where models and what they found are kept.")] = None,
    years: Annotated[int | None, typer.Option(help="How many years of candidates that are worse.")] = None,
    trials: Annotated[int | None, typer.Option(help="How often each gain is looked for.")] = None,
    metric: Annotated[str, typer.Option(help="What candidates are compared by: ap, precision, recall or f1.")] = "",
    short: Annotated[bool, typer.Option("--short", help="Two minutes; kept under .cache alone.")] = False,
) -> None:
    """Simulate years before the rule of promotion, and keep the result of a run without other options."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    size = SHORT if short else FULL
    cache = cache or size.cache
    try:
        predict_all(deeppcb, cache, size.training)
    except (FileNotFoundError, FormatRefused) as error:
        sys.exit(str(error))
    rule = PromotionRule.model_validate({"metric": metric} if metric else {})
    began = time.process_time()
    reports = read_reports(cache)
    population = Population(reports)
    candidates = Candidates(population, rule.metric, size.close_enough)
    results = measure(candidates, rule, years or size.years, trials or size.trials)
    command = [".venv/bin/python", "-m", "benchmarks.promotion_rule", str(deeppcb), *(["--short"] if short else [])]
    kept = {
        "command": shlex.join(command),
        "rule": rule.model_dump(),
        "holdout_boards": HOLDOUT,
        "population_boards": population.boards,
        "nights": NIGHTS,
        "nights_until_refreshed": REFRESH_NIGHTS,
        "models": {
            name: round(report.metric(rule.metric) or 0.0, 4) for name, report in zip(MODELS, reports, strict=True)
        },
        "served": round(candidates.level, 4),
        **results,
        "simulation_cpu_seconds": round(time.process_time() - began),
        "code_version": code_version(),
    }
    Console().print(table(results))
    if years is None and trials is None and not metric:
        keep("promotion_rule", kept, short=short)


if __name__ == "__main__":
    typer.run(run)
