"""Parts of one stream: order, gaps, damage; and what a hostile archive may not do."""

import gzip
import io
import tarfile
from functools import partial

import numpy as np
import pytest

from converters.samples.release import tar_bytes, write_parts
from mmrs.errors import RunFailure, UserError
from mmrs.release.archive import Origin, entries, find_origin
from mmrs.release.parts import Limits, find_parts
from mmrs.storage.plain_files import plain_member_path

FILES = {f"data/detection/dior/images/{number}.jpg": bytes([number]) * 3000 for number in range(40)}
FILES["data/json/RSVG/rsvg_trainval.json"] = b"[]"


def read(source, limits=Limits()):  # noqa: B008 - frozen
    steps = []
    found = {entry.path: b"".join(entry.chunks()) for entry in entries(find_origin(source), limits, steps.append)}
    return found, sum(steps)


def write_members(folder, *members):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for member, data in members:
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    write_parts(folder, buffer.getvalue(), 1)


def member(name, kind=tarfile.REGTYPE, **fields):
    info = tarfile.TarInfo(name)
    info.type = kind
    for key, value in fields.items():
        setattr(info, key, value)
    return info


@pytest.mark.parametrize("parts", [1, 2, 13])
def test_parts_join_in_numeric_order(tmp_path, parts):
    paths = write_parts(tmp_path, tar_bytes(FILES), parts)
    found, steps = read(tmp_path)
    assert found == FILES and steps == sum(path.stat().st_size for path in paths)
    assert [path.name for path in find_parts(tmp_path)] == [f"data.tar.gz.{number}" for number in range(parts)]
    assert read(paths[0])[0] == FILES


def test_entries_may_be_skipped_or_half_read(tmp_path):
    write_parts(tmp_path, tar_bytes(FILES), 3)
    names = []
    for number, entry in enumerate(entries(find_origin(tmp_path), Limits(), lambda steps: None)):
        names.append(entry.path)
        if number % 3 == 1:
            next(entry.chunks())
    assert names == list(FILES)


def test_one_whole_file_is_one_part(tmp_path):
    write_parts(tmp_path, tar_bytes(FILES), 1)[0].rename(tmp_path / "data.tar.gz")
    assert read(tmp_path)[0] == FILES


def test_a_folder_reads_like_the_archive(tmp_path):
    for name, data in FILES.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(data)
    assert read(tmp_path)[0] == read(tmp_path / "data")[0] == FILES


def test_parts_win_over_a_half_unpacked_folder(tmp_path):
    write_parts(tmp_path, tar_bytes(FILES), 2)
    (tmp_path / "data" / "json").mkdir(parents=True)
    assert find_origin(tmp_path).notes and read(tmp_path)[0] == FILES


def test_missing_parts_are_named(tmp_path):
    paths = write_parts(tmp_path, tar_bytes(FILES), 5)
    paths[0].unlink()
    paths[3].unlink()
    with pytest.raises(UserError, match=r"lacks data\.tar\.gz\.0, data\.tar\.gz\.3: parts 0 to 4"):
        read(tmp_path)


def test_a_missing_last_part_is_named(tmp_path):
    write_parts(tmp_path, tar_bytes(FILES), 3)[-1].unlink()
    with pytest.raises(
        RunFailure, match=r"ends in mid-file after .*: data\.tar\.gz\.2 is missing, or data\.tar\.gz\.1"
    ):
        read(tmp_path)


