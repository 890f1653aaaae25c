# What a person types. `make` alone says what there is.
#
# Every target does its own set-up: it needs git, make, a C compiler and a Rust toolchain; the rest is installed (Debian,
# Ubuntu) or its absence is said and the tests that want it are skipped, printed and counted.

CARGO ?= cargo
BINARY = $(or $(CARGO_TARGET_DIR),target)/debug/samebundle

.PHONY: help test demo bench lint images setup build install dist

help:
	@echo "make demo    build, sign, push, install, run, export, import without a network, run again: the whole road, timed"
	@echo "make test    install what is missing, check format and lints, run every test"
	@echo "make bench   measure against kfp.local, skopeo, crane, regctl and cosign, side by side; BENCH_STRICT=1 fails where an aim is missed"
	@echo "make install PREFIX=DIR    the release binary as samebundle and same, with completions and man pages"
	@echo "make dist    a release in DIST=DIR: static binary, install.sh, wheel, Debian package, bill of materials, signed checksums"
	@echo "make lint    format and lints alone"
	@echo "make images  base images for the bundles in bundles/, as OCI layouts"

lint:
	$(CARGO) fmt --all --check
	$(CARGO) clippy --quiet --workspace --all-targets --all-features -- -D warnings

build:
	$(CARGO) build -p samebundle-cli

PREFIX ?= /usr/local
RELEASE = $(or $(CARGO_TARGET_DIR),target)/release/samebundle

install:
	$(CARGO) build --release -p samebundle-cli
	install -d $(PREFIX)/bin $(PREFIX)/share/man/man1 $(PREFIX)/share/bash-completion/completions
	install -m 755 $(RELEASE) $(PREFIX)/bin/samebundle
	ln -sf samebundle $(PREFIX)/bin/same
	$(PREFIX)/bin/samebundle manual --dir $(PREFIX)/share/man/man1
	for name in samebundle same; do $(PREFIX)/bin/$$name completions bash >$(PREFIX)/share/bash-completion/completions/$$name; done

DIST ?= $(or $(CARGO_TARGET_DIR),target)/dist

dist:
	@dist/make $(DIST)

images:
	@tests/setup/packages world
	@tests/setup/images --into bundles/digits/images python

setup:
	@tests/setup/packages world docker clients browser
	@tests/setup/images
	@tests/setup/root
	@tests/setup/python
	@tests/setup/peers
	@tests/setup/cluster kueue

test:
	@bash tests/run

demo: images
	@tests/setup/python
	@bash tests/demo

bench:
	@tests/setup/packages world bench
	@tests/setup/images
	@tests/setup/python
	@tests/setup/peers crane regctl cosign3
	@bash tests/bench/run
