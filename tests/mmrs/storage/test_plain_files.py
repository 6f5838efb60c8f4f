"""No link is followed where we write, none out of a source where we read, and nothing waits for a pipe."""

import hashlib
import os
import socket

import pytest

from mmrs.errors import UserError
from mmrs.storage.atomic import atomic_folder, is_temporary, remove_temporaries, temporary_name, write_atomic
from mmrs.storage.cache import FileCache
from mmrs.storage.local import LocalPlace
from mmrs.storage.locks import record_lock, whole_file_lock
from mmrs.storage.place import LOCK_NAME
from mmrs.storage.plain_files import (
    folders_stay,
    follows_links,
    kept_of_folders,
    open_no_link,
    open_to_read,
    read_plain_file,
    reading_below,
)


@pytest.fixture
def victim(tmp_path):
    path = tmp_path / "victim"
    path.write_text("victim")
    return path


@pytest.mark.parametrize("lock", [whole_file_lock, record_lock])
def test_a_lock_follows_no_link(tmp_path, victim, lock):
    (tmp_path / "lock").symlink_to(victim)
    with pytest.raises(OSError, match="symbolic link"), lock(tmp_path / "lock"):
        pass
    (tmp_path / "new").symlink_to(tmp_path / "made")
    with pytest.raises(OSError, match="symbolic link"), lock(tmp_path / "new"):
        pass
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(OSError, match="no plain file"), lock(tmp_path / "pipe"):
        pass
    assert victim.read_text() == "victim" and not (tmp_path / "made").exists()


def test_a_build_follows_no_link_in_its_own_folder(tmp_path, victim):
    place = LocalPlace(tmp_path / "out")
    (place.root / LOCK_NAME).parent.mkdir(parents=True)
    (place.root / LOCK_NAME).symlink_to(victim)
    with pytest.raises(UserError, match="symbolic link"), place.lock(print):
        pass
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "linked").mkdir()
    (tmp_path / "linked" / ".build").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(UserError, match="symbolic link"), LocalPlace(tmp_path / "linked").lock(print):
        pass
    assert victim.read_text() == "victim" and not list((tmp_path / "elsewhere").iterdir())


def test_a_written_file_replaces_a_link_and_not_what_it_leads_to(tmp_path, victim):
    (tmp_path / "manifest.json").symlink_to(victim)
    write_atomic(tmp_path / "manifest.json", b"new")
    assert victim.read_text() == "victim" and (tmp_path / "manifest.json").read_bytes() == b"new"


def test_temporary_names_cannot_be_guessed_and_say_whose_they_are():
    names = {temporary_name("lock") for _ in range(100)}
    assert len(names) == 100 and all(map(is_temporary, names))
    name = names.pop()
    assert not is_temporary(f"b{name}") and not is_temporary(name[:-1]) and not is_temporary(f"{name}0")
    assert not any(map(is_temporary, ("lock", "notes.tmp-backup", "lock.tmp-4711", ".tmp-", f"x.tmp-{'0' * 32}")))


def test_only_our_own_leftovers_are_removed(tmp_path, victim):
    ours, folder = tmp_path / "a" / temporary_name("x.tar"), tmp_path / temporary_name("model")
    link = tmp_path / temporary_name("link")
    thesis = tmp_path / "notes.tmp-backup" / "thesis.tex"
    for path in (ours, folder / "weights", thesis, tmp_path / "a" / "b.tmp-4711"):
        path.parent.mkdir(exist_ok=True)
        path.write_text("content")
    link.symlink_to(thesis.parent)
    assert set(remove_temporaries(tmp_path)) == {thesis.parent, tmp_path / "a" / "b.tmp-4711"}
    assert thesis.is_file() and not ours.exists() and not folder.exists() and not link.is_symlink()