def test_a_truncated_part_is_named(tmp_path):
    noise = np.random.default_rng(0)
    stream = gzip.compress(tar_bytes({f"{number}.jpg": noise.bytes(3000) for number in range(60)}), mtime=0)
    size = -(-len(stream) // 5)
    for number in range(5):
        (tmp_path / f"data.tar.gz.{number}").write_bytes(stream[number * size : (number + 1) * size])
    cut = tmp_path / "data.tar.gz.2"
    cut.write_bytes(cut.read_bytes()[:-7])
    with pytest.raises(RunFailure, match=rf"data\.tar\.gz\.2 has {size - 7:,} bytes where others have {size:,}"):
        read(tmp_path)


def test_changed_bytes_are_found(tmp_path):
    (part,) = write_parts(tmp_path, tar_bytes(FILES), 1)
    data = bytearray(part.read_bytes())
    data[-6] ^= 1
    part.write_bytes(data)
    with pytest.raises(RunFailure, match=r"data\.tar\.gz\.0 breaks the stream"):
        read(tmp_path)


def test_a_tar_cut_before_it_was_packed_is_found(tmp_path):
    whole = tar_bytes(FILES)
    write_parts(tmp_path, whole[: len(whole) // 2], 2)
    with pytest.raises(RunFailure, match=r"ends inside member|damaged tar header|without its end mark"):
        read(tmp_path)
    write_parts(tmp_path, tar_bytes({"data/a.jpg": b"a" * 512})[:1024], 2)
    with pytest.raises(RunFailure, match="without its end mark"):
        read(tmp_path)


def test_what_is_no_release(tmp_path):
    with pytest.raises(UserError, match="does not exist"):
        find_origin(tmp_path / "none")
    (tmp_path / "notes.txt").touch()
    with pytest.raises(UserError, match=r"holds no release.*Found: notes\.txt"):
        find_origin(tmp_path)
    with pytest.raises(UserError, match="no part of the archive"):
        find_origin(tmp_path / "notes.txt")
    for name in ("data.tar.gz.0", "data.tar.gz.00"):
        (tmp_path / name).touch()
    with pytest.raises(UserError, match="one number"):
        find_origin(tmp_path)
    (tmp_path / "data.tar.gz.00").rename(tmp_path / "data.tar.gz")
    with pytest.raises(UserError, match="whole and in parts"):
        find_origin(tmp_path)
    (tmp_path / "data.tar.gz").rename(tmp_path / "other.tar.gz.0")
    with pytest.raises(UserError, match="several archives"):
        find_origin(tmp_path)


@pytest.mark.parametrize(
    "name", ["/etc/passwd", "../x", "data/../../x", "C:/x", "data\\x.json", "", ".", "a\0b", "x" * 300, "data/.."]
)
def test_paths_that_lead_out_are_refused(name):
    with pytest.raises(RunFailure, match="not a plain relative path"):
        plain_member_path(name)


def test_paths_are_put_in_plain_form():
    assert plain_member_path("./data//json/./a.json") == "data/json/a.json"
    assert plain_member_path("data/\udcff图.jpg") == "data/%ff图.jpg"


@pytest.mark.parametrize(
    ("bad", "words"),
    [
        (member("../../outside.json"), "not a plain relative path"),
        (member("/tmp/outside.json"), "not a plain relative path"),
        (member("data/a.json", tarfile.SYMTYPE, linkname="/etc/passwd"), "a link"),
        (member("data/a.json", tarfile.LNKTYPE, linkname="data/b.json"), "a link"),
        (member("data/a.json", tarfile.CHRTYPE), "a device"),
        (member("data/a.json", tarfile.FIFOTYPE), "a device"),
    ],
)
def test_hostile_members_are_refused(tmp_path, bad, words):
    write_members(tmp_path, (member("data/ok.jpg"), b"ok"), (bad, b""))
    with pytest.raises(RunFailure, match=words):
        read(tmp_path)


def test_a_path_that_occurs_twice_is_refused(tmp_path):
    write_members(tmp_path, (member("data/a.json"), b"[1]"), (member("./data/a.json"), b"[2]"))
    with pytest.raises(RunFailure, match="occurs twice"):
        read(tmp_path)


def test_limits_hold(tmp_path):
    write_parts(tmp_path, tar_bytes({"data/a.jpg": bytes(400_000), "data/b.jpg": b""}), 2)
    with pytest.raises(RunFailure, match="has 400,000 bytes; the limit is 1,000"):
        read(tmp_path, Limits(member_bytes=1000))
    with pytest.raises(RunFailure, match="more than 100,000 bytes come out"):
        read(tmp_path, Limits(total_bytes=100_000))
    with pytest.raises(RunFailure, match="compression bomb"):
        read(tmp_path, Limits(expansion=20, expansion_floor=10_000))
    with pytest.raises(RunFailure, match="more than 1 members"):
        read(tmp_path, Limits(members=1))


def test_a_huge_member_size_in_a_forged_header_allocates_nothing(tmp_path):
    info = member("data/a.jpg")
    info.size = 1 << 60
    write_parts(tmp_path, info.tobuf(tarfile.GNU_FORMAT), 1)
    with pytest.raises(RunFailure, match="the limit is"):
        read(tmp_path)


def test_a_huge_extended_header_allocates_nothing(tmp_path):
    info = member("././@PaxHeader", tarfile.XHDTYPE)
    info.size = 1 << 32
    write_parts(tmp_path, info.tobuf(tarfile.USTAR_FORMAT) + bytes(4096), 1)
    with pytest.raises(RunFailure, match=r"a header asks for 4294967296 bytes"):
        read(tmp_path)


def test_endless_headers_end(tmp_path):
    info = member("././@PaxHeader", tarfile.XHDTYPE)
    info.size = 512
    record = b"20 comment=xxxxxxxx\n"
    block = info.tobuf(tarfile.USTAR_FORMAT) + record + bytes(512 - len(record))
    write_parts(tmp_path, block * 5000, 1)
    with pytest.raises(RunFailure, match=r"endless chain|damaged tar header"):
        read(tmp_path)


def test_links_in_an_unpacked_folder_are_refused(tmp_path):
    (tmp_path / "data" / "json").mkdir(parents=True)
    (tmp_path / "data" / "json" / "a.json").symlink_to("/etc/passwd")
    with pytest.raises(RunFailure, match="is a link"):
        read(tmp_path)


def test_any_cut_or_flipped_byte_ends_in_a_documented_error(tmp_path):
    (part,) = write_parts(tmp_path, tar_bytes(dict(list(FILES.items())[:3])), 1)
    sound = part.read_bytes()
    origin = Origin("archive", (part,))
    for at in range(0, len(sound), 3):
        for data in (sound[:at], sound[:at] + bytes([sound[at] ^ 0x55]) + sound[at + 1 :]):
            part.write_bytes(data)
            taken = partial(entries, origin, Limits(), lambda steps: None)
            try:
                found = {entry.path: b"".join(entry.chunks()) for entry in taken()}
            except RunFailure:
                continue
            assert found in (dict(list(FILES.items())[:3]), {})
