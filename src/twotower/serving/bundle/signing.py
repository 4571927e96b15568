"""Signatures of bundles (Ed25519): who made a bundle, where its folder may be written by others.

The signature is of the manifest's bytes, and the manifest holds the checksums of all other files.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from twotower.atomic import SIGNATURE, replace_file
from twotower.errors import BundleError, ConfigError, explain

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import (
        Ed25519PrivateKey,
        Ed25519PublicKey,
    )

HOW_TO_MAKE = "`twotower sign --new-key FILE` makes FILE and FILE.pub"


class VerifyKey:
    """A public key: bundles that were not signed with its private key are refused.

    Attributes:
        file: the key's file.
    """

    def __init__(self, file: str | Path) -> None:
        """Read a public key in PEM format.

        Raises:
            ConfigError: it cannot be read, is another kind of key, or the package cryptography is
                not installed.
        """
        self.file = Path(file)
        self._key = _public_key(self.file)

    def check(self, bundle: Path, manifest: bytes) -> None:
        """Refuse a bundle whose manifest has these bytes and that was not signed with the key.

        Raises:
            BundleError: it has no signature, that of another key, or was changed afterwards.
        """
        from cryptography.exceptions import InvalidSignature  # noqa: PLC0415

        try:
            signature = (bundle / SIGNATURE).read_bytes()
        except OSError:
            raise BundleError(
                explain(
                    "is not signed, and only bundles signed with the key of "
                    f"{self.file} are accepted",
                    file=bundle,
                    fix=f"sign it where it was trained: `twotower sign {bundle} --key FILE`",
                )
            ) from None
        try:
            self._key.verify(signature, manifest)
        except InvalidSignature:
            raise BundleError(
                explain(
                    f"was not signed with the key of {self.file}, or was changed after it was "
                    "signed",
                    file=bundle,
                    fix="copy it again from where it was trained, or name the key of who signed it",
                )
            ) from None


def signature_of(manifest: bytes, key: Path) -> bytes:
    """The signature of a manifest with a private key in PEM format.

    Raises:
        ConfigError: the key cannot be read.
    """
    return _private_key(key).sign(manifest)


def new_key(file: Path) -> Path:
    """Write a new private key, which only the owner may read, and its public key beside it.

    Args:
        file: of the private key; `.pub` is appended for the public key.

    Returns:
        The file of the public key.

    Raises:
        ConfigError: one of the two exists.
    """
    public_file = file.with_name(f"{file.name}.pub")
    for existing in (file, public_file):
        if existing.exists():
            raise ConfigError(
                explain("exists, and keys are not replaced", file=existing, fix="name a new file")
            )
    _require_cryptography()
    from cryptography.hazmat.primitives import serialization  # noqa: PLC0415
    from cryptography.hazmat.primitives.asymmetric import ed25519  # noqa: PLC0415

    key = ed25519.Ed25519PrivateKey.generate()
    private = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    public = key.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    with replace_file(file) as aside:
        # Never readable by others, not even before it has its name.
        descriptor = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(private)
    with replace_file(public_file) as aside:
        aside.write_bytes(public)
    return public_file


def _require_cryptography() -> None:
    """Check that the package which computes signatures is there.

    Raises:
        ConfigError: it is not installed.
    """
    if find_spec("cryptography") is None:
        raise ConfigError(
            explain(
                "signatures of bundles need the package cryptography, which is not installed",
                fix="pip install 'twotower[signing]'",
            )
        )


def _public_key(file: Path) -> Ed25519PublicKey:
    _require_cryptography()
    from cryptography.hazmat.primitives import serialization  # noqa: PLC0415
    from cryptography.hazmat.primitives.asymmetric import ed25519  # noqa: PLC0415

    content = _read_key(file)
    if b"PRIVATE KEY" in content:
        raise ConfigError(
            explain(
                "is a private key, which is for signing only",
                file=file,
                fix="name the public key, and keep the private one where bundles are trained",
            )
        )
    key = _parsed(serialization.load_pem_public_key, content, file)
    if not isinstance(key, ed25519.Ed25519PublicKey):
        raise _not_a_key(file)
    return key


def _private_key(file: Path) -> Ed25519PrivateKey:
    _require_cryptography()
    from cryptography.hazmat.primitives import serialization  # noqa: PLC0415
    from cryptography.hazmat.primitives.asymmetric import ed25519  # noqa: PLC0415

    def parse(content: bytes) -> object:
        return serialization.load_pem_private_key(content, password=None)

    key = _parsed(parse, _read_key(file), file)
    if not isinstance(key, ed25519.Ed25519PrivateKey):
        raise _not_a_key(file)
    return key


def _read_key(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        raise ConfigError(
            explain(f"the key cannot be read: {error.strerror}", file=file, fix=HOW_TO_MAKE)
        ) from None


def _parsed(parse: Callable[[bytes], object], content: bytes, file: Path) -> object:
    from cryptography.exceptions import UnsupportedAlgorithm  # noqa: PLC0415

    try:
        return parse(content)
    except TypeError:
        raise ConfigError(
            explain(
                "the key is encrypted by a password",
                file=file,
                fix="write it without one, readable only by the account that signs: "
                "`openssl pkey -in FILE -out KEY`",
            )
        ) from None
    except (ValueError, UnsupportedAlgorithm):
        raise _not_a_key(file) from None


def _not_a_key(file: Path) -> ConfigError:
    return ConfigError(explain("is not an Ed25519 key in PEM format", file=file, fix=HOW_TO_MAKE))
