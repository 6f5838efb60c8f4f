"""The model card says what is known, and the folder that is pushed has it."""

import re

import pytest
import yaml
from huggingface_hub import HfApi

from training.model import EarthGPTForConditionalGeneration, initialise
from training.model.origin.card import licence_of_parts, model_card
from training.model.origin.notes import note_parts, note_scores, note_training

RUN = {
    "stage": "stage-b", "tuning": "bias-scale", "trained_parameters": 2_719_744, "steps": 100, "samples": 3200,
    "data_set_id": "abcdef0123456789ffff",
}  # fmt: skip


def front_matter(text):
    return yaml.safe_load(re.match(r"---\n(.*?)\n---\n", text, re.DOTALL)[1])


def test_a_bare_configuration_claims_nothing(make_config):
    text = model_card(make_config())
    assert front_matter(text)["license"] == "other" and "base_model" not in front_matter(text)
    for words in ("Not recorded.", "None recorded.", "not the authors' model"):
        assert words in text


def test_parts_runs_and_scores_are_told(model):
    sources = {"llm": ("owner/llama", "apache-2.0"), "vit": ("dinov2.pth", "not stated")}
    notes = note_parts(model.config, model.parts(), sources, seed=3)
    note_training(model.config, RUN)
    note_training(model.config, RUN | {"stage": "more", "tuning": None})
    row = {
        "source": "hit-uav", "split": "test", "task": "detection-hbb", "protocol": "detection-hbb/f1-50",
        "metric": "f1", "value": 0.5, "interval_95": [0.4, 0.61], "constant_value": 0.0, "images": 200,
        "questions": 200, "failed": 7, "data_set_id": "abc",
    }  # fmt: skip
    note_scores(model.config, [row])
    text = model_card(model.config)
    assert front_matter(text)["base_model"] == ["owner/llama"] and front_matter(text)["license"] == "other"
    for note in notes:
        assert f"{note.parameters:,}" in text and note.digest[:12] in text
    assert "No licence is stated by dinov2.pth" in text
    assert "| stage-b | bias-scale | 2,719,744 | 100 | 3,200 | `abcdef0123456789` |" in text
    assert "| more | none |" in text
    assert (
        "| hit-uav test | detection-hbb/f1-50 | f1 | 0.500 (0.400 to 0.610) | 0.000 | 200 | 200 | 7 | `abc` |" in text
    )


@pytest.mark.parametrize(
    ("licences", "common"),
    [
        (["mit", "mit", "none needed"], "mit"),
        (["mit", "llama2"], None),
        (["not stated"], None),
        (["none needed"], None),
    ],
)
def test_one_licence_is_claimed_only_where_all_state_it(licences, common):
    assert licence_of_parts([{"licence": licence} for licence in licences]) == common


def test_strangers_texts_are_no_markup(model):
    note_parts(model.config, model.parts(), {"llm": ("a|b<script>`x`\n# owned", "[mit](x)")}, seed=0)
    table = model_card(model.config).split("## Parts")[1].split("##")[0]
    assert "<script>" not in table and "\n#" not in table and "[mit]" not in table


def test_the_card_is_saved_and_survives_loading(model, tmp_path):
    note_parts(model.config, model.parts(), {"llm": ("owner/llama", "mit")}, seed=0)
    model.save_pretrained(tmp_path / "first")
    loaded = EarthGPTForConditionalGeneration.from_pretrained(tmp_path / "first")
    loaded.save_pretrained(tmp_path / "second")
    text = (tmp_path / "first" / "README.md").read_text()
    assert text == (tmp_path / "second" / "README.md").read_text() == model_card(model.config)
    assert front_matter(text)["license"] == "mit"


def test_a_push_uploads_weights_configuration_and_card(make_config, monkeypatch):
    sent = {}

    def create_repo(self, repo_id, **options):
        assert options == {"private": True, "exist_ok": True}
        return type("Repo", (), {"repo_id": repo_id})

    def upload_folder(self, *, repo_id, folder_path, commit_message):
        from pathlib import Path

        sent[repo_id] = {path.name: path.read_bytes() for path in Path(folder_path).iterdir()}
        return "address"

    monkeypatch.setattr(HfApi, "create_repo", create_repo)
    monkeypatch.setattr(HfApi, "upload_folder", upload_folder)
    model = initialise(make_config(), 0)
    assert model.push_to_hub("owner/name", private=True) == "address"
    assert sent["owner/name"].keys() >= {"config.json", "model.safetensors", "generation_config.json", "README.md"}
    assert sent["owner/name"]["README.md"].decode() == model_card(model.config)
