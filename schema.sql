-- Steward's tables, roles and rights. Run it as often as you like, with psql 15 or newer, always as the same role, which
-- owns the database and may make roles:
--     STEWARD_APP_PASSWORD=... psql -d steward -f schema.sql
-- A second run changes nothing but the password. Every table is owned by one file in lib/, which holds all of its SQL.

\set ON_ERROR_STOP on
SET client_min_messages = warning;

BEGIN;

-- Two runs at once, as from two machines, wait here for each other: later one of them would fail.
SELECT pg_advisory_xact_lock(hashtextextended('steward schema', 0)) \g /dev/null

-- Roles. steward_owner owns the tables and never logs in; steward_app is what the scripts log in as.
DO $$
BEGIN
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'steward_owner') THEN
        CREATE ROLE steward_owner NOLOGIN;
    END IF;
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'steward_app') THEN
        CREATE ROLE steward_app LOGIN;
    END IF;
END $$;
GRANT steward_owner TO CURRENT_USER;

-- The application's password comes from the environment, so that it stands in no file and no command line.
\getenv app_password STEWARD_APP_PASSWORD
\if :{?app_password}
ALTER ROLE steward_app PASSWORD :'app_password';
\endif

GRANT USAGE, CREATE ON SCHEMA public TO steward_owner;
GRANT USAGE ON SCHEMA public TO steward_app;
SET LOCAL ROLE steward_owner;

-- Databases from before the chat (tests/schemas/3-health.sql). A column is added at once, but locks out everybody too: so it
-- is asked first. This stands here because the comments below speak of the new columns.
SELECT to_regclass('outbox') IS NOT NULL AND NOT EXISTS (
    SELECT FROM pg_attribute WHERE attrelid = to_regclass('outbox') AND attname = 'reply_to'
) AS before_the_chat \gset
\if :before_the_chat
-- In the order in which running scripts take their locks; another order could end in a deadlock.
ALTER TABLE inbox ADD turn bigint, ADD ready_at timestamptz, ADD said_at timestamptz,
    ADD files json, ADD stop_asked boolean NOT NULL DEFAULT false, ADD recalled bigint[], ADD preview_id bigint;
ALTER TABLE history ADD user_id bigint, ADD files json;
ALTER TABLE outbox ADD markdown boolean NOT NULL DEFAULT false, ADD document text, ADD buttons json, ADD edits bigint,
    ADD reply_to bigint;
ALTER TABLE chats ADD language text NOT NULL DEFAULT '', ADD gone_at timestamptz;
\endif

-- offsets (lib/offsets.py): how far each bot has confirmed Telegram's updates.
CREATE TABLE IF NOT EXISTS offsets (
    bot_id      bigint PRIMARY KEY,
    next_offset bigint NOT NULL,
    moved_at    timestamptz NOT NULL DEFAULT now()
);
COMMENT ON COLUMN offsets.bot_id IS 'The digits before the colon of the token: ids of one bot mean nothing to another.';
COMMENT ON COLUMN offsets.next_offset IS 'The next getUpdates asks from here, which confirms everything below. Moved only after the updates are stored.';

-- chats (lib/chats.py): what must be remembered about a chat from one message to the next.
CREATE TABLE IF NOT EXISTS chats (
    chat_id          bigint PRIMARY KEY,
    conversation     integer NOT NULL DEFAULT 0,
    not_before       timestamptz,
    stranger_told_at timestamptz,
    language         text NOT NULL DEFAULT '',
    gone_at          timestamptz
);
COMMENT ON COLUMN chats.conversation IS 'Counts up with every /new; only history of the same number is shown to Claude.';
COMMENT ON COLUMN chats.not_before IS 'Nothing is sent to this chat before this time (Telegram''s retry_after, or a pause after a failure).';
COMMENT ON COLUMN chats.stranger_told_at IS 'When a person who is not on the list was last told so: at most once a day.';
COMMENT ON COLUMN chats.language IS 'The Telegram language code of whoever wrote there last: Steward''s own sentences are in it.';
COMMENT ON COLUMN chats.gone_at IS 'Since when nothing arrives there, because the bot was blocked or removed; null again once somebody writes.';

