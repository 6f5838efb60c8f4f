"""A lock for storage without locks: a small object, created only where there is none, renewed while its owner lives.

Nobody's clock is compared with another's. Who finds the object of somebody else watches it for `LEASE_SECONDS`: when it
changes in that time, its owner lives; when it does not, the owner is dead and the object is replaced. An owner on the
same machine whose process is gone is known to be dead at once. No library that fsspec goes with has such a lock.

The object, as one build sees it::

                create succeeded                     release: token is ours
      FREE ------------------------------> OURS --------------------------------> FREE
       |  ^                                 |  ^
       |  |                                 |  | every RENEWAL_SECONDS: token is ours, beat + 1
       |  | gone while watched              |  +---+
       |  |                                 |      |
       |  |                                 +------+
       |  |                                 |
       |  |                                 | token is another's: taken over while we were silent
       |  |                                 v
       |  |                               LOST: no more renewals; `Place.check` ends the build before it publishes
       |  |
       v  |   create refused: the object is there
      FOREIGN --- its process is known to be gone ----------------------> removed: FREE, create again
          |
          +------ watched: changed in LEASE_SECONDS --------------------> refused: another build writes there
          |
          +------ watched: unchanged for LEASE_SECONDS, and still so ----> removed: FREE, create again

A build whose storage failed leaves its object OURS without renewals; for others it is then FOREIGN and unchanged.
"""

from __future__ import annotations

import json
import os
import secrets
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from mmrs.errors import StorageFailure, UserError

LEASE_SECONDS = 60.0
RENEWAL_SECONDS = 15.0


class Storage(Protocol):
    """What a lease needs of a place."""

    def create(self, name: str, data: bytes) -> None: ...

    def read(self, name: str) -> bytes: ...

    def write(self, name: str, data: bytes) -> None: ...

    def remove(self, names: list[str]) -> None: ...


@dataclass(frozen=True, slots=True)
class Lease:
    """The lock object `name` of a storage."""

    storage: Storage
    name: str

    @contextmanager
    def held(self, where: str, say: Callable[[str], None]) -> Iterator[str]:
        """Hold the lease; the context's value is its token. `where` names the place in messages.

        Raises:
            UserError: somebody else holds it, or the storage cannot be written to.
        """
        token = secrets.token_hex(16)
        content = {"token": token, "host": _machine(), "pid": os.getpid(), "beat": 0}
        try:
            self._acquire(content, where, say)
        except OSError as error:
            raise UserError(
                f"cannot write to {where}: {error}. Mend that, or choose another place with --out."
            ) from error
        stop = threading.Event()
        renewal = threading.Thread(target=self._renew, args=(content, stop), daemon=True)
        renewal.start()
        try:
            yield token
        except StorageFailure:
            # The object stays; nobody renews it.
            stop.set()
            raise
        except BaseException:
            self._release(token, stop, renewal)
            raise
        self._release(token, stop, renewal)

    def token(self) -> str | None:
        """The token of whoever holds the lease now, None where nobody does."""
        try:
            return _parsed(self.storage.read(self.name)).get("token")
        except FileNotFoundError:
            return None

    def _acquire(self, content: dict[str, Any], where: str, say: Callable[[str], None]) -> None:
        while True:
            try:
                self.storage.create(self.name, json.dumps(content, allow_nan=False).encode())
            except FileExistsError:
                self._outlive_holder(where, say)
                continue
            # Stores that ignore the condition would let two creators pass; the later write wins here.
            if self.token() == content["token"]:
                return

    def _outlive_holder(self, where: str, say: Callable[[str], None]) -> None:
        """Remove the object of a dead holder. Raises `UserError` when the holder lives."""
        try:
            found = self.storage.read(self.name)
        except FileNotFoundError:
            return
        holder = _parsed(found)
        if not _gone_from_here(holder):
            who = f"process {holder.get('pid')} on {str(holder.get('host')).partition(' ')[0]}"
            say(f"{where} is locked by {who}; waiting {LEASE_SECONDS:.0f} s for a sign of life")
            deadline = time.monotonic() + LEASE_SECONDS
            while time.monotonic() < deadline:
                time.sleep(min(RENEWAL_SECONDS / 3, max(0.0, deadline - time.monotonic())))
                try:
                    now = self.storage.read(self.name)
                except FileNotFoundError:
                    return
                if now != found:
                    raise UserError(f"another `mmrs` is writing to {where} ({who}); wait for it or take another --out.")
        if self.storage.read(self.name) == found:
            self.storage.remove([self.name])

    def _renew(self, content: dict[str, Any], stop: threading.Event) -> None:
        while not stop.wait(RENEWAL_SECONDS):
            try:
                if self.token() != content["token"]:
                    return
                content["beat"] += 1
                self.storage.write(self.name, json.dumps(content, allow_nan=False).encode())
            except OSError:
                # The next beat may come through; when none does, the build notices before it publishes anything.
                continue

    def _release(self, token: str, stop: threading.Event, renewal: threading.Thread) -> None:
        stop.set()
        renewal.join(RENEWAL_SECONDS)
        try:
            if self.token() == token:
                self.storage.remove([self.name])
        except OSError:
            # Nothing is lost: the next build finds a lease that nobody renews.
            return


def _parsed(data: bytes) -> dict[str, Any]:
    try:
        content = json.loads(data)
    except ValueError:
        return {}
    return content if isinstance(content, dict) else {}


def _machine() -> str:
    """This machine since its last start, and the namespace in which its process ids count."""
    parts = [os.uname().nodename]
    for path in ("/proc/sys/kernel/random/boot_id", "/proc/self/ns/pid"):
        try:
            parts.append(os.readlink(path) if path.startswith("/proc/self") else Path(path).read_text().strip())
        except OSError:
            # Without it another machine could pass for this one.
            parts.append(secrets.token_hex(8))
    return " ".join(parts)


def _gone_from_here(holder: dict[str, Any]) -> bool:
    if holder.get("host") != _machine() or not isinstance(holder.get("pid"), int):
        return False
    try:
        os.kill(holder["pid"], 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        return False
    return False
