"""No format of a report holds what may be a secret, unless it is asked for."""

from __future__ import annotations

import io
from dataclasses import replace

import pytest

from reports.formats.junit import junit
from reports.formats.mail import Letter, night_mail
from reports.formats.markdown import markdown
from reports.formats.openmetrics import openmetrics
from reports.formats.parquet import write_parquet
from reports.formats.perfetto import report as perfetto
from reports.formats.report_json import report_json
from reports.html.page import html_report
from reports.request import Request
from results.store.store import open_store
from results.summary.report_data import ReportOptions, read_report_data

SECRET = "hunter2xyz"


@pytest.fixture
def texts(tmp_path, session, good_run, failed_run, recording_of):
    """Every format of a session whose command, host and logs hold a secret, redacted or not."""
    facts = {"host": "h1", "cmdline": f"luks.key={SECRET} quiet", "kernel": "6.12"}
    earlier = replace(session, id="20261122-221500-3f2a", started_unix_ns=5, environment=facts)
    facts |= {"cmdline": f"luks.key={SECRET}2 quiet"}
    command = ("pausebench", "run", "anon", f"--token={SECRET}")
    recorded = replace(session, environment=facts, command=command)
    lost = replace(
        failed_run,
        reason=f"QEMU ended: password={SECRET}",
        log_tail=f"-object secret,id=a,data={SECRET}",
    )
    with open_store(tmp_path / "store") as store:
        for each in (earlier, recorded):
            store.add_session(each)
            for run in (good_run, lost):
                mine = replace(run, id=run.id.replace(run.session, each.id), session=each.id)
                store.add_run(mine, recording_of(mine))

        def made(redact):
            options = ReportOptions(redact=redact)
            data = read_report_data(store, [recorded.id], options)
            file = io.BytesIO()
            write_parquet(data, file)
            trace = perfetto(Request(data, store))
            return {
                "html": html_report(data),
                "markdown": markdown(data),
                "json": report_json(data),
                "junit": junit(data),
                "openmetrics": openmetrics(data),
                "mail": night_mail(data, [], Letter("n", "a@b", "c@d", 0.0, "again")).decode(),
                "parquet": file.getvalue().decode("latin-1"),
                "perfetto": trace.decode("latin-1") if isinstance(trace, bytes) else repr(trace),
            }

        yield made


def test_it_is_redacted_unless_asked_for(texts):
    hidden, shown = texts(True), texts(False)
    assert [name for name, text in hidden.items() if SECRET in text] == []
    told = {name for name, text in shown.items() if SECRET in text}
    assert {"html", "markdown", "json", "junit", "mail"} <= told