-- allowed (lib/allowed.py): people and groups that the owner has let in by command, beside those in .env.
CREATE TABLE IF NOT EXISTS allowed (
    id       bigint PRIMARY KEY,
    name     text NOT NULL DEFAULT '',
    added_at timestamptz NOT NULL DEFAULT now()
);
COMMENT ON COLUMN allowed.id IS 'A Telegram id: above 0 a person''s, below 0 a group''s.';
COMMENT ON COLUMN allowed.name IS 'What the owner called them, or the title of the group.';

-- inbox (lib/inbox.py): every update Telegram gave us, once. The ledger of what must still be answered.
CREATE TABLE IF NOT EXISTS inbox (
    id             bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    bot_id         bigint NOT NULL,
    update_id      bigint NOT NULL,
    correlation_id uuid NOT NULL,
    received_at    timestamptz NOT NULL DEFAULT now(),
    kind           text NOT NULL,
    chat_id        bigint,
    user_id        bigint,
    message_id     bigint,
    conversation   integer NOT NULL DEFAULT 0,
    body           text,
    raw            json,
    state          text NOT NULL CHECK (state IN ('waiting', 'answered', 'failed', 'set_aside', 'noted', 'parked')),
    attempts       integer NOT NULL DEFAULT 0,
    turn           bigint,
    ready_at       timestamptz,
    said_at        timestamptz,
    files          json,
    stop_asked     boolean NOT NULL DEFAULT false,
    recalled       bigint[],
    preview_id     bigint,
    UNIQUE (bot_id, update_id)
);
COMMENT ON COLUMN inbox.update_id IS 'Unique per bot: Telegram sends an unconfirmed update again, and the second copy must fall off here.';
COMMENT ON COLUMN inbox.correlation_id IS 'Born here; the same id stands in every log line, audit row and reply that follows from this update.';
COMMENT ON COLUMN inbox.conversation IS 'The chat''s conversation when the message arrived: a later /new does not move it, only /retry does.';
COMMENT ON COLUMN inbox.body IS 'The text to answer; null for updates that the worker has nothing to do with, and once it is forgotten.';
COMMENT ON COLUMN inbox.raw IS 'The update as it came, json and not jsonb, which refuses a NUL and half an emoji. Never kept for strangers, nor of what is forgotten.';
COMMENT ON COLUMN inbox.state IS 'waiting: for a worker; answered: the answer is in outbox; failed: no whole answer came, or it was stopped; /retry asks again; set_aside: three tries failed; noted: nothing to do, or no longer to be answered; parked: could not be read.';
COMMENT ON COLUMN inbox.attempts IS 'Counted up and committed before each try, because a killed process cannot count afterwards.';
COMMENT ON COLUMN inbox.turn IS 'The id of the first message of the turn that this one joined; null: it is the first. A turn is answered as one.';
COMMENT ON COLUMN inbox.ready_at IS 'Until then more may come that belongs to the same turn (the same in all of its rows); null: nothing more is waited for.';
COMMENT ON COLUMN inbox.said_at IS 'When the person wrote it, by Telegram''s clock, in whole seconds: after an outage all arrives at once, and still is not one turn.';
COMMENT ON COLUMN inbox.files IS 'What came with it and Claude can read: a list of what lib/files.py calls a File.';
COMMENT ON COLUMN inbox.stop_asked IS 'The person wants no more of the answer that is being written.';
COMMENT ON COLUMN inbox.recalled IS 'The turns (their first inbox ids) that were recalled for the answer, best first: for /memory.';
COMMENT ON COLUMN inbox.preview_id IS 'In a group, the message in which the answer grows (in the first row of the turn): what is said at its end takes its place.';

