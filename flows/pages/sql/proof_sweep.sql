-- The statement that drops what proofs have made: the layers, and wherever a model, a seed or a
-- snapshot of the user's own stands.
select 'drop schema ' || string_agg(quote_ident(nspname), ', ') || ' cascade' as statement
from pg_namespace
where starts_with(nspname, 'daybook_prove')
having count(*) > 0
