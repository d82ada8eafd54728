-- The table of the demo: text spans with their embeddings, and their words ready for ranked search.
SET ROLE spans;
CREATE TABLE spans (
  id bigint PRIMARY KEY,
  topic int NOT NULL,
  body text NOT NULL,
  embedding vector(16) NOT NULL,
  words tsvector GENERATED ALWAYS AS (to_tsvector('simple', body)) STORED
);
