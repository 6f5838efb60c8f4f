"""Foreign tars: every fault is found by name, whole ones get an index that reads the right bytes."""

import gzip
import io
import json
import tarfile

import pyarrow.parquet as pq
import pytest
from PIL import Image

from mmrs.errors import UserError
from mmrs.progress import Progress
from mmrs.shards.webdataset import INDEX_SUFFIX, key_and_extension, scan_tar, write_foreign_index
from mmrs.verify.webdataset import describe_webdataset, verify_webdataset

QUIET = Progress(quiet=True)


def image(size=(20, 10), kind="JPEG", colour="#456"):
    buffer = io.BytesIO()
    Image.new("RGB", size, colour).save(buffer, kind)
    return buffer.getvalue()


def good(number=3, folder=""):
    members = []
    for position in range(number):
        members.append((f"{folder}{position:04d}.jpg", image((20 + position, 10))))
        members.append((f"{folder}{position:04d}.json", json.dumps({"n": position}).encode()))
    return members


def write(path, members, fmt=tarfile.PAX_FORMAT):
    with tarfile.open(path, "w", format=fmt) as archive:
        for name, data in members:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return path


@pytest.mark.parametrize("fmt", [tarfile.PAX_FORMAT, tarfile.GNU_FORMAT, tarfile.USTAR_FORMAT])
@pytest.mark.parametrize("folder", ["", "deep/er/", "./"])
def test_a_good_tar_has_no_finding_and_its_index_finds_every_byte(tmp_path, fmt, folder):
    members = good(5, folder)
    tar = write(tmp_path / "a.tar", members, fmt)
    scan = scan_tar(tar)
    assert scan.findings == ()
    rows = pq.read_table(write_foreign_index(tar, scan)).to_pylist()
    data, contents = tar.read_bytes(), dict(members)
    assert len(rows) == 5
    for row in rows:
        assert (row["image"], row["problem"]) == ("jpg", None)
        for suffix, offset, size in zip(row["suffixes"], row["offsets"], row["sizes"], strict=True):
            assert data[offset : offset + size] == contents[f"{row['key']}.{suffix}"]
    assert [(row["width"], row["height"]) for row in rows] == [(20 + n, 10) for n in range(5)]


@pytest.mark.parametrize(
    ("name", "cut"),
    [
        ("a.jpg", ("a", "jpg")),
        ("d.x/a.seg.PNG", ("d.x/a", "seg.png")),
        ("a", None),
        (".hidden", None),
        ("d/.a.jpg", None),
        ("a.", None),
    ],
)
def test_names_are_cut_as_readers_cut_them(name, cut):
    assert key_and_extension(name) == cut


def test_names_are_cut_as_webdataset_cuts_them(tmp_path):
    webdataset = pytest.importorskip("webdataset")
    members = [("d.x/a.jpg", image()), ("d.x/a.seg.png", image(kind="PNG")), ("b.v1.jpg", image()), ("nodot", b"x")]
    tar = write(tmp_path / "a.tar", members)
    theirs = [
        (sample["__key__"], sorted(name for name in sample if not name.startswith("__")))
        for sample in webdataset.WebDataset([str(tar)], shardshuffle=False)
    ]
    assert [(sample.key, sorted(sample.suffixes)) for sample in scan_tar(tar).samples] == theirs


FAULTS = {
    "apart": (lambda m: [m[0], *m[2:], m[1]], "comes again"),
    "twice": (lambda m: [*m, m[0], m[1]], "comes again"),
    "suffix twice": (lambda m: [m[0], m[0], *m[1:]], "suffix jpg comes twice"),
    "no record": (lambda m: m[:-1], "others have jpg, json"),
    "no image": (lambda m: [pair for pair in m if pair[0].endswith("json")], "no image among json"),
    "other suffix": (lambda m: [*m[:-2], ("0003.png", image(kind="PNG")), m[-1]], "members are png, json"),
    "two pictures": (lambda m: [m[0], ("0000.png", image(kind="PNG")), *m[1:]], "2 pictures of one name (jpg, png)"),
    "two pictures everywhere": (
        lambda m: [pair for jpg in m[::2] for pair in (jpg, (f"{jpg[0][:4]}.png", image(kind="PNG")))],
        "2 pictures of one name (jpg, png)",
    ),
    "broken image": (lambda m: [(m[0][0], m[0][1][:200]), *m[1:]], "jpg cannot be decoded"),
    "no image inside": (lambda m: [(m[0][0], b"<html>"), *m[1:]], "jpg cannot be decoded"),
    "empty image": (lambda m: [(m[0][0], b""), *m[1:]], "jpg cannot be decoded"),
    "broken record": (lambda m: [m[0], (m[1][0], b"{"), *m[2:]], "json is no JSON"),
    "bad text": (lambda m: [pair for p in m for pair in (p, (p[0][:4] + ".txt", b"\xff"))][:3], "no UTF-8"),
    "no suffix": (lambda m: [*m, ("README", b"x")], "readers drop"),
    "climbs": (lambda m: [*m, ("../../etc/0009.jpg", image())], "leads out"),
    "absolute": (lambda m: [*m, ("/etc/0009.jpg", image())], "leads out"),
    "empty": (lambda m: [("folder-note", b"")], "no sample in it"),
}


