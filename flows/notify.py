"""One message to DAYBOOK_WEBHOOK_URL: how a day ended, or that it is late; no data. JSON to an
http address, text to any other that Apprise knows: Slack, Teams, mail."""

from __future__ import annotations

import logging
import os
import threading
import time
from typing import Any

SETTING = "DAYBOOK_WEBHOOK_URL"
SECONDS = 5.0
NOT_NOW = (429, 503)  # whoever answers so has taken nothing


def message(
    day: str,
    flow_run_id: str,
    status: str,
    seconds: float = 0.0,
    why: str | None = None,
    findings: dict[str, list[str]] | None = None,
    solved: bool = False,
) -> dict[str, Any]:
    """How a day ended, for `post` and for Prefect. `why` and `findings` (heading → lines, as a
    Story's by_severity has them) carry no values of data; `solved`: it had failed, or was late,
    before."""
    text = f"Daybook: {day} {status} in {seconds:.0f} s (run {flow_run_id})"
    text += ", solved: it had failed or was late" if solved else ""
    groups = {name: lines for name, lines in (findings or {}).items() if lines}
    lists = ["\n- ".join([f"{name}:", *lines]) for name, lines in groups.items()]
    return {
        "text": "\n".join([f"{text}: {why}" if why else text, *lists]),
        "day": day,
        "flow_run_id": flow_run_id,
        "status": status,
        "solved": solved,
        "seconds": round(seconds, 1),
        "error": why,
        "warnings": [line for name in groups if name != "known" for line in groups[name]],
    }


def post(message: dict[str, Any]) -> str | None:
    """Send a message. Returns why nobody took it, without the address, which can hold a secret;
    None when it was taken, or when there is no webhook."""
    url = os.environ.get(SETTING)
    if not url:
        return None
    answer: list[str | None] = [f"{SETTING} did not answer within {SECONDS:g} s."]

    def work() -> None:
        try:
            send = _by_http if url.lower().startswith(("http://", "https://")) else _by_apprise
            answer[0] = send(url, message)
        except Exception as error:
            answer[0] = f"{SETTING} was not told: {type(error).__name__}."

    # No library's time limit covers a name look-up that hangs or an answer that comes byte by byte;
    # the thread ends with the process.
    thread = threading.Thread(target=work, daemon=True, name="daybook-webhook")
    thread.start()
    thread.join(SECONDS)
    return answer[0]


def _by_http(url: str, message: dict[str, Any]) -> str | None:
    """POST the message as JSON, and again if nobody answered. No redirect is followed: the message
    would arrive where nobody meant it to."""
    import httpx

    waits = [1, 0.5]
    while True:
        try:
            answer = httpx.post(url, json=message, timeout=SECONDS, follow_redirects=False)
        except httpx.ConnectError:
            if not waits:
                raise
        else:
            if not waits or answer.status_code not in NOT_NOW:
                code = answer.status_code
                return None if answer.is_success else f"{SETTING} was not told: {code}."
        time.sleep(waits.pop())


def _by_apprise(url: str, message: dict[str, Any]) -> str | None:
    import apprise

    logging.getLogger("apprise").disabled = True  # it would quote the address
    service = apprise.Apprise()
    if not service.add(url):
        return f"{SETTING} is no address that Apprise knows: nobody was told."
    is_sent = service.notify(title="Daybook", body=message["text"], body_format="text")
    return None if is_sent else f"{SETTING} was not told."
