"""Passwords, tokens and signed queries on the command line, in every place that takes a URL."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

from benchmarks.attack_kinds.scene import SECRET, Attempt, Scene

URLS = {
    "a password": f"http://user:{SECRET}@127.0.0.1:9/x",
    "a token as a name": f"https://{SECRET}@127.0.0.1/x",
    "a signed query": f"https://127.0.0.1:9/x?X-Amz-Signature={SECRET}",
    "a fragment": f"https://127.0.0.1:9/x#token={SECRET}&sig={SECRET}",
    "an S3 key with a slash": f"s3://AKIAX:ab/{SECRET}@bucket/x",
    "a protocol that nobody knows": f"nonsense://user:{SECRET}@host/x",
    "SFTP": f"sftp://user:{SECRET}@127.0.0.1/x",
    "capitals": f"HTTP://user:{SECRET}@127.0.0.1:9/x",
    "a password with an at": f"http://user:a@{SECRET}@127.0.0.1:9/x",
}
COMMANDS = {
    "stats": "stats {url}",
    "verify": "verify {url}",
    "report": "report {url} --out {out}/x.html",
    "curate": "curate {url} --out {out}",
    "curate --out": "curate {base}/shards --out {url}",
    "build --out": "build generic --root own={base}/own --option description={base}/own/mmrs.yaml --out {url}",
    "build --root": "build ssdd --root ssdd={url} --out {out}/shards",
    "build exclude": "build ssdd --root ssdd={base}/samples/ssdd --out {out}/shards --set exclude={url}",
    "push": "push {base}/shards org/x --dry-run --endpoint {url}",
    "eval": "eval {base}/model {url} --out {out}/x",
    "eval of an endpoint": "eval {url} {base}/shards --split train --limit 1 --out {out}/x",
    "score": "score {base}/answers.jsonl {url} --out {out}/x",
    "train folders": "train tiny --set data.folders={url} --set out={out}/run",
    "train tars": "train tiny --set data.folders=[] --set data.webdataset={url} --set out={out}/run",
    "train model": "train tiny --set model.preset=null --set model.path={url} --set data.folders={base}/shards "
    "--set out={out}/run",
    "init llm": "init {out}/m --llm {url} --size tiny",
    "release compare": "release compare {base}/own {url}",
    "scan": "scan ssdd {url}",
    "sample": "sample ssdd --out {out}/s --option {url}",
    "an unknown command": "{url}",
    "an unknown option": "stats --{url}",
}


def attempts() -> Iterator[Attempt]:
    """Every URL in every place."""
    for command in COMMANDS:
        for name in URLS:
            yield Attempt("8 secrets", f"{command}: {name}", partial(_act, command, name))


def _act(command: str, name: str, scene: Scene) -> None:
    out = scene.folder / "out"
    out.mkdir()
    scene.mmrs(*COMMANDS[command].format(url=URLS[name], out=out, base=scene.base).split(), may_pass=False)
    scene.check_files()
