"""PostgreSQL and Redis as others run them: encrypted, on several hosts, as a cluster, and without a superuser."""

from __future__ import annotations

import contextlib
import datetime
import ipaddress
import shutil
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import psycopg2
import psycopg2.extensions
import pytest
import redis
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from demo import servers
from demo.children import free_port, is_free, run, wait_until
from demo.servers import Postgres, Redis, Stores
from demo.stack import APP_PASSWORD, SCHEMA
from lib import config
from lib.bell import LIST, Bell, Silent
from lib.db import Database, Down
from lib.secret import Secret
from tests.house import House

SSL_REQUEST = 8  # bytes in which a client of PostgreSQL asks for encryption before it begins


@dataclass
class Papers:
    """A certificate authority of the test's own, a certificate for 127.0.0.1, and an authority nobody asked."""

    authority: Path
    stranger: Path
    server: Path


@pytest.fixture(scope="module")
def papers(tmp_path_factory: pytest.TempPathFactory) -> Papers:
    folder = tmp_path_factory.mktemp("papers")
    found = Papers(folder / "authority.pem", folder / "stranger.pem", folder / "server.pem")
    key, authority = certificate("authority")
    found.authority.write_bytes(pem(authority))
    found.stranger.write_bytes(pem(certificate("stranger")[1]))
    server_key, server = certificate("127.0.0.1", key)
    private = server_key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    found.server.write_bytes(private + pem(server))
    return found


def certificate(
    name: str, issuer: ec.EllipticCurvePrivateKey | None = None
) -> tuple[ec.EllipticCurvePrivateKey, x509.Certificate]:
    """For an authority, or signed by `issuer` for 127.0.0.1."""
    key, now, day = ec.generate_private_key(ec.SECP256R1()), datetime.datetime.now(datetime.UTC), datetime.timedelta(1)

    issued_by = "authority" if issuer else name

    def called(common_name: str) -> x509.Name:
        return x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, common_name)])

    builder = x509.CertificateBuilder(called(issued_by), called(name), key.public_key(), x509.random_serial_number())
    builder = builder.not_valid_before(now - day).not_valid_after(now + day)
    builder = builder.add_extension(x509.BasicConstraints(ca=issuer is None, path_length=None), critical=True)
    here = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
    return key, builder.add_extension(here, critical=False).sign(issuer or key, hashes.SHA256())


def pem(found: x509.Certificate) -> bytes:
    return found.public_bytes(serialization.Encoding.PEM)


@contextlib.contextmanager
def encrypted(target: int, server: Path, before: int = 0) -> Iterator[int]:
    """A port that speaks TLS in front of `target`, after so many bytes in the clear: the wheels' servers do not."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(server)
    listener = socket.create_server(("127.0.0.1", free_port()))

    def serve(plain: socket.socket) -> None:
        with contextlib.suppress(OSError), plain, socket.create_connection(("127.0.0.1", target)) as behind:
            if before:
                plain.recv(before)
                plain.sendall(b"S")
            with context.wrap_socket(plain, server_side=True) as front:
                back = threading.Thread(target=pass_on, args=(behind, front), daemon=True)
                back.start()
                pass_on(front, behind)
                back.join()

    def accept() -> None:
        with contextlib.suppress(OSError):
            while True:
                threading.Thread(target=serve, args=(listener.accept()[0],), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    with listener:
        yield int(listener.getsockname()[1])
        listener.shutdown(socket.SHUT_RDWR)


def pass_on(source: socket.socket, sink: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(65536):
            sink.sendall(data)
    with contextlib.suppress(OSError):
        sink.shutdown(socket.SHUT_RDWR)


@pytest.fixture
def house(make_house: Callable[..., House]) -> House:
    """Nobody is at home: only the stores and the settings are of use here."""
    return make_house()


@pytest.fixture
def frozen() -> Iterator[int]:
    """A port that takes connections and never answers."""
    with socket.create_server(("127.0.0.1", free_port())) as listener:
        yield int(listener.getsockname()[1])


@pytest.fixture
def answer() -> Iterator[Callable[[str, str], object]]:
    """What the scripts' connection to a URL says to a statement."""
    opened: list[Database] = []

    def ask(url: str, sql: str) -> object:
        opened.append(Database(Secret(url), "test"))
        with opened[-1].statement() as cur:
            cur.execute(sql)
            return (cur.fetchone() or [None])[0]

    yield ask
    for database in opened:
        database.close()
    psycopg2.extensions.set_wait_callback(None)


def at(url: str, *ports: int) -> str:
    """The same URL with these ports of 127.0.0.1."""
    parts = urlsplit(url)
    places = ",".join(f"127.0.0.1:{port}" for port in ports)
    return parts._replace(netloc=f"{parts.netloc.rpartition('@')[0]}@{places}").geturl()


