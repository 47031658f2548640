# What can be done with pounce; nothing here needs more than a Rust toolchain, unless it says so.

# Debian packages for interop and bench; .ci/run installs them.
PACKAGES = docker-registry nginx-light curl ca-certificates docker.io containerd runc \
           podman buildah uidmap skopeo umoci busybox-static python3-venv openssl
# An S3 for interop, from PyPI.
MOTO = $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/pounce/moto

.PHONY: run demo test check interop bench image packages

run: ## a registry on :5000 in front of Docker Hub, keeping what it fetched in ./data
	REGISTRY_PROXY_REMOTEURL=$${REGISTRY_PROXY_REMOTEURL:-https://registry-1.docker.io} \
	  cargo run --release --locked -- serve

demo: ## an image pulled twice through pounce, without any network
	cargo bench --locked --bench demo

test:
	@if cargo nextest --version >/dev/null 2>&1; then cargo nextest run --locked; else cargo test --locked; fi

check:
	cargo fmt --check
	cargo clippy --locked --all-targets -- -D warnings

interop: ## real clients; as root, with the Debian packages above
	cargo build --locked
	tests/interop/pull.sh "$${CARGO_TARGET_DIR:-target}/debug/pounce"
	test -x $(MOTO)/bin/moto_server || { python3 -m venv $(MOTO) && $(MOTO)/bin/pip install -q 'moto[server]==5.0.*'; }
	tests/interop/push.sh "$${CARGO_TARGET_DIR:-target}/debug/pounce" $(MOTO)/bin/moto_server
	tests/interop/cold.sh "$${CARGO_TARGET_DIR:-target}/debug/pounce" $(MOTO)/bin/python

bench: ## measurements beside the peers; with docker-registry, nginx-light and curl from Debian
	cargo bench --locked --bench cold
	cargo bench --locked --bench push

image:
	docker build -t pounce .

packages: ## as root, on Debian
	dpkg -s $(PACKAGES) >/dev/null 2>&1 || { apt-get update -q && \
	  DEBIAN_FRONTEND=noninteractive apt-get install -qy --no-install-recommends $(PACKAGES); }
