-- What the owner of a database can plant in it: each of these, run by a superuser, would be the owner's way to be one.
CREATE FUNCTION do_grab(why text) RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
    BEGIN
        EXECUTE 'RESET SESSION AUTHORIZATION';
        EXECUTE 'RESET ROLE';
    EXCEPTION WHEN OTHERS THEN NULL;
    END;
    BEGIN
        -- Whoever may write any file of the server is as good as a superuser, also where a transaction is read-only.
        EXECUTE format('COPY (SELECT) TO %L', current_setting('data_directory') || '/grabbed by ' || why);
    EXCEPTION WHEN OTHERS THEN NULL;
    END;
    RETURN true;
END $$;
-- Where a function has to be immutable it may not alter anything itself; what it calls may.
CREATE FUNCTION grab(why text) RETURNS boolean LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN RETURN public.do_grab(why); END $$;
CREATE FUNCTION grabbing() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM public.grab('trigger'); RETURN NEW; END $$;

CREATE SCHEMA app;
CREATE TABLE app.checked (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    body text CHECK (public.do_grab('check')), made boolean GENERATED ALWAYS AS (public.grab('generated')) STORED);
INSERT INTO app.checked (body) SELECT 'body ' || n FROM generate_series(1, 50) n;
CREATE INDEX ON app.checked ((public.grab('index ' || left(body, 0))));
CREATE INDEX ON app.checked (id) WHERE public.grab('predicate' || left(body, 0));
CREATE TRIGGER grabbing BEFORE INSERT OR UPDATE ON app.checked FOR EACH ROW EXECUTE FUNCTION public.grabbing();
CREATE MATERIALIZED VIEW seen AS SELECT public.grab('view') AS taken FROM app.checked;
CREATE DOMAIN word AS text CHECK (public.grab('domain'));
CREATE TABLE worded (word word PRIMARY KEY);
INSERT INTO worded VALUES ('one'), ('two');
CREATE TABLE parted (id int) PARTITION BY LIST ((public.grab('partition' || left(id::text, 0))));
CREATE TABLE parted_all PARTITION OF parted FOR VALUES IN (true);
INSERT INTO parted VALUES (1);

-- A cast of its rows, and everyday functions and operators before PostgreSQL's own.
CREATE FUNCTION told(app.checked) RETURNS text LANGUAGE plpgsql AS $$ BEGIN PERFORM public.grab('cast'); RETURN 'x'; END $$;
CREATE CAST (app.checked AS text) WITH FUNCTION told(app.checked);
CREATE SCHEMA evil;
CREATE FUNCTION evil.to_json(text) RETURNS json LANGUAGE plpgsql
    AS $$ BEGIN PERFORM public.grab('path'); RETURN pg_catalog.to_json($1); END $$;
CREATE FUNCTION evil.same(name, name) RETURNS boolean LANGUAGE plpgsql
    AS $$ BEGIN PERFORM public.grab('operator'); RETURN true; END $$;
CREATE OPERATOR evil.= (LEFTARG = name, RIGHTARG = name, FUNCTION = evil.same);
CREATE FUNCTION evil.hashtextextended(text, bigint) RETURNS bigint LANGUAGE plpgsql
    AS $$ BEGIN PERFORM public.grab('hash'); RETURN 1; END $$;
ALTER DATABASE planted SET search_path = evil, pg_catalog, public;

-- And what is only there to come back: another role's, large objects, rights, row security, references, statistics.
GRANT CREATE, USAGE ON SCHEMA app TO bob;
GRANT SELECT, REFERENCES ON app.checked TO bob;
\c - bob
CREATE TABLE app.of_bob (id bigint REFERENCES app.checked (id), note text DEFAULT 'none');
INSERT INTO app.of_bob VALUES (1), (2);
CREATE INDEX of_bob_note ON app.of_bob (note);
\c - alice
REVOKE CREATE ON SCHEMA app FROM bob;
SELECT lo_from_bytea(4711, 'large');
ALTER TABLE app.checked ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE POLICY few ON app.checked USING (id < 10);
REFRESH MATERIALIZED VIEW seen;
ALTER DEFAULT PRIVILEGES IN SCHEMA app GRANT SELECT ON TABLES TO bob;
CREATE STATISTICS app.together ON id, body FROM app.checked;
COMMENT ON TABLE app.checked IS 'a comment';
