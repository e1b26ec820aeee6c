"""Names of merchants and people: how they are normalised and matched, each of them once."""

from __future__ import annotations

import csv
import time

import pytest

from benchmarks import merchants
from flows.pages.read import ask
from loaders import catalogue as catalogues
from loaders import match, warehouse
from loaders.days import parse_day
from loaders.errors import DaybookError, LockedError
from loaders.names import person_key, plain, readings, shortened
from loaders.sources import PROJECT
from tests.watching import LostLock, insert, tuples, value

LABELS = PROJECT / "tests" / "labels" / "merchants.csv"
DAY1, DAY2 = parse_day("day1"), parse_day("day2")

APPLICATIONS = """application,vendor,category,aliases
Quokka Mail,Quokka,Mail,quokka mail*|quokkamail.com
Pear,Pear,Cloud,pear
Widgetry,Widget Works,Design,widgetry*|widget works*
Widgetly,Widget Works,Design,widgetly*
"""


@pytest.fixture
def seeds(tmp_path, monkeypatch):
    """A catalogue of the test's own: `seeds(overrides="raw,application")` writes it."""
    applications, overrides = tmp_path / "applications.csv", tmp_path / "merchant_overrides.csv"

    def write(text=APPLICATIONS, overridden=""):
        applications.write_text(text, encoding="utf-8")
        overrides.write_text(f"raw_name,application\n{overridden}", encoding="utf-8")
        return catalogues.read_catalogue(applications, overrides)

    read = catalogues.read_catalogue
    monkeypatch.setattr(match, "read_catalogue", lambda: read(applications, overrides))
    write()
    return write


def meaning(name, catalogue):
    (found,) = catalogues.match_merchants([name], catalogue)
    return found.match, found.method


@pytest.mark.parametrize(
    "raw",
    [
        *("PAYPAL *Notion", "SP NOTION", "SQ *NOTION", "FS *Notion", "PADDLE.NET* NOTION"),
        *("2CO.COM*NOTION", "STRIPE*NOTION", "Nótíon"),
    ],
)
def test_payment_providers_are_left_out_of_a_merchants_name(raw):
    assert readings(raw)[0] == ["notion"]
    assert readings("SPOTIFY") == [["spotify"]], "whose first letters are a provider's"


def test_google_is_read_as_the_seller_and_as_the_shop():
    assert readings("GOOGLE *Canva") == [["google", "canva"], ["canva"]]


@pytest.mark.parametrize(
    "tail", ["#1042", "415-555-0142", "INC", "SAN FRANCISCO CA", ".COM", "PRO ANNUAL", "DUBLIN IE"]
)
def test_a_suffix_does_not_change_the_merchant(tail):
    (reading,) = readings(f"NOTION {tail}")
    assert ["notion"] in list(shortened(reading))


def test_a_name_never_shrinks_to_nothing():
    assert list(shortened(["365"])) == [["365"]]
    assert readings(" *#- ") == []


def test_an_alias_matches_exact_cut_misspelt_and_longer_names(seeds):
    catalogue = seeds()
    assert meaning("QUOKKA MAIL #102", catalogue) == ("Quokka Mail", "exact")
    assert meaning("quokkamail.com", catalogue) == ("Quokka Mail", "exact")
    assert meaning("QUOKKA MAIL TEAM FOLDERS", catalogue) == ("Quokka Mail", "exact")
    assert meaning("QUOKKA MA", catalogue) == ("Quokka Mail", "fuzzy")
    assert meaning("QUOKA MAIL", catalogue) == ("Quokka Mail", "fuzzy")


def test_an_ordinary_word_matches_only_as_the_whole_name(seeds):
    catalogue = seeds()
    assert meaning("PEAR INC", catalogue) == ("Pear", "exact")
    assert meaning("PEAR ORCHARD", catalogue) == (None, "none")
    assert meaning("PEARS", catalogue) == (None, "none")


def test_a_place_whose_name_begins_like_an_application_matches_none(seeds):
    assert meaning("WIDGETRY ARENA PARKING", seeds()) == (None, "none")


def test_two_applications_that_are_equally_near_are_ambiguous(seeds):
    assert meaning("WIDGETRLY", seeds()) == (None, "ambiguous")