def test_postgresql_is_reached_encrypted_and_its_certificate_checked(house: House, papers: Papers, answer) -> None:
    with encrypted(house.stores.postgres.port, papers.server, SSL_REQUEST) as port:
        url = f"{at(house.database_url, port)}?sslmode=verify-full&sslrootcert={papers.authority}"
        assert config.load(house.env | {"DATABASE_URL": url}).database_url.reveal() == url
        assert answer(url, "SELECT 42") == 42
        assert answer(url, "SHOW statement_timeout") == "8s"


@pytest.mark.parametrize("trusting", ["stranger", "missing"])
def test_a_postgresql_with_the_wrong_certificate_gets_no_password(
    house: House, papers: Papers, answer, trusting
) -> None:
    file = {"stranger": papers.stranger, "missing": papers.server.with_name("missing.pem")}[trusting]
    with (
        encrypted(house.stores.postgres.port, papers.server, SSL_REQUEST) as port,
        pytest.raises(Down, match="certificate") as caught,
    ):
        answer(f"{at(house.database_url, port)}?sslmode=verify-full&sslrootcert={file}", "SELECT 42")
    assert APP_PASSWORD not in str(caught.value) + repr(caught.value.__cause__)


def test_a_dead_first_host_is_passed_by(house: House, answer) -> None:
    url = at(house.database_url, free_port(), house.stores.postgres.port)
    assert config.load(house.env | {"DATABASE_URL": url})
    assert answer(url, "SELECT 42") == 42


def test_a_frozen_first_host_is_left_after_its_share_of_the_ten_seconds(house: House, frozen: int, answer) -> None:
    began = time.monotonic()
    assert answer(at(house.database_url, frozen, house.stores.postgres.port), "SELECT 42") == 42
    assert 4.5 < time.monotonic() - began < 7


def test_all_hosts_together_have_ten_seconds_and_each_says_why(house: House, frozen: int, answer) -> None:
    began = time.monotonic()
    with pytest.raises(Down) as caught:
        answer(at(house.database_url, frozen, free_port(), frozen), "SELECT 42")
    assert time.monotonic() - began < 10
    silent = "127.0.0.1: no answer within 3 s"
    first, second, third = str(caught.value).split("; ")
    assert (first, third) == (silent, silent)
    assert "refused" in second
    assert APP_PASSWORD not in str(caught.value)


def test_a_host_that_only_reads_is_passed_by(stores: Stores, own_stores: Stores, answer) -> None:
    reading, writing = own_stores.postgres, stores.postgres
    for host in (reading, writing):
        command(host, "CREATE ROLE roamer LOGIN PASSWORD 'roaming'")
    command(reading, "ALTER ROLE roamer SET default_transaction_read_only = on")
    url = at(reading.url("postgres", "roamer", "roaming"), reading.port, writing.port)
    try:
        assert answer(url, "SHOW port") == str(writing.port)
        assert answer(f"{url}?target_session_attrs=any", "SHOW port") == str(reading.port)
    finally:
        command(writing, "DROP ROLE roamer")


def command(postgres: Postgres, sql: str) -> None:
    """Run a statement as the superuser."""
    connection = psycopg2.connect(postgres.admin_url)
    connection.autocommit = True
    with connection.cursor() as cur:
        cur.execute(sql)
    connection.close()


def test_a_connection_whose_host_has_become_a_standby_is_given_up(database: Database) -> None:
    with database.statement() as cur:
        cur.execute("SET default_transaction_read_only = on")
    with pytest.raises(Down, match="25006"), database.statement() as cur:
        cur.execute("UPDATE chats SET conversation = 0")
    with database.statement() as cur:
        cur.execute("UPDATE chats SET conversation = 0")
    assert database.session == 2


def test_redis_is_reached_encrypted_and_its_certificate_checked(house: House, papers: Papers) -> None:
    with encrypted(house.stores.redis.port, papers.server) as port:
        address = at(house.stores.redis.url, port).replace("redis://", "rediss://")
        url = f"{address}?ssl_ca_certs={papers.authority}"
        assert config.load(house.env | {"REDIS_URL": url}).redis_url.reveal() == url
        bell = Bell(Secret(url))
        bell.ping()
        bell.ring(7)
        assert bell.wait(1) == 7
        for file in (papers.stranger, papers.server.with_name("missing.pem")):
            with pytest.raises(Silent) as caught:
                Bell(Secret(f"{address}?ssl_ca_certs={file}")).ring(7)
            assert house.stores.redis.password not in str(caught.value)
        with pytest.raises(Silent, match="CERTIFICATE_VERIFY_FAILED"):
            Bell(Secret(address)).ring(7)


