"""Reading a labelling project's tasks: only those asked for, and none missed while people go on working."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any

from pipelines.labelling.project import LabellingProject

PAGE = 100

Filter = dict[str, Any]
Task = dict[str, Any]


def changed_after(moment: datetime) -> Filter:
    """Tasks that changed after `moment`: annotated, corrected, skipped, an annotation deleted, or pushed."""
    return _filter("updated_at", "greater", "Datetime", moment.strftime("%Y-%m-%dT%H:%M:%S.%fZ"))


def touched() -> Filter:
    """Tasks that a person did something to in Label Studio."""
    return _filter("updated_by", "empty", "List", False)


def unfinished() -> Filter:
    """Tasks that nobody labelled or skipped."""
    return _filter("completed_at", "empty", "Datetime", True)


def later_than(task_id: int) -> Filter:
    """Tasks that were created after the task `task_id`."""
    return _filter("id", "greater", "Number", task_id)


def of_samples(sample_ids: Sequence[str]) -> Filter:
    """The tasks of these samples."""
    return _filter("data.sample_id", "in_list", "List", list(sample_ids))


def numbered(task_ids: Sequence[int]) -> Filter:
    """The tasks with these numbers."""
    return _filter("id", "in_list", "List", list(task_ids))


def read(project: LabellingProject, *filters: Filter, annotations: bool = False) -> Iterator[Task]:
    """The tasks for which all `filters` hold, as Label Studio's JSON in order of their numbers.

    Each page starts after the last number of the page before, so that tasks that come and go move none to another page.
    """
    last = 0
    while True:
        page = _pager(project, [*filters, later_than(last)], annotations, PAGE).items or []
        for task in page:
            # The client turns some times of a task into objects and leaves others, by what else is in the task.
            yield json.loads(task.json())
        if len(page) < PAGE:
            return
        last = page[-1].id


def count(project: LabellingProject, *filters: Filter) -> int:
    """For how many tasks all `filters` hold."""
    return int(_pager(project, list(filters), False, 1).response.total)


def _filter(column: str, operator: str, kind: str, value: Any) -> Filter:
    return {"filter": f"filter:tasks:{column}", "operator": operator, "type": kind, "value": value}


def _pager(project: LabellingProject, filters: list[Filter], annotations: bool, page_size: int) -> Any:
    return project.client.tasks.list(
        project=project.id,
        query=json.dumps({"filters": {"conjunction": "and", "items": filters}}),
        fields="all" if annotations else "task_only",
        page_size=page_size,
        resolve_uri=False,
    )
