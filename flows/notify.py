"""One message when a day ends, to DAYBOOK_WEBHOOK_URL: what ran and how it ended, no data."""

from __future__ import annotations

import json
import os
import urllib.request

SETTING = "DAYBOOK_WEBHOOK_URL"
SECONDS = 5.0


def tell(
    day: str, flow_run_id: str, status: str, seconds: float, why: str | None, warnings: list[str]
) -> bool:
    """POST the message, `text` for chat services and its parts; False where none was wanted, or
    nobody took it: a message that fails must not fail the day. `why` and `warnings` carry no values
    of data."""
    url = os.environ.get(SETTING)
    if not url:
        return False
    text = f"Daybook: {day} {status} in {seconds:.0f} s (run {flow_run_id})"
    message = {
        "text": "\n- ".join([f"{text}: {why}" if why else text, *warnings]),
        "day": day,
        "flow_run_id": flow_run_id,
        "status": status,
        "seconds": round(seconds, 1),
        "error": why,
        "warnings": warnings,
    }
    try:
        request = urllib.request.Request(
            url, json.dumps(message).encode(), {"Content-Type": "application/json"}
        )
        with urllib.request.urlopen(request, timeout=SECONDS) as answer:
            return bool(answer.status < 300)
    except (OSError, ValueError):
        return False
