"""Which warnings are accepted, why, and until when: accepted.yml, which is reviewed like code."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import yaml

from flows.checks.run import declared_suites
from loaders.errors import guess

FILE = Path(__file__).with_name("accepted.yml")


def read_accepted() -> tuple[dict[str, dict[str, str]], dict[str, str]]:
    """The file as two dicts: check → its `reason` and the UTC date `until` which it is accepted;
    and wrong entry → why it accepts nothing. Nothing is raised: a mistake in the file must neither
    hide a warning nor fail a day."""
    try:
        entries = dict(yaml.safe_load(FILE.read_text(encoding="utf-8")) or {})
    except (OSError, ValueError, TypeError, yaml.YAMLError):
        return {}, {FILE.name: "it is no YAML of checks by name: nothing is accepted"}
    severities = {
        f"{suite['name']}.{one['meta']['check']}": one["severity"]
        for suite in declared_suites()
        for one in suite["expectations"]
    }
    accepted, wrong = {}, {}
    for name, entry in ((str(name), entry) for name, entry in entries.items()):
        fields = entry if isinstance(entry, dict) else {}
        until, reason = fields.get("until"), fields.get("reason")
        if name not in severities:
            wrong[name] = f"accepted.yml names it; no check is called so.{guess(name, severities)}"
        elif severities[name] != "warning":
            wrong[name] = "accepted.yml names it; it fails a day, which can't be accepted"
        elif type(until) is not date or not isinstance(reason, str) or not reason.strip():
            wrong[name] = "accepted.yml names it without a `reason` or a date `until`: 2026-03-31"
        else:
            accepted[name] = {"until": until.isoformat(), "reason": " ".join(reason.split())}
    return accepted, wrong
