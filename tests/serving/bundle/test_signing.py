"""Signed bundles: who made them, though others can write their folder."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.processes import twotower
from tests.web.bundles import train_shop, write_shop
from twotower.atomic import MANIFEST, SIGNATURE
from twotower.errors import BundleError, ConfigError
from twotower.serving.answer.recommender import Recommender
from twotower.serving.bundle.bundle import sign_bundle
from twotower.serving.bundle.signing import VerifyKey, new_key

Tamper = Callable[[Path], object]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a signed bundle and the key."""
    folder = tmp_path_factory.mktemp("signed")
    (folder / "shop").mkdir()
    train_shop(write_shop(folder / "shop"), folder / "bundle", "training.epochs=1")
    new_key(folder / "key.pem")
    sign_bundle(folder / "bundle", folder / "key.pem")
    return folder


@pytest.fixture
def bundle(made: Path, tmp_path: Path) -> Path:
    shutil.copytree(made / "bundle", tmp_path / "bundle")
    return tmp_path / "bundle"


def refused(bundle: Path, key: Path) -> str:
    with pytest.raises(BundleError) as error:
        Recommender.load(bundle, verify_key=key)
    return str(error.value)


def write_manifest_again(bundle: Path) -> None:
    """Make all checksums right, as a forger does."""
    manifest = json.loads((bundle / MANIFEST).read_text(encoding="utf-8"))
    manifest["files"] = {
        str(file.relative_to(bundle)): {
            "bytes": file.stat().st_size,
            "sha256": hashlib.sha256(file.read_bytes()).hexdigest(),
        }
        for file in sorted(bundle.rglob("*"))
        if file.is_file() and file.name not in (MANIFEST, SIGNATURE)
    }
    (bundle / MANIFEST).write_text(json.dumps(manifest, indent=1), encoding="utf-8")


def test_a_signed_bundle_answers(made: Path, bundle: Path) -> None:
    signed = Recommender.load(bundle, verify_key=made / "key.pem.pub")
    assert len(signed.recommend("u00001", 3).items) == 3
    Recommender.load(bundle)  # without a key, signatures are not looked at


def test_an_unsigned_bundle(made: Path, bundle: Path) -> None:
    (bundle / SIGNATURE).unlink()
    key = made / "key.pem.pub"
    assert refused(bundle, key) == (
        f"{bundle}: is not signed, and only bundles signed with the key of {key} are accepted. "
        f"Fix: sign it where it was trained: `twotower sign {bundle} --key FILE`."
    )


def test_a_bundle_that_another_key_signed(bundle: Path, tmp_path: Path) -> None:
    key = new_key(tmp_path / "other.pem")
    assert refused(bundle, key) == (
        f"{bundle}: was not signed with the key of {key}, or was changed after it was signed. "
        "Fix: copy it again from where it was trained, or name the key of who signed it."
    )


def forge_weights(bundle: Path) -> None:
    content = bytearray((bundle / "weights.safetensors").read_bytes())
    content[-1] ^= 1
    (bundle / "weights.safetensors").write_bytes(content)


def forge_metrics(bundle: Path) -> None:
    manifest = json.loads((bundle / MANIFEST).read_text(encoding="utf-8"))
    manifest["metrics"] = {"ndcg@10": 1.0}
    (bundle / MANIFEST).write_text(json.dumps(manifest, indent=1), encoding="utf-8")


@pytest.mark.parametrize(
    ("tamper", "problem"),
    [
        (forge_weights, "does not match the checksum"),
        (forge_metrics, "was changed after it was signed"),
        (lambda at: (at / "users.parquet").unlink(), "is missing from the bundle"),
        (lambda at: (at / "history_more.npy").write_bytes(b""), "is not in the manifest"),
        (lambda at: (at / "schema" / "user_9.x.npy").write_bytes(b""), "is not in the manifest"),
        (lambda at: (at / "notes.txt").write_bytes(b""), "is not in the manifest"),
        (lambda at: (at / ".hidden").write_bytes(b""), "is not in the manifest"),
        (lambda at: (at / "more").symlink_to("/etc"), "is not in the manifest"),
        (lambda at: (at / SIGNATURE).write_bytes(b""), "was not signed"),
        (lambda at: (at / SIGNATURE).write_bytes(b"0" * 64), "was not signed"),
    ],
)
def test_what_was_changed_after_signing(
    made: Path, bundle: Path, tamper: Tamper, problem: str
) -> None:
    tamper(bundle)
    assert problem in refused(bundle, made / "key.pem.pub")


@pytest.mark.parametrize("tamper", [forge_weights, lambda at: (at / "more.npy").write_bytes(b"")])
def test_checksums_that_were_made_right_again(made: Path, bundle: Path, tamper: Tamper) -> None:
    tamper(bundle)
    write_manifest_again(bundle)
    assert "was changed after it was signed" in refused(bundle, made / "key.pem.pub")


def test_every_file_of_a_bundle_is_covered(made: Path) -> None:
    bundle = made / "bundle"
    named = json.loads((bundle / MANIFEST).read_text(encoding="utf-8"))["files"]
    found = {str(file.relative_to(bundle)) for file in bundle.rglob("*") if file.is_file()}
    assert found == {*named, MANIFEST, SIGNATURE}


