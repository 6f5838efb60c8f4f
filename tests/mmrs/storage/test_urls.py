"""One set of rules for URLs: what is known, what is refused, and that no secret is printed."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmrs.errors import UserError
from mmrs.storage.open import open_place, open_readable
from mmrs.storage.urls import checked_url, describe_error, is_url, parse_location, redacted, without_secrets


@pytest.mark.parametrize(
    ("location", "parsed"),
    [
        ("folder/of/data", Path("folder/of/data")),
        (Path("a://b"), Path("a://b")),
        ("file:///data/set", Path("/data/set")),
        ("local://data/set", Path("data/set")),
        ("s3://bucket/x/", "s3://bucket/x"),
        ("HTTPS://Host:8000/Data//", "https://Host:8000/Data"),
        ("http://[::1]:8000/data", "http://[::1]:8000/data"),
        ("hf://datasets/org/name@v1/part", "hf://datasets/org/name@v1/part"),
        ("abfs://container@account.dfs.core.windows.net/x", "abfs://container@account.dfs.core.windows.net/x"),
        ("sftp://me@host/data", "sftp://me@host/data"),
    ],
)
def test_locations(location, parsed):
    assert parse_location(location) == parsed
    assert parse_location(parsed) == parsed
    assert is_url(parsed) == isinstance(parsed, str)


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("ftp://host/data", r"scheme 'ftp'.*s3"),
        ("nonsense://host/data", r"nonsense://host/data has the scheme 'nonsense', which is not known.*http.*s3"),
        ("memory://data", "would vanish"),
        ("https://me:secret@host/data", "the URL https://host/data carries credentials"),
        ("https://secret@host/data", "the URL https://host/data carries credentials"),
        ("s3://KEY:secret@bucket/data", "the URL s3://bucket/data carries credentials"),
        ("s3://KEY:sec/secret/ret@bucket/data", "the URL s3://bucket/data carries credentials"),
        ("s3://KEY:secret/x", r"the URL s3://\.\.\. carries credentials"),
        ("sftp://me:secret@host/data", "the URL sftp://host/data carries credentials"),
        ("https://host/data?token=secret", "https://host/data carries credentials or a query"),
        ("nonsense://me:secret@host/data?x=secret", "nonsense://host/data carries credentials"),
    ],
)
def test_what_is_refused_and_never_printed(url, words):
    for door in (checked_url, parse_location, open_place, open_readable):
        with pytest.raises(UserError, match=words) as caught:
            door(url)
        assert "secret" not in str(caught.value)


names = st.text("abcdefghijklmnopqrstuvwxyz0123456789-_.~%+", min_size=1, max_size=12)


@given(st.sampled_from(["http", "https", "s3", "hf", "gs", "sftp", "nonsense"]), names, names, names)
def test_no_password_survives(scheme, user, host, path):
    url = f"{scheme}://{user}:TOPSECRET@{host}/{path}"
    assert "TOPSECRET" not in without_secrets(url) and "TOPSECRET" not in redacted(f"error at {url}: refused")
    with pytest.raises(UserError) as caught:
        checked_url(url)
    assert "TOPSECRET" not in str(caught.value)


def test_errors_do_not_show_signed_urls():
    text = describe_error(OSError("403 for https://cdn.x/y?X-Amz-Signature=secret&b=1 sorry"))
    assert "secret" not in text and "https://cdn.x/y?..." in text


def test_http_and_the_hub_are_read_only():
    with pytest.raises(UserError, match=r"http://host/data: http is read-only: give a folder, or a URL such as s3://"):
        open_place("http://host/data")
    with pytest.raises(UserError, match="mmrs push FOLDER ORG/NAME"):
        open_place("hf://datasets/a/b")


@pytest.mark.parametrize(
    ("url", "package", "words"),
    [
        ("s3://bucket/x", "s3fs", r"s3://bucket/x: s3:// needs the package s3fs: pip install 'mmrs\[s3\]'"),
        ("https://host/x", "aiohttp", r"https:// needs the package aiohttp: pip install 'mmrs\[http\]'"),
        ("gs://bucket/x", "gcsfs", r"gs:// needs the package gcsfs: pip install 'gcsfs'"),
    ],
)
def test_a_missing_package_is_named(monkeypatch, url, package, words):
    monkeypatch.setitem(__import__("sys").modules, package, None)
    with pytest.raises(UserError, match=words):
        open_readable(url).read("manifest.json")


@pytest.mark.parametrize(
    "text",
    [
        "http://user:a@hunter2@127.0.0.1:9/x", "https:/hunter2@host/x", "https://hunter2@host/x?token=hunter2",
        "https://host/x#token=hunter2", "https:/host/x?sig=hunter2", "s3://KEY:ab/hunter2@bucket/x",
    ],
)  # fmt: skip
def test_no_secret_of_a_url_is_left_in_a_text(text):
    assert "hunter2" not in redacted(f"cannot open {text}: not found")
    assert redacted("see https://huggingface.co/datasets/a/b and hf://datasets/a/b@main/x") == (
        "see https://huggingface.co/datasets/a/b and hf://datasets/a/b@main/x"
    )
