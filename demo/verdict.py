"""The demo's own judgement: whether every promise that it is there to show was truly kept."""

from __future__ import annotations

from collections.abc import Sequence

from demo.loop import Watch
from demo.scenario import Scenario
from pipelines.history import Round


def shortcomings(rounds: Sequence[Round], plan: Scenario, watch: Watch) -> list[str]:
    """Every promise that was not kept, in words; empty if all were.

    The last round, which learns from corrected labels, may end either way.
    """
    problems = []
    if len(rounds) != len(plan.nights) + 2:
        problems.append(f"{len(rounds)} rounds were decided; the plan has {len(plan.nights) + 2}")
    for turn in rounds:
        night = plan.nights[turn.number - 1] if 0 < turn.number <= len(plan.nights) else None
        wanted = "rejected" if night and night.mood == "bad" else "promoted"
        if turn.decision.verdict != wanted and turn.number <= len(plan.nights):
            reasons = "; ".join(turn.decision.reasons)
            problems.append(f"round {turn.number} should have been {wanted} and was {turn.decision.verdict}: {reasons}")
        if night and night.mood == "bad" and turn.quarantined == 0:
            problems.append(f"round {turn.number} had broken annotations and none was quarantined")
        if turn.number and turn.decision.served != rounds[turn.number - 1].serving:
            problems.append(f"round {turn.number} was compared with {turn.decision.served}, which did not serve then")
    served = [turn.serving for turn in rounds]
    expected = [version for index, version in enumerate(served) if index == 0 or served[index - 1] != version]
    if watch.versions != expected:
        problems.append(f"the inference server answered with {watch.versions}; it should have been {expected}")
    if watch.failures:
        asked = watch.answers + len(watch.failures)
        problems.append(f"{len(watch.failures)} of {asked} requests failed, the first: {watch.failures[0]}")
    return problems
