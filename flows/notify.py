"""One message to DAYBOOK_WEBHOOK_URL: how a day ended, or that it is late; no data."""

from __future__ import annotations

import json
import os
import threading
import urllib.request
from typing import Any

SETTING = "DAYBOOK_WEBHOOK_URL"
SECONDS = 5.0


def is_wanted() -> bool:
    return bool(os.environ.get(SETTING))


def tell(
    day: str, flow_run_id: str, status: str, seconds: float, why: str | None, warnings: list[str]
) -> str | None:
    """POST how a day ended, as `post` does. `why` and `warnings` carry no values of data."""
    text = f"Daybook: {day} {status} in {seconds:.0f} s (run {flow_run_id})"
    return post(
        {
            "text": "\n- ".join([f"{text}: {why}" if why else text, *warnings]),
            "day": day,
            "flow_run_id": flow_run_id,
            "status": status,
            "seconds": round(seconds, 1),
            "error": why,
            "warnings": warnings,
        }
    )


def post(message: dict[str, Any]) -> str | None:
    """POST a message, `text` for chat services and its parts. Why nobody took it, without the
    address, which can hold a secret; None when it was taken, or none is wanted."""
    if not is_wanted():
        return None
    url = os.environ[SETTING]
    if not url.lower().startswith(("http://", "https://")):
        return f"{SETTING} is no http or https address: nobody was told."
    said: list[str | None] = [f"{SETTING} did not answer within {SECONDS:g} s."]

    class Refused(urllib.request.HTTPRedirectHandler):
        """A message that is sent on would arrive without its body, or where nobody meant it to."""

        def redirect_request(self, *_: Any) -> None:
            return None

    opener = urllib.request.build_opener(Refused)

    def work() -> None:
        try:
            request = urllib.request.Request(
                url, json.dumps(message).encode(), {"Content-Type": "application/json"}
            )
            with opener.open(request, timeout=SECONDS):
                said[0] = None
        except Exception as error:
            code = getattr(error, "code", None)
            said[0] = f"{SETTING} was not told: {code or type(error).__name__}."

    # A name that is looked up for ever, or an answer that comes byte by byte, has no time limit of
    # urllib's own; the thread ends with the process.
    thread = threading.Thread(target=work, daemon=True, name="daybook-webhook")
    thread.start()
    thread.join(SECONDS)
    return said[0]
