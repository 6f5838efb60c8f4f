"""What an archive of a stranger may do: nothing but become files below its folder, of a bounded size."""

import errno
import io
import os
import shutil
import stat
import subprocess
import tarfile
import zipfile
import zlib
from functools import partial

import pytest

from mmrs.errors import RunFailure, UserError
from mmrs.fetch.archives import tools
from mmrs.fetch.archives.limits import ArchiveLimits, Tally
from mmrs.fetch.archives.tools import parse_lsar, parse_seven_zip
from mmrs.fetch.archives.volumes import ArchiveVolumes, archive_kind, find_archives
from mmrs.fetch.placing import Placing
from mmrs.fetch.record import FetchRecord
from mmrs.storage.atomic import temporary_name
from tests.support.fetch_server import git_blob

FILES = {"set/images/a.jpg": b"a" * 5000, "set/images/b.jpg": os.urandom(70_000), "set/labels/a.txt": b"1 2 3\n"}
SEVEN_ZIP = next(filter(None, map(shutil.which, ("7zz", "7z", "7za"))), None)
UNAR = shutil.which("unar")


def zip_of(files, **options):
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", options.pop("compression", zipfile.ZIP_DEFLATED)) as packed:
        for name, content in files.items():
            packed.writestr(name, content)
    return out.getvalue()


def tar_of(files, mode="w:gz", odd=()):
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode=mode) as packed:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            packed.addfile(info, io.BytesIO(content))
        for info in odd:
            packed.addfile(info)
    return out.getvalue()


def rar_of(files):
    """A RAR of version 4 whose files are stored, by its published layout; no free program writes one."""
    out = b"Rar!\x1a\x07\x00" + rar_block(0x73, 0, bytes(6))
    for path, content in files.items():
        name = path.replace("/", "\\")
        fields = len(content).to_bytes(4, "little") * 2 + b"\x03" + zlib.crc32(content).to_bytes(4, "little")
        fields += bytes(4) + b"\x14\x30" + len(name).to_bytes(2, "little") + (0o100644).to_bytes(4, "little")
        out += rar_block(0x74, 0x8000, fields + name.encode()) + content
    return out + rar_block(0x7B, 0x4000, b"")


def rar_block(kind, flags, fields):
    head = bytes([kind]) + flags.to_bytes(2, "little") + (7 + len(fields)).to_bytes(2, "little") + fields
    return (zlib.crc32(head) & 0xFFFF).to_bytes(2, "little") + head


@pytest.fixture
def placing(tmp_path):
    (tmp_path / "state").mkdir()
    return Placing(tmp_path / "data" / "set", tmp_path / "state")


def unpack(placing, data, name="x.zip", to="", **options):
    path = placing.staging.parent / name
    path.write_bytes(data)
    return placing.unpack(ArchiveVolumes((path,)), to, **options)


def tree(folder):
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()
    }


def untouched(placing):
    """Nothing was placed, and nothing is left of the try."""
    return not placing.folder.exists() and not list(placing.staging.iterdir())


@pytest.mark.parametrize(
    "pack", [zip_of, partial(tar_of, mode="w"), tar_of, partial(tar_of, mode="w:bz2")], ids=["zip", "tar", "gz", "bz2"]
)
def test_an_archive_becomes_its_files_whatever_it_is_called(placing, pack):
    placed = unpack(placing, pack(FILES), name="download", to="down/there")
    assert tree(placing.folder) == {f"down/there/{name}": content for name, content in FILES.items()}
    assert sorted(placed) == [(f"down/there/{name}", len(content)) for name, content in sorted(FILES.items())]
    assert not list(placing.staging.iterdir())
    # Once more: what is there is the same, and stays.
    assert unpack(placing, pack(FILES), name="download", to="down/there") == placed


def test_what_archivers_leave_beside_the_files_is_left_out(placing):
    junk = {"__MACOSX/set/._a.jpg": b"x", "set/.DS_Store": b"x", "set/images/Thumbs.db": b"x"}
    unpack(placing, zip_of(FILES | junk))
    assert tree(placing.folder) == FILES


