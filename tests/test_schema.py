"""schema.sql: it can be run again, and the application may do no more than it must."""

from __future__ import annotations

import psycopg2
import pytest

from demo.servers import Stores
from demo.stack import SCHEMA, make_database
from tests.house import House


def without_key(dump: bytes) -> list[bytes]:
    """The dump without psql's one-time \\restrict key, which differs each time."""
    return [line for line in dump.splitlines() if not line.startswith((b"\\restrict", b"\\unrestrict"))]


def test_running_it_twice_changes_nothing_the_second_time(stores: Stores) -> None:
    make_database(stores.postgres, "twice")
    try:
        before = stores.postgres.dump("twice")
        stores.postgres.run_sql_file(SCHEMA, "twice")
        assert without_key(stores.postgres.dump("twice")) == without_key(before)
        assert b"CREATE TABLE public.inbox" in before
    finally:
        stores.postgres.drop_database("twice")


def test_every_table_belongs_to_the_owner_role_which_cannot_log_in(stores: Stores, house: House) -> None:
    assert house.query("SELECT DISTINCT tableowner FROM pg_tables WHERE schemaname = 'public'") == [("steward_owner",)]
    assert house.query("SELECT rolcanlogin, rolsuper FROM pg_roles WHERE rolname = 'steward_owner'") == [(False, False)]
    assert house.query("SELECT rolsuper, rolcreaterole FROM pg_roles WHERE rolname = 'steward_app'") == [(False, False)]


@pytest.mark.parametrize(
    "forbidden",
    [
        "UPDATE audit SET outcome = 'success'",
        "DELETE FROM audit",
        "TRUNCATE audit",
        "DROP TABLE audit",
        "ALTER TABLE audit DISABLE TRIGGER ALL",
        "CREATE TABLE mine (a int)",
        "DELETE FROM inbox",
        "DELETE FROM outbox",
        "SET ROLE steward_owner",
    ],
)
def test_the_application_cannot(forbidden: str, make_house) -> None:
    house = make_house()
    connection = psycopg2.connect(house.database_url)
    try:
        with connection.cursor() as cur:
            cur.execute(
                "INSERT INTO audit (correlation_id, actor_kind, action, outcome)"
                " VALUES (gen_random_uuid(), 'system', 'test.done', 'success')"
            )
            cur.execute("SELECT count(*) FROM audit")
            assert cur.fetchone() == (1,)
            with pytest.raises(psycopg2.errors.InsufficientPrivilege):
                cur.execute(forbidden)
    finally:
        connection.close()


def test_the_password_of_the_application_role_comes_from_the_environment(
    stores: Stores, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "\\getenv app_password STEWARD_APP_PASSWORD" in SCHEMA.read_text()
    from demo import servers

    monkeypatch.setattr(servers, "ENVIRONMENT", servers.ENVIRONMENT | {"STEWARD_APP_PASSWORD": 'it\'s "odd" $1'})
    stores.postgres.create_database("with_password")
    try:
        stores.postgres.run_sql_file(SCHEMA, "with_password")
        psycopg2.connect(stores.postgres.url("with_password", "steward_app", 'it\'s "odd" $1')).close()
    finally:
        monkeypatch.undo()
        stores.postgres.drop_database("with_password")
        make_database(stores.postgres, "password_back")
        stores.postgres.drop_database("password_back")
