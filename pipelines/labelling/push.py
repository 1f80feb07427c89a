"""Selected samples as Label Studio's tasks, with the served model's boxes already drawn."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from data.failpoint import failpoint
from data.ledger import LOT, Ledger, Selected
from data.sample import Prediction
from pipelines.job import Job
from pipelines.labelling import tasks
from pipelines.labelling.project import PRIORITY, TEMPLATE, LabellingProject
from pipelines.labelling.regions import IMAGE, regions_of
from pipelines.workspace import sample_key

# Label Studio draws a prediction for who labels task after task only if its version is the project's. Were it the
# model's own, a promotion would take the boxes from all tasks that wait; so that version stands in the task's data.
CHANNEL = "served model"
LAST_TASK = "label-studio last task"


@dataclass(frozen=True)
class Pushing:
    """Where the tasks of one job go, and the bucket where Label Studio finds their images."""

    ledger: Ledger
    job: Job
    project: LabellingProject
    bucket: str

    def left_behind(self, batch: Sequence[Selected]) -> dict[str, int]:
        """The tasks, by sample, that a killed push created and did not record.

        Whoever pushes is alone, so that all of these are newer than the last task that was recorded: the search costs
        the same however many tasks there are.
        """
        last = int(self.ledger.mark(self.job.name, LAST_TASK) or 0)
        wanted = tasks.of_samples([selected.sample.id for selected in batch])
        found: dict[str, int] = {}
        for task in tasks.read(self.project, wanted, tasks.later_than(last)):
            found.setdefault(task["data"]["sample_id"], task["id"])
        return found

    def create(self, chosen: Sequence[Selected]) -> dict[str, int]:
        """Make a task of each of `chosen`; the tasks by sample."""
        request = [self._task(selected) for selected in chosen]
        answer = self.project.client.projects.import_tasks(id=self.project.id, request=request, return_task_ids=True)
        failpoint("label.imported")
        return {selected.sample.id: number for selected, number in zip(chosen, answer.task_ids, strict=True)}

    def record(self, created: dict[str, int]) -> None:
        """Let the ledger know the tasks of a whole batch."""
        for sample_id, task_id in created.items():
            self.ledger.record_push(self.job.name, sample_id, task_id)
            failpoint("label.recorded")
        self.ledger.set_mark(self.job.name, LAST_TASK, str(max(created.values())))

    def _task(self, selected: Selected) -> dict[str, Any]:
        sample = selected.sample
        prediction = self.ledger.prediction(self.job.name, sample.id)
        data = {
            IMAGE: self._address(sample.id),
            "sample_id": sample.id,
            "domain": sample.domain,
            "hardness": round(selected.hardness, 4),
            PRIORITY: _priority(selected),
            "model_version": prediction.model_version if prediction else "no model",
        }
        if self.job.source.template is not None:
            data[TEMPLATE] = self._address(sample.template_id) if sample.template_id else ""
        return {"data": data, "predictions": [_prediction(prediction, selected)] if prediction else []}

    def _address(self, sample_id: str) -> str:
        return f"s3://{self.bucket}/{sample_key(sample_id)}"


def _priority(selected: Selected) -> float:
    """The larger, the earlier people should see it: every lot before the hardest, or those labelled were no lots."""
    return 2.0 if selected.miner == LOT else round(selected.hardness, 4)


def _prediction(prediction: Prediction, selected: Selected) -> dict[str, Any]:
    """The prediction as Label Studio takes it; its score is how sure the model is, so the lowest is the hardest."""
    return {
        "model_version": CHANNEL,
        "score": round(1 - selected.hardness, 4),
        "result": regions_of(prediction.boxes, selected.sample.width, selected.sample.height),
    }
