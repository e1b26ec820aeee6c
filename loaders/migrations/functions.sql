-- Without the blanks around it, Unicode's too; null where nothing else is there. What \s takes for one
-- hangs on the database's locale, and each server has another.
create or replace function bronze.bare(landed text) returns text
language sql immutable parallel safe
return nullif(btrim(
    landed,
    U&'\0009\000A\000B\000C\000D\0020\0085\00A0\1680\2000\2001\2002\2003\2004\2005\2006\2007'
    '\2008\2009\200A\2028\2029\202F\205F\3000'
), '');

-- An id is text, so that any vendor's fit: without outer blanks, a whole number without a sign + and
-- without .0. 9.00101E+11 (or 9,00101E+11, and Java's 9.00101E11) is what a float left of one, #N/A or
-- #WERT! what a spreadsheet has for none, and no index holds 2,700 bytes, which can be two ids. A
-- list or an object of JSON is none either: the id is a field in it. Most are digits or begin with a
-- letter, and need no more than the first pattern.
create or replace function bronze.id_text(landed text) returns text
language sql immutable parallel safe
return case
    when octet_length(landed) > 1000 then null
    -- most are told at once
    when landed ~ '^([0-9]+([A-DF-Za-df-z_-][!-~]*)?|[A-Za-z][!-~]*)$' then landed
    when bronze.bare(landed) ~ '^[-+]?[0-9]+([.,][0-9]+[eE][-+]?|[eE][-+])[0-9]+$' then null
    when bronze.bare(landed) ~ '^#(N/[A-Z]|NV|DIV/0!|[A-Z]+[!?])$' then null
    when bronze.bare(landed) ~ '^[-+]?[0-9]+([.]0*)?$'
        then substring(bronze.bare(landed) from '^[+]?(-?[0-9]+)')
    when bronze.bare(landed) ~ '^[[{]' and bronze.bare(landed) is json then null
    else bronze.bare(landed)
end collate "C";

-- How deep a text's lists and objects stand in each other: what is in its strings does not count.
create or replace function bronze.json_depth(landed text) returns bigint
language sql immutable parallel safe
return (
    select coalesce(max(depth), 0) from (
        select sum(case when bracket[1] in ('[', '{') then 1 else -1 end) over (order by place) as depth
        from regexp_matches(
            regexp_replace(landed, '"(?:[^"\\]|\\.)*"', '', 'g'), '[][{}]', 'g'
        ) with ordinality as brackets (bracket, place)
    ) as depths
);

create or replace function bronze.is_forgotten(kind text, name text) returns boolean
language sql stable parallel safe
return exists (
    select from bronze.forgotten
    where hash = sha256(
        convert_to((select salt from bronze.forgotten limit 1) || kind || ' ' || name, 'UTF8')
    )
);

-- A field of CSV or JSON, a string of JSON (an id may be auth0|7, {7}, CORP\ada or cn=ada,ou=7), or a
-- word: of an address, of a path. Lists are long: the hashes are asked for once a text, not once a part.
create or replace function bronze.tells_of_forgotten(told text) returns boolean
language sql stable parallel safe
return exists (
    select from (
        select regexp_split_to_table(told, '[][,;|\t\n\r"{}:]+') as part
        union all
        select regexp_split_to_table(told, '[^[:alnum:]_@+-]+')
        union all
        -- where the locale knows no letters but ASCII's
        select regexp_split_to_table(told, '[\u0001-*,./:-?[-^`{-\u00a9\u2000-\u206f\u3000-\u303f]+')
        union all
        select regexp_split_to_table(told, '[,;\t\n\r]+')
        union all
        select case when pg_input_is_valid(string[1], 'jsonb') then string[1]::jsonb #>> '{}' end
        from regexp_matches(told, '"(?:[^"\\]|\\.)*"', 'g') as strings (string)
    ) as parts
    cross join (select salt from bronze.forgotten limit 1) as forgotten
    where sha256(convert_to(salt || 'word ' || lower(bronze.bare(part)), 'UTF8'))
            in (select hash from bronze.forgotten)
        or sha256(convert_to(salt || 'agent ' || coalesce(bronze.id_text(part), part), 'UTF8'))
            in (select hash from bronze.forgotten)
);

-- Each other element stays as it was written, and a list that can't be read one that can't.
create or replace function bronze.without_forgotten(list text) returns text
language sql stable parallel safe
return case
    when bronze.tells_of_forgotten(list) is not true then list
    when bronze.json_depth(list) > 1 or list !~ '^\s*[[]' or not pg_input_is_valid(list, 'json')
        then 'forgotten'
    else (
        select '[' || coalesce(string_agg(element::text, ', ' order by place), '') || ']'
        from json_array_elements(list::json) with ordinality as elements (element, place)
        where not bronze.is_forgotten(
            'agent', coalesce(bronze.id_text(element #>> '{}'), element #>> '{}', '')
        )
    )
end;