-- history (lib/history.py): the conversation as Claude sees it. Only grows, except for a turn that is asked again or
-- forgotten.
CREATE TABLE IF NOT EXISTS history (
    id           bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    chat_id      bigint NOT NULL,
    conversation integer NOT NULL,
    inbox_id     bigint NOT NULL,
    at           timestamptz NOT NULL DEFAULT now(),
    role         text NOT NULL CHECK (role IN ('user', 'assistant')),
    body         text NOT NULL CHECK (body <> ''),
    total        bigint NOT NULL,
    user_id      bigint,
    files        json,
    UNIQUE (inbox_id, role),
    UNIQUE (chat_id, conversation, total)
);
COMMENT ON COLUMN history.inbox_id IS 'The first message of the turn this belongs to; no foreign key: updates may be thrown away one day, the history stays.';
COMMENT ON COLUMN history.total IS 'Estimated tokens of this conversation up to and with this row: the cut for the prompt is found by index, however long the history.';
COMMENT ON COLUMN history.user_id IS 'Who asked, also in the row of the answer: in a group several people share a conversation.';
COMMENT ON COLUMN history.files IS 'As in inbox: they are fetched from Telegram again when the conversation is shown to Claude again.';

-- unindexed (lib/unindexed.py): turns whose place in Qdrant has to be brought up to date. One that is no longer in
-- history is taken out there, any other is written anew.
CREATE TABLE IF NOT EXISTS unindexed (
    id       bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    inbox_id bigint NOT NULL
);
COMMENT ON COLUMN unindexed.inbox_id IS 'The turn, as in history.inbox_id; more than once is no harm.';

-- outbox (lib/outbox.py): every message part Steward has to say, and what became of it.
CREATE TABLE IF NOT EXISTS outbox (
    id             bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    correlation_id uuid NOT NULL,
    made_at        timestamptz NOT NULL DEFAULT now(),
    sender         text NOT NULL CHECK (sender IN ('bot', 'worker')),
    chat_id        bigint NOT NULL,
    part           smallint NOT NULL,
    parts          smallint NOT NULL,
    body           text NOT NULL CHECK (body <> ''),
    state          text NOT NULL DEFAULT 'pending' CHECK (state IN ('pending', 'sending', 'sent', 'refused')),
    maybe_repeat   boolean NOT NULL DEFAULT false,
    attempts       integer NOT NULL DEFAULT 0,
    message_id     bigint,
    sent_at        timestamptz,
    markdown       boolean NOT NULL DEFAULT false,
    document       text,
    buttons        json,
    edits          bigint,
    reply_to       bigint
);
COMMENT ON COLUMN outbox.sender IS 'Which script delivers it: the worker its answers (under the chat''s lock), the bot its notices.';
COMMENT ON COLUMN outbox.body IS 'What is said; a dash once it is forgotten.';
COMMENT ON COLUMN outbox.state IS 'sending is committed before the request leaves; a row found in it after a crash has an unknown fate. refused: Telegram will never take it.';
COMMENT ON COLUMN outbox.maybe_repeat IS 'An earlier try may have arrived: the next one carries the "may be a repeat" mark.';
COMMENT ON COLUMN outbox.markdown IS 'The body is Markdown, and made into text and entities when it is sent; else it is sent as it is.';
COMMENT ON COLUMN outbox.document IS 'A file name: the body is sent as a file of this name.';
COMMENT ON COLUMN outbox.buttons IS 'Rows of buttons under the message: [[[label, callback data], ...], ...].';
COMMENT ON COLUMN outbox.edits IS 'The id of a message of ours that this one replaces, if it is still there.';
COMMENT ON COLUMN outbox.reply_to IS 'The id of the message it answers, for groups.';