def test_a_folder_of_somebody_elses_is_not_replaced(tmp_path):
    made, mine = tmp_path / "made", tmp_path / "made" / "mine"
    made.mkdir()
    with atomic_folder(made) as temporary:
        assert is_temporary(temporary.name)
    mine.write_text("mine")
    with pytest.raises(FileExistsError), atomic_folder(made):
        pytest.fail("it is told before the work is done")
    (tmp_path / "link").symlink_to(made)
    with pytest.raises(FileExistsError), atomic_folder(tmp_path / "link", lambda there: True):
        pass
    with pytest.raises(FileExistsError), atomic_folder(tmp_path / "new"):
        (tmp_path / "new").mkdir()
        (tmp_path / "new" / "mine").write_text("mine")
    assert mine.is_file() and (tmp_path / "new" / "mine").is_file() and len(list(tmp_path.iterdir())) == 3
    with atomic_folder(made, lambda there: (there / "mine").is_file()):
        pass
    assert not mine.exists()


def test_the_cache_follows_no_link_and_removes_nothing_of_others(tmp_path, victim):
    data = b"x" * 1000
    sha256 = hashlib.sha256(data).hexdigest()
    folder = tmp_path / "cache"
    (folder / "thesis").mkdir(parents=True)
    (folder / "notes.txt").write_bytes(b"n" * 900)
    (folder / f"{sha256}.part").symlink_to(victim)
    (folder / sha256).symlink_to(victim)
    descriptor = FileCache(folder, 1000).open(sha256, 1000, lambda file: os.pwrite(file, data, 0))
    assert os.pread(descriptor, 2000, 0) == data
    os.close(descriptor)
    assert victim.read_text() == "victim" and (folder / "notes.txt").is_file()


def test_reading_stays_below_the_root(tmp_path):
    root = tmp_path / "data"
    (root / "sub").mkdir(parents=True)
    (root / "list.txt").write_text("inside")
    (tmp_path / "secret").mkdir()
    (tmp_path / "secret" / "list.txt").write_text("secret")
    (root / "link.txt").symlink_to(tmp_path / "secret" / "list.txt")
    (root / "own.txt").symlink_to(root / "list.txt")
    (root / "folder").symlink_to(tmp_path / "secret")
    (tmp_path / "root").symlink_to(root)
    for start in (root, tmp_path / "root"):
        with reading_below(start):
            assert read_plain_file(start / "list.txt") == read_plain_file(start / "own.txt") == b"inside"
            for name in ("link.txt", "folder/list.txt", "../secret/list.txt", "sub/../../secret/list.txt"):
                with pytest.raises(OSError, match=r"outside of .*--follow-links"):
                    read_plain_file(start / name)
            assert not follows_links()
        with reading_below(start, follow_links=True):
            assert read_plain_file(start / "link.txt") == read_plain_file(start / "folder/list.txt") == b"secret"
            assert follows_links()
    assert read_plain_file(root / "link.txt") == b"secret"


def test_pipes_sockets_and_devices_are_no_files(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    os.mkfifo("pipe")
    with socket.socket(socket.AF_UNIX) as listening, reading_below(tmp_path, follow_links=True):
        listening.bind("socket")
        for name in ("pipe", "socket", "/dev/zero"):
            with pytest.raises(OSError):
                read_plain_file(tmp_path / name)
        with pytest.raises(OSError, match="no plain file"):
            open_no_link(tmp_path / "pipe", os.O_RDWR)
        with pytest.raises(IsADirectoryError):
            open_to_read(tmp_path)


def test_folders_are_listed_once_while_they_stay():
    found = iter(range(9))
    assert [kept_of_folders("a", lambda: next(found)) for _ in range(2)] == [0, 1]
    with folders_stay():
        first = [kept_of_folders(key, lambda: next(found)) for key in ("a", "b", "a")]
        with folders_stay():
            inner = kept_of_folders("a", lambda: next(found))
    assert first == [2, 3, 2] and inner == 2
    assert kept_of_folders("a", lambda: next(found)) == 4
