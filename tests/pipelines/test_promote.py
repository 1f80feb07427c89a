"""Promotion: the job's rule and its floors, one decision a run, and only against what serves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from data.ledger import Ledger, Spending
from data.registry import Overtaken, Promotion
from data.sample import Box, sha256
from models.metrics import EvaluationReport, evaluate
from pipelines import promote as promoting
from pipelines.evaluate import Comparison
from pipelines.gates.rule import Condition, Trigger
from pipelines.holdout import Claim, HoldoutState
from pipelines.job import DeploySpecification, EstimatorSpecification, Floors, Job, PromotionRule
from pipelines.promote import Judgement, PromotionRefused, decide, judge, promote, rollback
from pipelines.workspace import Workspace
from tests.pipelines.test_holdout import held_out

CLASSES = ["open", "short"]
# How many of how many true boxes were found, and how many more were claimed, by domain and class.
Found = Mapping[tuple[str, str], tuple[int, int]]


def report(found: Found, claimed: Mapping[str, int] | None = None) -> EvaluationReport:
    """The evaluation of a model that found so many of so many boxes, and `claimed` some of each class that are none."""
    truth: dict[str, list[Box]] = {}
    predicted: dict[str, list[Box]] = {}
    domains: dict[str, str] = {}
    for (domain, label), (hits, total) in found.items():
        for number in range(total):
            image = f"{domain} {label} {number}"
            truth[image], domains[image] = [Box(10, 10, 30, 30, label)], domain
            predicted[image] = [Box(10, 10, 30, 30, label, 0.9)] if number < hits else []
    for label, count in (claimed or {}).items():
        image = f"nothing but {label}"
        truth[image], domains[image] = [], "empty"
        predicted[image] = [Box(40 * number, 40, 40 * number + 20, 60, label, 0.9) for number in range(count)]
    return evaluate(truth, predicted, domains, CLASSES, threshold=0.5)


def by_class(opened: int, shorted: int, total: int = 10) -> EvaluationReport:
    return report({("line", "open"): (opened, total), ("line", "short"): (shorted, total)})


def compared(candidate: EvaluationReport, served: EvaluationReport | None, **other: Any) -> Comparison:
    """Candidate v2 against v1, from which it started."""
    before = None if served is None else "v1"
    return Comparison(**{**_versions("v2", before), "candidate": candidate, "served": served, **other})


def _versions(candidate: str, served: str | None) -> dict[str, Any]:
    return {
        "candidate_version": candidate,
        "parent_version": served,
        "served_version": served,
        "dataset_version": "d2",
    }


POINT = PromotionRule(name="point")
BOUND = PromotionRule(metric="recall", error_budget=0.04, decisions=2)


def with_rule(condition: str | None = "recall_delta > 0", rule: PromotionRule = POINT, **floors: Any) -> Job:
    """A job whose condition is written `metric operator threshold`."""
    metric, operator, threshold = (condition or "ap > 0").split()
    trigger = Trigger(condition=Condition(metric=metric, operator=operator, threshold=float(threshold)))  # type: ignore[arg-type]
    return Job(
        name="boards",
        classes=CLASSES,
        estimator=EstimatorSpecification(name="Tiny"),
        deploy_spec=DeploySpecification(
            trigger=trigger if condition else Trigger(),
            rule=rule,
            floors=Floors(**{"metric": "recall", "min_support": 1, **floors}),
        ),
    )


@pytest.mark.parametrize(
    ("condition", "promoted", "said"),
    [
        ("recall_delta > 0", True, "recall_delta is 0.2, 0.8 against 0.6 (> 0)"),
        ("recall_delta > 0.2", False, "must be > 0.2"),
        ("recall[open]_delta >= 0.2", True, "recall[open]_delta is 0.2"),
        ("recall < 0.5", False, "recall is 0.8, but must be < 0.5"),
        ("mean_iou > 0", None, "has no mean_iou"),
        ("precision[scratch] > 0", None, "has no precision[scratch]"),
    ],
)
def test_the_condition_decides_and_says_why(condition: str, promoted: bool | None, said: str) -> None:
    judgement = judge(with_rule(condition), compared(by_class(8, 8), by_class(6, 6)))
    assert judgement.promoted is promoted
    assert said in judgement.reasons[0]
    assert str(judgement).startswith({True: "promoted: ", False: "rejected: ", None: "undecided: "}[promoted])


def test_the_first_model_has_nothing_to_be_better_than() -> None:
    judgement = judge(with_rule(), compared(by_class(0, 1), None))
    assert judgement == Judgement(True, ["nothing serves yet, so there is nothing to be better than"])


def test_without_a_condition_the_floors_alone_decide() -> None:
    assert judge(with_rule(None), compared(by_class(6, 6), by_class(6, 6))).promoted is True
    assert judge(with_rule(None), compared(by_class(4, 8), by_class(6, 6))).promoted is False


def test_what_serves_is_no_candidate() -> None:
    same = compared(by_class(8, 8), by_class(6, 6), candidate_version="v1")
    assert judge(with_rule(), same) == Judgement(False, ["v1 serves already"])


@pytest.mark.parametrize("parent", [None, "v0"])
def test_a_candidate_must_have_started_from_what_serves(parent: str | None) -> None:
    judgement = judge(with_rule(), compared(by_class(9, 9), by_class(6, 6), parent_version=parent))
    assert judgement.promoted is False
    assert judgement.reasons == [
        f"v2 started from {parent or 'nothing'}, but v1 serves now; train again from what serves"
    ]


def test_each_class_and_domain_that_fell_too_far_is_named() -> None:
    served = report({("flex", "open"): (8, 10), ("flex", "short"): (8, 10), ("rigid", "open"): (2, 10)})
    candidate = report({("flex", "open"): (10, 10), ("flex", "short"): (5, 10), ("rigid", "open"): (10, 10)})
    judgement = judge(with_rule(classes=0.1, domains=0.01), compared(candidate, served))
    assert judgement.promoted is False
    (_, floors) = judgement.reasons
    assert floors == (
        "recall of class short fell from 0.800 to 0.500, by more than 0.1; "
        "recall of domain flex fell from 0.800 to 0.750, by more than 0.01"
    )


def test_a_fall_of_exactly_the_floor_is_within_it() -> None:
    """0.8 - 0.7 is a little more than 0.1 in floating point."""
    falling = compared(by_class(7, 10), by_class(8, 6))
    assert judge(with_rule(classes=0.1), falling).promoted is True
    assert judge(with_rule(classes=0.09), falling).promoted is False


def test_what_has_too_few_boxes_is_not_judged() -> None:
    served = report({("line", "open"): (5, 20), ("line", "short"): (3, 3)})
    candidate = report({("line", "open"): (15, 20), ("line", "short"): (0, 3)})
    assert judge(with_rule(min_support=4), compared(candidate, served)).promoted is True
    assert judge(with_rule(min_support=3), compared(candidate, served)).promoted is False


def test_a_metric_that_became_undefined_has_fallen_and_one_that_was_is_not_judged() -> None:
    found_both, never_short = by_class(6, 6), by_class(9, 0)
    rule = with_rule("recall_delta > -1", metric="precision")
    assert never_short.per_class["precision"]["short"] is None
    falls = judge(rule, compared(never_short, found_both))
    assert falls.promoted is False
    assert "precision of class short fell from 1.000 to nothing" in falls.reasons[1]
    assert judge(rule, compared(found_both, never_short)).promoted is True


def test_a_floor_in_a_metric_that_is_not_measured_is_undecided() -> None:
    judgement = judge(with_rule(metric="map"), compared(by_class(8, 8), by_class(6, 6)))
    assert judgement.promoted is None
    assert "floors.metric is map, which is not measured; there are ap, precision" in judgement.reasons[1]


def test_what_the_served_model_knew_must_not_be_forgotten() -> None:
    known = compared(by_class(5, 5), by_class(8, 8), dataset_version="d1")
    judgement = judge(with_rule(known=0.2), compared(by_class(9, 9), by_class(6, 6), known=known))
    assert judgement.promoted is False
    assert "recall on the holdout of d1, from which v1 learnt, fell from 0.800 to 0.500" in judgement.reasons[1]
    assert judge(with_rule(known=0.3), compared(by_class(9, 9), by_class(6, 6), known=known)).promoted is True


hits = st.fixed_dictionaries({(domain, label): st.integers(0, 6) for domain in ("a", "b") for label in CLASSES})


@given(hits, hits, st.floats(0, 0.4), st.floats(0, 0.4), st.integers(1, 13))
def test_whatever_is_promoted_is_better_and_keeps_its_floors(
    candidate: dict[tuple[str, str], int],
    served: dict[tuple[str, str], int],
    classes: float,
    domains: float,
    min_support: int,
) -> None:
    new, old = (report({part: (found, 6) for part, found in each.items()}) for each in (candidate, served))
    judgement = judge(with_rule(classes=classes, domains=domains, min_support=min_support), compared(new, old))
    better = sum(candidate.values()) > sum(served.values())
    kept = all(
        old_value - new_value <= floor + 1e-9
        for floor, new_values, old_values, support in (
            (classes, new.per_class["recall"], old.per_class["recall"], new.support),
            (
                domains,
                {name: values["recall"] for name, values in new.per_domain.items()},
                {name: values["recall"] for name, values in old.per_domain.items()},
                new.domain_support,
            ),
        )
        for name, old_value in old_values.items()
        if support[name] >= min_support and old_value is not None and (new_value := new_values[name]) is not None
    )
    assert not judgement.promoted or (better and kept)
    assert judgement.promoted is not None


def claimed(report: EvaluationReport, alpha: float | None = 0.02) -> Claim:
    """A claim to decide on all images of a report."""
    state = HoldoutState(1, "", report.images, 1, 0.5, False, 0, 100)
    return Claim(alpha, frozenset(report.per_image), state)


@pytest.mark.parametrize(
    ("found", "rule", "promoted", "said"),
    [
        (18, BOUND, True, "recall_delta is 0.3 on 40 images, at least 0.144 with 98.0 % confidence (must be above 0)"),
        (6, BOUND, False, "recall_delta is 0.05 on 40 images, at least -0.151 with 98.0 % confidence, but must be"),
        (
            18,
            BOUND.model_copy(update={"margin": 0.2}),
            False,
            "at least 0.144 with 98.0 % confidence, but must be above",
        ),
        (18, POINT, True, "recall_delta is 0.3, 0.9 against 0.6 (> 0)"),
        (6, POINT, True, "recall_delta is 0.05, 0.65 against 0.6 (> 0)"),
    ],
)
def test_under_bound_a_candidate_must_be_better_for_sure(
    found: int, rule: PromotionRule, promoted: bool, said: str
) -> None:
    """Of 20 each, the served model finds 12 open ones and 12 short ones, the candidate 18 and 18, or 20 and 6."""
    new, old = by_class(18 if found == 18 else 20, found, 20), by_class(12, 12, 20)
    judgement = judge(with_rule("recall_delta > 0", rule, classes=1), compared(new, old), claimed(new))
    assert judgement.promoted is promoted
    assert said in "; ".join(judgement.reasons)


def test_the_first_model_needs_no_bound() -> None:
    judgement = judge(with_rule(rule=BOUND), compared(by_class(0, 1), None))
    assert judgement == Judgement(True, ["nothing serves yet, so there is nothing to be better than"])


def test_the_bound_is_asked_on_the_holdout_alone_and_the_floors_on_everything() -> None:
    old, new = (
        report({("a", "open"): (0, 20), ("b", "open"): (20, 20)}),
        report({("a", "open"): (15, 20), ("b", "open"): (8, 20)}),
    )
    some = replace(claimed(new), images=frozenset(name for name in new.per_image if name.startswith("a")))
    condition, bound, floors = judge(with_rule(rule=BOUND), compared(new, old), some).reasons
    assert condition.startswith("recall_delta is 0.075, 0.575 against 0.5")
    assert bound.startswith("recall_delta is 0.75 on 20 images, at least 0.5")
    assert floors.startswith("recall of domain b fell from 1.000 to 0.400")


@pytest.mark.parametrize(
    ("images", "alpha", "said"),
    [
        (0, None, "0 images are held out yet; it takes at least 2 to say how sure a difference is"),
        (1, None, "1 image is held out yet; it takes at least 2 to say how sure a difference is"),
        (40, 0.0, "nothing is left of this holdout's error budget; more images must be held out"),
        (5, 0.02, "but the two differ on only 5 of them, and 98.0 % confidence takes at least 6"),
    ],
)
def test_where_the_bound_says_nothing_the_candidate_is_undecided(images: int, alpha: float | None, said: str) -> None:
    new, old = by_class(20, 20, 20), by_class(0, 0, 20)
    claim = replace(claimed(new, alpha), images=frozenset(sorted(new.per_image)[:images]))
    judgement = judge(with_rule(rule=BOUND), compared(new, old), claim)
    assert judgement.promoted is None
    assert said in judgement.reasons[1]


def test_a_metric_without_a_jackknife_is_undecided() -> None:
    """Only one image of the holdout shows anything that could be found."""
    new, old = report({("line", "open"): (1, 1)}, {"open": 1}), report({("line", "open"): (0, 1)}, {"open": 2})
    judgement = judge(with_rule(rule=BOUND), compared(new, old), claimed(new))
    assert judgement.promoted is None
    assert "recall_delta cannot be judged: recall is undefined without one of these images" in judgement.reasons[1]


def test_without_a_claim_the_bound_lets_nothing_pass() -> None:
    judgement = judge(with_rule(rule=BOUND), compared(by_class(20, 20, 20), by_class(0, 0, 20)))
    assert judgement.promoted is None
    assert "no part of the error budget was claimed" in judgement.reasons[1]


@given(
    st.sampled_from(["recall", "precision", "f1", "ap"]), st.floats(1e-9, 0.49), st.integers(0, 6), st.integers(0, 6)
)
def test_a_model_as_good_as_what_serves_is_never_promoted(metric: Any, alpha: float, opened: int, shorted: int) -> None:
    same = report({("a", "open"): (opened, 6), ("b", "short"): (shorted, 6)})
    rule = PromotionRule(metric=metric)
    assert judge(with_rule("recall_delta >= 0", rule), compared(same, same), claimed(same, alpha)).promoted is not True


def test_the_verdict_keeps_all_it_rests_on() -> None:
    new, old = by_class(18, 18, 20), by_class(12, 12, 20)
    job, comparison = with_rule(rule=BOUND), compared(new, old)
    judged = judge(job, comparison, claimed(new))
    rule = judged.metrics["rule"]
    assert (rule["name"], rule["metric"], rule["margin"], rule["alpha"]) == ("bound", "recall", 0.0, 0.02)
    assert (rule["images"], rule["differing"], rule["delta"]) == (40, 12, pytest.approx(0.3))
    assert rule["bound"] == pytest.approx(rule["delta"] - 2.125 * rule["standard_error"], abs=1e-3)
    assert rule["holdout"]["sentence"].startswith("this holdout (40 images from the start)")
    stored = {"candidate": "evaluations/boards/v2-on-d2.json", "served": "evaluations/boards/v1-on-d2.json"}
    assert judged.metrics["evaluations"] == stored
    assert judge(with_rule(), comparison).metrics == {"rule": {"name": "point"}, "evaluations": stored}


@pytest.fixture
def versions(workspace: Workspace) -> Workspace:
    """A workspace whose registry has v1, and v2 and v3 that started from it."""
    for number, parent in ((1, None), (2, "v1"), (3, "v1")):
        folder = workspace.settings.home / f"model {number}"
        folder.mkdir()
        (folder / "weights").write_text(str(number))
        origin = {"run_key": str(number), "parent": parent, "dataset_version": None, "classes": CLASSES}
        workspace.registry.publish_model("boards", folder, origin)
    return workspace


def first(workspace: Workspace, job: Job) -> Promotion:
    return promote(workspace, job, "run 1", replace(compared(by_class(6, 6), None), candidate_version="v1"), "ada")


WORSE = compared(by_class(5, 5), by_class(6, 6))
BETTER = compared(by_class(8, 8), by_class(6, 6))


@pytest.mark.parametrize(("condition", "verdict"), [("recall_delta > 0", "rejected"), ("mean_iou > 0", "undecided")])
def test_a_run_that_does_not_promote_is_remembered_and_decides_once(
    offline: Workspace, condition: str, verdict: str
) -> None:
    job = with_rule(condition, classes=1, domains=1)
    judgement = decide(offline, job, "run 2", WORSE, "ada")
    (decision,) = offline.ledger.decisions("boards")
    assert (decision.verdict, decision.reasons, decision.actor) == (verdict, judgement.reasons, "ada")
    assert decision.metrics["candidate"]["recall"] == 0.5
    assert "counts" in decision.metrics

    generous = with_rule("recall_delta > -1", classes=1, domains=1)
    assert decide(offline, generous, "run 2", WORSE, "ada") == judgement
    assert decide(offline, generous, "run 3", WORSE, "ada").promoted is True
    assert offline.ledger.decisions("boards") == [decision]


@pytest.mark.slow
def test_a_promotion_says_who_why_and_instead_of_what(versions: Workspace) -> None:
    job = with_rule()
    first(versions, job)
    promotion = promote(versions, job, "run 2", BETTER, "ada")
    assert (promotion.version, promotion.number, promotion.actor) == ("v2", 2, "ada")
    assert "recall_delta is 0.2" in promotion.reason
    assert promote(versions, job, "run 2", BETTER, "ada") == promotion
    decision = versions.ledger.decisions("boards")[-1]
    assert (decision.verdict, decision.candidate, decision.served) == ("promoted", "v2", "v1")
    assert decision.metrics["delta"]["recall"] == pytest.approx(0.2)


@pytest.mark.slow
def test_a_refused_promotion_is_a_stored_verdict_that_this_run_does_not_take_back(versions: Workspace) -> None:
    job = with_rule()
    first(versions, job)
    for forced in (False, True):
        with pytest.raises(
            PromotionRefused, match="is rejected: recall_delta" if not forced else "has decided already"
        ):
            promote(versions, job, "run 2", WORSE, "ada", forced=forced)
    assert [each.verdict for each in versions.ledger.decisions("boards")] == ["promoted", "rejected"]
    by_hand = promote(versions, job, "run 3", WORSE, "ada", reason="I know better", forced=True)
    assert by_hand.reason.endswith("by hand: I know better")
    assert versions.ledger.decisions("boards")[-1].reasons[-1] == "by hand: I know better"


@pytest.mark.slow
def test_of_two_candidates_that_beat_the_same_model_only_one_serves(versions: Workspace) -> None:
    job = with_rule()
    first(versions, job)
    promote(versions, job, "run 2", BETTER, "ada")
    for forced in (False, True):
        with pytest.raises(Overtaken, match="v2 serves now"):
            promote(versions, job, f"run {3 + forced}", replace(BETTER, candidate_version="v3"), "ben", forced=forced)
    assert versions.registry.promotions("boards")[-1].version == "v2"


def on_images(ids: Sequence[str], hits: int) -> EvaluationReport:
    """The evaluation of a model that finds the one box of the first `hits` of these images."""
    truth = {name: [Box(10, 10, 30, 30, "open")] for name in ids}
    found = {name: [replace(truth[name][0], score=0.9)] for name in ids[:hits]}
    return evaluate(truth, found, dict.fromkeys(ids, "line"), CLASSES, threshold=0.5)


@pytest.mark.slow
def test_a_decision_spends_before_it_judges_and_keeps_what_it_spent(
    versions: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    job, ledger = with_rule(rule=BOUND), versions.ledger
    first(versions, job)
    names = [f"image {number}" for number in range(20)]
    dataset, ids = held_out(versions, names), [sha256(name.encode()) for name in names]
    better = compared(on_images(ids, 20), on_images(ids, 8), dataset_version=dataset)
    worse = replace(better, candidate=on_images(ids, 7), candidate_version="v3")
    assert ledger.spending("boards", "") is None

    def killed(*_: Any) -> None:
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(promoting, "judge", killed)
        with pytest.raises(Killed):
            decide(versions, job, "run 2", worse, "ada")
    assert ledger.spending("boards", "") == Spending(1, 0.02, 0.02)
    assert decide(versions, job, "run 2", worse, "ada").promoted is False
    assert decide(versions, job, "run 3", worse, "ada").promoted is False
    assert ledger.spending("boards", "") == Spending(1, 0.02, 0.02)
    (rejected, _) = ledger.decisions("boards")[1:]
    assert rejected.metrics["rule"]["alpha"] == 0.02
    assert rejected.metrics["rule"]["holdout"]["images"] == 20
    assert rejected.metrics["evaluations"]["candidate"] == f"evaluations/boards/v3-on-{dataset}.json"

    promotion = promote(versions, job, "run 4", better, "ada")
    assert promotion.decision["metrics"]["rule"]["alpha"] == 0.01
    assert ledger.decisions("boards")[-1].metrics["rule"] == promotion.decision["metrics"]["rule"]
    assert ledger.spending("boards", "") == Spending(2, 0.01, 0.01)


@pytest.mark.slow
def test_a_promotion_by_hand_spends_nothing(versions: Workspace) -> None:
    job = with_rule(rule=BOUND)
    first(versions, job)
    by_hand = promote(versions, job, "run 2", BETTER, "ada", reason="I know better", forced=True)
    assert by_hand.reason.endswith("by hand: I know better")
    assert versions.ledger.spending("boards", "") is None


class Killed(BaseException):
    """The process ends here."""


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["promote", "rollback"])
def test_a_run_killed_before_it_was_remembered_is_completed_by_a_retry(
    versions: Workspace, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    job = with_rule()
    first(versions, job)
    if kind == "rollback":
        promote(versions, job, "run 2", BETTER, "ada")

    def step() -> Promotion:
        if kind == "promote":
            return promote(versions, job, "run 9", BETTER, "ada")
        return rollback(versions, job, "run 9", "v1", "ada", "it drifts")

    def killed(*_: Any) -> None:
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(Ledger, "record_decision", killed)
        with pytest.raises(Killed):
            step()
    promotions = versions.registry.promotions("boards")

    assert step() == promotions[-1]
    assert versions.registry.promotions("boards") == promotions
    decision = versions.ledger.decisions("boards")[-1]
    assert (decision.kind, decision.run_id, decision.candidate) == (kind, "run 9", promotions[-1].version)


@pytest.mark.slow
def test_a_rollback_goes_to_a_version_that_served_before_and_says_which_did(versions: Workspace) -> None:
    job = with_rule()
    with pytest.raises(PromotionRefused, match="cannot go back to v1, which never served; nothing served before"):
        rollback(versions, job, "back", "v1", "ada", "")
    first(versions, job)
    promote(versions, job, "run 2", BETTER, "ada")
    with pytest.raises(PromotionRefused, match="cannot go back to v3, which never served; v1 served before"):
        rollback(versions, job, "back", "v3", "ada", "")
    with pytest.raises(PromotionRefused, match="cannot go back to v2, which serves now; v1 served before"):
        rollback(versions, job, "back", "v2", "ada", "")

    back = rollback(versions, job, "back", "v1", "ada", "it drifts")
    forth = rollback(versions, job, "forth", "v2", "ada", "")
    assert (back.version, back.reason, forth.reason) == ("v1", "it drifts", "rolled back")
    assert rollback(versions, job, "back", "v1", "ada", "it drifts") == back
    assert versions.served("boards") == forth
    assert [(each.kind, each.served) for each in versions.ledger.decisions("boards")[2:]] == [
        ("rollback", "v2"),
        ("rollback", "v1"),
    ]