-- audit (lib/audit.py): who asked, what was done, with which outcome. Append-only for the application.
CREATE TABLE IF NOT EXISTS audit (
    id             bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at             timestamptz NOT NULL DEFAULT now(),
    correlation_id uuid NOT NULL,
    actor_kind     text NOT NULL CHECK (actor_kind IN ('owner', 'user', 'stranger', 'system')),
    actor_id       bigint,
    action         text NOT NULL,
    outcome        text NOT NULL CHECK (outcome IN ('success', 'failure', 'denied')),
    reason         text,
    model          text,
    tokens_in      bigint,
    tokens_out     bigint,
    tokens_cached  bigint,
    duration_ms    integer,
    detail         jsonb NOT NULL DEFAULT '{}'
);
COMMENT ON COLUMN audit.at IS 'The start of the transaction that did the thing: the row is written in the same one.';
COMMENT ON COLUMN audit.action IS 'A dotted verb, such as update.received, claude.asked, reply.sent.';
COMMENT ON COLUMN audit.tokens_cached IS 'The part of tokens_in that the prompt cache served.';
COMMENT ON COLUMN audit.detail IS 'Ids and counts only: never message text, never a secret.';

-- alerts (lib/alerts.py): what the owner has to know.
CREATE TABLE IF NOT EXISTS alerts (
    id             bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at             timestamptz NOT NULL DEFAULT now(),
    correlation_id uuid NOT NULL,
    kind           text NOT NULL,
    body           text NOT NULL
);

-- processes (lib/processes.py): each running script and its last sign of life. What a crash of PostgreSQL forgets here is
-- written again within seconds, so it costs no disk.
CREATE UNLOGGED TABLE IF NOT EXISTS processes (
    name       text PRIMARY KEY,
    service    text NOT NULL,
    beats      bigint NOT NULL DEFAULT 0,
    beat_at    timestamptz NOT NULL DEFAULT now(),
    promised   real NOT NULL DEFAULT 0,
    polled_ago real,
    trouble    text,
    told_at    timestamptz
);
COMMENT ON COLUMN processes.name IS 'The application name of the connection that writes the row: with it the server knows whether the process is gone.';
COMMENT ON COLUMN processes.beats IS 'Counts up while the process lives. Whoever watches looks whether it moves, and needs no clock in common.';
COMMENT ON COLUMN processes.promised IS 'In how many seconds the working loop means to be back; below 0: it should have been.';
COMMENT ON COLUMN processes.polled_ago IS 'The bot: seconds since a getUpdates was last completed.';
COMMENT ON COLUMN processes.trouble IS 'The bot: why getUpdates fails now, as a word for lib/english.py.';
COMMENT ON COLUMN processes.told_at IS 'healthwatch: when the bot told the owner that it is silent; null once it is back.';

-- parts (lib/parts.py): what healthwatch.py last found of each part of the house, for /status.
CREATE TABLE IF NOT EXISTS parts (
    part       text PRIMARY KEY,
    state      text NOT NULL CHECK (state IN ('up', 'down', 'unknown')),
    since      timestamptz,
    problem    text,
    detail     jsonb NOT NULL DEFAULT '{}',
    checked_at timestamptz NOT NULL DEFAULT now()
);
COMMENT ON COLUMN parts.checked_at IS 'Also changes when nothing else does: to write it is how healthwatch.py tries PostgreSQL out.';
COMMENT ON COLUMN parts.problem IS 'A word for lib/english.py; null: it is well.';

-- key_check (lib/key_check.py): which master key this database is sealed with. One row, written at the first start.
CREATE TABLE IF NOT EXISTS key_check (
    one_row     boolean PRIMARY KEY DEFAULT true CHECK (one_row),
    fingerprint bytea NOT NULL,
    made_at     timestamptz NOT NULL DEFAULT now()
);
COMMENT ON COLUMN key_check.fingerprint IS 'HMAC-SHA256 under the master key: tells whether a key is the right one, and nothing about the key.';

