"""The rows that LLaMA-Factory makes of a data set, as JSON lines: `python llama_factory_rows.py FOLDER NAME OUT`.

In an environment of its own. Data loading alone, down to the form that its templates take: no model is read. Beside
torch for CPUs there is no torchaudio on PyPI, which LLaMA-Factory imports and needs for sounds alone: where there is
none, an empty module takes its place.
"""

import json
import sys
from importlib.machinery import ModuleSpec
from importlib.metadata import version
from importlib.util import find_spec, module_from_spec

if find_spec("torchaudio") is None:
    sys.modules["torchaudio"] = module_from_spec(ModuleSpec("torchaudio", None))

from llamafactory.data.loader import _load_single_dataset
from llamafactory.data.parser import get_dataset_list
from llamafactory.hparams import DataArguments, ModelArguments
from transformers import Seq2SeqTrainingArguments


def main(folder: str, name: str, out: str) -> None:
    """Load the entry `name` of ``dataset_info.json`` and write what it has."""
    data = DataArguments(dataset=name, dataset_dir=folder, media_dir=folder)
    training = Seq2SeqTrainingArguments(output_dir=f"{out}.run", use_cpu=True)
    (entry,) = get_dataset_list([name], folder)
    rows = _load_single_dataset(entry, ModelArguments(model_name_or_path="none"), data, training)
    with open(out, "w") as file:
        for row in rows:
            file.write(json.dumps(row) + "\n")
    print(f"LLaMA-Factory {version('llamafactory')}: {len(rows)} rows with {', '.join(rows.column_names)}")


if __name__ == "__main__":
    main(*sys.argv[1:])