@pytest.mark.parametrize("name", FAULTS)
def test_faults_are_named(tmp_path, name):
    change, says = FAULTS[name]
    scan = scan_tar(write(tmp_path / "a.tar", change(good(4))))
    assert any(says in what for _, what in scan.findings), scan.findings


def test_a_faulty_sample_is_marked_and_the_others_are_not(tmp_path):
    change, _ = FAULTS["broken image"]
    scan = scan_tar(write(tmp_path / "a.tar", change(good(4))))
    assert [sample.problem is None for sample in scan.samples] == [False, True, True, True]


def test_links_are_not_followed(tmp_path):
    (tmp_path / "secret.jpg").write_bytes(image())
    tar = tmp_path / "a.tar"
    with tarfile.open(tar, "w") as archive:
        for kind in (tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE):
            info = tarfile.TarInfo(f"link{kind!r}.jpg")
            info.type, info.linkname = kind, str(tmp_path / "secret.jpg")
            archive.addfile(info)
    scan = scan_tar(tar)
    assert scan.samples == ()
    assert sum("no regular file" in what for _, what in scan.findings) == 3


def test_a_cut_tar(tmp_path):
    tar = write(tmp_path / "a.tar", good(4))
    whole = tar.read_bytes()
    lost = 0
    for length in (100, 700, 1536, 2048, 5000, 8192):
        tar.write_bytes(whole[:length])
        scan = scan_tar(tar)
        assert scan.findings, length
        lost += any("cut off" in what or "damaged" in what for _, what in scan.findings)
    assert lost == 6
    tar.write_bytes(b"")
    assert scan_tar(tar).findings


def test_noise_never_crashes(tmp_path):
    tar = write(tmp_path / "a.tar", good(3))
    whole = bytearray(tar.read_bytes())
    for position in range(0, 4000, 37):
        noisy = bytearray(whole)
        noisy[position] ^= 0xFF
        tar.write_bytes(bytes(noisy))
        scan_tar(tar)


def test_a_huge_header_is_not_believed(tmp_path):
    data = bytearray(image(kind="PNG"))
    data[16:24] = (60_000).to_bytes(4, "big") * 2
    scan = scan_tar(write(tmp_path / "a.tar", [("a.png", bytes(data))]))
    assert any("cannot be decoded" in what for _, what in scan.findings)


def test_compressed_tars_are_explained(tmp_path):
    tar = write(tmp_path / "a.tar", good())
    tar.write_bytes(gzip.compress(tar.read_bytes()))
    assert scan_tar(tar).findings == ((None, "compressed with gzip: no random access. Unpack it to a plain tar."),)


@pytest.mark.parametrize("workers", [1, 2])
def test_a_folder(tmp_path, workers):
    (tmp_path / "sub").mkdir()
    write(tmp_path / "00000.tar", good(3, "a"))
    write(tmp_path / "sub" / "00001.tar", FAULTS["apart"][0](good(3, "b")))
    (tmp_path / "00000.parquet").write_bytes(b"another tool's metadata")
    result = verify_webdataset(tmp_path, workers, QUIET)
    assert (result.shards, result.samples, result.indexed) == (2, 7, ())
    assert {finding.path for finding in result.findings} == {"sub/00001.tar"}
    assert "findings: 7 samples in 2 tars" in describe_webdataset(result)
    again = verify_webdataset(tmp_path, workers, QUIET, repair_index=True)
    assert again.indexed == ("00000.tar" + INDEX_SUFFIX, "sub/00001.tar" + INDEX_SUFFIX)
    assert (tmp_path / "00000.parquet").read_bytes() == b"another tool's metadata"


def test_keys_of_several_tars(tmp_path):
    write(tmp_path / "0.tar", good(3))
    write(tmp_path / "1.tar", good(2))
    (finding,) = verify_webdataset(tmp_path, 1, QUIET).findings
    assert "2 keys occur in more than one tar" in str(finding)


def test_a_single_file_and_an_empty_folder(tmp_path):
    tar = write(tmp_path / "a.tar", good())
    assert describe_webdataset(verify_webdataset(tar, 1, QUIET)) == "ok: 3 samples in 1 tars that mmrs did not write"
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match=r"neither a manifest.json nor a \*.tar"):
        verify_webdataset(tmp_path / "empty", 1, QUIET)


def test_shards_of_ours_are_good_webdatasets(tmp_path):
    from mmrs.builder.recipe import BuildRecipe
    from mmrs.builder.run import build, plan_build
    from tests.support.sources import toy_build, write_toy

    write_toy(tmp_path / "toy", images=6)
    recipe = BuildRecipe.model_validate({"sources": [{"name": "toy"}]})
    build(plan_build([toy_build(tmp_path / "toy")], recipe, 1, QUIET), recipe, tmp_path / "out", 1, QUIET)
    assert verify_webdataset(tmp_path / "out", 1, QUIET).findings == ()
