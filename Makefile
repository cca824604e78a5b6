# Everything that is typed to build and test tokenagent; `make` lists it.
VERSION  ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo unknown)
BUILT    ?= $(shell git log -1 --format=%ct 2>/dev/null)
PREFIX   ?= /usr/local
DIST     ?= dist
ZSH      ?= $(PREFIX)/share/zsh/site-functions
FUZZTIME ?= 5s
SOAKTIME ?= 30m
TORTURE  ?= Kill|PowerCut|RestartsAsk|NoSwap|Packages|Disk|Errors|StateFolder|Inodes
RELEASE  := $(shell awk '/^Version:/ { print $$2 }' packaging/rpm/tokenagent.spec)
export SOURCE_DATE_EPOCH ?= $(or $(BUILT),$(shell date -u -d "$$(awk '/^[*] / { print $$2, $$3, $$4, $$5; exit }' packaging/rpm/tokenagent.spec)" +%s))
IMAGE    ?= localhost/tokenagent:$(VERSION)
BIN      := bin
LINKED   := -X main.version=$(VERSION) -X main.built=$(BUILT)
ARCHIVE  ?= $(BIN)/tokenagent-image.tar
RACE     := $(if $(shell command -v gcc),-race)
# what root runs in the checkout of another user, as with sudo, it runs as that user
CHECKOUT := $(if $(filter 0,$(shell id -u)),$(filter-out 0,$(shell stat -c %u .)))
AS_OWNER := $(if $(CHECKOUT),setpriv --reuid=$(CHECKOUT) --regid=$(shell stat -c %g .) --clear-groups)

.PHONY: help build run test race quick figures fuzz soak torture lint bench cover image man install rpm deb sbom clean
.DEFAULT_GOAL := help

help: ## this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "make %-8s %s\n", $$1, $$2 }' Makefile

build: ## bin/tokenagent, one static binary; the same source gives the same bytes
	CGO_ENABLED=0 go build -trimpath -buildvcs=false -ldflags '-s -w -buildid= $(LINKED)' -o $(BIN)/ ./cmd/tokenagent

run: build ## a token kept fresh before your eyes, in .quickstart
	$(AS_OWNER) $(BIN)/tokenagent init quickstart .quickstart
	exec $(AS_OWNER) $(BIN)/tokenagent run --config .quickstart/tokenagent.hcl

test: ## all that CI checks but fuzzing; installs what it needs as root on Debian
	.ci/packages
	.ci/condor >/dev/null
	$(MAKE) --no-print-directory lint race

race: ## every test, the long ones too, with the race detector
	TOKENAGENT_LONG=1 CGO_ENABLED=$(if $(RACE),1,0) go test $(RACE) -timeout 2h $(TESTFLAGS) ./...

quick: ## the tests that a few minutes are enough for: go test ./...
	go test ./...

figures: ## how fast an agent starts and how seldom it wakes up; on an idle machine
	TOKENAGENT_LONG=1 TOKENAGENT_FIGURES=1 go test -count=1 -timeout 1h -v -run 'TestUnderSystemd|TestAnAgentAtRest' ./cmd/tokenagent

fuzz: ## FUZZTIME (5s) of every fuzz target
	.ci/fuzz $(FUZZTIME)

soak: ## SOAKTIME (30m) of 30 s tokens amid outages, kills, reloads, harmed files and clock steps; as root
	TOKENAGENT_SOAK=$(SOAKTIME) go test -count=1 -timeout 2h -v -run 'TestSoak$$' ./cmd/tokenagent

torture: ## 10,000 kills, 300 power cuts, 1,000 restarts, and every error of disks under tokens and state; as root, some hours
	TOKENAGENT_LONG=1 TOKENAGENT_KILLS=10000 TOKENAGENT_CUTS=100 TOKENAGENT_RESTARTS=1000 TOKENAGENT_RACE_SECONDS=120 TOKENAGENT_COLD_BUILD=1 \
		go test -count=1 -timeout 6h -v -run '$(TORTURE)' ./cmd/tokenagent ./sinks/safefile ./agent/state

lint: ## gofmt, vet and staticcheck
	@files=$$(gofmt -l .) && test -z "$$files" || { echo "not as gofmt writes it:" $$files; exit 1; }
	go vet ./... && go tool -modfile=.ci/tools.mod staticcheck ./...

bench: ## every benchmark
	go test -run '^$$' -bench . -benchmem ./...

cover: ## the share of the code that the tests run, in coverage.out
	TOKENAGENT_LONG=1 go test -timeout 2h -coverprofile=coverage.out ./... && go tool cover -func=coverage.out | tail -n 1

image: build ## bin/tokenagent-image.tar, a container image; by buildah, without an engine or a registry
	packaging/container/build $(BIN)/tokenagent '$(ARCHIVE)' '$(IMAGE)' '$(or $(BUILT),0)'

man: build ## the manual pages and the shells' completions, in bin
	rm -rf $(BIN)/man $(BIN)/completions && mkdir -p $(BIN)/man $(BIN)/completions
	go run -trimpath -buildvcs=false -tags man -ldflags '$(LINKED)' ./cmd/tokenagent $(BIN)/man
	for shell in bash zsh fish; do $(BIN)/tokenagent completion $$shell > $(BIN)/completions/$$shell || exit 1; done

install: ## what build and man made, the units of systemd and a configuration to begin with, into $(DESTDIR)$(PREFIX)
	DESTDIR='$(DESTDIR)' PREFIX='$(PREFIX)' ZSH='$(ZSH)' packaging/install

rpm: ## source and binary RPM, in dist; RPMFLAGS goes to rpmbuild
	mkdir -p '$(DIST)' && packaging/rpm/build $(RELEASE) '$(DIST)' $(RPMFLAGS)

deb: ## Debian package of the same files, in dist
	mkdir -p '$(DIST)' && packaging/deb/build $(RELEASE) '$(DIST)'

sbom: build ## what the program is made of, as CycloneDX: dist/tokenagent.cdx.json; the same program gives the same bytes
	mkdir -p '$(DIST)' && GOFLAGS='-trimpath -buildvcs=false' CGO_ENABLED=0 go tool -modfile=.ci/sbom.mod cyclonedx-gomod bin \
		-json -std -noserial -notimestamp -version '$(VERSION)' -output '$(DIST)/tokenagent.cdx.json' $(BIN)/tokenagent

clean: ## removes what the others made
	rm -rf bin dist coverage.out .quickstart
