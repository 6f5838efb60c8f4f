"""The rules for URLs, once: which schemes are known, what they need, and that no secret is in one or is printed.

Object stores, the Hugging Face Hub and http(s) are told apart here; nothing else in the project asks for a scheme.
Credentials and endpoints come from the environment variables and files that the protocol's own tools use (for S3
``AWS_ACCESS_KEY_ID``, ``AWS_ENDPOINT_URL``, ...), never from the URL, which ends up in logs, plans and saved runs.
"""

from __future__ import annotations

import importlib
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mmrs.errors import UserError
from mmrs.installation import install_command


@dataclass(frozen=True, slots=True)
class Scheme:
    """A kind of storage behind a URL.

    `package` is the module that fsspec needs for it, `advice` the sentence for what cannot be read,
    `refusal` why nothing can be written there (empty: it can).

    `shows_whole_files`: an upload is seen when it is complete, and a move would be a copy.
    """

    package: str
    advice: str
    refusal: str = ""
    shows_whole_files: bool = True


_HTTP = Scheme(
    "aiohttp",
    "Open the URL with curl to see what the server says.",
    refusal="http is read-only: give a folder, or a URL such as s3://BUCKET/FOLDER.",
)
_S3 = Scheme("s3fs", "Check the bucket's name and the credentials (`aws sts get-caller-identity`).")
_HUB = Scheme(
    "huggingface_hub",
    "Check the name, and `hf auth login` or HF_TOKEN for a private data set.",
    refusal="the Hub takes finished data sets: build into a folder and publish it with `mmrs push FOLDER ORG/NAME`.",
)
_GENERIC_ADVICE = "Check the address and the credentials with the protocol's own tool."


def _store(package: str) -> Scheme:
    return Scheme(package, _GENERIC_ADVICE)


SCHEMES = {
    "http": _HTTP, "https": _HTTP, "s3": _S3, "s3a": _S3, "hf": _HUB,
    "gs": _store("gcsfs"), "gcs": _store("gcsfs"),
    "az": _store("adlfs"), "abfs": _store("adlfs"), "abfss": _store("adlfs"),
    "oci": _store("ocifs"), "oss": _store("ossfs"), "tos": _store("tosfs"),
}  # fmt: skip
_FOLDER_SCHEMES = ("file", "local")
_REFUSED = {
    "memory": "would vanish with this process; give a folder or another URL.",
    "ftp": "has the scheme 'ftp', which sends passwords in clear; give a folder or a URL of http, https, s3 or hf.",
}
# Where the name before an @ can be a token; elsewhere it is an account or a container.
_NAME_IS_SECRET = ("http", "https", "s3", "s3a", "hf")
_URL = re.compile(r"([A-Za-z][\w+.-]*)://(.*)", re.DOTALL)


def is_url(location: Path | str) -> bool:
    """Whether it is a URL rather than a folder."""
    return isinstance(location, str) and _URL.match(location) is not None


def parse_location(location: Path | str) -> Path | str:
    """A folder as `Path`, or a URL in one form (see `checked_url`). ``file://`` is a folder.

    Raises:
        UserError: as `checked_url`, or neither a text nor a path.
    """
    if not isinstance(location, str | Path):
        raise UserError(f"{location!r} is neither a path nor a URL.")
    match = _URL.fullmatch(location) if isinstance(location, str) else None
    if match is None:
        return Path(location)
    return Path(match[2]) if match[1].lower() in _FOLDER_SCHEMES else checked_url(str(location))


def checked_url(url: str) -> str:
    """The URL of a folder in one form: scheme in lower case, no slash at the end.

    Raises:
        UserError: a scheme that is not known, or credentials or a query in it.
    """
    scheme, rest = _split(url)
    refuse_credentials(url)
    bare = without_secrets(url)
    if scheme in _REFUSED:
        raise UserError(f"{bare} {_REFUSED[scheme]}")
    if scheme not in SCHEMES and scheme not in _known_to_fsspec():
        known = ", ".join(SCHEMES)
        raise UserError(f"{bare} has the scheme {scheme!r}, which is not known; give a folder or a URL of {known}.")
    return f"{scheme}://{rest}".rstrip("/")


