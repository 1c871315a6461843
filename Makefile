# Targets are described by `make help`.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
MAKEFLAGS += --no-print-directory
.DEFAULT_GOAL := help

MODULE := github.com/darter-p2p/darter
VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo unknown)
LDFLAGS := -s -w $(if $(wildcard internal/version),-X $(MODULE)/internal/version.Version=$(VERSION))
GOBUILD := CGO_ENABLED=0 go build -trimpath -ldflags "$(LDFLAGS)"

TOOLS := integration/tools
CHECK_TOOLS := golangci-lint buf protoc-gen-go protoc-gen-go-grpc
TEST_TOOLS := containerd crane crictl nerdctl
# What tests and demo need from Debian, the manager's databases among it. gcc is for the race detector; docker.io brings containerd 1.6, too.
DEBIAN := gcc libc6-dev curl iproute2 procps runc containernetworking-plugins docker-registry docker.io busybox-static postgresql mariadb-server

# with_tools builds tools and puts their folders in front of PATH, for the rest of the recipe line.
with_tools = DARTER_TOOLS_PATH=$$($(TOOLS)/build.sh $(1) | paste -sd:) && \
	export DARTER_TOOLS_PATH PATH="$$DARTER_TOOLS_PATH:$$PATH"

.PHONY: help
help: ## print this list
	@awk -F ':.*## ' '/^[a-z%-]+:.*## / { printf "  %-16s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: build
build: ## build all commands into bin/
	$(GOBUILD) -o bin/ ./cmd/...

.PHONY: tools
tools: ## build the tools, install Debian packages, print the tools' folders
	@$(TOOLS)/debian.sh $(DEBIAN)
	@$(TOOLS)/build.sh $(CHECK_TOOLS) $(TEST_TOOLS)

.PHONY: generate
generate: ## regenerate api/ from its .proto files
	@$(call with_tools,$(CHECK_TOOLS)) && buf generate

.PHONY: api-baseline
api-baseline: ## take the present api/ as what `make check` compares with
	@$(call with_tools,buf) && buf build -o api/baseline.binpb

# --- check -------------------------------------------------------------------

CHECKS := check-format check-mod check-proto check-lint check-arch check-build check-fuzz

.PHONY: check
check: ## every check that is not a test; FUZZTIME=30s each fuzz target
	@failed=; for step in $(CHECKS); do \
		start=$$SECONDS; echo "== $$step"; \
		$(MAKE) $$step || failed+=" $$step"; \
		echo "== $$step: $$((SECONDS - start)) s"; \
	done; \
	if [ -n "$$failed" ]; then echo "failed:$$failed"; exit 1; fi

.PHONY: $(CHECKS)
check-format: # gofmt
	@bad=$$(git ls-files -co --exclude-standard '*.go' | xargs -r ls 2>/dev/null | xargs -r gofmt -l); \
	if [ -n "$$bad" ]; then echo "not formatted:"; echo "$$bad"; exit 1; fi

check-mod: # go.mod and go.sum are tidy
	@go mod tidy -diff

check-proto: # lint, compatibility, and generated code is up to date
	@$(call with_tools,$(CHECK_TOOLS)) && buf lint && buf format -d --exit-code && \
	buf breaking --against api/baseline.binpb && \
	out=$$(mktemp -d) && trap 'rm -rf "$$out"' EXIT && buf generate -o "$$out" && \
	list() { (cd "$$1" && find . -name '*.pb.go' | sort | xargs -r sha256sum); } && \
	if ! diff <(list api) <(list "$$out/api"); then echo "generated code is not up to date: make generate"; exit 1; fi

check-lint: # golangci-lint
	@$(call with_tools,golangci-lint) && golangci-lint run ./...

check-arch: # imports, package comments and names
	@go test -count=1 ./integration/arch

check-build: # both platforms, without cgo
	@out=$$(mktemp -d) && trap 'rm -rf "$$out"' EXIT && \
	for arch in amd64 arm64; do GOOS=linux GOARCH=$$arch $(GOBUILD) -o "$$out/" ./cmd/...; done

check-fuzz: # every fuzz target for a short time
	@FUZZTIME=$${FUZZTIME:-30s} $(TOOLS)/fuzz.sh

# --- test --------------------------------------------------------------------

