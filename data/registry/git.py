"""The `git` command, run quietly and the same whatever this user's or this process's own git settings are."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

NAME, EMAIL = "Ratchet", "ratchet@localhost"
SETTINGS = {
    "commit.gpgSign": "false",
    "core.autocrlf": "false",
    "core.hooksPath": os.devnull,
    "gc.autoDetach": "false",
    "init.defaultBranch": "main",
}
OPTIONS = [argument for name, value in SETTINGS.items() for argument in ("-c", f"{name}={value}")]


class GitFailed(RuntimeError):
    """A git command that failed; the message is the command and what it said."""


def git(folder: Path, *arguments: str, content: bytes = b"") -> bytes:
    """What `git ARGUMENTS` prints in `folder`, with `content` on its standard input.

    Raises:
        GitFailed: it ended with another status than 0.
    """
    result = subprocess.run(
        ["git", *OPTIONS, *arguments],
        cwd=folder,
        input=content,
        capture_output=True,
        env=_environment(folder),
        check=False,
    )
    if result.returncode != 0:
        said = result.stderr.decode(errors="replace").strip()
        raise GitFailed(f"`git {' '.join(arguments)}` in {folder} ended with status {result.returncode}: {said}")
    return result.stdout


def _environment(folder: Path) -> dict[str, str]:
    # Started from a git hook, this process has variables that point at that hook's repository.
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("GIT_") or "SSH" in name}
    return {
        **inherited,
        "LC_ALL": "C",
        # A clone that lost its .git must not be taken for a part of the repository that it lies in.
        "GIT_CEILING_DIRECTORIES": str(folder.resolve().parent),
        "GIT_TERMINAL_PROMPT": "0",
        "GIT_AUTHOR_NAME": NAME,
        "GIT_AUTHOR_EMAIL": EMAIL,
        "GIT_COMMITTER_NAME": NAME,
        "GIT_COMMITTER_EMAIL": EMAIL,
    }