-- credentials (lib/credentials.py): every token and sign-in Steward is trusted with, sealed.
CREATE TABLE IF NOT EXISTS credentials (
    owner            text NOT NULL,
    service          text NOT NULL,
    kind             text NOT NULL CHECK (kind IN ('token', 'api_key', 'plan_token', 'oauth')),
    token            bytea NOT NULL,
    login            bytea,
    account          text NOT NULL DEFAULT '',
    entered          bytea NOT NULL,
    entered_at       timestamptz NOT NULL DEFAULT now(),
    expires_at       timestamptz,
    ends_at          timestamptz,
    single_use       boolean NOT NULL DEFAULT false,
    renewing         text,
    problem          text,
    hindrance        text,
    told             text,
    reminded         integer,
    checked_at       timestamptz,
    due_at           timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (owner, service),
    CHECK ((kind = 'oauth') = (login IS NOT NULL))
);
COMMENT ON COLUMN credentials.owner IS 'Whose it is: steward, for all that belongs to the house and not to one person.';
COMMENT ON COLUMN credentials.token IS 'Sealed (lib/vault.py): the token or key; of an OAuth sign-in the access token.';
COMMENT ON COLUMN credentials.login IS 'Sealed: what the access token is renewed with. The address is in it, so that nobody can point it elsewhere.';
COMMENT ON COLUMN credentials.entered IS 'Sealed: a digest of what was entered: the same lines in .env are not entered twice, above all not over a renewed sign-in.';
COMMENT ON COLUMN credentials.expires_at IS 'When the access token ends; null: nobody said so.';
COMMENT ON COLUMN credentials.ends_at IS 'When the whole credential ends and must be entered again; null: not known in advance.';
COMMENT ON COLUMN credentials.single_use IS 'The refresh token is dead once it was sent: never send it again when the answer was lost.';
COMMENT ON COLUMN credentials.renewing IS 'A mark, committed before the refresh token is sent, cleared with the answer: still there under the lock, it means that somebody died in between.';
COMMENT ON COLUMN credentials.problem IS 'A code for lib/english.py: why it does not work; null: it does, as far as we know.';
COMMENT ON COLUMN credentials.hindrance IS 'Why the service could not be asked the last time; says nothing about the credential.';
COMMENT ON COLUMN credentials.told IS 'The problem the owner was last told of.';
COMMENT ON COLUMN credentials.reminded IS 'At how many days before ends_at the owner was last reminded.';
COMMENT ON COLUMN credentials.due_at IS 'When the service is asked next whether the credential works.';

-- Databases from before 14:00 UTC on 2026-11-22 (tests/schemas/1-first.sql). When none of them is left, this part may go.
-- Their numbers were too small. Changing a type locks out everybody, also when nothing changes: so it is asked first.
SELECT EXISTS (
    SELECT FROM pg_attribute
    WHERE attrelid = 'audit'::regclass AND attname = 'tokens_in' AND atttypid = 'integer'::regtype
) AS numbers_too_small \gset
\if :numbers_too_small
-- In the order in which running scripts take their locks; another order could end in a deadlock.
ALTER TABLE inbox ALTER attempts TYPE integer;
ALTER TABLE outbox ALTER attempts TYPE integer;
ALTER TABLE audit ALTER tokens_in TYPE bigint, ALTER tokens_out TYPE bigint, ALTER tokens_cached TYPE bigint;
\endif
-- These were of no use to anyone, and the application need not read what it tells the owner.
DROP INDEX IF EXISTS inbox_failed, audit_at, audit_action;
REVOKE SELECT ON alerts FROM steward_app;

