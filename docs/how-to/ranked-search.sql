-- Ranked full text that uses every core: the tsvectors of `spans` in a table of their own, in one part for each core.
--
--     psql --dbname=spans --set=cores=4 --file=ranked-search.sql
--
-- PostgreSQL scans one GIN index with one process, but the indexes of several parts at the same time; and a row of few
-- bytes shares its page with many others. Each part wants an index of its own: `gin (words)`, in `postgres_indexes`.
-- Triggers keep the words up to date; who writes `spans` needs the same rights on `spans_words`. Ask it like this:
--
--     SELECT id, body FROM (
--         SELECT id, ts_rank(words, query) AS rank FROM spans_words, to_tsquery('english', 'two & words') AS query
--         WHERE words @@ query ORDER BY rank DESC, id LIMIT 10
--     ) best JOIN spans USING (id) ORDER BY rank DESC, id;

\set ON_ERROR_STOP on
BEGIN;

CREATE TABLE spans_words (id bigint PRIMARY KEY, words tsvector NOT NULL) PARTITION BY HASH (id);
SELECT format(
    'CREATE TABLE spans_words_%1$s PARTITION OF spans_words FOR VALUES WITH (MODULUS %2$s, REMAINDER %1$s)', part, :cores
) FROM generate_series(0, :cores - 1) AS part \gexec

CREATE FUNCTION keep_spans_words() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    CASE TG_OP
    WHEN 'INSERT' THEN
        INSERT INTO spans_words SELECT id, to_tsvector('english', body) FROM inserted;
    WHEN 'UPDATE' THEN
        UPDATE spans_words SET id = NEW.id, words = to_tsvector('english', NEW.body) WHERE id = OLD.id;
    WHEN 'DELETE' THEN
        DELETE FROM spans_words USING deleted WHERE spans_words.id = deleted.id;
    WHEN 'TRUNCATE' THEN
        TRUNCATE spans_words;
    END CASE;
    RETURN NULL;
END $$;

-- Many rows at once, except where only a changed text matters: new embeddings leave the words alone.
CREATE TRIGGER words_inserted AFTER INSERT ON spans REFERENCING NEW TABLE AS inserted
    FOR EACH STATEMENT EXECUTE FUNCTION keep_spans_words();
CREATE TRIGGER words_updated AFTER UPDATE OF id, body ON spans
    FOR EACH ROW WHEN (OLD.id <> NEW.id OR OLD.body <> NEW.body) EXECUTE FUNCTION keep_spans_words();
CREATE TRIGGER words_deleted AFTER DELETE ON spans REFERENCING OLD TABLE AS deleted
    FOR EACH STATEMENT EXECUTE FUNCTION keep_spans_words();
CREATE TRIGGER words_truncated AFTER TRUNCATE ON spans
    FOR EACH STATEMENT EXECUTE FUNCTION keep_spans_words();

INSERT INTO spans_words SELECT id, to_tsvector('english', body) FROM spans;
COMMIT;