def test_an_override_wins_and_may_exclude_a_name(seeds):
    catalogue = seeds(overridden="PEAR ORCHARD,Pear\nWidgetry  GmbH,\n")
    assert meaning("pear  orchard", catalogue) == ("Pear", "override")
    assert meaning("WIDGETRY GMBH", catalogue) == (None, "override")


@pytest.mark.parametrize(
    ("applications", "overridden", "message"),
    [
        (APPLICATIONS + "Other,V,C,pear*\n", "", "alias 'pear\\*' of Other"),
        (APPLICATIONS + "Other,V,C,\n", "", "is empty"),
        (APPLICATIONS, "X,Nowhere\n", "not in the catalogue: Nowhere"),
        ("application,vendor\n", "", "no column aliases"),
    ],
)
def test_seeds_that_contradict_themselves_are_refused(seeds, applications, overridden, message):
    with pytest.raises(DaybookError, match=message):
        seeds(applications, overridden)


def test_the_shipped_catalogue_holds_together():
    catalogue = catalogues.read_catalogue()
    assert len(catalogue.applications) >= 150
    names = ["AMAZON MKTPLACE PMTS", "Microsoft*Azure", "PAYPAL *BLACKCIRCLE", "ALDI 56 772"]
    found = [each.match for each in catalogues.match_merchants(names, catalogue)]
    assert found == [None, "Azure", None, None]


@pytest.mark.parametrize(
    "name",
    [
        *("AUTOMATIC DATA PROCESSING", "INTACT INSURANCE CO", "NETFLIX.COM", "ANTHROPOLOGIE 221"),
        *("XERO SHOES", "GOOGLE *GOOGLE ONE", "MICROSOFT*XBOX", "INTUIT *TURBOTAX", "EVERNORTH"),
    ],
)
def test_a_company_with_a_similar_name_does_not_match(name):
    assert meaning(name, catalogues.read_catalogue()) == (None, "none")


def test_the_labels_are_hard_enough_to_judge_by():
    with LABELS.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    wanted = [row for row in rows if row["application"]]
    catalogue = catalogues.read_catalogue()
    assert len({row["raw_name"] for row in rows}) == len(rows) >= 300
    assert 3 * (len(rows) - len(wanted)) >= len(rows)
    assert {row["application"] for row in wanted} <= catalogue.applications
    unequal = [row for row in wanted if plain(row["raw_name"]) not in catalogue.whole]
    assert 2 * len(unequal) >= len(wanted)


def test_precision_and_recall_on_names_that_nothing_was_tuned_on(capsys):
    _, held_out = merchants.evaluate(LABELS)
    assert held_out.precision >= 0.98
    assert held_out.recall >= 0.95
    merchants.main(LABELS)
    assert f"precision {held_out.precision:.3f}" in capsys.readouterr().out


def test_a_matcher_that_matches_everything_fails_the_evaluation(monkeypatch):
    always = [catalogues.Match("Slack", 100.0, "exact")]
    monkeypatch.setattr(merchants, "match_merchants", lambda names, _: always * len(names))
    assert merchants.evaluate(LABELS)[1].precision < 0.1


def test_fifty_thousand_names_take_seconds():
    names = [f"ATLASIAN {chr(97 + n % 26)}{n:x} MERCHNT {n * 7919 % 50_021}" for n in range(50_000)]
    started = time.monotonic()
    found = catalogues.match_merchants(names, catalogues.read_catalogue())
    assert {each.match for each in found} == {"Atlassian"}
    assert time.monotonic() - started < 20


def test_people_match_by_name_in_any_order_and_similar_names_only_if_unique():
    agents = [("1", "Zoë Smith"), ("2", "John A. Underwood"), ("3", "Ann Lee"), ("4", "Ann Lee")]
    agents += [("5", "Person 05"), ("6", "Christopher Robinson")]
    agents += [("7", "Agent 1"), ("8", "Agent 2"), ("9", "J. Moss"), ("10", "Jo Featherstone")]
    expected = {
        **{"SMITH, ZOE": ("1", "exact"), "john underwood": ("2", "exact")},
        **{"agent 1": ("7", "exact"), "Cristopher Robinson": ("6", "fuzzy")},
        "Ann Lee": (None, "ambiguous"),
    }
    far = ("Person 06", "Zoe Smyth", "", "Chris Robinson", "K. Moss", "J. Featherstone")
    expected |= dict.fromkeys(far, (None, "none"))
    matches = match.match_people([*expected], match.known_people(agents))
    assert [(each.match, each.method) for each in matches] == [*expected.values()]
    assert person_key("...") == ()


