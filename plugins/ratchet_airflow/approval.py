"""The task in which a person lets a candidate serve or not: Airflow's own approval, with Ratchet's evidence."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

from airflow.providers.standard.operators.hitl import ApprovalOperator, HITLOperator
from airflow.sdk import Param, timezone
from airflow.sdk.exceptions import AirflowSkipException, TaskAwaitingInput

from ratchet_airflow.operators import run_step

if TYPE_CHECKING:
    from airflow.sdk import Context

COMMENT = Param(None, type=["null", "string"], title="Comment", description="Kept with the decision, with your name.")


class PromotionApproval(ApprovalOperator):
    """Asks a person whether the candidate may serve, for at most `wait_seconds`, and returns the answer.

    It holds no worker while it waits, and looks every `check_seconds` whether the question is void: because another
    model serves by now, or a newer candidate is asked about. Whatever the answer is, `promote` comes next and keeps it.
    """

    def __init__(self, *, job: str, wait_seconds: float, check_seconds: float, **options: Any):
        asked = {
            "subject": f"Let the candidate of {job} serve?",
            "params": {"comment": COMMENT},
            "response_timeout": timedelta(seconds=min(check_seconds, wait_seconds)),
        }
        super().__init__(task_id=options.pop("task_id", "approve"), **{**options, **asked})
        self.job = job
        self.wait_seconds = wait_seconds
        self.check_seconds = check_seconds

    def execute(self, context: Context) -> dict[str, Any]:
        asked = run_step("ask", self.job, context)
        if reason := asked.get("skip"):
            context["ti"].xcom_push("reason", reason)
            raise AirflowSkipException(reason)
        if "answer" in asked:
            answer: dict[str, Any] = asked["answer"]
            return answer
        self.subject, self.body = asked["subject"], asked["body"]
        super().execute(context)
        raise AssertionError("the base class waits by raising")

    def execute_complete(self, context: Context, event: dict[str, Any]) -> dict[str, Any]:
        """Go on with the answer, or look whether to wait on."""
        if event.get("error_type") != "timeout":
            # Not the base class's: it would skip `promote`, which records a no as well.
            answer = HITLOperator.execute_complete(self, context, event)
            return _said(answer["chosen_options"], answer["responded_by_user"], answer["params_input"])
        waited = (timezone.utcnow() - context["ti"].start_date).total_seconds()
        left = self.wait_seconds - waited
        ended = self._void(context)
        if ended is None and left > 0:
            # The question stays open meanwhile: an answer that comes in this moment is found when the task is parked.
            raise TaskAwaitingInput(
                method_name="execute_complete", timeout=timedelta(seconds=min(self.check_seconds, left))
            )
        if ended:
            return {"approved": None, "words": f"nobody had answered when {ended}"}
        return {"approved": None, "words": f"nobody answered within {self.wait_seconds:g} s (approval.waitSeconds)"}

    def _void(self, context: Context) -> str | None:
        try:
            reason: str | None = run_step("void", self.job, context)["void"]
        except Exception as error:  # an outage must not end a wait of a day; whatever is answered is checked again
            self.log.warning("cannot tell whether the question stands: %s: %s", type(error).__name__, error)
            return None
        return reason


def _said(chosen: list[str], user: Any, form: Any) -> dict[str, Any]:
    from pipelines.approval import Answer

    name = user["name"] if user else "somebody"
    return Answer.said(chosen == [ApprovalOperator.APPROVE], name, form.get("comment")).to_json()
