"""What Steward says in a terminal, to the owner who sits there, and at a start that fails: always in English."""

from __future__ import annotations

WRONG_KEY = (
    "MASTER_KEY in .env is not the key that this database is sealed with: put the right one back"
    " (it is in your backup of .env) and run `make up` (without Docker: start again). Nothing was changed."
)
NO_KEY_CHECK = (
    "The database holds sealed credentials, but no longer says with which key: restore the table key_check from a"
    " backup, or empty the table credentials and enter everything again. Nothing was changed."
)
NO_DATABASE = "PostgreSQL cannot be used: {why}. Mend that, then try again."
STOPPED = "Stopped. Nothing was changed."
# credentials.py.
NOTHING_SEALED = "Nothing is sealed yet: put tokens into .env and start the bot, or run setup_google.py."
STILL_IN_ENV = (
    "The {name} credential still stands in .env or the environment ({lines}), and the next start would seal it again."
    " Delete that first, then run this again. Nothing was changed."
)
NOT_SEALED = "There is no sealed credential for {name}. Nothing was changed."
REMOVED = (
    "The {name} credential is deleted here for good. Restart bot.py, worker.py and healthwatch.py, which may still hold"
    " it in memory."
    " At {name} it stays valid until you revoke it there."
)
REENCRYPT_KEYS = (
    "OLD_MASTER_KEY is missing: put the key used until now there, and the new one (openssl rand -hex 32) into"
    " MASTER_KEY. Nothing was changed."
)
REENCRYPT_RUNNING = "{scripts} must be stopped first: what they seal would not open any more. Nothing was changed."
REENCRYPT_SAME = (
    "OLD_MASTER_KEY and MASTER_KEY are the same key: put a new one (openssl rand -hex 32) into MASTER_KEY."
    " Nothing was changed."
)
REENCRYPT_WRONG_KEY = "OLD_MASTER_KEY is not the key that this database is sealed with. Nothing was changed."
REENCRYPT_DONE = "Everything is sealed with MASTER_KEY already. Nothing was changed; delete OLD_MASTER_KEY from .env."
REENCRYPT_DAMAGED = (
    "The {name} credential does not open with OLD_MASTER_KEY, so nothing was changed. Enter it again, or remove it with"
    " `credentials.py remove {service}`, both with the old key in MASTER_KEY; then try again."
)
REENCRYPT_TRIED = "Tried: everything opens and can be sealed anew ({names}). Nothing was changed; add --write to do it."
REENCRYPTED = (
    "Sealed anew with MASTER_KEY: {names}. Delete OLD_MASTER_KEY from .env, keep the old key with the backups that are"
    " older than this, and start Steward."
)
# memory.py.
NO_QDRANT = "There is no Qdrant: QDRANT_URL in .env is empty."
REBUILDING = "{done} of {total} turns"
REBUILT = "Steward's memory was rebuilt: {total} turns."
REBUILT_LATER = (
    "{left} turns are still to be written, because Qdrant does not answer or a stop was asked for. Nothing is lost: the"
    " workers write them as soon as they can."
)
# setup_google.py.
GOOGLE_CLIENT = """GOOGLE_CLIENT_ID and GOOGLE_CLIENT_SECRET are not both in .env. They are made once:
  1. https://console.cloud.google.com/apis/library - make a project, enable "Google Calendar API" and "Gmail API".
  2. https://console.cloud.google.com/auth/audience - choose External, then "Publish app": what somebody signs in to
     while it is in Testing ends after seven days.
  3. https://console.cloud.google.com/auth/clients - Create client, type Desktop app.
Put the id and the secret of that client into .env, then run setup_google.py again."""
GOOGLE_PORT = "Port {port} cannot be used here ({why}). Name another; --port 0 takes any that is free."
GOOGLE_INVITATION = """Open this address in a browser, choose the account and tick what Steward may see:

  {url}

No browser on this machine? Two ways, whichever you like; both work now:
  1. On the computer with the browser, open this tunnel and leave it open, then open the address above there:
       ssh -N -L {port}:127.0.0.1:{port} USER@THIS-SERVER
  2. Open the address above anywhere. At the end the browser shows that it cannot connect: that is as it should be.
     Copy the whole address of that page (http://127.0.0.1:{port}/?...), paste it here and press Enter.

"Google hasn't verified this app"? It is your own: choose Advanced, then "Go to ...".
Another error page of Google? In .env there must be a client of type Desktop app, and the app must be published.

Waiting for {minutes} minutes; Ctrl-C ends it."""
GOOGLE_PAGE = "Google's answer has arrived. You may close this page; the terminal says what came of it."
GOOGLE_PAGE_DECLINED = "Google says that it was not allowed. You may close this page and look at the terminal."
GOOGLE_PAGE_STATE = "This answer belongs to another attempt. Open the newest address that the terminal shows."
GOOGLE_PAGE_OTHER = "Steward waits here for Google's answer. Open the address that the terminal shows."
GOOGLE_NOT_ADDRESS = (
    "This is not the address of that page: it must hold state= and code=. Copy the whole line from the browser's"
    " address field and paste it here."
)
GOOGLE_WRONG_STATE = (
    "This address belongs to another attempt (its state is not the one of this run). Open the address above, and paste"
    " what comes of it."
)
GOOGLE_NO_INPUT = (
    "Nothing more can be pasted, because the input has ended (in Docker it needs -it); still waiting for the browser."
)
GOOGLE_TOO_LATE = "Nobody signed in within {minutes} minutes. Nothing was changed; run setup_google.py again."
GOOGLE_KEPT = "Signed in to Google as {account}; the tokens are sealed in PostgreSQL. Steward may: {granted}."
GOOGLE_KEPT_UNSEEN = (
    "Signed in to Google; the tokens are sealed in PostgreSQL. Steward may: {granted}. Only whose account it is could"
    " not be asked: {why}."
)
GOOGLE_UNSEEN = {
    "no_connection": "Google does not answer just now",
    "no_account": "Google's answer held no mail address",
}
GOOGLE_UNTICKED = "Not ticked: {unticked}. Steward works without; to allow it, run setup_google.py again."
GOOGLE_ENDS = "This sign-in ends in {days} days, because it was given for a time only. Steward will remind you."
GOOGLE_ENDS_TESTING = (
    "This sign-in ends in {days} days, because the app's consent screen is in Testing. Publish the app at"
    " https://console.cloud.google.com/auth/audience and run setup_google.py again."
)
GOOGLE_SCOPES = {
    "https://www.googleapis.com/auth/calendar.readonly": "read your calendars",
    "https://www.googleapis.com/auth/gmail.readonly": "read your mail",
}
_GOOGLE_AWAY = "Google has trouble of its own right now. Nothing was changed; run setup_google.py again later."
GOOGLE = {
    "access_denied": "You declined, so Google gave nothing. Nothing was changed; run setup_google.py again to sign in.",
    "invalid_grant": (
        "Google says that this answer is too old or was used before. Nothing was changed; run setup_google.py again."
    ),
    "invalid_client": (
        "Google does not know GOOGLE_CLIENT_ID, or GOOGLE_CLIENT_SECRET is not its secret. Nothing was changed; mend"
        " these lines in .env and run setup_google.py again."
    ),
    "redirect_uri_mismatch": (
        "Google does not accept the client: it must be of type Desktop app. Nothing was changed; put such a client into"
        " .env and run setup_google.py again."
    ),
    "admin_policy_enforced": (
        "The administrator of this Google account does not allow it. Nothing was changed; use another account."
    ),
    "no_refresh_token": (
        "Google gave no refresh token, so the sign-in would end within the hour; nothing was kept. Take Steward's"
        " access away at https://myaccount.google.com/connections and run setup_google.py again."
    ),
    "missing_token": _GOOGLE_AWAY,  # an answer that is none
    "internal_failure": _GOOGLE_AWAY,
    "server_error": _GOOGLE_AWAY,
    "temporarily_unavailable": _GOOGLE_AWAY,
    "no_connection": "Google cannot be reached from here, or does not answer. Nothing was changed; try again later.",
    "insecure_transport": (
        "GOOGLE_URL is plain http, which only tests may use: they set OAUTHLIB_INSECURE_TRANSPORT=1. Nothing was"
        " changed; delete that line from .env."
    ),
}


def google(code: str) -> str:
    """Why the sign-in to Google did not come about."""
    return GOOGLE.get(code) or f"Google refused the sign-in ({code}). Nothing was changed; run setup_google.py again."


def google_scope(scope: str) -> str:
    """What a scope allows, for people."""
    return GOOGLE_SCOPES.get(scope) or scope.removeprefix("https://www.googleapis.com/auth/")
