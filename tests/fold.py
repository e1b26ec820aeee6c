"""What silver, quarantine, group activity and the ledger must hold, folded from landed records in
plain Python. It shares no code with the loaders or the models: only the rules.

A record is a dict of landed texts (None where nothing landed). A batch is one table's records of
one day; a warehouse is what `Fold.build` makes of the batches that are landed at that moment.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass
from datetime import date, timedelta
from decimal import ROUND_HALF_UP, Context, Decimal
from functools import cached_property
from hashlib import sha256
from typing import Any, NamedTuple

from tests.fold_records import Batch, Record

REQUIRED_TABLES = ("stg_agents", "stg_groups", "stg_transactions")
EXACT = Context(prec=500)
TARGETS = {
    "agents": ("stg_agents", "stg_agent_details"),
    "groups": ("stg_groups",),
    "group_memberships": ("stg_groups", "stg_group_memberships"),
    "transactions": ("stg_transactions",),
    "cards": ("stg_cards",),
    "fx_rates": ("stg_fx_rates",),
}

Batches = dict[tuple[str, date], Batch]


class Unit(NamedTuple):
    """What says that an agent is in a group: an element of a list, or a row of a file."""

    group_id: str | None
    agent_id: str | None
    record: Record
    place: int

    @property
    def strength(self) -> tuple:
        """The newer day, then lists before files, then last write, then the first element."""
        source = self.record
        is_list = source.table == "stg_groups"
        return source.day, is_list, source.written, source.file.encode(), source.row, -self.place


@dataclass
class State:
    """What a warehouse holds once `applied` are applied, in whatever order that happened."""

    applied: Batches

    def records(self, *tables: str) -> list[Record]:
        batches = (batch for (table, _), batch in self.applied.items() if table in tables)
        return [record for batch in batches for record in batch.records]

    def errors(self, record: Record) -> frozenset[str]:
        is_rated = record.table != "stg_transactions" or record.values["currency"] is None
        return record.errors if is_rated or self.rate(record) else record.errors | {"no_rate"}

    def rate(self, record: Record) -> tuple[str, Decimal, date | None] | None:
        """Source, US dollars per unit and date of a transaction's rate."""
        values = record.values
        spent = values["occurred_time"] and values["occurred_time"].date()
        if values["currency"] == "USD":
            return "usd", Decimal(1), spent
        for age in range(8 if spent else 0):
            if found := self.fx_rates.get((spent - timedelta(days=age), values["currency"])):
                return "reference", found["usd_per_unit"], found["rate_date"]
        paid = values["exchange_rate"]
        return ("payload", paid, spent) if paid and paid > 0 else None

    @cached_property
    def fx_rates(self) -> dict[tuple[date, str], dict[str, Any]]:
        valid = (r for r in self.records("stg_fx_rates") if not r.errors)
        return {key: record.values for key, record in _best((r.key, r) for r in valid).items()}

    def newest(self, table: str) -> date | None:
        return max((day for name, day in self.applied if name == table), default=None)

    def winners(self, target: str) -> dict[Any, Record]:
        valid = (r for r in self.records(*TARGETS[target]) if not self.errors(r))
        return _best((r.key, r) for r in valid)

    def day_winners(self, target: str) -> dict[Any, Record]:
        valid = (r for r in self.records(*TARGETS[target]) if not self.errors(r))
        return _best(((r.key, r.day), r) for r in valid)

    @cached_property
    def listed(self) -> set[tuple[str, date]]:
        """Agents on each day's list, by a readable id: a malformed agent isn't absent."""
        return {(r.key, r.day) for r in self.records("stg_agents") if r.key is not None}

    @cached_property
    def agents(self) -> dict[str, dict[str, Any]]:
        seen = defaultdict(set)
        for record in self.records("stg_agents", "stg_agent_details"):
            seen[record.key].add(record.day)
        newest = self.newest("stg_agents")
        return {
            key: {
                "role_ids": None,
                "group_ids": None,
                **record.values,
                "status": "active"
                if (key, newest) in self.listed and not record.is_off
                else "inactive",
                "first_seen_day": min(seen[key]),
                "last_seen_day": max(seen[key]),
            }
            for key, record in self.winners("agents").items()
        }

    @cached_property
    def history(self) -> dict[tuple[str, date], bool]:
        spoken = self.day_winners("agents")
        days = {day for table, day in self.applied if table == "stg_agents"}
        return {
            (key, day): (key, day) in self.listed
            and not ((key, day) in spoken and spoken[key, day].is_off)
            for key, agent in self.agents.items()
            for day in days
            if day >= agent["first_seen_day"]
        }

    @cached_property
    def groups(self) -> dict[str, dict[str, Any]]:
        newest = self.newest("stg_groups")
        present = {r.key for r in self.records("stg_groups") if r.day == newest}
        return {
            key: {**record.values, "is_present": key in present}
            for key, record in self.winners("groups").items()
        }

    @cached_property
    def transactions(self) -> dict[str, dict[str, Any]]:
        winners = self.winners("transactions").items()
        return {key: _priced(record.values, *self.rate(record)) for key, record in winners}

    @cached_property
    def cards(self) -> dict[str, dict[str, Any]]:
        return {key: record.values for key, record in self.winners("cards").items()}

    @cached_property
    def day_lists(self) -> dict[tuple[str, date], Record]:
        """Each day's list of a group: of its valid records with a readable one, the last write."""
        valid = (r for r in self.records("stg_groups") if not r.errors and r.agent_ids is not None)
        return _best(((r.key, r.day), r) for r in valid)

    def units(self, *tables: str) -> list[Unit]:
        found = []
        for record in self.records(*tables):
            if record.table == "stg_group_memberships":
                values = record.values
                found.append(Unit(values["group_id"], values["agent_id"], record, 0))
            else:
                ids = enumerate(record.agent_ids or [])
                found += [Unit(record.key, agent, record, place) for place, agent in ids]
        return found

    @cached_property
    def day_claims(self) -> dict[tuple[str, str, date], Unit]:
        """Per pair and day the unit that counts: its list is the day's list of that group."""
        lists = set(self.day_lists.values())
        best: dict[tuple[str, str, date], Unit] = {}
        for unit in self.units("stg_groups", "stg_group_memberships"):
            record = unit.record
            if record.errors or (record.table == "stg_groups" and record not in lists):
                continue
            claim = unit.group_id, unit.agent_id, record.day
            if claim not in best or unit.strength > best[claim].strength:
                best[claim] = unit
        return best

    @cached_property
    def claims(self) -> dict[tuple[str, str], Unit]:
        """The pairs that the newest snapshots name, each with its unit, known or not."""
        newest_lists: dict[str, Record] = {}
        for (group, _), record in sorted(self.day_lists.items(), key=lambda item: item[0][1]):
            if self.groups[group]["is_present"]:
                newest_lists[group] = record
        filed = self.newest("stg_group_memberships")
        best: dict[tuple[str, str], Unit] = {}
        for unit in self.units("stg_groups", "stg_group_memberships"):
            record, pair = unit.record, (unit.group_id, unit.agent_id)
            if record.table == "stg_groups":
                counts = newest_lists.get(unit.group_id) is record
            else:
                counts = record.day == filed and not record.errors
            if counts and (pair not in best or unit.strength > best[pair].strength):
                best[pair] = unit
        return best

    def unknown(self, unit: Unit) -> frozenset[str]:
        reasons = {
            "unknown_agent": unit.agent_id not in self.agents,
            "unknown_group": unit.group_id not in self.groups,
        }
        return frozenset(reason for reason, holds in reasons.items() if holds)

    @cached_property
    def memberships(self) -> set[tuple[str, str]]:
        return {pair for pair, unit in self.claims.items() if not self.unknown(unit)}

    @cached_property
    def waiting(self) -> dict[tuple[str, str], frozenset[str]]:
        """Pairs of the newest snapshots that are quarantined until both are known."""
        return {pair: why for pair, unit in self.claims.items() if (why := self.unknown(unit))}

    def quarantine(self, target: str) -> dict[tuple[date, str, int], frozenset[str]]:
        """Records that are not valid, by where they came from, without the unknown pairs."""
        if target != "group_memberships":
            records = self.records(*TARGETS[target])
            return {r.place: errors for r in records if (errors := self.errors(r))}
        rows = {r.place: r.errors for r in self.records("stg_group_memberships") if r.errors}
        for record in self.records("stg_groups"):
            why = {"agent_ids_invalid"} if record.is_malformed_list else set()
            if record.errors and (why or record.agent_ids):
                why.add("group_invalid")
            if why:
                rows[record.place] = frozenset(why)
        return rows

    @cached_property
    def ledger(self) -> dict[tuple[date, str, str], Counter[str]]:
        """What each day's records came to beside those of the days before."""
        found: dict[tuple[date, str, str], Counter[str]] = {
            (day, table, target): Counter()
            for target, tables in TARGETS.items()
            for table, day in self.applied
            if table in tables
        }
        for target, tables in TARGETS.items():
            if target == "group_memberships":
                for unit in self.units(*tables):
                    place = unit.record.day, unit.record.table, target
                    found[place][self._unit_outcome(unit)] += 1
                continue
            by_key = defaultdict(list)
            for record in self.records(*tables):
                by_key[None if self.errors(record) else record.key].append(record)
            for key, records in by_key.items():
                for record in records:
                    outcome = "quarantined" if key is None else _outcome(record, records)
                    found[record.day, record.table, target][outcome] += 1
        return found

    def _unit_outcome(self, unit: Unit) -> str:
        pair = unit.group_id, unit.agent_id
        if unit.record.errors or self.unknown(unit):
            return "quarantined"
        if self.day_claims.get((*pair, unit.record.day)) != unit:
            return "duplicate"
        days = [day for *claimed, day in self.day_claims if tuple(claimed) == pair]
        return "unchanged" if min(days) < unit.record.day else "inserted"

    @cached_property
    def activity(self) -> dict[str, dict[str, Any]]:
        return _activity(self.groups, self.memberships, self.agents)


