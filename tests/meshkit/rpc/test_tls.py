"""Who is served when the address is more than loopback."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

import grpc
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from grpc_health.v1 import health_pb2, health_pb2_grpc

from meshkit.core.errors import Unavailable
from meshkit.rpc.channel import grpc_channel
from meshkit.rpc.health import Health
from meshkit.rpc.interceptors import Interceptors
from meshkit.rpc.server import MeshServer, TlsFiles
from meshkit.telemetry.metrics import Metrics
from meshkit.telemetry.tracing import Tracing


class Authority:
    """Signs certificates for 127.0.0.1."""

    def __init__(self, name: str) -> None:
        self._name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
        self._key = ec.generate_private_key(ec.SECP256R1())
        self.pem = self._sign(self._name, self._key, is_authority=True)

    def pair(self, name: str) -> tuple[bytes, bytes]:
        """A private key and its certificate."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
        pem = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        return pem, self._sign(subject, key, is_authority=False)

    def _sign(self, subject: x509.Name, key: ec.EllipticCurvePrivateKey, *, is_authority: bool) -> bytes:
        now = datetime.now(UTC)
        builder = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(minutes=1))
            .not_valid_after(now + timedelta(hours=1))
            .add_extension(x509.BasicConstraints(ca=is_authority, path_length=None), critical=True)
            .add_extension(x509.SubjectAlternativeName([x509.IPAddress(IPv4Address("127.0.0.1"))]), critical=False)
        )
        return builder.sign(self._key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


@pytest.fixture
def authority() -> Authority:
    return Authority("mesh")


@pytest.fixture
async def port(tmp_path: Path, authority: Authority) -> AsyncGenerator[int, None]:
    """A server that wants its clients' certificates."""
    files = TlsFiles(tmp_path / "certificate.pem", tmp_path / "key.pem", tmp_path / "ca.pem")
    key, certificate = authority.pair("inventory")
    files.key_file.write_bytes(key)
    files.certificate_file.write_bytes(certificate)
    (tmp_path / "ca.pem").write_bytes(authority.pem)
    metrics = Metrics()
    health = Health(services=(), checks={}, metrics=metrics)
    interceptors = Interceptors(verifier=None, metrics=metrics, tracing=Tracing())
    server = MeshServer([], listen="127.0.0.1:0", interceptors=interceptors, health=health, tls=files)
    await server.start()
    await health.check_once()
    yield server.port
    await server.drain(wait_seconds=0.0, grace_seconds=0.0)


async def ask(port: int, credentials: grpc.ChannelCredentials | None) -> int:
    async with grpc_channel(f"127.0.0.1:{port}", credentials=credentials) as channel:
        stub: Any = health_pb2_grpc.HealthStub(channel)
        reply = await stub.Check(health_pb2.HealthCheckRequest(), timeout=5)
    return int(reply.status)


async def test_client_with_a_certificate_of_the_authority_is_served(port: int, authority: Authority) -> None:
    key, certificate = authority.pair("edge")
    assert await ask(port, grpc.ssl_channel_credentials(authority.pem, key, certificate)) == 1


async def test_client_with_a_strangers_certificate_is_not(port: int, authority: Authority) -> None:
    key, certificate = Authority("stranger").pair("edge")
    with pytest.raises(Unavailable):
        await ask(port, grpc.ssl_channel_credentials(authority.pem, key, certificate))


async def test_client_without_a_certificate_is_not(port: int, authority: Authority) -> None:
    with pytest.raises(Unavailable):
        await ask(port, grpc.ssl_channel_credentials(authority.pem))


async def test_client_that_speaks_plain_text_is_not(port: int) -> None:
    with pytest.raises(Unavailable):
        await ask(port, None)
