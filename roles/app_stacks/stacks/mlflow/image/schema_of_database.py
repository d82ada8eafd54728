"""Print which version of MLflow's tables the database has, or `none`."""

import psycopg2

with psycopg2.connect("") as connection, connection.cursor() as cursor:
    cursor.execute("SELECT to_regclass('alembic_version')")
    if cursor.fetchone() == (None,):
        print("none")
    else:
        cursor.execute("SELECT version_num FROM alembic_version")
        print(*cursor.fetchall()[0])
