"""Every entry of the catalogue that can be fetched, on generated sources: what its parts bring is what a scan reads.

The archives are made here, from the samples in their true layouts; which files lie in which archive is that of the
evidence, where there are several. Sums and sizes of the real files are left out: these are others.
"""

import hashlib
import io
import json
import tarfile
import zipfile

import pytest
from click.testing import CliRunner

import cli
from converters import downloads, samples
from converters.mirrors.known import load_mirrors
from mmrs.fetch.catalogue import (
    DrivePart,
    GithubLfsPart,
    GithubReleasePart,
    GithubTreePart,
    HubPart,
    SourceDownload,
    ZenodoPart,
)
from tests.support.hub_server import Repo, serve_hub
from tests.support.mirrors import captions_copy

# Options of the sample whose layout is that of the copy, and how its files lie in the archives: by the beginning of
# their paths, or by a part of it. "*" is all that is not listed by name.
SAMPLES = {
    "dota": {"layout": "torchgeo", "release": "1.0"},
    "dior": {"layout": "torchgeo"},
    "resisc45": {"layout": "torchgeo", "images_per_class": 5, "classes": ["airport", "bridge"]},
    "ucmerced": {"layout": "torchgeo", "images_per_class": 5, "classes": ["forest", "river"]},
    "eurosat": {"images_per_class": 5, "classes": ["Forest", "River"]},
    "clrs": {"layout": "hugging-face", "images_per_class": 1},
    "nasc-tg2": {"layout": "hugging-face", "images_per_class": 1},
    "aid": {"images_per_class": 1},
}
ARCHIVES = {
    "dota": {
        "dotav1.0_images_train.tar.gz": "train/images/",
        "dotav1.0_images_val.tar.gz": "val/images/",
        "dotav1.0_annotations_train.tar.gz": "train/annotations/",
        "dotav1.0_annotations_val.tar.gz": "val/annotations/",
    },
    "dior": {
        "Images_trainval.zip": "Images/trainval/",
        "Images_test.zip": "Images/test/",
        "Annotations_trainval.zip": "Annotations/",
    },
    "visdrone": {
        f"VisDrone2019-DET-{split}.zip": f"VisDrone2019-DET-{split}/" for split in ("train", "val", "test-dev")
    },
    "rsvqa-lr": {"Images_LR.zip": "Images_LR/"},
    "rsvqa-hr": {"Data.zip": "Data/"},
}
# Archives that hold one folder's files, from that folder on: (beginning of a path, what is cut off).
FAIR1M = {
    "train/part1/images.zip": ("train/part1/images", "train/part1/"),
    "train/part1/labelXml.zip": ("train/part1/labelXml", "train/part1/"),
    "train/part2/images.zip": ("train/part2/images", "train/part2/"),
    "train/part2/labelXmls.zip": ("train/part2/labelXml", "train/part2/"),
    "validation/images.zip": ("validation/images", "validation/"),
    "validation/labelXmls.zip": ("validation/label", "validation/"),
}
COMMIT = "0" * 40
FETCHED = [name for name, known in downloads.source_downloads().items() if known.kind != "manual"]
QUICK_ONES = ("nwpu-captions", "nwpu-vhr10", "rsivqa")


def mmrs(*words):
    return CliRunner().invoke(cli.main, ["--quiet", *map(str, words)])


def packed(name, files):
    out = io.BytesIO()
    if name.endswith(".tar.gz"):
        with tarfile.open(fileobj=out, mode="w:gz", compresslevel=1) as archive:
            for path, content in files.items():
                info = tarfile.TarInfo(path)
                info.size = len(content)
                archive.addfile(info, io.BytesIO(content))
    else:
        with zipfile.ZipFile(out, "w") as archive:
            for path, content in files.items():
                archive.writestr(path, content)
    return out.getvalue()


def named_content(source, name, files):
    """What a file of the catalogue holds, by its name: one of the sample's files, or an archive of some of them."""
    plain = name.rpartition("/")[2]
    if plain in files:
        return files[plain]
    if source == "fair1m":
        begin, cut = FAIR1M[name]
        inside = {path.removeprefix(cut): data for path, data in files.items() if path.startswith(begin)}
        return packed(name, inside)
    begin = ARCHIVES.get(source, {}).get(plain, "")
    inside = {path: content for path, content in files.items() if path.startswith(begin)}
    assert inside, f"{name} would be empty"
    return packed(plain, inside)


def serve_part(part, source, files, server, hub):
    def content(name):
        return named_content(source, name, files)

    if isinstance(part, HubPart):
        names = [file.name for file in part.files] or [f"data/{path.rpartition('/')[2]}" for path in files]
        repo = hub.repos.setdefault(part.repo, Repo(False))
        for name in names:
            data = content(name)
            repo.files[name] = ("lfs", data)
            hub.objects[hashlib.sha256(data).hexdigest()] = data
    elif isinstance(part, ZenodoPart):
        listed = {name: content(name) for name in ARCHIVES[source]}
        listed |= {path: data for path, data in files.items() if "/" not in path}
        server.put_zenodo(part.record, listed)
    elif isinstance(part, GithubTreePart):
        commit = part.commit + COMMIT[len(part.commit) :]
        server.put_github(part.repo, commit, files | {"README.md": b"x", ".gitattributes": b"x"})
    elif isinstance(part, GithubLfsPart):
        commit = (part.commit or "") + COMMIT[len(part.commit or "") :]
        known = f"/api/repos/{part.repo}/commits/{part.commit or 'HEAD'}"
        if known not in server.pages:
            server.put_github(part.repo, commit, {"README.md": b"x"})
        for file in part.files:
            server.put_lfs(part.repo, commit, file.name, content(file.name))
    elif isinstance(part, GithubReleasePart):
        server.put_release(part.repo, part.tag, {file.name: content(file.name) for file in part.files})
    elif isinstance(part, DrivePart):
        for file in part.files:
            server.files[f"/drive/uc?export=download&id={file.id}"] = content(file.name)


