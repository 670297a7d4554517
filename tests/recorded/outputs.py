"""What the commands say of stored sessions, as JSON: one file for each store of a directory.

    python tests/recorded/outputs.py STORES OUTPUTS

STORES holds stores, each in a directory of its own; OUTPUTS gets NAME.json for each, an object
that maps a command line to its exit status and its document. It is how `expected.tar.xz` was made
by the version whose answers later versions must still give.
"""

from __future__ import annotations

import contextlib
import io
import json
import sys
from itertools import combinations
from pathlib import Path
from typing import Any

from bench.cli import main

# Stored comparisons: of two sessions in all of these stores, of two builds within a session.
COMPARED = ("compare", "builds")


def said(words: list[str]) -> dict[str, Any]:
    """Exit status of a command and the JSON document that it printed, or its complaint."""
    out, err = io.TextIOWrapper(io.BytesIO(), "utf-8"), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            status = main(words)
        except SystemExit as error:
            status = int(str(error.code))
    out.flush()
    text = out.buffer.getvalue().decode()  # type: ignore[attr-defined]
    try:
        document = json.loads(text)
    except json.JSONDecodeError:
        document = text
    return {"status": status, "document": document, "complaint": err.getvalue()}


def commands(store: str) -> list[list[str]]:
    """Every command line that is asked of one store."""
    at = ["--store", store]
    sessions = sorted({path.name for path in Path(store, "raw").iterdir()})
    found = []
    for session in sessions:
        found.append(["report", session, "--format", "json", "-o", "-", *at])
        found.append(["replay", session, "--json", *at])
        runs = sorted(Path(store, "raw", session).iterdir())
        found += [["show", run.name.removesuffix(".json.gz"), "--json", *at] for run in runs]
    if store in COMPARED:
        for one, other in combinations(sides(store, sessions), 2):
            found.append(["compare", "--stored", one, other, "--json", *at])
            found.append(["compare", "--stored", one, other, "--force", "--json", *at])
    return found


def sides(store: str, sessions: list[str]) -> list[str]:
    """`SESSION:LABEL` for every build of every session."""
    found = []
    for session in sessions:
        shown = said(["report", session, "--format", "json", "-o", "-", "--store", store])
        labels = [build["label"] for build in shown["document"]["sessions"][-1]["builds"]]
        found += [f"{session}:{label}" for label in labels]
    return found


def outputs(store: str) -> dict[str, dict[str, Any]]:
    """All answers of one store, which is named relative to the current directory."""
    return {" ".join(words): said(words) for words in commands(store)}


if __name__ == "__main__":
    stores, target = Path(sys.argv[1]), Path(sys.argv[2]).resolve()
    target.mkdir(exist_ok=True)
    with contextlib.chdir(stores):
        for store in sorted(path.name for path in Path().iterdir() if path.is_dir()):
            text = json.dumps(outputs(store), indent=1, sort_keys=True)
            (target / f"{store}.json").write_text(text + "\n")