def test_a_name_similar_to_that_of_two_agents_is_ambiguous():
    agents = [("1", "Christopher Robinson"), ("2", "Christopher Robinson")]
    (found,) = match.match_people(["Cristopher Robinson"], match.known_people(agents))
    assert found.method == "ambiguous"


@pytest.fixture
def land(db, monkeypatch):
    """`land(day, table, [{column: value}, …])` puts rows where a landing would."""

    def rows(day, table, records):
        row = {"flow_run_id": "r", "day": day.date, "table_name": table, "status": "succeeded"}
        insert(db, "bronze.load_batches", **row, rows_landed=len(records))
        batch = value(db, "select max(batch_id) from bronze.load_batches")
        name = f"{table}_p{day.date:%Y%m%d}"
        db.execute(
            f"create table if not exists bronze.{name} partition of bronze.{table}"
            f" for values in ('{day.date}')"
        )
        for number, record in enumerate(records):
            lineage = {"_day": day.date, "_batch_id": batch, "_source_file": "f"}
            lineage |= {"_source_row": number, "_loaded_at": "now"}
            insert(db, f"bronze.{table}", **record, **lineage)

    return rows


def spent(raw=None, merchant=None, user=None):
    return {"raw_merchant_name": raw, "merchant_name": merchant, "user_name": user}


def merchants_matched(db):
    rows = tuples(db, "select raw_name, application, method from bronze.merchant_matches")
    return {name: tuple(found) for name, *found in rows}


def people_matched(db):
    rows = tuples(db, "select user_name, agent_id, method from bronze.agent_matches")
    return {name: tuple(found) for name, *found in rows}


def test_the_days_names_are_matched_once(db, land, seeds):
    agents = [{"agent_id": "7", "name": "Ann Lee"}, {"agent_id": "1e+9", "name": "B"}]
    land(DAY1, "stg_agents", agents)
    transactions = [
        spent("QUOKKA MAIL #102", "Ignored", "Lee, Ann"),
        spent(None, "Pear", "Nobody"),
        spent("QUOKKA MAIL #102", None, "Ann Lee"),
        spent(" ", "Pear", ""),
        spent("x" * 3000, None, None),
    ]
    land(DAY1, "stg_transactions", transactions)
    land(DAY2, "stg_transactions", [spent("Widgetry", None, None)])
    match.match_names(DAY1, flow_run_id="r1")
    quokka = ("Quokka Mail", "exact")
    assert merchants_matched(db) == {"QUOKKA MAIL #102": quokka, "Pear": ("Pear", "exact")}
    ann = ("7", "exact")
    assert people_matched(db) == {"Lee, Ann": ann, "Ann Lee": ann, "Nobody": (None, "none")}
    before = written(db)
    match.match_names(DAY1, flow_run_id="r2")
    assert written(db) == before
    match.match_names(None, flow_run_id="r3")
    assert merchants_matched(db)["Widgetry"] == ("Widgetry", "exact")


def test_the_rows_are_counted_where_they_are_written(db, land, seeds):
    land(DAY1, "stg_transactions", [spent("Pear"), spent("Plum")])
    match.match_names(DAY1, flow_run_id="r1")
    columns = "flow_run_id, table_name, day, rows_inserted, rows_updated, status"
    rows = tuples(
        db,
        f"select {columns}, duration_seconds > 0 as is_timed from metrics.pipeline_metrics"
        " where task_name = 'match-names'",
    )
    assert rows == [("r1", "merchant_matches", DAY1.date, 2, 0, "success", True)]
    row = {"flow_run_id": "r1", "day": DAY1.date, "status": "success", "rows_inserted": 3}
    row |= {"started_at": "now", "finished_at": "now", "pipeline_name": "marts"}
    for task, table in (("match-names", "agent_matches"), ("my_mart", "my_mart")):
        insert(db, "metrics.pipeline_metrics", **row, task_name=task, table_name=table)
    lines = ask(db, "account", run="r1", day=DAY1.date, declared=[])
    shown = [(line["name"], line["new"]) for line in lines]
    assert shown == [("agent_matches", 3), ("merchant_matches", 2), ("my_mart", 3)]


