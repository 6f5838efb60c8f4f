"""Delta checkpoints hold the tuned tensors alone and know their base."""

import json

import pytest
import torch
from safetensors.torch import load_file, save_file

from mmrs.errors import UserError
from training.model import initialise
from training.model.export.delta import DESCRIPTION, TENSORS, load_delta, save_delta
from training.model.language.bias_scale import tuned_vectors
from training.model.origin.digest import weights_digest
from training.model.tuning.vectors import add_tuning

TEXT = torch.tensor([[0, 9, 30, 41, 7]])


@pytest.fixture
def tuned(make_config, tmp_path):
    """A tuned model, its delta's folder, and one norm that was trained too."""
    model = initialise(make_config(), 0).eval()
    digest = weights_digest(model)
    add_tuning(model, "bias-scale")
    with torch.no_grad():
        for vector in tuned_vectors(model).values():
            vector += 0.2 * torch.randn_like(vector)
    save_delta(tmp_path / "delta", model, digest, "base-0")
    return model, tmp_path / "delta", digest


def test_digest_is_that_of_the_base(make_config, model):
    digest = weights_digest(model)
    assert digest == weights_digest(initialise(make_config(), 0))
    assert digest != weights_digest(initialise(make_config(), 1))
    add_tuning(model, "bias")
    assert weights_digest(model) == digest
    model.language_model.norm.weight.data[0] += 1e-3
    assert weights_digest(model) != digest
    assert weights_digest(model, ["model.language_model.norm.weight"]) != weights_digest(model)


def test_delta_onto_the_base_is_the_tuned_model(tuned, make_config):
    model, folder, digest = tuned
    assert load_file(folder / TENSORS).keys() == tuned_vectors(model).keys()
    base = initialise(make_config(), 0).eval()
    for _ in range(2):
        assert load_delta(folder, base).base_digest == digest
        with torch.no_grad():
            assert torch.equal(base(TEXT).logits, model(TEXT).logits)


def test_further_trained_parameters_can_go_along(tuned, make_config, tmp_path):
    model, _, digest = tuned
    name = "model.language_model.norm.weight"
    model.language_model.norm.weight.data *= 1.5
    save_delta(tmp_path / "more", model, digest, "base-0", also=[name])
    base = initialise(make_config(), 0).eval()
    load_delta(tmp_path / "more", base)
    assert torch.equal(base.language_model.norm.weight, model.language_model.norm.weight)
    with pytest.raises(ValueError, match="no parameter 'nothing'"):
        save_delta(tmp_path / "more", model, digest, "base-0", also=["nothing"])


def test_another_base_is_refused_by_name_and_left_alone(tuned, make_config):
    _, folder, digest = tuned
    other = initialise(make_config(), 1)
    before = weights_digest(other)
    with pytest.raises(
        UserError, match=rf"trained on base-0 \(weights {digest[:12]}\); base-1 has weights {before[:12]}"
    ):
        load_delta(folder, other, "base-1")
    assert other.config.tuning is None and weights_digest(other) == before


def test_a_base_tuned_in_another_way_is_refused(tuned, make_config):
    base = initialise(make_config(), 0)
    add_tuning(base, "bias")
    with pytest.raises(UserError, match="does not fit this model"):
        load_delta(tuned[1], base)


@pytest.mark.parametrize("fault", ["missing", "shape", "foreign"])
def test_tensors_that_do_not_fit_are_refused(tuned, make_config, fault):
    folder, tensors = tuned[1], load_file(tuned[1] / TENSORS)
    name = "model.language_model.layers.0.mlp.up_proj.bias_tune"
    if fault == "missing":
        del tensors[name]
    elif fault == "shape":
        tensors[name] = tensors[name][:-1].clone()
    else:
        name = "elsewhere.bias_tune"
        tensors[name] = torch.zeros(3)
    save_file(tensors, folder / TENSORS)
    base = initialise(make_config(), 0)
    with pytest.raises(UserError, match=f"{name} has shape"):
        load_delta(folder, base)
    assert base.config.tuning is None


@pytest.mark.parametrize("content", [b"{", b"{}", json.dumps({"format": "mmrs-delta-2"}).encode()])
def test_what_is_no_delta_is_refused(tuned, make_config, content, tmp_path):
    (tuned[1] / DESCRIPTION).write_bytes(content)
    base = initialise(make_config(), 0)
    for folder in (tuned[1], tmp_path / "absent"):
        with pytest.raises(UserError, match="holds no delta checkpoint"):
            load_delta(folder, base)


def test_a_model_without_vectors_has_no_delta(model, tmp_path):
    with pytest.raises(ValueError, match="no tuning vectors to save"):
        save_delta(tmp_path, model, "", "base")