@pytest.fixture
def shards(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Redis, Redis]]:
    """Two members of a Redis cluster: one that does not keep our list, and the one that does."""
    extra = "cluster-enabled yes\ncluster-require-full-coverage no\n"
    monkeypatch.setattr(servers, "REDIS_SETTINGS", servers.REDIS_SETTINGS + extra)
    folder = servers.temporary_folder()
    first, keeper = Redis(folder / "first", cluster_port()), Redis(folder / "keeper", cluster_port())
    (keeper.folder / "password").write_text(first.password)
    keeper.password = first.password
    try:
        first.start()
        keeper.start()
        client = redis.Redis.from_url(keeper.url)
        client.execute_command("CLUSTER ADDSLOTS", client.execute_command("CLUSTER KEYSLOT", LIST))
        client.execute_command("CLUSTER MEET", "127.0.0.1", first.port)
        assert wait_until(lambda: rings(Bell(Secret(first.url))), 20)
        client.delete(LIST)
        yield first, keeper
    finally:
        first.stop()
        keeper.stop()
        shutil.rmtree(folder)


def cluster_port() -> int:
    """A free port whose neighbour 10000 further on, where the members talk, is free too."""
    while not is_free((port := free_port()) + 10_000):
        pass
    return port


def rings(bell: Bell) -> bool:
    try:
        bell.ring(7)
    except Silent:
        return False
    return True


def test_the_bell_finds_its_list_in_a_cluster_and_keeps_its_patience(shards: tuple[Redis, Redis]) -> None:
    first, keeper = shards
    bell = Bell(Secret(first.url))
    bell.ring(7)
    bell.ping()
    assert bell.wait(1) == 7
    for frozen in ([keeper], [first, keeper]):
        for member in frozen:
            member.freeze()
        try:
            for _ in range(2):
                began = time.monotonic()
                assert not rings(bell)
                assert time.monotonic() - began < 4
        finally:
            for member in frozen:
                member.thaw()
        assert wait_until(lambda: rings(bell), 20)
        assert bell.wait(1) == 7


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("DATABASE_URL", "postgresql://u:p@one:5432,two:5432,three/d?target_session_attrs=read-write"),
        ("DATABASE_URL", "postgresql://u:a,b:c@one,two/d?sslmode=verify-full&sslrootcert=/etc/ca.pem"),
        ("DATABASE_URL", "postgresql://u:p@[::1]:5432,[::2]:5432/d"),
        ("REDIS_URL", "rediss://user:a,b@host:6380/0?ssl_ca_certs=/etc/ca.pem"),
    ],
)
def test_such_an_address_is_taken_and_its_password_hidden(house: House, name: str, value: str) -> None:
    hidden = config.load(house.env | {name: value}).secrets
    assert {value, value.split("@")[0].split(":", 2)[2]} <= set(hidden)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("DATABASE_URL", "postgresql://u:cret@one:5432,/d"),
        ("DATABASE_URL", "postgresql://u:cret@one:5432,two:0/d"),
        ("DATABASE_URL", "postgresql://u:cret@one:5432,two:cret/d"),
        ("DATABASE_URL", "postgresql://u:1/cret@one,two/d"),
        ("DATABASE_URL", "postgresql://u:1/2?cret@one,two/d"),
        ("DATABASE_URL", "postgresql://u:1?cret@one,two/d"),
        ("DATABASE_URL", "postgresql://u:1#cret@one,two/d"),
        ("REDIS_URL", "redis://:cret@one:6379,two:6379/0"),
    ],
)
def test_such_an_address_is_refused_in_one_sentence(house: House, name: str, value: str) -> None:
    with pytest.raises(config.ConfigError, match=f"^{name} does not look right: [^;]+$") as caught:
        config.load(house.env | {name: value})
    assert "cret" not in str(caught.value)


def test_the_schema_is_laid_down_by_a_role_that_is_no_superuser(own_stores: Stores) -> None:
    postgres = own_stores.postgres
    command(postgres, "CREATE ROLE landlord LOGIN CREATEROLE PASSWORD 'landlord'")
    command(postgres, "CREATE DATABASE managed OWNER landlord")
    env = servers.ENVIRONMENT | {"PGPASSWORD": "landlord", "STEWARD_APP_PASSWORD": APP_PASSWORD}
    psql: list[str | Path] = [
        postgres.binaries / "psql",
        "-X",
        "-q",
        "-h",
        "127.0.0.1",
        "-p",
        str(postgres.port),
        "-U",
        "landlord",
    ]
    for _ in range(2):
        done = run([*psql, "-d", "managed", "-f", SCHEMA], env=env, seconds=60)
        assert (done.returncode, done.stderr) == (0, b"")
    app = psycopg2.connect(postgres.url("managed", "steward_app", APP_PASSWORD))
    with app.cursor() as cur:
        cur.execute("SELECT count(*) FROM inbox")
    app.close()
