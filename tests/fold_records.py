"""The oracle's input: landed records, typed by silver's rules, with the reasons why one is invalid.

`COLUMNS`, `REQUIRED_COLUMNS` and `KEY` repeat what the models declare, so that a wrong declaration
is noticed.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from functools import cached_property
from typing import Any

from tests.fold_types import PARSERS, is_blank, list_of_ids

# The currencies in the tests' data; all of them are in the seed.
CURRENCIES = frozenset(["BHD", "CHF", "EUR", "GBP", "JPY", "USD", "UYU"])
NEVER = datetime.min.replace(tzinfo=UTC)


def _columns(declared: str) -> dict[str, str]:
    """Name → type, from words like `name:type`; a word without a type is text."""
    pairs = (word.partition(":") for word in declared.split())
    return {name: kind or "text" for name, _, kind in pairs}


_AGENT = (
    "agent_id:id email name job_title language mobile phone time_zone contact_active:boolean "
    "available:boolean available_since:timestamptz deactivated:boolean focus_mode:boolean "
    "agent_operational_status last_active_at:timestamptz last_login_at:timestamptz org_agent_id:id "
    "ticket_scope signature freshchat_agent:boolean created_at:timestamptz updated_at:timestamptz"
)
COLUMNS = {
    "stg_agents": _columns(_AGENT),
    "stg_agent_details": _columns(_AGENT + " role_ids:ids group_ids:array"),
    "stg_groups": _columns(
        "group_id:id name description parent_group_id:id agent_ids:lenient "
        "created_at:timestamptz updated_at:timestamptz"
    ),
    "stg_group_memberships": _columns("group_id:id agent_id:id"),
    "stg_transactions": _columns(
        "transaction_id:id transaction_uuid transaction_type occurred_time:timestamptz "
        "updated_time:timestamptz user_id:id user_uuid user_name raw_merchant_name merchant_name "
        "card_id:id card_uuid budget_id:id budget_uuid amount_minor:integer_of_any_size "
        "child_transaction_ids:children exponent:exponent currency exchange_rate:numeric"
    ),
    "stg_cards": _columns(
        "card_id:id card_uuid name user_id:id user_uuid budget_id:id budget_uuid last_four "
        "valid_thru status type share_budget_funds:boolean recurring:boolean "
        "recurring_limit:numeric current_limit:numeric current_spent:numeric "
        "created_time:timestamptz updated_time:timestamptz"
    ),
    "stg_fx_rates": _columns("rate_date:date currency usd_per_unit:numeric"),
}
REQUIRED_COLUMNS = {
    "stg_agents": ("agent_id", "email", "name"),
    "stg_agent_details": ("agent_id", "email", "name"),
    "stg_groups": ("group_id",),
    "stg_group_memberships": ("group_id", "agent_id"),
    "stg_transactions": (
        *("transaction_id", "transaction_uuid", "occurred_time"),
        *("currency", "amount_minor", "exponent"),
    ),
    "stg_cards": ("card_id", "status", "type", "created_time"),
    "stg_fx_rates": ("rate_date", "currency", "usd_per_unit"),
}
KEY = {
    "stg_agents": "agent_id",
    "stg_agent_details": "agent_id",
    "stg_groups": "group_id",
    "stg_transactions": "transaction_id",
    "stg_cards": "card_id",
}


@dataclass(eq=False)
class Record:
    """A landed record with its typed `values`. `errors` are the reasons found in the record itself;
    a missing exchange rate depends on other tables, see `ExpectedState.errors`."""

    table: str
    day: date
    file: str
    row: int
    landed: dict[str, str | None]  # column → its text; None where nothing landed
    values: dict[str, Any] = field(default_factory=dict)
    errors: frozenset[str] = frozenset()

    def __post_init__(self) -> None:
        errors = set()
        for name, kind in COLUMNS[self.table].items():
            text = self.landed.get(name)
            if is_blank(text):
                self.values[name] = None
                if name in REQUIRED_COLUMNS[self.table]:
                    errors.add(f"{name}_missing")
            else:
                self.values[name], is_valid = PARSERS[kind](text)
                if not is_valid:
                    errors.add(f"{name}_invalid")
        if (currency := self.values.get("currency")) and currency not in CURRENCIES:
            errors.add("currency_invalid")
        if (rate := self.values.get("usd_per_unit")) is not None and rate <= 0:
            errors.add("usd_per_unit_invalid")
        self.errors = frozenset(errors)

    @property
    def key(self) -> Any:
        if self.table == "stg_fx_rates":
            return self.values["rate_date"], self.values["currency"]
        return self.values[KEY[self.table]]

    @property
    def lineage(self) -> tuple[date, str, int]:
        return self.day, self.file, self.row

    @property
    def updated(self) -> datetime:
        return self.values.get("updated_at") or self.values.get("updated_time") or NEVER

    @property
    def precedence(self) -> tuple:
        """Sort key, the last write highest; a record of agent_details beats any of agents."""
        is_detail = self.table == "stg_agent_details"
        return is_detail, self.updated, self.day, self.file.encode(), self.row

    @property
    def is_switched_off(self) -> bool:
        return self.values["deactivated"] is True or self.values["contact_active"] is False

    @cached_property
    def agent_ids(self) -> list[str] | None:
        """The group's list of agents; None where there is no list, or a malformed one."""
        return list_of_ids(self.landed.get("agent_ids"))

    @property
    def has_malformed_list(self) -> bool:
        text = self.landed.get("agent_ids")
        return self.agent_ids is None and not is_blank(text) and text.strip() != "null"


@dataclass(eq=False)
class Batch:
    """One table's landed records of one day, by file and in the file's order; None in the place of
    a rejected record, because rows are counted from 1 in the file."""

    table: str
    day: date
    files: dict[str, list[dict[str, str | None] | None]]

    @cached_property
    def records(self) -> list[Record]:
        return [
            Record(self.table, self.day, file, row, landed)
            for file, rows in self.files.items()
            for row, landed in enumerate(rows, start=1)
            if landed is not None
        ]
