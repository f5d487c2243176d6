# The desk as an image: built in one stage, run in another without compilers, caches or root.
ARG PYTHON=3.13
FROM python:${PYTHON}-slim AS build
WORKDIR /desk
# LOCK=llm adds what answers by a language model need (AGENT_MODEL).
ARG LOCK=base
COPY requirements/ requirements/
RUN VENV=/venv python requirements/install.py ${LOCK}
COPY manage.py ./
COPY supportdesk/ supportdesk/
COPY sessions_app/ sessions_app/
COPY agent_app/ agent_app/
# Compiled here, since the user that runs it may not write.
# The key of this step is used for nothing and stays in no layer: settings only ask that there is one.
RUN DEBUG=false SECRET_KEY=collectstatic /venv/bin/python manage.py collectstatic --noinput -v 0 \
    && /venv/bin/python -m compileall -q /venv/lib supportdesk sessions_app agent_app

FROM python:${PYTHON}-slim
RUN useradd --system --uid 10001 --no-create-home desk && install -d -o desk /data
COPY --from=build /venv /venv
COPY --from=build /desk /desk
WORKDIR /desk
ENV PATH=/venv/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 \
    DEBUG=false HOST=0.0.0.0 PORT=8000 DATABASE_URL=sqlite:////data/db.sqlite3 MEDIA_ROOT=/data/media
USER desk
VOLUME /data
EXPOSE 8000
# Alive, not ready: an instance that drains, or whose database is away, must not be killed for it.
HEALTHCHECK --interval=10s --timeout=3s --start-period=30s --retries=3 CMD ["python", "-c", \
    "import os, urllib.request; urllib.request.urlopen(f'http://127.0.0.1:{os.environ[\"PORT\"]}/healthz', timeout=2)"]
# SIGTERM drains for up to 15 s: give it 20 (docker stop -t 20, compose's stop_grace_period).
CMD ["python", "manage.py", "serve"]
