"""The oracle: the expected state of silver, quarantine, group activity and the row ledger.

`expected_state` computes it from the landed batches, in plain Python. It follows the rules of the
models and shares no code with them or with the loaders. A batch is one table's records of one day.
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
EXACT = Context(prec=500)  # so many digits that only the last step rounds
# Silver table → the landed tables that it is built from.
TARGETS = {
    "agents": ("stg_agents", "stg_agent_details"),
    "groups": ("stg_groups",),
    "group_memberships": ("stg_groups", "stg_group_memberships"),
    "transactions": ("stg_transactions",),
    "cards": ("stg_cards",),
    "fx_rates": ("stg_fx_rates",),
}

Batches = dict[tuple[str, date], Batch]  # by landed table and day


class MembershipClaim(NamedTuple):
    """One statement that an agent is in a group: an element of a group's `agent_ids`, or a row of
    the memberships file. The ledger counts these for `group_memberships`."""

    group_id: str | None
    agent_id: str | None
    record: Record
    element: int  # its place in the list

    @property
    def precedence(self) -> tuple:
        """Of several claims for one pair the highest counts: the newer day, then lists before
        files, then the last write, then the first element."""
        source = self.record
        is_list = source.table == "stg_groups"
        return source.day, is_list, source.updated, source.file.encode(), source.row, -self.element


@dataclass
class ExpectedState:
    """What a warehouse must hold once these batches are applied, in whatever order."""

    applied: Batches

    def records(self, *tables: str) -> list[Record]:
        batches = (batch for (table, _), batch in self.applied.items() if table in tables)
        return [record for batch in batches for record in batch.records]

    def errors(self, record: Record) -> frozenset[str]:
        """Every reason why the record is not valid: its own, and a missing exchange rate."""
        is_priced = record.table == "stg_transactions" and record.values["currency"] is not None
        no_rate = {"no_rate"} if is_priced and not self.rate(record) else set()
        return record.errors | no_rate

    def rate(self, record: Record) -> tuple[str, Decimal, date | None] | None:
        """Source, US dollars per unit and date of a transaction's rate: a landed rate of the last
        seven days, else the one that the transaction brings along."""
        values = record.values
        day = values["occurred_time"] and values["occurred_time"].date()
        if values["currency"] == "USD":
            return "usd", Decimal(1), day
        for age in range(8 if day else 0):
            if landed := self.fx_rates.get((day - timedelta(days=age), values["currency"])):
                return "reference", landed["usd_per_unit"], landed["rate_date"]
        own_rate = values["exchange_rate"]
        return ("payload", own_rate, day) if own_rate and own_rate > 0 else None

    @cached_property
    def fx_rates(self) -> dict[tuple[date, str], dict[str, Any]]:
        valid = (r for r in self.records("stg_fx_rates") if not r.errors)
        rates = _latest_by_key((r.key, r) for r in valid)
        return {key: record.values for key, record in rates.items()}

    def newest(self, table: str) -> date | None:
        """The table's newest applied day."""
        return max((day for name, day in self.applied if name == table), default=None)

    def winners(self, target: str) -> dict[Any, Record]:
        """Last write wins: each key's latest valid record."""
        valid = (r for r in self.records(*TARGETS[target]) if not self.errors(r))
        return _latest_by_key((r.key, r) for r in valid)

    def winners_by_day(self, target: str) -> dict[Any, Record]:
        valid = (r for r in self.records(*TARGETS[target]) if not self.errors(r))
        return _latest_by_key(((r.key, r.day), r) for r in valid)

    @cached_property
    def listed(self) -> set[tuple[str, date]]:
        """The agents on each day's list. One whose record is invalid is listed too, as long as its
        id can be read."""
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
                if (key, newest) in self.listed and not record.is_switched_off
                else "inactive",
                "first_seen_day": min(seen[key]),
                "last_seen_day": max(seen[key]),
            }
            for key, record in self.winners("agents").items()
        }

    @cached_property
    def history(self) -> dict[tuple[str, date], bool]:
        """Whether an agent was active on a day, for each day since the agent was first seen."""
        winners = self.winners_by_day("agents")
        days = {day for table, day in self.applied if table == "stg_agents"}
        return {
            (key, day): (key, day) in self.listed
            and not ((key, day) in winners and winners[key, day].is_switched_off)
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
    def lists_by_day(self) -> dict[tuple[str, date], Record]:
        """The record whose `agent_ids` count for a group on a day: the last write among the valid
        ones with a readable list."""
        valid = (r for r in self.records("stg_groups") if not r.errors and r.agent_ids is not None)
        return _latest_by_key(((r.key, r.day), r) for r in valid)

    def _membership_claims(self, *tables: str) -> list[MembershipClaim]:
        found = []
        for record in self.records(*tables):
            if record.table == "stg_group_memberships":
                values = record.values
                found.append(MembershipClaim(values["group_id"], values["agent_id"], record, 0))
            else:
                ids = enumerate(record.agent_ids or [])
                found += [MembershipClaim(record.key, agent, record, n) for n, agent in ids]
        return found

    @cached_property
    def claims_by_day(self) -> dict[tuple[str, str, date], MembershipClaim]:
        """The claim that counts for each pair and day; others of that day are duplicates."""
        lists = set(self.lists_by_day.values())
        best: dict[tuple[str, str, date], MembershipClaim] = {}
        for claim in self._membership_claims("stg_groups", "stg_group_memberships"):
            record = claim.record
            if record.errors or (record.table == "stg_groups" and record not in lists):
                continue
            key = claim.group_id, claim.agent_id, record.day
            if key not in best or claim.precedence > best[key].precedence:
                best[key] = claim
        return best

    @cached_property
    def current_claims(self) -> dict[tuple[str, str], MembershipClaim]:
        """The claim that counts for each pair of the newest snapshots. Agent and group may be
        unknown."""
        newest_lists: dict[str, Record] = {}
        for (group, _), record in sorted(self.lists_by_day.items(), key=lambda item: item[0][1]):
            if self.groups[group]["is_present"]:
                newest_lists[group] = record
        newest_file = self.newest("stg_group_memberships")
        best: dict[tuple[str, str], MembershipClaim] = {}
        for claim in self._membership_claims("stg_groups", "stg_group_memberships"):
            record, pair = claim.record, (claim.group_id, claim.agent_id)
            if record.table == "stg_groups":
                counts = newest_lists.get(claim.group_id) is record
            else:
                counts = record.day == newest_file and not record.errors
            if counts and (pair not in best or claim.precedence > best[pair].precedence):
                best[pair] = claim
        return best

    def _unknown(self, claim: MembershipClaim) -> frozenset[str]:
        reasons = {
            "unknown_agent": claim.agent_id not in self.agents,
            "unknown_group": claim.group_id not in self.groups,
        }
        return frozenset(reason for reason, is_unknown in reasons.items() if is_unknown)

    @cached_property
    def memberships(self) -> set[tuple[str, str]]:
        return {pair for pair, claim in self.current_claims.items() if not self._unknown(claim)}

    @cached_property
    def waiting(self) -> dict[tuple[str, str], frozenset[str]]:
        """Pairs that are quarantined until their agent and their group are known, with reasons."""
        claims = self.current_claims.items()
        return {pair: reasons for pair, claim in claims if (reasons := self._unknown(claim))}

    def quarantine(self, target: str) -> dict[tuple[date, str, int], frozenset[str]]:
        """The reasons of the invalid records, by lineage; without the `waiting` pairs."""
        if target != "group_memberships":
            records = self.records(*TARGETS[target])
            return {r.lineage: errors for r in records if (errors := self.errors(r))}
        rows = {r.lineage: r.errors for r in self.records("stg_group_memberships") if r.errors}
        for record in self.records("stg_groups"):
            reasons = {"agent_ids_invalid"} if record.has_malformed_list else set()
            if record.errors and (reasons or record.agent_ids):
                reasons.add("group_invalid")
            if reasons:
                rows[record.lineage] = frozenset(reasons)
        return rows

    @cached_property
    def ledger(self) -> dict[tuple[date, str, str], Counter[str]]:
        """How many records had which outcome, by day, landed table and silver table. An outcome
        depends on the records of the same and of earlier days."""
        counts: dict[tuple[date, str, str], Counter[str]] = {
            (day, table, target): Counter()
            for target, tables in TARGETS.items()
            for table, day in self.applied
            if table in tables
        }
        for target, tables in TARGETS.items():
            if target == "group_memberships":
                for claim in self._membership_claims(*tables):
                    batch = claim.record.day, claim.record.table, target
                    counts[batch][self._membership_outcome(claim)] += 1
                continue
            by_key = defaultdict(list)
            for record in self.records(*tables):
                by_key[None if self.errors(record) else record.key].append(record)
            for key, records in by_key.items():
                for record in records:
                    outcome = "quarantined" if key is None else _outcome(record, records)
                    counts[record.day, record.table, target][outcome] += 1
        return counts

    def _membership_outcome(self, claim: MembershipClaim) -> str:
        pair = claim.group_id, claim.agent_id
        if claim.record.errors or self._unknown(claim):
            return "quarantined"
        if self.claims_by_day.get((*pair, claim.record.day)) != claim:
            return "duplicate"
        days = [day for *claimed, day in self.claims_by_day if tuple(claimed) == pair]
        return "unchanged" if min(days) < claim.record.day else "inserted"

    @cached_property
    def activity(self) -> dict[str, dict[str, Any]]:
        return _activity(self.groups, self.memberships, self.agents)


def expected_state(landed: Batches) -> ExpectedState:
    """The state after a build: a day is applied once all its required tables have landed."""
    whole = {d for _, d in landed if all((table, d) in landed for table in REQUIRED_TABLES)}
    return ExpectedState({key: batch for key, batch in landed.items() if key[1] in whole})


def _outcome(record: Record, valid: list[Record]) -> str:
    """The ledger's outcome of a valid record; `valid` are all valid records of its key."""
    if any(other.day == record.day and other.precedence > record.precedence for other in valid):
        return "duplicate"
    before = max((o for o in valid if o.day < record.day), key=lambda o: o.precedence, default=None)
    if before is None:
        return "inserted"
    if before.precedence > record.precedence:
        return "stale"
    columns = record.values.keys() | before.values.keys()
    is_same = all(record.values.get(name) == before.values.get(name) for name in columns)
    return "unchanged" if is_same else "updated"


def _latest_by_key(keyed: Any) -> dict[Any, Record]:
    best: dict[Any, Record] = {}
    for key, record in keyed:
        if key not in best or record.precedence > best[key].precedence:
            best[key] = record
    return best


def _priced(values: dict[str, Any], source: str, rate: Decimal, rate_date: date) -> dict[str, Any]:
    """A transaction with its exchange rate, its amount in US dollars and its idempotency key."""
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
    """A group is active with an active member, in itself or in a group below it."""
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
