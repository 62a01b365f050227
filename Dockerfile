# The image of bot.py, worker.py, healthwatch.py and the scripts run by hand; and, as target `schema`, PostgreSQL's psql with our schema.sql.
# Code comes last: after a change of code everything above it is taken from the cache.

FROM python:3.14.7-slim-trixie AS packages
RUN python -m venv --without-pip /packages
COPY requirements.txt /
RUN pip --python /packages/bin/python install --no-cache-dir --disable-pip-version-check --root-user-action=ignore \
      -r /requirements.txt
# Claude Code, for an owner with a Max plan: 390 MB. `CLAUDE_CODE=0` in .env (or --build-arg CLAUDE_CODE=0) leaves it out.
ARG CLAUDE_CODE=1
COPY requirements-claude-code.txt /
RUN [ "$CLAUDE_CODE" = 0 ] || pip --python /packages/bin/python install --no-cache-dir --disable-pip-version-check \
      --root-user-action=ignore -r /requirements-claude-code.txt

FROM postgres:18.6-trixie AS schema
COPY --chmod=444 schema.sql /schema.sql
USER postgres

FROM python:3.14.7-slim-trixie AS scripts
RUN python -m pip uninstall --yes --quiet --root-user-action=ignore pip \
 && groupadd --gid 10001 steward && useradd --uid 10001 --gid 10001 --no-create-home --home-dir /tmp --shell /usr/sbin/nologin steward \
 && install -d -o steward -g steward -m 700 /var/lib/steward  # a new volume mounted there takes over its owner
ENV PATH=/packages/bin:$PATH PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1
COPY --from=packages /packages /packages
WORKDIR /app
# The modes are set here: a clone made with umask 077 would be closed to the user below.
COPY --chmod=755 lib lib
COPY --chmod=755 *.py ./
USER 10001:10001
CMD ["python", "bot.py"]
