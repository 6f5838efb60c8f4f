"""One commit of a saved model, or processor, to the Hub."""

from __future__ import annotations

from collections.abc import Callable
from tempfile import TemporaryDirectory

from huggingface_hub import HfApi


def upload_saved(save: Callable[[str], object], repo_id: str, private: bool | None, token: str | None) -> str:
    """Save into a temporary folder and upload what is there; nothing else of the repository is changed.

    transformers' own `push_to_hub` would put a card of empty headings there with whatever it pushes.

    Args:
        save: writes into the folder that it is given.
        repo_id: is created where there is none.
        private: of a new repository; None: as the account has it.
        token: None: that of ``hf auth login`` or HF_TOKEN.

    Returns:
        The commit's address.
    """
    api = HfApi(token=token)
    repo = api.create_repo(repo_id, private=private, exist_ok=True).repo_id
    with TemporaryDirectory() as folder:
        save(folder)
        return str(api.upload_folder(repo_id=repo, folder_path=folder, commit_message="Upload EarthGPT"))