def test_an_override_beats_what_was_matched_before_and_can_be_taken_back(db, land, seeds):
    land(DAY1, "stg_transactions", [spent("Wİdgetry"), spent("Plum")])
    match.match_names(DAY1, flow_run_id="r1")
    seeds(overridden="WİDGETRY,\nplum,Pear\n")
    match.match_names(DAY2, flow_run_id="r2")
    assert merchants_matched(db) == {"Wİdgetry": (None, "override"), "Plum": ("Pear", "override")}
    seeds()
    match.match_names(DAY2, flow_run_id="r3")
    assert merchants_matched(db) == {"Wİdgetry": ("Widgetry", "exact"), "Plum": (None, "none")}


def test_a_grown_catalogue_is_asked_about_unmatched_names_only(db, land, seeds):
    land(DAY1, "stg_transactions", [spent("Plum"), spent("Pear")])
    match.match_names(DAY1, flow_run_id="r1")
    version = "select xmin from bronze.merchant_matches where raw_name = 'Pear'"
    before = value(db, version)
    seeds(APPLICATIONS + "Plum,Plum,Cloud,plum\n")
    match.match_names(DAY1, flow_run_id="r2")
    assert merchants_matched(db)["Plum"] == ("Plum", "exact")
    assert value(db, version) == before
    seeds(APPLICATIONS.replace("Pear,Pear,Cloud,pear\n", ""))
    match.match_names(DAY1, flow_run_id="r3")
    assert merchants_matched(db) == {"Plum": (None, "none"), "Pear": (None, "none")}


def test_unmatched_users_are_looked_at_again_when_agents_were_added(db, land, seeds):
    land(DAY1, "stg_transactions", [spent(user="Ann Lee")])
    match.match_names(DAY1, flow_run_id="r1")
    assert people_matched(db) == {"Ann Lee": (None, "none")}
    land(DAY2, "stg_agent_details", [{"agent_id": str(2**53 + 1), "name": "Ann Lee"}])
    match.match_names(DAY1, flow_run_id="r2")
    assert people_matched(db) == {"Ann Lee": (str(2**53 + 1), "exact")}


def test_no_transaction_is_open_while_names_are_matched(db, land, seeds, monkeypatch):
    land(DAY1, "stg_transactions", [spent("Pear")])
    matched = match.match_merchants
    seen = []

    def watched(*arguments):
        in_transaction = (
            "select count(*) from pg_stat_activity"
            " where application_name = 'daybook r1' and xact_start is not null"
        )
        seen.append(value(db, in_transaction))
        return matched(*arguments)

    monkeypatch.setattr(match, "match_merchants", watched)
    match.match_names(DAY1, flow_run_id="r1")
    assert seen == [0]
    assert merchants_matched(db) == {"Pear": ("Pear", "exact")}


def test_a_run_that_lost_its_lock_writes_nothing(db, land, seeds):
    land(DAY1, "stg_transactions", [spent("Pear")])
    with pytest.raises(LockedError):
        match.match_names(DAY1, flow_run_id="r1", lock=LostLock())
    assert merchants_matched(db) == {}
    assert written(db) == []


def test_readers_see_no_names(db, land, seeds):
    with warehouse.connect() as conn:
        conn.execute("set role daybook_reader")
        with pytest.raises(Exception, match="permission denied"):
            conn.execute("select * from bronze.agent_matches")


def written(db):
    tables = ("merchant_matches", "agent_matches", "match_state")
    rows = [db.execute(f"select xmin, * from bronze.{name}").fetchall() for name in tables]
    metrics = db.execute("select id from metrics.pipeline_metrics").fetchall()
    return [row for table in [*rows, metrics] for row in table]
