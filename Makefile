# One line each; .ci/run calls the same. RECIPE and OUT may be given: make run RECIPE=tiny
RECIPE ?= tiny
PY := .venv/bin/python
BENCHMARKS ?= dedup dedup_peers clusters clean encode scale

TARGETS ?= data train-cpu train-gpu train-tpu sandbox

.PHONY: env spark run test check bench compile docs manifests deploy locks images try-images sbom push clean

env: .venv/ready

.venv/ready: constraints.txt pyproject.toml
	python3 -m venv .venv
	$(PY) -m pip install -q -c constraints.txt $(if $(TORCH_INDEX),--extra-index-url $(TORCH_INDEX)) torch==2.13.0
	$(PY) -m pip install -q -c constraints.txt -e '.[dev]'
	touch .venv/ready

# The engine `spark`: 450 MB, and Java 17 has to be there. Its tests are skipped without it.
spark: .venv/spark

.venv/spark: .venv/ready
	$(PY) -m pip install -q -c constraints.txt -e '.[spark]'
	touch .venv/spark

run: env
	.venv/bin/codekiln run $(RECIPE)

test: env
	$(PY) -m pytest -q -n 2 --dist loadfile

check: env
	.venv/bin/ruff format --check . && .venv/bin/ruff check . && .venv/bin/mypy && .venv/bin/lint-imports && $(PY) -m pipelines.documentation --check && $(PY) -m pipelines.manifests --check && $(PY) -m pytest -q tests/test_pipelines_digests.py tests/test_pipelines_compiling.py

bench: env
	for name in $(BENCHMARKS); do $(PY) -m benchmarks.$$name || exit 1; done

docs: env
	$(PY) -m pipelines.documentation

compile: env
	.venv/bin/codekiln compile --out compiled

# The generated parts of k8s/; a copy of it that can be applied, with real names of images.
manifests: env
	$(PY) -m pipelines.manifests

deploy: env
	$(PY) -m pipelines.manifests --out deploy

locks: env
	sh images/lock.sh

# Images: buildah or docker; what each variable means is said in images/build.sh.
images: env
	sh images/build.sh $(TARGETS)

# What tests prove of images in containers, here of TARGETS: what cannot be proved is no skip but fails.
try-images: env
	CODEKILN_TRY_IMAGES="$(TARGETS)" $(PY) -m pytest -q -n 0 tests/test_images_data.py tests/test_images_sandbox.py tests/test_images_training.py

sbom: env
	sh images/sbom.sh build/sbom $(TARGETS)

push: env
	sh images/push.sh $(TARGETS)

clean:
	rm -rf .venv runs .codekiln compiled deploy build .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
