.DEFAULT_GOAL := help
SHELL         := bash
.SHELLFLAGS   := -euo pipefail -c

# One commit, one binary: no date in it but the commit's, no path of the builder.
# A version between two tags reads 1.2.0+5.abc1234, which sorts after 1.2.0.
VERSION           := $(or $(shell git describe --tags --match 'v[0-9]*' 2>/dev/null | sed 's/^v//; s/-\([0-9]*\)-g/+\1./'),0.0.0)
SOURCE_DATE_EPOCH := $(or $(shell git log -1 --format=%ct 2>/dev/null),1767225600)
CACHE             := $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/bootagent-test
GOLANGCI          := $(CACHE)/tools/golangci-lint-v2.11.3
FUZZTIME          := 60s
ARCHES            := amd64 arm64
DIST              := dist

export SOURCE_DATE_EPOCH
export CGO_ENABLED := 0

GOBUILD = go build -trimpath -ldflags '-s -w -X main.version=$(VERSION)'
# The race detector needs a C compiler; the binary never does.
GOTEST  = $(if $(shell command -v gcc),CGO_ENABLED=1 go test -race,go test) -shuffle=on
RIG     = BOOTAGENT_RIG=1 $(GOTEST) -count=1 -timeout 30m

help: ## list the targets
	@sed -n 's/^\([a-z-]*\):[^#]*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 12

build: ## bin/bootagent, one static file
	$(GOBUILD) -o bin/bootagent ./cmd/bootagent

demo: build ## the agent on this machine, in a folder of its own
	bin/bootagent up $(if $(BOOTAGENT_DEMO_EXIT),--exit-when-ready)

demo-node: ## the agent on a real node: systemd in a container (root)
	@go test -c -o bin/demo-node ./test/demo
	@cd test/demo && BOOTAGENT_RIG=1 BOOTAGENT_DEMO=1 ../../bin/demo-node -test.run '^TestDemo$$'

test: test-deps ## everything that is quick; the rig too, where there is root
	go vet ./...
	@command -v gcc >/dev/null || echo 'no gcc: without the race detector'
	$(GOTEST) ./...
	@if unshare --mount --pid --fork true 2>/dev/null; then set -x; $(RIG) ./test/...; \
	else echo 'no root, or no namespaces: without the rig'; fi

test-deps: ## what the tests use, from Debian (root; else nothing)
	@packaging/test-deps

test-rig: test-deps ## the tests on real nodes (root)
	$(RIG) ./test/...

test-full: test-deps ## everything, on Debian 12 and 13 (root)
	BOOTAGENT_RIG_TRIXIE=1 $(RIG) ./...
	BOOTAGENT_RIG_SUITE=trixie $(RIG) ./test/node

lint: $(GOLANGCI) ## the rules of the house; changes nothing
	go mod tidy -diff
	$(GOLANGCI) run

$(GOLANGCI):
	mkdir -p $@.new
	GOBIN=$@.new go install github.com/golangci/golangci-lint/v2/cmd/golangci-lint@$(patsubst golangci-lint-%,%,$(@F))
	mv $@.new/golangci-lint $@ && rmdir $@.new

package: ## deb and rpm for amd64 and arm64, in dist/
	@mkdir -p $(DIST)
	@set -x; for arch in $(ARCHES); do \
		GOARCH=$$arch $(GOBUILD) -o $(DIST)/bootagent-$$arch ./cmd/bootagent; \
		for kind in deb rpm; do ARCH=$$arch VERSION=$(VERSION) BINARY=$(DIST)/bootagent-$$arch \
			go tool -modfile=packaging/tools.mod nfpm package -p $$kind -t $(DIST)/; done; done

# A fuzzer of Go that is busy when its time ends may call that a failure, "context
# deadline exceeded"; a finding is told by the input that it has written.
fuzz: ## every fuzz target, for FUZZTIME (60s) each
	@log=$$(mktemp); trap 'rm -f "$$log"' EXIT; \
	go test -list '^Fuzz' ./... | \
	awk '/^Fuzz/ {f[n++] = $$1} /^ok/ {while (n) print $$2, f[--n]}' | \
	while read -r package target; do \
		echo "fuzz $$package $$target"; \
		go test -run '^$$' -fuzz "^$$target\$$" -fuzztime $(FUZZTIME) -fuzzminimizetime 1x "$$package" </dev/null | tee "$$log" || \
		{ grep -q 'context deadline exceeded' "$$log" && ! grep -q 'Failing input' "$$log"; }; done

bench: ## the figures: what a step costs, and what the agent costs a node (root)
	go test -run '^$$' -bench . -benchmem ./... | sed -n '/^pkg:/p; /^Benchmark/p; /FAIL/p; /panic/p'
	@BOOTAGENT_RIG=1 BOOTAGENT_BENCH=1 go test -count=1 -run '^TestBench$$' -v ./test/bench

clean: ## what was built; the cache of the tests stays
	rm -rf bin $(DIST)

.PHONY: help build demo demo-node test test-deps test-rig test-full lint package fuzz bench clean