@pytest.mark.parametrize("name", ["../out", "/etc/out", "a/../../out", "C:/out", "a\\..\\out", "n" * 300])
@pytest.mark.parametrize("pack", [zip_of, tar_of])
def test_names_that_lead_out_are_refused(placing, pack, name):
    with pytest.raises(RunFailure, match="not a plain relative path"):
        unpack(placing, pack({"fine.txt": b"x", name: b"x"}))
    assert untouched(placing)


def test_a_name_of_no_letters_is_refused(placing):
    data = zip_of({"a": b"1"})
    local, central = data.index(b"PK\x03\x04"), data.index(b"PK\x01\x02")
    nameless = bytearray(data)
    nameless[central + 28 : central + 30] = b"\0\0"
    nameless[local + 26 : local + 28] = b"\0\0"
    del nameless[central + 46]
    end = nameless.index(b"PK\x05\x06")
    nameless[end + 12 : end + 16] = (end - central).to_bytes(4, "little")
    with pytest.raises(RunFailure, match="not a plain relative path"):
        unpack(placing, bytes(nameless))


def odd_member(kind, name="odd", target="/etc/passwd"):
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return info


@pytest.mark.parametrize(
    "kind",
    [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE, tarfile.GNUTYPE_SPARSE],
)
def test_links_and_devices_are_refused(placing, kind):
    with pytest.raises(RunFailure, match="is a link, a device or a sparse file"):
        unpack(placing, tar_of({"fine.txt": b"x"}, odd=[odd_member(kind)]))
    assert untouched(placing)


def test_links_in_a_zip_are_refused(placing):
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as packed:
        info = zipfile.ZipInfo("link")
        info.external_attr = (stat.S_IFLNK | 0o777) << 16
        packed.writestr(info, "/etc/passwd")
    with pytest.raises(RunFailure, match="is a link"):
        unpack(placing, out.getvalue())
    assert untouched(placing)


@pytest.mark.parametrize("pack", [zip_of, tar_of])
def test_a_bomb_ends_at_its_bound(placing, pack):
    bounded = Placing(placing.folder, placing.staging, ArchiveLimits(expansion=50, expansion_floor=2**20))
    with pytest.raises(RunFailure, match=r"more than .* come out of"):
        unpack(bounded, pack({"zeros": bytes(2**23)}))
    assert untouched(bounded)


@pytest.mark.parametrize(
    ("limits", "words"),
    [(ArchiveLimits(members=2), "more than 2 members"), (ArchiveLimits(member_bytes=60_000), "has 70,000 bytes")],
)
@pytest.mark.parametrize("pack", [zip_of, tar_of])
def test_other_bounds(placing, pack, limits, words):
    with pytest.raises(RunFailure, match=words):
        unpack(Placing(placing.folder, placing.staging, limits), pack(FILES))
    assert untouched(placing)


def test_a_tar_whose_headers_ask_for_gigabytes_is_refused(placing):
    info = tarfile.TarInfo("pax")
    info.type, info.size = tarfile.XHDTYPE, 2**33 - 1
    with pytest.raises(RunFailure, match="asks for"):
        unpack(placing, info.tobuf(tarfile.USTAR_FORMAT) + bytes(2000))


