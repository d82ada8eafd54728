-- What the demo asks before the power cut and after the restore: the answers have to be the same, to the last digit.
\pset tuples_only on
\pset format unaligned
\echo rows, and the newest of them
SELECT count(*), max(id) FROM spans;
\echo full text: two common words, ranked
SELECT id, round(ts_rank(words, query)::numeric, 9)
  FROM spans, to_tsquery('simple', 'sugou & kapo') AS query
  WHERE words @@ query ORDER BY ts_rank(words, query) DESC, id LIMIT 5;
\echo trigrams: a part of a word
SELECT id, body FROM spans WHERE body ILIKE '%utritr%' ORDER BY id LIMIT 5;
\echo vectors: the nearest to number 42
SELECT id, round((embedding <-> (SELECT embedding FROM spans WHERE id = 42))::numeric, 9)
  FROM spans ORDER BY embedding <-> (SELECT embedding FROM spans WHERE id = 42), id LIMIT 5;