-- Indexes. CREATE INDEX makes whoever writes wait, also when the index is there: so it is only said when one is missing.
SELECT num_nulls(
    to_regclass('inbox_waiting'), to_regclass('inbox_asked'), to_regclass('inbox_message'),
    to_regclass('outbox_open'), to_regclass('audit_correlation'), to_regclass('audit_claude'),
    to_regclass('audit_age'), to_regclass('audit_backup'), to_regclass('history_group'), to_regclass('chats_held')
) > 0 AS index_missing \gset
\if :index_missing
CREATE INDEX IF NOT EXISTS inbox_waiting ON inbox (chat_id, id) WHERE state = 'waiting';
CREATE INDEX IF NOT EXISTS inbox_asked ON inbox (chat_id, id) WHERE body IS NOT NULL;
CREATE INDEX IF NOT EXISTS inbox_message ON inbox (chat_id, message_id) WHERE body IS NOT NULL;
CREATE INDEX IF NOT EXISTS outbox_open ON outbox (sender, chat_id, id) WHERE state IN ('pending', 'sending');
CREATE INDEX IF NOT EXISTS audit_correlation ON audit (correlation_id);
CREATE INDEX IF NOT EXISTS audit_claude ON audit (at) WHERE action = 'claude.asked';
CREATE INDEX IF NOT EXISTS audit_age ON audit (at);
CREATE INDEX IF NOT EXISTS audit_backup ON audit (at) WHERE action = 'backup.made';
CREATE INDEX IF NOT EXISTS history_group ON history (user_id) WHERE chat_id < 0;
CREATE INDEX IF NOT EXISTS chats_held ON chats (not_before) WHERE not_before IS NOT NULL;
\endif

-- remove_old (called by lib/audit.py): the one way in which the application removes what was done and what came. Whatever
-- it asks for, 30 days stay; what somebody else works on is left for the next call, so that nobody is waited for.
CREATE OR REPLACE FUNCTION remove_old(
    days integer, most integer, OUT audit_rows bigint, OUT updates bigint, OUT parts bigint
) LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    -- In hours: how long a day is depends on the caller's time zone.
    oldest_kept timestamptz := now() - make_interval(hours => 24 * least(greatest(days, 30), 36500));
    batch integer := least(greatest(most, 1), 5000);
    lowest bigint[];
BEGIN
    -- In the order in which running scripts take their locks. These two have no index on their time, which every
    -- message would have to pay for: what came first has the lowest ids.
    lowest := ARRAY(SELECT id FROM public.inbox ORDER BY id LIMIT batch);
    DELETE FROM public.inbox WHERE id = ANY (ARRAY(
        SELECT id FROM public.inbox WHERE id = ANY (lowest) AND received_at < oldest_kept AND state <> 'waiting'
        FOR UPDATE SKIP LOCKED));
    GET DIAGNOSTICS updates = ROW_COUNT;
    lowest := ARRAY(SELECT id FROM public.outbox ORDER BY id LIMIT batch);
    DELETE FROM public.outbox WHERE id = ANY (ARRAY(
        SELECT id FROM public.outbox WHERE id = ANY (lowest) AND made_at < oldest_kept AND state IN ('sent', 'refused')
        FOR UPDATE SKIP LOCKED));
    GET DIAGNOSTICS parts = ROW_COUNT;
    DELETE FROM public.audit WHERE id = ANY (ARRAY(
        SELECT id FROM public.audit WHERE at < oldest_kept ORDER BY at LIMIT batch FOR UPDATE SKIP LOCKED));
    GET DIAGNOSTICS audit_rows = ROW_COUNT;
END $$;

-- Rights. What is not granted here the application cannot do, whatever a bug or an intruder asks of it.
GRANT SELECT, INSERT, UPDATE ON offsets, chats, inbox, outbox TO steward_app;
GRANT SELECT, INSERT, DELETE ON history, unindexed TO steward_app;
GRANT UPDATE (files) ON history TO steward_app;
GRANT SELECT, INSERT, UPDATE, DELETE ON allowed TO steward_app;
GRANT SELECT, INSERT ON audit TO steward_app;
GRANT INSERT ON alerts TO steward_app;
GRANT SELECT, INSERT, UPDATE ON key_check TO steward_app;
GRANT SELECT, INSERT, UPDATE, DELETE ON credentials, processes, parts TO steward_app;
REVOKE EXECUTE ON FUNCTION remove_old(integer, integer) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION remove_old(integer, integer) TO steward_app;

COMMIT;