class Fold:
    """A warehouse that is built again and again."""

    def __init__(self) -> None:
        self.state = State({})

    def build(self, landed: Batches) -> None:
        """Apply the landed batches of whole days; a batch that is gone is forgotten."""
        whole = {d for _, d in landed if all((table, d) in landed for table in REQUIRED_TABLES)}
        self.state = State({key: batch for key, batch in landed.items() if key[1] in whole})


def _outcome(record: Record, valid: list[Record]) -> str:
    """What a valid record came to among the `valid` ones of its key."""
    if any(other.day == record.day and other.position > record.position for other in valid):
        return "duplicate"
    before = max((o for o in valid if o.day < record.day), key=lambda o: o.position, default=None)
    if before is None:
        return "inserted"
    if before.position > record.position:
        return "stale"
    names = record.values.keys() | before.values.keys()
    is_same = all(record.values.get(name) == before.values.get(name) for name in names)
    return "unchanged" if is_same else "updated"


def _best(keyed: Any) -> dict[Any, Record]:
    best: dict[Any, Record] = {}
    for key, record in keyed:
        if key not in best or record.position > best[key].position:
            best[key] = record
    return best


def _priced(values: dict[str, Any], source: str, rate: Decimal, rate_date: date) -> dict[str, Any]:
    """A transaction with the rate that counts, its US dollars and its idempotency key."""
    amount = Decimal(values["amount_minor"]).scaleb(-values["exponent"], EXACT)
    usd = EXACT.multiply(amount, rate).quantize(Decimal("0.0001"), ROUND_HALF_UP, EXACT)
    plain = f"{amount:f}"
    plain = plain.rstrip("0").rstrip(".") if "." in plain else plain
    moment = values["occurred_time"]
    parts = (
        values["transaction_id"],
        values["transaction_uuid"],
        moment.strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
        "0" if amount == 0 else plain,
        values["currency"],
    )
    return {
        **values,
        "original_amount": amount,
        "original_currency": values["currency"],
        "exchange_rate": rate,
        "amount_usd": usd,
        "fx_source": source,
        "fx_date": rate_date,
        "idempotency_key": sha256("\x1f".join(parts).encode()).hexdigest(),
    }


def _activity(groups: dict, memberships: set, agents: dict) -> dict[str, dict[str, Any]]:
    parent = {
        group: row["parent_group_id"]
        for group, row in groups.items()
        if row["parent_group_id"] in groups
    }
    members = Counter(g for g, agent in memberships if agents[agent]["status"] == "active")
    active: set[str] = set()
    for group in members:
        while group is not None and group not in active:
            active.add(group)
            group = parent.get(group)
    children = Counter(up for group, up in parent.items() if group in active)
    rows = {}
    for group, row in groups.items():
        path = [group]
        while (up := parent.get(path[-1])) is not None and up not in path:
            path.append(up)
        rows[group] = {
            "group_id": group,
            "name": row["name"],
            "parent_group_id": row["parent_group_id"],
            "inactive": group not in active,
            "active_members": members[group],
            "active_children": children[group],
            "depth": len(path) - 1 if up is None else None,
            "root_group_id": path[-1] if up is None else None,
            "in_cycle": up == group,
        }
    return rows
