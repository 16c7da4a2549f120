"""A Kafka that asks who its clients are, and throw-away certificates for it.

Listener SASL_SSL takes PLAIN, SCRAM-SHA-512 and OAUTHBEARER (tokens without a signature: whoever asks, gets in).
Listener SSL wants a client certificate. The certificates are made by `openssl`, for this run only.
"""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from pathlib import Path

from flowguard.entrypoints.dev.kafka import KafkaCluster, Security

USER = "flowguard"
PASSWORD = "a+pass/word=for tests"

_MODULES = "org.apache.kafka.common.security"
_UNSIGNED = f"{_MODULES}.oauthbearer.internals.unsecured.OAuthBearerUnsecured"
_LISTENER = "listener.name.sasl_ssl"


@dataclass(frozen=True)
class SecuredKafka:
    """The cluster (plain text at `cluster.url`), and what a client of its other listeners needs."""

    cluster: KafkaCluster
    certificates: Path

    @property
    def sasl_ssl(self) -> str:
        """host:port"""
        return self.cluster.address("SASL_SSL")

    @property
    def ssl(self) -> str:
        """host:port; wants a client certificate."""
        return self.cluster.address("SSL")

    @property
    def ca(self) -> Path:
        """Of whom the broker's certificate is."""
        return self.certificates / "ca.pem"

    def sasl(self, mechanism: str) -> dict[str, str]:
        """librdkafka's settings for PLAIN, SCRAM-SHA-512 or OAUTHBEARER."""
        settings = {
            "bootstrap.servers": self.sasl_ssl,
            "security.protocol": "SASL_SSL",
            "ssl.ca.location": str(self.ca),
            "sasl.mechanism": mechanism,
        }
        if mechanism == "OAUTHBEARER":
            return settings | {
                "enable.sasl.oauthbearer.unsecure.jwt": "true",
                "sasl.oauthbearer.config": f"principal={USER}",
            }
        return settings | {"sasl.username": USER, "sasl.password": PASSWORD}

    def mtls(self) -> dict[str, str]:
        """librdkafka's settings for the listener that wants a client certificate."""
        return {
            "bootstrap.servers": self.ssl,
            "security.protocol": "SSL",
            "ssl.ca.location": str(self.ca),
            "ssl.certificate.location": str(self.certificates / "client.pem"),
            "ssl.key.location": str(self.certificates / "client.key"),
        }


def make_certificates(folder: Path) -> Path:
    """`ca.pem`, and `.key` (PKCS 8) and `.pem` of `server` and `client`, for an hour or two."""
    folder.mkdir()
    new_key = ["req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-keyout"]

    def openssl(*arguments: str) -> None:
        subprocess.run(["openssl", *arguments], cwd=folder, check=True, capture_output=True)

    openssl(*new_key, "ca.key", "-x509", "-days", "1", "-subj", "/CN=FlowGuard test authority", "-out", "ca.pem")
    for name, subject in (("server", "/CN=localhost"), ("client", f"/CN={USER}")):
        openssl(*new_key, f"{name}.key", "-subj", subject, "-out", f"{name}.csr")
        (folder / "names").write_text("subjectAltName=IP:127.0.0.1,DNS:localhost\n", "ascii")
        signed = ("-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-extfile", "names", "-days", "1")
        openssl("x509", "-req", "-in", f"{name}.csr", *signed, "-out", f"{name}.pem")
    (folder / "server.keystore.pem").write_text(
        (folder / "server.key").read_text("ascii") + (folder / "server.pem").read_text("ascii"), "ascii"
    )
    return folder


def security_by(certificates: Path) -> Security:
    """What a cluster has to be told."""
    return Security(
        listeners=("SASL_SSL", "SSL"),
        properties={
            "ssl.keystore.type": "PEM",
            "ssl.keystore.location": str(certificates / "server.keystore.pem"),
            "ssl.truststore.type": "PEM",
            "ssl.truststore.location": str(certificates / "ca.pem"),
            "listener.name.ssl.ssl.client.auth": "required",
            f"{_LISTENER}.sasl.enabled.mechanisms": "PLAIN,SCRAM-SHA-512,OAUTHBEARER",
            f"{_LISTENER}.plain.sasl.jaas.config": (
                f'{_MODULES}.plain.PlainLoginModule required user_{USER}="{PASSWORD}";'
            ),
            f"{_LISTENER}.scram-sha-512.sasl.jaas.config": f"{_MODULES}.scram.ScramLoginModule required;",
            f"{_LISTENER}.oauthbearer.sasl.jaas.config": (
                f'{_MODULES}.oauthbearer.OAuthBearerLoginModule required unsecuredLoginStringClaim_sub="{USER}";'
            ),
            f"{_LISTENER}.oauthbearer.sasl.login.callback.handler.class": f"{_UNSIGNED}LoginCallbackHandler",
            f"{_LISTENER}.oauthbearer.sasl.server.callback.handler.class": f"{_UNSIGNED}ValidatorCallbackHandler",
        },
        format_arguments=("--add-scram", f'SCRAM-SHA-512=[name={USER},password="{PASSWORD}"]'),
    )