def test_a_file_that_would_be_read_has_to_be_in_the_manifest_of_any_bundle(bundle: Path) -> None:
    (bundle / "comparison.json").write_text("{}", encoding="utf-8")
    Recommender.load(bundle)
    shutil.copy(bundle / "item_counts.npy", bundle / "ranker_neighbours.npy")
    with pytest.raises(BundleError) as error:
        Recommender.load(bundle)
    assert str(error.value) == (
        f"{bundle / 'ranker_neighbours.npy'}: is not in the manifest: it was added after the "
        "bundle was written. Fix: remove it, or copy the bundle again."
    )


def test_only_a_whole_bundle_is_signed(made: Path, bundle: Path) -> None:
    before = (bundle / SIGNATURE).read_bytes()
    forge_weights(bundle)
    with pytest.raises(BundleError, match="does not match the checksum"):
        sign_bundle(bundle, made / "key.pem")
    assert (bundle / SIGNATURE).read_bytes() == before


# --- keys ---


def test_a_private_key_is_for_its_owner_alone_and_never_replaced(tmp_path: Path) -> None:
    public = new_key(tmp_path / "key.pem")
    assert public == tmp_path / "key.pem.pub"
    assert (tmp_path / "key.pem").stat().st_mode & 0o777 == 0o600
    before = (tmp_path / "key.pem").read_bytes()
    with pytest.raises(ConfigError, match="exists, and keys are not replaced"):
        new_key(tmp_path / "key.pem")
    assert (tmp_path / "key.pem").read_bytes() == before


def openssl(*arguments: object) -> None:
    if shutil.which("openssl") is None:
        pytest.skip("openssl is not installed")
    subprocess.run(["openssl", *map(str, arguments)], check=True, capture_output=True)


def test_keys_of_openssl_and_signatures_for_it(bundle: Path, tmp_path: Path) -> None:
    key, public = tmp_path / "own.pem", tmp_path / "own.pub"
    openssl("genpkey", "-algorithm", "ed25519", "-out", key)
    openssl("pkey", "-in", key, "-pubout", "-out", public)
    sign_bundle(bundle, key)
    Recommender.load(bundle, verify_key=public)
    signed = ["-rawin", "-in", bundle / MANIFEST, "-sigfile", bundle / SIGNATURE]
    openssl("pkeyutl", "-verify", "-pubin", "-inkey", public, *signed)


def test_keys_that_are_not_right(bundle: Path, tmp_path: Path) -> None:
    new_key(tmp_path / "key.pem")
    openssl("genrsa", "-out", tmp_path / "rsa.pem", 2048)
    openssl("rsa", "-in", tmp_path / "rsa.pem", "-pubout", "-out", tmp_path / "rsa.pub")
    openssl(
        *("genpkey", "-algorithm", "ed25519", "-aes256", "-pass", "pass:secret"),
        *("-out", tmp_path / "locked.pem"),
    )
    (tmp_path / "text").write_text("secret", encoding="utf-8")
    make = "Fix: `twotower sign --new-key FILE` makes FILE and FILE.pub."
    verify = {
        "none": f"the key cannot be read: No such file or directory. {make}",
        "text": f"is not an Ed25519 key in PEM format. {make}",
        "rsa.pub": f"is not an Ed25519 key in PEM format. {make}",
        "key.pem": "is a private key, which is for signing only. Fix: name the public key, and "
        "keep the private one where bundles are trained.",
    }
    for name, problem in verify.items():
        with pytest.raises(ConfigError) as error:
            VerifyKey(tmp_path / name)
        assert str(error.value) == f"{tmp_path / name}: {problem}"
    sign = {
        "none": f"the key cannot be read: No such file or directory. {make}",
        "rsa.pem": f"is not an Ed25519 key in PEM format. {make}",
        "key.pem.pub": f"is not an Ed25519 key in PEM format. {make}",
        "locked.pem": "the key is encrypted by a password. Fix: write it without one, readable "
        "only by the account that signs: `openssl pkey -in FILE -out KEY`.",
    }
    for name, problem in sign.items():
        with pytest.raises(ConfigError) as error:
            sign_bundle(bundle, tmp_path / name)
        assert str(error.value) == f"{tmp_path / name}: {problem}"


# --- commands ---


@pytest.mark.timeout(600)
@pytest.mark.slow
def test_the_commands_refuse_what_is_not_signed(made: Path, bundle: Path, tmp_path: Path) -> None:
    assert twotower("sign", "--new-key", tmp_path / "new.pem").returncode == 0
    assert twotower("sign", bundle, "--key", tmp_path / "new.pem").returncode == 0
    (tmp_path / "more.csv").write_text("item_id,title\nnew,A\n", encoding="utf-8")
    other = made / "key.pem.pub"
    commands: dict[str, list[object]] = {
        "recommend": ["--user", "u00001"],
        "similar": ["--item", "i00001"],
        "evaluate": [],
        "add-items": [tmp_path / "more.csv"],
    }
    for name, options in commands.items():
        ended = twotower(name, bundle, *options, "--verify-key", other)
        assert (ended.returncode, "was not signed with the key" in ended.stderr) == (1, True), name
    recommend: list[object] = ["recommend", bundle, "--user", "u00001"]
    ended = twotower(*recommend, environment={**os.environ, "TWOTOWER_VERIFY_KEY": str(other)})
    assert (ended.returncode, "was not signed with the key" in ended.stderr) == (1, True)
    assert twotower(*recommend, "--verify-key", tmp_path / "new.pem.pub").returncode == 0


def test_signing_needs_a_bundle_and_a_key(tmp_path: Path) -> None:
    ended = twotower("sign", tmp_path)
    assert ended.returncode == 2
    assert "--new-key FILE" in ended.stderr
