"""Error budgets: what each decision on a holdout spends, and that all together never spend more."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from data.ledger import Ledger, Spending
from tests.data.ledger.test_arrivals import SHARED

ROOT = Path(__file__).resolve().parents[3]

SPEND = """
import sys
from data.ledger import Ledger
url, job, name = sys.argv[1:]
ledger = Ledger(url)
for number in range(20):
    for comparison in (f"shared {number}", f"{name} {number}"):
        spending = ledger.spend(job, "h1", comparison, 0.05, 40)
        print(comparison, spending.number, repr(spending.alpha), repr(spending.left), sep="|")
"""


def test_each_comparison_gets_a_part_of_what_is_left_and_the_same_one_what_it_got(ledger: Ledger, job: str) -> None:
    assert ledger.spending(job, "h1") is None
    first = ledger.spend(job, "h1", "v2 over v1", 0.05, 40)
    assert first == Spending(1, 0.05 / 40, 0.05 - 0.05 / 40)
    second = ledger.spend(job, "h1", "v3 over v1", 0.05, 40)
    assert second == Spending(2, first.left / 40, first.left - first.left / 40)
    assert ledger.spend(job, "h1", "v2 over v1", 0.5, 2) == first
    assert ledger.spending(job, "h1") == second


def test_each_holdout_and_job_has_a_budget_of_its_own(ledger: Ledger, job: str) -> None:
    first = ledger.spend(job, "h1", "v2 over v1", 0.05, 40)
    assert ledger.spend(job, "h2", "v2 over v1", 0.05, 40) == first
    assert ledger.spend(f"{job}_b", "h1", "v3 over v1", 0.05, 40) == first


@given(budget=st.floats(1e-6, 0.999), decisions=st.lists(st.integers(1, 100), min_size=1, max_size=12))
@SHARED
def test_together_they_never_spend_more_than_the_budget(ledger: Ledger, budget: float, decisions: list[int]) -> None:
    job = f"budget_{budget}_{decisions}"
    made = [ledger.spend(job, "h", f"v{number}", budget, parts) for number, parts in enumerate(decisions)]
    assert [each.number for each in made] == list(range(1, len(decisions) + 1))
    assert all(each.alpha >= 0 and each.left >= 0 for each in made)
    assert sum(each.alpha for each in made) + made[-1].left == pytest.approx(budget)


@pytest.mark.slow
def test_processes_that_spend_together_spend_one_after_the_other(ledger: Ledger, job: str) -> None:
    url = ledger.url.render_as_string(hide_password=False)
    command = [sys.executable, "-c", SPEND, url, job]
    processes = [
        subprocess.Popen([*command, name], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for name in ("one", "two")
    ]
    told: dict[str, set[Spending]] = {}
    for process in processes:
        output, errors = process.communicate()
        assert errors == ""
        for line in output.splitlines():
            comparison, number, alpha, remaining = line.split("|")
            told.setdefault(comparison, set()).add(Spending(int(number), float(alpha), float(remaining)))
    assert all(len(spendings) == 1 for spendings in told.values())
    made = sorted((spending for (spending,) in told.values()), key=lambda each: each.number)
    assert [each.number for each in made] == list(range(1, 61))
    left = 0.05
    for each in made:
        assert each == Spending(each.number, left / 40, left - left / 40)
        left = each.left