@pytest.mark.parametrize("pack", [zip_of, tar_of])
def test_a_damaged_or_cut_archive_places_nothing(placing, pack):
    data = pack(FILES)
    for spoiled in (data[: len(data) // 2], data[:2000] + bytes(64) + data[2064:]):
        with pytest.raises(RunFailure):
            unpack(placing, spoiled)
        assert untouched(placing)


def test_a_tar_without_its_end_is_cut(placing):
    data = tar_of(FILES, mode="w")
    with pytest.raises(RunFailure, match="end mark"):
        unpack(placing, data[: 512 * (len(data.rstrip(b"\0")) // 512 + 1)])


def test_a_path_that_occurs_twice_or_is_also_a_folder(placing):
    twice = io.BytesIO()
    with zipfile.ZipFile(twice, "w") as packed:
        packed.writestr("a", "1")
        with pytest.warns(UserWarning, match="Duplicate"):
            packed.writestr("a", "2")
    with pytest.raises(RunFailure, match="occurs twice"):
        unpack(placing, twice.getvalue())
    with pytest.raises(RunFailure, match="as a file and as a folder"):
        unpack(placing, zip_of({"a": b"1", "a/b": b"2"}))
    assert untouched(placing)


def test_a_password_is_said(placing):
    data = bytearray(zip_of({"a": b"secret"}))
    for mark, flags in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        data[data.index(mark) + flags] |= 1
    with pytest.raises(RunFailure, match="password"):
        unpack(placing, bytes(data))


def test_what_lies_in_the_way_is_not_replaced(placing):
    (placing.folder / "set/labels").mkdir(parents=True)
    (placing.folder / "set/labels/a.txt").write_text("mine")
    with pytest.raises(RunFailure, match=r"a\.txt is there already, with another content"):
        unpack(placing, zip_of(FILES))
    assert (placing.folder / "set/labels/a.txt").read_text() == "mine"


def test_no_link_below_the_source_s_folder_is_written_through(placing, tmp_path):
    (tmp_path / "elsewhere").mkdir()
    placing.folder.mkdir(parents=True)
    (placing.folder / "set").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(RunFailure, match="is a link; nothing is written through it"):
        unpack(placing, zip_of(FILES))
    assert not list((tmp_path / "elsewhere").iterdir())


def test_a_commit_s_archive_gives_the_files_that_are_asked_for_and_no_others(placing):
    wanted = {"images/a.jpg": git_blob(FILES["set/images/a.jpg"])}
    unpack(placing, tar_of(FILES), tree=wanted)
    assert tree(placing.folder) == {"images/a.jpg": FILES["set/images/a.jpg"]}
    with pytest.raises(RunFailure, match="not the hash that the commit says"):
        unpack(placing, tar_of(FILES), tree={"images/b.jpg": git_blob(b"another")})
    with pytest.raises(RunFailure, match=r"lacks 1 of the commit's files, images/c\.jpg first"):
        unpack(placing, tar_of(FILES), tree=wanted | {"images/c.jpg": git_blob(b"")})


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (errno.ENOSPC, "the disk is full that has .*; nothing of it was unpacked. Make room"),
        (errno.EDQUOT, "the quota is used up in .*; nothing of it was unpacked. Make room"),
        (errno.EFBIG, "no larger file is allowed in .*; nothing of it was unpacked. .*ulimit -f"),
    ],
)
def test_a_disk_that_fills_while_an_archive_is_unpacked(placing, monkeypatch, number, words):
    class Full:
        def __init__(self, descriptor, mode):
            os.close(descriptor)

        def __enter__(self):
            return self

        def __exit__(self, *exception):
            return None

        def write(self, data):
            raise OSError(number, os.strerror(number))

    monkeypatch.setattr("mmrs.fetch.placing.open", Full, raising=False)
    with pytest.raises(RunFailure, match=words):
        unpack(placing, zip_of(FILES))
    assert untouched(placing)


def test_what_a_killed_unpacking_left_goes_with_the_next_fetch(tmp_path):
    record = FetchRecord(tmp_path / "data")
    with record.held():
        left = record.state / temporary_name("unpacked")
        left.mkdir()
        (left / "half.jpg").write_bytes(b"x")
        (record.state / "mine").mkdir()
    with record.held():
        assert sorted(path.name for path in record.state.iterdir()) == ["lock", "mine"]


@pytest.mark.parametrize("ends", [("001", "002", "003"), ("0", "1", "2"), ("aa", "ab", "ac")])
@pytest.mark.parametrize("kind", ["zip", "tar.gz"])
def test_slices_are_one_archive(placing, tmp_path, kind, ends):
    data = zip_of(FILES) if kind == "zip" else tar_of(FILES)
    third = len(data) // 3 + 1
    for number, end in enumerate(ends):
        (tmp_path / f"set.{kind}.{end}").write_bytes(data[number * third : (number + 1) * third])
    (archive,) = find_archives(path for path in tmp_path.iterdir() if path.is_file())
    assert archive.size() == len(data)
    placing.unpack(archive, "")
    assert tree(placing.folder) == FILES
    if ends[0] != "aa":
        (tmp_path / f"set.{kind}.{ends[1]}").unlink()
        with pytest.raises(UserError, match=rf"volume {int(ends[1])} is missing"):
            find_archives(path for path in tmp_path.iterdir() if path.is_file())


def test_volumes_that_belong_together_are_found(tmp_path):
    names = ["a.part1.rar", "a.part2.rar", "b.zip", "b.z01", "c.rar", "c.r00", "notes.txt", "d.tar.gz", "E.ZIP"]
    for name in names:
        (tmp_path / name).touch()
    found = [tuple(path.name for path in archive.paths) for archive in find_archives(tmp_path.iterdir())]
    assert sorted(found) == [
        ("E.ZIP",), ("a.part1.rar", "a.part2.rar"), ("b.zip", "b.z01"), ("c.rar", "c.r00"), ("d.tar.gz",)
    ]  # fmt: skip


@pytest.mark.skipif(UNAR is None, reason="needs unar")
def test_rar_by_unar(placing):
    assert sorted(unpack(placing, rar_of(FILES), name="x.rar")) == sorted((n, len(c)) for n, c in FILES.items())
    assert tree(placing.folder) == FILES
    for name in ("../out.txt", "/tmp/out.txt"):
        with pytest.raises(RunFailure, match="not a plain relative path"):
            unpack(placing, rar_of({name: b"x"}), name="y.rar")
    with pytest.raises(RunFailure):
        unpack(placing, rar_of(FILES)[:-60_000], name="z.rar")
    assert not list(placing.staging.iterdir())


@pytest.mark.skipif(SEVEN_ZIP is None, reason="needs 7z")
def test_7z_by_7z(placing, tmp_path):
    for name, content in FILES.items():
        (tmp_path / "in" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "in" / name).write_bytes(content)
    os.symlink("/etc/passwd", tmp_path / "in" / "link")
    for out, words in (("x.7z", ["set"]), ("linked.7z", ["set", "link", "-snl"])):
        command = [SEVEN_ZIP, "a", "-bso0", str(tmp_path / out), *words]
        subprocess.run(command, cwd=tmp_path / "in", check=True, capture_output=True)
    placing.unpack(ArchiveVolumes((tmp_path / "x.7z",)), "")
    assert tree(placing.folder) == FILES
    with pytest.raises(RunFailure, match="'link' is a link"):
        placing.unpack(ArchiveVolumes((tmp_path / "linked.7z",)), "other")
    assert not (placing.folder / "other").exists()


def test_a_missing_program_is_named(placing, monkeypatch):
    monkeypatch.setattr(tools.shutil, "which", lambda name: None)
    with pytest.raises(UserError, match=r"kind rar needs unar .*apt install unar.* or 7z"):
        unpack(placing, rar_of(FILES))


@pytest.mark.nightly
def test_what_a_program_writes_beside_what_it_listed_ends_it(tmp_path, monkeypatch):
    """A program that is deceived by its archive: it writes more than it lists, or a link."""
    archive = tmp_path / "x.rar"
    archive.write_bytes(rar_of({"a": b"1"}))
    for script, words in (
        (f"head -c 9000000 /dev/zero > {tmp_path}/out/a; sleep 5", r"more comes out|cannot be unpacked"),
        (f"ln -s /etc/passwd {tmp_path}/out/a", "came out as a link"),
    ):
        shutil.rmtree(tmp_path / "out", ignore_errors=True)
        (tmp_path / "out").mkdir()

        class Deceived:
            def members(self, path):
                return parse_seven_zip("Path = a\nSize = 1\nFolder = -\n")

            def command(self, path, folder, script=script):
                return ["sh", "-c", script]

        monkeypatch.setattr(tools, "_find_tool", lambda kind, deceived=Deceived: deceived())
        tally = Tally("x.rar", ArchiveLimits(), 100)
        with pytest.raises(RunFailure, match=words):
            tools.unpack_with_tool(ArchiveVolumes((archive,)), "rar", tmp_path / "out", tally)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"lsarContents": [{}]}', '{"lsarContents": 3}', "[" * 100_000])
def test_odd_listings_of_lsar(text):
    with pytest.raises(RunFailure, match="another form"):
        list(parse_lsar(text))


def test_odd_listings_of_7z():
    for text in ("Path = a\nSize = x", "Size = 3", "Path = a\nSize = 99999999999999999999999"):
        with pytest.raises(RunFailure, match="another form"):
            list(parse_seven_zip(text))
    assert list(parse_seven_zip("")) == []


def test_what_is_no_archive_is_said(placing):
    with pytest.raises(RunFailure, match="is no archive that is known"):
        unpack(placing, b"<html>Quota exceeded</html>")
    assert archive_kind(ArchiveVolumes((placing.staging.parent / "x.zip",))) is None
