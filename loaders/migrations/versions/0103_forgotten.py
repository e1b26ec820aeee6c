"""Who is forgotten and what tells of them; which day the tables are of."""

from alembic import op

revision = "0103"
down_revision = "0102"

TABLES = """
create table if not exists bronze.forgotten (
    hash bytea primary key,
    salt text not null,
    forgotten_at timestamptz not null default now()
);
comment on table bronze.forgotten is
    'One row per thing that named a forgotten person, as a salted hash: nobody is named by it.';

create table metrics.current_day (
    "only" boolean primary key default true check ("only"),
    day date,
    flow_run_id text not null,
    is_complete boolean not null,
    changed_at timestamptz not null default clock_timestamp()
);
comment on table metrics.current_day is
    'One row: the newest day of silver, metrics and marts, and whether they are of one build.';

create or replace function bronze.is_forgotten(kind text, name text) returns boolean
language sql stable parallel safe
return exists (
    select from bronze.forgotten
    where hash = sha256(
        convert_to((select salt from bronze.forgotten limit 1) || kind || ' ' || name, 'UTF8')
    )
)
"""

# A field of CSV or JSON, or a word: of an address, of a path. Lists are long: the hashes are asked
# for once a text, not once a part.
TELLS = r"""
create or replace function bronze.tells_of_forgotten(told text) returns boolean
language sql stable parallel safe
return exists (
    select from (
        select regexp_split_to_table(told, '[][,;|\t\n\r"{}:]+') as part
        union all
        select regexp_split_to_table(told, '[^[:alnum:]_@+-]+')
    ) as parts
    cross join (select salt from bronze.forgotten limit 1) as forgotten
    where sha256(convert_to(salt || 'word ' || lower(btrim(part)), 'UTF8'))
            in (select hash from bronze.forgotten)
        or sha256(convert_to(salt || 'agent ' || coalesce(bronze.id_text(part), part), 'UTF8'))
            in (select hash from bronze.forgotten)
)
"""

# Each other element stays as it was written, and a list that can't be read one that can't.
WITHOUT = r"""
create or replace function bronze.without_forgotten(list text) returns text
language sql stable parallel safe
return case
    when bronze.tells_of_forgotten(list) is not true then list
    when list ~ '[[{].*[[{]' or list !~ '^\s*[[]' or not pg_input_is_valid(list, 'json')
        then 'forgotten'
    else (
        select '[' || coalesce(string_agg(element::text, ', ' order by place), '') || ']'
        from json_array_elements(list::json) with ordinality as elements (element, place)
        where not bronze.is_forgotten(
            'agent', coalesce(bronze.id_text(element #>> '{}'), element #>> '{}', '')
        )
    )
end
"""


def upgrade() -> None:
    for statement in [*TABLES.split(";\n"), TELLS, WITHOUT]:
        op.execute(statement)
