"""Croissant metadata (https://docs.mlcommons.org/croissant) of a publication: `croissant.json` beside the card.

Every tar and index is a file with its digest; images and records are the members of the tars, and the index is a table
that `mlcroissant` reads. A pure function of the manifest and of what the caller knows of the sources. By hand rather
than by `mlcroissant`, which needs pandas, rdflib and networkx to write 200 lines of JSON; a test holds it against that
library where it is installed.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import orjson

from mmrs.hub.card import SourceNote, licence_entries
from mmrs.shards.manifest import Manifest, ShardEntry

CROISSANT_NAME = "croissant.json"
_CONFORMS_TO = "http://mlcommons.org/croissant/1.0"
_TERMS = (
    "citeAs column conformsTo:dct:conformsTo data:@json dataBiases dataCollection dataType:@vocab equivalentProperty "
    "examples:@json extract field fileProperty fileObject fileSet format includes isLiveDataset jsonPath key md5 "
    "parentField path personalSensitiveInformation recordSet references regex repeated replace samplingRate separator "
    "source subField transform"
)
# Columns of the index that say something of an image, and their types.
_COLUMNS = {
    "key": "sc:Text",
    "id": "sc:Text",
    "width": "sc:Integer",
    "height": "sc:Integer",
    "label": "sc:Text",
    "objects": "sc:Integer",
    "captions": "sc:Integer",
    "sha256": "sc:Text",
}
_MEANINGS = {
    "key": "Name of the sample's members in its tar, without the suffix.",
    "id": "SOURCE/SPLIT/NAME.",
    "width": "Pixels.",
    "height": "Pixels.",
    "label": "Class of the scene, where the source has one.",
    "objects": "Annotated objects.",
    "captions": "Number of captions.",
    "sha256": "Of the stored image.",
}
_REPO = "repo"


def croissant_json(manifest: Manifest, repo: str, endpoint: str, notes: Mapping[str, SourceNote]) -> bytes:
    """The metadata of a data set as it lies in a repository.

    Args:
        manifest: of the finished data set.
        repo: ``ORG/NAME``.
        endpoint: of the Hub, as in ``https://huggingface.co``.
        notes: by source name.
    """
    by_split: dict[tuple[str, str], list[ShardEntry]] = defaultdict(list)
    for shard in manifest.shards:
        by_split[shard.source, shard.split].append(shard)
    home = f"{endpoint}/datasets/{repo}"
    values = {
        "@context": _context(),
        "@type": "sc:Dataset",
        "conformsTo": _CONFORMS_TO,
        "name": repo.rpartition("/")[2],
        "description": _description(manifest),
        "url": home,
        "license": _licence(manifest, repo),
        "version": f"1.0.0+{manifest.id[:12]}",
        "keywords": ["remote sensing", "earth observation", *sorted({s.sensor for s in manifest.sources.values()})],
        "distribution": [_repository(home), *_files(manifest), *_file_sets(by_split, manifest)],
        "recordSet": [_index_records(by_split)],
    }
    if citations := [notes[name].citation for name in sorted(manifest.sources) if name in notes]:
        values["citeAs"] = "\n".join(filter(None, citations))
    return orjson.dumps(values, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)


def _context() -> dict[str, Any]:
    context: dict[str, Any] = {"@language": "en", "@vocab": "https://schema.org/"}
    for term in _TERMS.split():
        name, _, rest = term.partition(":")
        if rest.startswith("@"):
            context[name] = {"@id": f"cr:{name}", "@type": rest}
        else:
            context[name] = rest or f"cr:{name}"
    context |= {"cr": "http://mlcommons.org/croissant/", "dct": "http://purl.org/dc/terms/"}
    return context | {"sc": "https://schema.org/", "rai": "http://mlcommons.org/croissant/RAI/"}


def _licence(manifest: Manifest, repo: str) -> str:
    entries = licence_entries(manifest, repo)
    return entries.get("license_link", entries["license"])


def _description(manifest: Manifest) -> str:
    images = sum(shard.records for shard in manifest.shards)
    licences = ", ".join(f"{name}: {source.licence}" for name, source in sorted(manifest.sources.items()))
    return (
        f"{images} remote-sensing images of {len(manifest.sources)} public data sets as WebDataset shards: each sample "
        "is an image and one JSON record with its objects, captions, questions and rendered dialogues. Boxes are in "
        f"pixels of the stored image. Data set id {manifest.id}. Licences: {licences}."
    )


def _repository(home: str) -> dict[str, Any]:
    # A repository has no digest of its own; its files below have.
    return {
        "@type": "cr:FileObject",
        "@id": _REPO,
        "name": _REPO,
        "description": "The repository on the Hugging Face Hub.",
        "contentUrl": home,
        "encodingFormat": "git+https",
        "sha256": "https://github.com/mlcommons/croissant/issues/80",
    }


def _files(manifest: Manifest) -> list[dict[str, Any]]:
    files = []
    for shard in manifest.shards:
        parts = (
            (shard.path, shard.bytes, shard.sha256, "application/x-tar"),
            (shard.index_path, shard.index_bytes, shard.index_sha256, "application/x-parquet"),
        )
        files += [_file(*part) for part in parts]
    return files


def _file(path: str, size: int, sha256: str, kind: str) -> dict[str, Any]:
    return {
        "@type": "cr:FileObject",
        "@id": path,
        "name": path,
        "containedIn": {"@id": _REPO},
        "contentUrl": path,
        "contentSize": f"{size} B",
        "encodingFormat": kind,
        "sha256": sha256,
    }


def _file_sets(by_split: Mapping[tuple[str, str], Sequence[ShardEntry]], manifest: Manifest) -> list[dict[str, Any]]:
    sets: list[dict[str, Any]] = [
        {
            "@type": "cr:FileSet",
            "@id": "indexes",
            "name": "indexes",
            "description": "One row for each sample: key, id, size, labels, digest.",
            "containedIn": {"@id": _REPO},
            "encodingFormat": "application/x-parquet",
            "includes": [f"{source}/{split}-*-of-*.parquet" for source, split in sorted(by_split)],
        }
    ]
    for (source, split), shards in sorted(by_split.items()):
        tars = [{"@id": shard.path} for shard in shards]
        suffix = manifest.sources[source].image_suffix[split]
        for what, ending, kind in (
            ("images", suffix, "image/png" if suffix == "png" else "image/jpeg"),
            ("records", "json", "application/json"),
        ):
            name = f"{source}/{split}/{what}"
            sets.append(
                {
                    "@type": "cr:FileSet",
                    "@id": name,
                    "name": name,
                    "containedIn": tars,
                    "encodingFormat": kind,
                    "includes": f"*.{ending}",
                }
            )
    return sets


def _index_records(by_split: Mapping[tuple[str, str], Sequence[ShardEntry]]) -> dict[str, Any]:
    names = ", ".join(f"{source}/{split}" for source, split in sorted(by_split))
    return {
        "@type": "cr:RecordSet",
        "@id": "samples",
        "name": "samples",
        "description": f"All samples of {names}, by their indexes.",
        "key": {"@id": "samples/key"},
        "field": [
            {
                "@type": "cr:Field",
                "@id": f"samples/{column}",
                "name": f"samples/{column}",
                "description": _MEANINGS[column],
                "dataType": kind,
                "source": {"fileSet": {"@id": "indexes"}, "extract": {"column": column}},
            }
            for column, kind in _COLUMNS.items()
        ],
    }
