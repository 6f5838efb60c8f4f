"""The run folder: which process holds it, and whether a configuration may go on with what is in it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from mmrs.errors import UserError
from mmrs.storage.locks import record_lock
from mmrs.text import not_writable, removal
from training.config import TrainConfig, check_resume_bound_fields, load_config, resume_bound_fields


def check_run_folder(config: TrainConfig, fresh: bool) -> None:
    """Refuse a folder that is no run, one of a run with another configuration, and with `fresh` any that is not empty.

    Raises:
        UserError: names what is in the way.
    """
    out = config.out
    if not out.exists() or not any(out.iterdir()):
        return
    if fresh:
        raise UserError(f"{out} is not empty. Leave out --fresh to resume it, choose another `out`, or: {removal(out)}")
    saved = out / "config.yaml"
    if not saved.is_file():
        if {path.name for path in out.iterdir()} <= {"lock"}:
            return
        raise UserError(f"{out} is not empty and no training run: it has no config.yaml. Choose another `out`.")
    previous = load_config(saved)
    check_resume_bound_fields(resume_bound_fields(previous), config)


@contextmanager
def run_lock(out: Path) -> Iterator[None]:
    """Hold the run folder for this process; a killed process holds nothing.

    Raises:
        UserError: another process trains in it.
    """
    out.mkdir(parents=True, exist_ok=True)
    with ExitStack() as held:
        try:
            # record lock: loader workers must not inherit it, since they may outlive a killed run
            held.enter_context(record_lock(out / "lock"))
        except BlockingIOError as error:
            raise UserError(f"another process is training in {out}. Wait for it, or choose another `out`.") from error
        except OSError as error:
            raise UserError(not_writable(f"{out} (its lock)", error)) from error
        yield
