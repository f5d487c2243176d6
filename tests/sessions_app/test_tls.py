"""rediss://: the store through TLS, with a certificate made for the test."""

import asyncio
import shutil
import ssl
import subprocess
from pathlib import Path

import pytest

from sessions_app.stores import RedisSessionStore, SessionData
from tests.conftest import ValkeyServer
from tests.sessions_app.test_faults import Wire

pytestmark = [pytest.mark.integration, pytest.mark.usefixtures("alone")]


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    openssl = shutil.which("openssl")
    assert openssl, "The openssl command makes the certificate of this test."
    folder = tmp_path_factory.mktemp("tls")
    key, certificate = folder / "key.pem", folder / "cert.pem"
    names = ["-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1"]
    subprocess.run(
        [
            openssl,
            "req",
            "-x509",
            "-newkey",
            "rsa:2048",
            "-nodes",
            "-keyout",
            str(key),
            "-out",
            str(certificate),
            *names,
        ],
        check=True,
        capture_output=True,
    )
    return key, certificate


async def test_tls(valkey: ValkeyServer, prefix: str, certificate: tuple[Path, Path]) -> None:
    key, cert = certificate
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(cert, key)
    listener = await asyncio.start_server(Wire(valkey.port).carry, "127.0.0.1", 0, ssl=context)
    url = f"rediss://127.0.0.1:{listener.sockets[0].getsockname()[1]}/0"

    trusting = RedisSessionStore(f"{url}?ssl_ca_certs={cert}", prefix)
    assert await trusting.set("s", SessionData("s"))
    assert await asyncio.gather(*(trusting.increment_counter("s", "n") for _ in range(50))) == list(range(1, 51))
    assert await RedisSessionStore(f"{url}?ssl_cert_reqs=none", prefix).exists("s")

    distrusting = RedisSessionStore(url, prefix)
    assert await distrusting.set("s", SessionData("s")) is False
    assert distrusting.available is False
    await trusting.close()
    listener.close()
