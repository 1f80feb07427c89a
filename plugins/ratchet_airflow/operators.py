"""The operators that run the steps of a job; all of the work is in `pipelines.steps`."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from airflow.providers.standard.operators.branch import BaseBranchOperator
from airflow.sdk import Asset, BaseOperator
from airflow.sdk.exceptions import AirflowFailException, AirflowSkipException

if TYPE_CHECKING:
    from airflow.sdk import Context

logger = logging.getLogger(__name__)


class StepOperator(BaseOperator):
    """Runs `step` of `job` for this run and returns what it says; `values` come on top of what the run was told.

    A step that answers `{"skip": reason}` is shown as skipped, and so is what follows it; the reason stands in its log
    and under the XCom key `reason`. One that refuses what was asked fails at once, for a retry would not mend it.
    """

    ui_color = "#dbe9f6"
    template_fields: Sequence[str] = ("values",)

    def __init__(self, *, step: str, job: str, values: Mapping[str, Any] | None = None, **options: Any):
        super().__init__(task_id=options.pop("task_id", step), **options)
        self.step = step
        self.job = job
        self.values = dict(values or {})

    def execute(self, context: Context) -> dict[str, Any]:
        result = run_step(self.step, self.job, context, self.values)
        self.log.info("%s of %s: %s", self.step, self.job, json.dumps(result, indent=2))
        if reason := result.get("skip"):
            context["ti"].xcom_push("reason", reason)
            raise AirflowSkipException(reason)
        for outlet in self.outlets:
            if isinstance(outlet, Asset):
                context["outlet_events"][outlet].extra = result
        return result


class StartOperator(BaseBranchOperator):
    """Checks and remembers what was asked of the run, then goes to the entry of the step where it is to start."""

    ui_color = StepOperator.ui_color

    def __init__(self, *, job: str, entries: Mapping[str, str], **options: Any):
        super().__init__(task_id=options.pop("task_id", "start"), **options)
        self.job = job
        self.entries = dict(entries)

    def choose_branch(self, context: Context) -> str:
        asked = run_step("start", self.job, context)
        self.log.info("asked of %s: %s", self.job, json.dumps(asked, indent=2))
        return self.entries[asked["start_at"]]


def run_step(step: str, job: str, context: Context, values: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Run a step for this run.

    Raises:
        AirflowFailException: it refuses what was asked; a retry would not mend that.
    """
    from pipelines import steps

    try:
        return steps.run(step, job, context["run_id"], {**run_params(context), **(values or {})})
    except steps.REFUSALS as refusal:
        logger.error(str(refusal))
        raise AirflowFailException(str(refusal)) from refusal


def run_params(context: Context) -> dict[str, Any]:
    """What the person who started this run asked for, and as `actor` who that is; nothing for what was left empty."""
    asked = {**context["params"], "actor": context["dag_run"].triggering_user_name}
    return {name: value for name, value in asked.items() if value is not None}