def refuse_credentials(url: str) -> None:
    """Raise UserError where a URL holds a user with a password, a token, or a query, which may be signed."""
    scheme, rest = _split(url)
    authority = rest.partition("/")[0]
    user, at, _ = authority.rpartition("@")
    has_secret = ":" in user or (bool(at) and scheme in _NAME_IS_SECRET) or not _is_host(authority.rpartition("@")[2])
    if has_secret or "?" in rest or "#" in rest:
        raise UserError(
            f"the URL {without_secrets(url)} carries credentials or a query, which would end up in logs and be saved "
            "with runs. Give credentials in ~/.netrc or in the environment variables or files of the protocol's own "
            "tools."
        )


def scheme_of(url: str) -> Scheme:
    """What is known of the scheme of a checked URL."""
    name = _split(url)[0]
    return SCHEMES.get(name) or Scheme("fsspec", f"fsspec[{name}]", _GENERIC_ADVICE, shows_whole_files=False)


def is_writable(location: Path | str) -> bool:
    """Whether data sets can be written to what `parse_location` returned; false for http(s) and the Hub."""
    return not isinstance(location, str) or not scheme_of(location).refusal


def without_secrets(url: str) -> str:
    """The URL without user, password and query, to be printed."""
    scheme, rest = _split(url)
    rest = re.split(r"[?#]", rest, maxsplit=1)[0]
    authority, slash, path = rest.partition("/")
    if "@" in authority:
        return f"{scheme}://{authority.rpartition('@')[2]}{slash}{path}"
    if not _is_host(authority):
        # A secret with a slash in it: only what follows its @ is sure to be none.
        return f"{scheme}://{rest.rpartition('@')[2] if '@' in rest else '...'}"
    return f"{scheme}://{rest}"


def redacted(text: str) -> str:
    """`text` without queries of URLs, which may be signed, their users and passwords, and what looks like a token."""
    text = re.sub(r"\bhf_[A-Za-z0-9]{6,}", "***", text)
    text = re.sub(r"(?i)\b(bearer|authorization:)\s+\S+", r"\1 ***", text)
    # A path of a URL has lost one of its slashes. A password may hold an @ or, of a key for S3, slashes.
    text = re.sub(r"(:/{1,2})[^\s/@'\"<>]*:[^\s@'\"<>]*@", r"\1***@", text)
    text = re.sub(r"(:/{1,2})[^\s/'\"<>]*@", r"\1***@", text)
    return re.sub(r"(https?:/{1,2}[^\s?#'\"<>]*)([?#])[^\s'\"<>]*", r"\1\2...", text)


def describe_error(error: BaseException) -> str:
    """An error in one line, without secrets."""
    text = redacted(re.sub(r"\?\S+", "?...", " ".join(str(error).split())))[:300]
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def file_system(url: str, **options: Any) -> Any:
    """The fsspec file system of a checked URL, with options of its client; one per process and options.

    Raises:
        UserError: the package that the scheme needs is not installed.
    """
    import fsspec

    check_package(url)
    name = _split(url)[0]
    try:
        if name in SCHEMES:
            return fsspec.filesystem(name, **options)
        # Some of these take the host from the URL.
        return fsspec.core.url_to_fs(url, **options)[0]
    except ImportError as error:
        raise _missing_package(url) from error
    except (TypeError, ValueError) as error:
        raise UserError(
            f"{url}: {describe_error(error)}. Give a folder, or a URL such as s3://BUCKET/FOLDER."
        ) from error


def check_package(url: str) -> None:
    """Raises `UserError` where the package that the scheme of a checked URL needs is not installed."""
    try:
        importlib.import_module(scheme_of(url).package)
    except ImportError as error:
        raise _missing_package(url) from error


def _missing_package(url: str) -> UserError:
    scheme, name = scheme_of(url), _split(url)[0]
    return UserError(f"{url}: {name}:// needs the package {scheme.package}: {install_command(scheme.package)}")


def _split(url: str) -> tuple[str, str]:
    scheme, _, rest = url.partition("://")
    return scheme.lower(), rest


def _is_host(authority: str) -> bool:
    """Whether it can be a host or a bucket, with a port: no secret whose user name stands before a colon."""
    host, colon, port = authority.rpartition(":")
    return not colon or host.startswith("[") or port.isdecimal()


def _known_to_fsspec() -> list[str]:
    import fsspec

    return fsspec.available_protocols()