# The simulation and the power-cut suite are long computations in one goroutine:
# the race detector has nothing to find there and makes them ten times slower.
# -short plays two of a scenario's seeds and 2,000 power cuts; `go test` plays all.
# The tests of whole systems come last, two packages at a time, the longest first.
.PHONY: test
test: build ## all tests; lists those that were skipped and why
	@$(TOOLS)/debian.sh $(DEBIAN)
	@$(call with_tools,$(TEST_TOOLS)) && export DARTER_BIN=$(CURDIR)/bin && \
	run() { go test -json -count=1 -timeout 40m "$$@" || failed=1; } && { \
		failed=0; \
		run -race $$(go list ./... | grep -vE '/(integration/(swarmsim|lab|cluster|containerd|bench|manager|trouble)|p2p/store)(/|$$)'); \
		run -race -skip PowerCut ./p2p/store/...; \
		run -short -run PowerCut ./p2p/store/...; \
		run -short ./integration/swarmsim/...; \
		run -race -p 2 ./integration/containerd/... ./integration/cluster/... ./integration/trouble ./integration/manager/... ./integration/lab/... ./integration/bench/...; \
		exit $$failed; \
	} | go run ./$(TOOLS)/skips

.PHONY: demo
demo: build ## the whole system on this machine
	@$(TOOLS)/debian.sh $(DEBIAN)
	@$(call with_tools,$(TEST_TOOLS)) && DARTER_BIN=$(CURDIR)/bin go run ./integration/demo

# --- long runs ---------------------------------------------------------------

.PHONY: fuzz
fuzz: ## every fuzz target for FUZZTIME=10m; FUZZ=<regexp> selects
	@FUZZTIME=$${FUZZTIME:-10m} $(TOOLS)/fuzz.sh

STRESS_COUNT ?= 20
PKG ?= ./...
.PHONY: stress
stress: ## TestStress… of PKG=./... once, then its tests again and again, STRESS_COUNT=20 times, with the race detector
	@$(call with_tools,$(TEST_TOOLS)) && DARTER_STRESS=1 go test -count=1 -timeout 60m -run '^TestStress' $(PKG) && \
	go test -race -failfast -timeout 60m -count=$(STRESS_COUNT) $(PKG)

# The figures of the whole system on shaped links: integration/bench/swarm/DESIGN.md.
.PHONY: bench-swarm
bench-swarm: build ## a swarm against its bound and curl: N=8 RATE=200mbit SIZE=256MiB LAYERS=1 MTU=9000 RUNS=3
	@$(TOOLS)/debian.sh $(DEBIAN)
	@go build -o bin/bench/ ./integration/bench/swarm && DARTER_BIN=bin bin/bench/swarm

# Is darter ever slower than no darter: integration/bench/direct.
.PHONY: bench-direct
bench-direct: build ## one node alone, and two with 10 Mbit/s between them, against curl
	@$(TOOLS)/debian.sh $(DEBIAN)
	@go build -o bin/bench/ ./integration/bench/direct && DARTER_BIN=bin bin/bench/direct

# The figures of a pull on one node: integration/bench/pull/DESIGN.md.
.PHONY: bench-pull
bench-pull: build ## a cold pull by containerd, mirror and snapshot door: RATE=1gbit FORMAT=gzip RUNS=3
	@$(TOOLS)/debian.sh $(DEBIAN)
	@$(call with_tools,containerd) && go build -o bin/bench/ ./integration/bench/pull && DARTER_BIN=bin bin/bench/pull

# One manager with many simulated nodes: integration/bench/manager.
.PHONY: bench-manager
bench-manager: build ## one darter-manager on SQLite: NODES=10000 IDLE=45s CHANGES=8 LISTS=20 DIALING=64
	@go build -o bin/bench/ ./integration/bench/manager && DARTER_BIN=bin bin/bench/manager

# What lazy images cost: integration/bench/lazy/DESIGN.md.
.PHONY: bench-lazy
bench-lazy: build ## lazy images beside ordinary ones: ROWS=start,random,files,build,crowd RATE=1gbit,200mbit SIZE=1GiB,3GiB RUNS=3; QUICK=1
	@$(TOOLS)/debian.sh $(DEBIAN)
	@$(call with_tools,containerd) && go build -o bin/bench/ ./integration/bench/lazy && DARTER_BIN=bin bin/bench/lazy

# bench-% runs the benchmarks whose name matches, bench-. all of them.
bench-%: ## benchmarks whose name matches %
	@dirs=$$(grep -rl --include='*_test.go' '^func Benchmark' . | xargs -r -n1 dirname | sort -u) && \
	go test -run '^$$' -bench '$*' -benchmem -count=$${BENCH_COUNT:-3} $$dirs

.PHONY: clean
clean: ## remove bin/; the tools stay in their cache
	rm -rf bin
