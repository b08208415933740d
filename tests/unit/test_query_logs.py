"""Logs hold no phone numbers."""

import io
import json
import logging
import sys

import pytest
import structlog

from rotary.runtime.logs import configure, masked


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("called +84901234567 twice", "called …567 twice"),
        ("number='0901234567'", "number='…567'"),
        ("0281234567,+14155550123", "…567,…123"),
        ("group 3, caller ID 90123456789", "group 3, caller ID 90123456789"),
        ("2026-06-06T11:59:00.123Z after 1780000000000 ms", "2026-06-06T11:59:00.123Z after 1780000000000 ms"),
        ("request 9f0123456789-1a", "request 9f0123456789-1a"),
    ],
)
def test_phone_numbers_are_masked(text: str, shown: str) -> None:
    assert masked(text) == shown


def test_a_log_line_is_json_and_its_traceback_is_masked_too(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = io.StringIO()
    monkeypatch.setattr(sys, "stderr", stream)
    before, handlers = structlog.get_config(), logging.root.handlers[:]
    try:
        configure()
        structlog.get_logger("test").error("failed", group_id=3, exc_info=ValueError("bad number +84901234567"))
    finally:
        structlog.configure(**before)
        logging.root.handlers[:] = handlers
    line = json.loads(stream.getvalue())
    assert (line["event"], line["level"], line["logger"], line["group_id"]) == ("failed", "error", "test", 3)
    assert "ValueError: bad number …567" in line["exception"]
    assert "1234567" not in stream.getvalue()
