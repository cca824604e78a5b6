# Everything that is typed to build and test tokenagent; `make` lists it.
VERSION  ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo unknown)
BUILT    ?= $(shell git log -1 --format=%ct 2>/dev/null)
PREFIX   ?= /usr/local
FUZZTIME ?= 5s
RACE     := $(if $(shell command -v gcc),-race)

.PHONY: help build run test race fuzz soak lint bench cover install clean
.DEFAULT_GOAL := help

help: ## this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "make %-8s %s\n", $$1, $$2 }' Makefile

build: ## bin/tokenagent, one static binary
	CGO_ENABLED=0 go build -trimpath -ldflags '-s -w -X main.version=$(VERSION) -X main.built=$(BUILT)' -o bin/ ./cmd/tokenagent

run: build ## a token kept fresh before your eyes, in .quickstart
	bin/tokenagent init quickstart .quickstart
	exec bin/tokenagent run --config .quickstart/tokenagent.hcl

test: ## all that CI checks but fuzzing; installs what it needs as root on Debian
	.ci/packages
	$(MAKE) --no-print-directory lint race

race: ## every test, with the race detector
	CGO_ENABLED=$(if $(RACE),1,0) go test $(RACE) $(TESTFLAGS) ./...

fuzz: ## FUZZTIME (5s) of every fuzz target
	.ci/fuzz $(FUZZTIME)

soak: ## the long kills, restarts and races: half an hour
	TOKENAGENT_KILLS=4000 TOKENAGENT_RESTARTS=1000 TOKENAGENT_RACE_SECONDS=120 go test -count=1 -timeout 90m -v \
		-run 'Killed|RestartsAsk|NoSwap' ./cmd/tokenagent ./sinks/safefile

lint: ## gofmt, vet and staticcheck
	@files=$$(gofmt -l .) && test -z "$$files" || { echo "not as gofmt writes it:" $$files; exit 1; }
	go vet ./... && go tool -modfile=.ci/tools.mod staticcheck ./...

bench: ## every benchmark
	go test -run '^$$' -bench . -benchmem ./...

cover: ## the share of the code that the tests run, in coverage.out
	go test -coverprofile=coverage.out ./... && go tool cover -func=coverage.out | tail -n 1

install: ## what build made, into $(DESTDIR)$(PREFIX)/bin
	install -D -m 0755 bin/tokenagent '$(DESTDIR)$(PREFIX)/bin/tokenagent'

clean: ## removes what the others made
	rm -rf bin coverage.out .quickstart
