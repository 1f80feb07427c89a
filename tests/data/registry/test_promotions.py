"""Promotions: append-only, once per run, and read by GTO as its own."""

from __future__ import annotations

import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from data.registry import Overtaken, Promotion, UnknownVersion
from tests.data.registry.trial import Trial

pytestmark = pytest.mark.slow


@pytest.fixture
def promoting(trial: Trial) -> Trial:
    """A registry with the model versions v1 and v2 of the job pcb."""
    for number, parent in ((1, None), (2, "v1")):
        described = {"run_key": str(number), "parent": parent, "dataset_version": None}
        trial.registry.publish_model("pcb", trial.model(str(number)), described)
    return trial


def promote(trial: Trial, version: str, run_id: str, instead_of: str | None = None) -> Promotion:
    promotion: Promotion = trial.registry.promote(
        "pcb",
        version,
        instead_of=instead_of,
        actor="a person",
        reason='better: "0.9" > 0.8\n# really',
        decision={"run_id": run_id, "ap": 0.9},
    )
    return promotion


def test_history_is_append_only_and_a_rollback_is_part_of_it(promoting: Trial) -> None:
    steps = (("v1", "a", None), ("v2", "b", "v1"), ("v1", "c", "v2"))
    made = [promote(promoting, version, run, before) for version, run, before in steps]
    promotions = promoting.clone("elsewhere").promotions("pcb")
    assert promotions == made
    assert [(one.number, one.version) for one in promotions] == [(1, "v1"), (2, "v2"), (3, "v1")]
    assert promotions[0].reason == 'better: "0.9" > 0.8\n# really'
    times = [datetime.fromisoformat(one.at) for one in promotions]
    assert times == sorted(set(times))
    assert abs(times[0] - datetime.now(UTC)) < timedelta(minutes=1)
    assert promoting.registry.check("pcb") == []


def test_a_run_promotes_once_even_after_a_rollback(promoting: Trial) -> None:
    promote(promoting, "v1", "a")
    second = promote(promoting, "v2", "b", "v1")
    assert promote(promoting, "v2", "b", "v1") == second
    rollback = promote(promoting, "v1", "c", "v2")
    assert promote(promoting, "v2", "b", "v1") == second
    assert promoting.registry.promotions("pcb")[-1] == rollback


def test_an_unknown_version_is_not_promoted(promoting: Trial) -> None:
    with pytest.raises(UnknownVersion, match="v7; it has v1, v2"):
        promote(promoting, "v7", "a")
    assert promoting.registry.promotions("pcb") == []


def test_of_two_that_were_compared_with_the_same_model_one_is_promoted(promoting: Trial) -> None:
    promote(promoting, "v1", "a")
    promote(promoting, "v2", "b", "v1")
    with pytest.raises(Overtaken, match="v1 of pcb was to serve instead of v1, but v2 serves now"):
        promote(promoting, "v1", "c", "v1")
    with pytest.raises(Overtaken, match="instead of nothing"):
        promote(promoting, "v1", "d")
    assert [one.version for one in promoting.registry.promotions("pcb")] == ["v1", "v2"]


def test_gto_reads_versions_and_promotions(promoting: Trial, tmp_path: Path) -> None:
    import gto.api

    promoting.publish(range(5))
    for version, run, before in (("v1", "a", None), ("v2", "b", "v1"), ("v1", "c", "v2")):
        promote(promoting, version, run, before)
    elsewhere = tmp_path / "elsewhere"
    subprocess.run(["git", "clone", "-q", promoting.url, str(elsewhere)], check=True)
    shown = gto.api.show(str(elsewhere))
    assert shown["pcb"]["version"] == "v2.0.0"
    assert shown["pcb"]["stage"]["production"] == "v1.0.0"
    assert shown["pcb-data"]["version"] == "v1.0.0"
    history = [event["event"] for event in gto.api.history(str(elsewhere), artifact="pcb")]
    assert history.count("registration") == 2
    assert history.count("assignment") == 3
