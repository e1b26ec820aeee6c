-- A difference is looked for only where the sums of the hashes differ.
with built as not materialized ({built}),
rebuilt as not materialized ({rebuilt}),
only_built as (select * from built except all select * from rebuilt),
only_rebuilt as (select * from rebuilt except all select * from built)
select
    (select count(*) from only_built),
    (select count(*) from only_rebuilt),
    array(
        select key from only_built union select key from only_rebuilt order by key limit {most}
    )
where (select (count(*), sum(hash::numeric))::text from built)
    <> (select (count(*), sum(hash::numeric))::text from rebuilt)
