"""HTTPS, so that a phone or a second PC may use its microphone: a certificate that is given, or one of our own."""

import datetime
import ipaddress
import os
import socket
import ssl
from pathlib import Path

from anivoice.config import Settings
from anivoice.errors import InvalidParameter

VALID_DAYS = 397
"""The longest that browsers accept."""
RENEW_DAYS = 30
OWN_FILE = "self-signed.pem"


def uses_tls(settings: Settings) -> bool:
    """Whether it is asked for."""
    return settings.https or settings.tls_cert is not None or settings.tls_key is not None


def tls_context(settings: Settings, folder: Path | None = None) -> ssl.SSLContext | None:
    """None without `https` and without `tls_cert`. `folder` (default: .anivoice in the home) keeps our own certificate.

    Raises InvalidParameter when the given files cannot be used.
    """
    if not uses_tls(settings):
        return None
    if settings.tls_cert is not None:
        return _loaded(settings.tls_cert, settings.tls_key)
    if settings.tls_key is not None:
        raise InvalidParameter("tls_key: it needs the certificate, too: --tls-cert")
    return _loaded(own_certificate(folder or Path.home() / ".anivoice"), None)


def own_certificate(folder: Path) -> Path:
    """A file with a self-signed certificate and its key; made when there is none, or when it is about to expire.

    It stays the same from one start to the next, so that browsers ask only once.
    """
    path = folder / OWN_FILE
    if not path.is_file() or _expires_soon(path):
        folder.mkdir(parents=True, exist_ok=True)
        part = path.with_suffix(".part")
        with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
            file.write(_make())
        part.replace(path)
    return path


def _loaded(certificate: Path, key: Path | None) -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    try:
        context.load_cert_chain(certificate, key)
    except (OSError, ssl.SSLError) as error:
        names = " and ".join(str(path) for path in (certificate, key) if path is not None)
        raise InvalidParameter(
            f"tls_cert: {names} cannot be used ({error.strerror or error}); give a PEM file with the certificate, and "
            "its key in the same file or as --tls-key"
        ) from error
    return context


def _expires_soon(path: Path) -> bool:
    from cryptography import x509

    certificate = x509.load_pem_x509_certificate(path.read_bytes())
    now = datetime.datetime.now(datetime.UTC)
    return certificate.not_valid_after_utc < now + datetime.timedelta(days=RENEW_DAYS)


def _make() -> bytes:
    """Certificate and key as PEM, for the names and addresses of this machine."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "anivoice on this machine")])
    now = datetime.datetime.now(datetime.UTC)
    names: list[x509.GeneralName] = [x509.DNSName("localhost"), x509.DNSName(socket.gethostname())]
    names += [x509.IPAddress(address) for address in own_addresses()]
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=VALID_DAYS - 1))
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.ExtendedKeyUsage([x509.oid.ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .sign(key, hashes.SHA256())
    )
    plain = serialization.NoEncryption()
    private = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, plain)
    return certificate.public_bytes(serialization.Encoding.PEM) + private


def own_addresses() -> list[ipaddress.IPv4Address | ipaddress.IPv6Address]:
    """Of this machine's network interfaces, the loopback's too."""
    import psutil

    found = (address for addresses in psutil.net_if_addrs().values() for address in addresses)
    texts = {one.address.partition("%")[0] for one in found if one.family in (socket.AF_INET, socket.AF_INET6)}
    return sorted((ipaddress.ip_address(text) for text in texts), key=str)