def without_sums(part):
    if isinstance(part, GithubTreePart):
        return part
    changed = {"size": None, "about_bytes": None, "md5": None, "sha256": None}
    return part.model_copy(update={"files": tuple(file.model_copy(update=changed) for file in part.files)})


@pytest.mark.parametrize(
    "source",
    [
        pytest.param(name, marks=() if name in QUICK_ONES else pytest.mark.nightly)
        for name in FETCHED
        if name != downloads.RELEASE
    ],
)
def test_an_entry_brings_what_a_scan_reads(source, server, tmp_path, monkeypatch):
    real = downloads.source_downloads()[source]
    made = tmp_path / "made"
    samples.write(source, made, **SAMPLES.get(source, {}))
    files = {path.relative_to(made).as_posix(): path.read_bytes() for path in sorted(made.rglob("*")) if path.is_file()}
    if source == "rsivqa":
        # The repository has the questions; images come from other sources.
        files = {path: content for path, content in files.items() if path.endswith(".txt")}
    parts = tuple(map(without_sums, real.chosen(next(iter(real.variants), ""))))
    options = next(iter(real.variants.values())).options if real.variants else {}
    known = SourceDownload.model_construct(**{**dict(real), "parts": parts, "variants": {}})
    monkeypatch.setattr(downloads, "source_downloads", lambda folder: {source: known})
    with serve_hub() as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.url)
        for part in parts:
            serve_part(part, source, files, server, hub)
        done = mmrs("fetch", source, "--to", tmp_path / "data", "--accept")
    if source == "rsivqa":
        for path, content in files.items():
            assert (tmp_path / "data/rsivqa" / path).read_bytes() == content
        return
    assert done.exit_code == 0, done.output
    words = [word for key, value in options.items() for word in ("--option", f"{key}={value}")]
    roots = (made, tmp_path / "data" / source)
    expected, found = (json.loads(mmrs("scan", source, root, "--json", *words).output) for root in roots)
    assert counted(found) == counted(expected)
    assert found["packed"] == []


def test_a_copy_is_fetched_and_read_as_its_source(server, tmp_path, monkeypatch):
    samples.write("rsicd", tmp_path / "made")
    words = {"train": "train", "val": "valid", "test": "test"}
    captions_copy("arampacha/rsicd", tmp_path / "made", tmp_path / "copy", words)
    with serve_hub() as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.url)
        repo = hub.repos.setdefault("arampacha/rsicd", Repo(False))
        for path in (tmp_path / "copy").rglob("*.parquet"):
            data = path.read_bytes()
            repo.files[path.relative_to(tmp_path / "copy").as_posix()] = ("lfs", data)
            hub.objects[hashlib.sha256(data).hexdigest()] = data
        done = mmrs("fetch", "rsicd", "--variant", "rsicd=mirror", "--to", tmp_path / "data", "--accept")
    assert done.exit_code == 0, done.output
    scanned = [
        json.loads(mmrs("scan", "rsicd", root, "--json").output)
        for root in (tmp_path / "made", tmp_path / "data/rsicd")
    ]
    assert counted(scanned[1]) == counted(scanned[0]) and len(counted(scanned[1])) == 3


def test_copies_are_fetched_at_the_commit_that_their_facts_are_about():
    mirrors = {mirror.repo: mirror for known in load_mirrors().values() for mirror in known.copies}
    fetched = 0
    for known in downloads.source_downloads().values():
        for variant in known.variants.values():
            for part in variant.parts:
                if isinstance(part, HubPart) and part.repo in mirrors:
                    assert part.revision == mirrors[part.repo].revision and not mirrors[part.repo].refused
                    fetched += 1
    assert fetched == 2


def counted(scan):
    keys = ("split", "images", "objects", "captions", "questions")
    return [{key: split[key] for key in keys} for split in scan["splits"]]


def test_the_archive_of_the_release_is_kept_as_its_parts(server, tmp_path, monkeypatch):
    parts = {f"data.tar.gz.{number}": b"\x1f\x8b\x08" + bytes([number]) * 99 for number in range(3)}
    with serve_hub() as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.url)
        hub.repos["initiacms/MMRS-1M"] = Repo(False, {name: ("regular", data) for name, data in parts.items()})
        done = mmrs("fetch", downloads.RELEASE, "--to", tmp_path, "--accept")
    assert done.exit_code == 0, done.output
    assert {path.name: path.read_bytes() for path in (tmp_path / downloads.RELEASE).iterdir()} == parts


def test_every_archive_of_the_test_is_one_of_the_catalogue():
    for source, archives in {**ARCHIVES, "fair1m": FAIR1M}.items():
        real = downloads.source_downloads()[source]
        parts = real.chosen(next(iter(real.variants), ""))
        named = {file.name for part in parts for file in getattr(part, "files", ())}
        assert not named or set(archives) <= named, source
