"""The operator that runs one step of a job; all of the work is in `pipelines.steps`."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from airflow.sdk import Asset, BaseOperator
from airflow.sdk.exceptions import AirflowSkipException

if TYPE_CHECKING:
    from airflow.sdk import Context


class StepOperator(BaseOperator):
    """Runs `step` of `job` for this run and returns what it says.

    A step that answers `{"skip": reason}` is shown as skipped, and so is what follows it; the reason stands in its log
    and under the XCom key `reason`.
    """

    ui_color = "#dbe9f6"

    def __init__(self, *, step: str, job: str, **options: Any):
        super().__init__(task_id=options.pop("task_id", step), **options)
        self.step = step
        self.job = job

    def execute(self, context: Context) -> dict[str, Any]:
        from pipelines import steps

        result = steps.run(self.step, self.job, context["run_id"], run_params(context))
        self.log.info("%s of %s: %s", self.step, self.job, json.dumps(result, indent=2))
        if reason := result.get("skip"):
            context["ti"].xcom_push("reason", reason)
            raise AirflowSkipException(reason)
        for outlet in self.outlets:
            if isinstance(outlet, Asset):
                context["outlet_events"][outlet].extra = result
        return result


def run_params(context: Context) -> dict[str, Any]:
    """What the person who started this run asked for, and as `actor` who that is; nothing for what was left empty."""
    asked = {**context["params"], "actor": context["dag_run"].triggering_user_name}
    return {name: value for name, value in asked.items() if value is not None}
