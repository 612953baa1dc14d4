# Everything that people and CI run. `make` alone lists the targets.

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DELETE_ON_ERROR:
MAKEFLAGS += --no-builtin-rules

GO       ?= go
FUZZTIME ?= 30s
VERSION  ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
LDFLAGS  := -s -w -X main.version=$(VERSION)
COMMANDS := tokend tokenctl

.PHONY: help
help: ## list the targets
	@sed -n 's/^\([a-z0-9]*\):.*## \(.*\)/\1\t\2/p' $(MAKEFILE_LIST) | expand -t 12

# ---- build -----------------------------------------------------------------

# Static, so that one binary runs on every distribution, and not position
# independent, which costs tokenctl a quarter of its cold start.
.PHONY: build
build: ## bin/tokend and bin/tokenctl
	@for c in $(COMMANDS); do \
		echo "building bin/$$c $(VERSION)"; \
		CGO_ENABLED=0 $(GO) build -trimpath -ldflags '$(LDFLAGS)' -o bin/$$c ./cmd/$$c; \
	done

.PHONY: demo
demo: build ## run tokend against look-alikes of the four APIs; DEMO_ONCE=1 ends after the tour
	bin/tokend demo

# ---- check -----------------------------------------------------------------

.PHONY: test
test: ## all tests, with the race detector, in random order
	$(GO) test -race -shuffle=on ./...

.PHONY: bench
bench: ## all benchmarks
	$(GO) test -run '^$$' -bench . -benchmem ./...

# `go test -fuzz` takes one target of one package at a time.
.PHONY: fuzz
fuzz: ## every fuzz target for FUZZTIME (30s), and the keeper's model from a new seed
	TOKEND_MODEL_SEED=$$(date +%s%N) TOKEND_MODEL_RUNS=1000 $(GO) test -run '^TestModel$$' -v -count=1 ./daemon/keeper | grep -v '^ *--- PASS\|=== '
	@for pkg in $$($(GO) list ./...); do \
		for target in $$($(GO) test -list '^Fuzz' $$pkg | sed -n '/^Fuzz/p'); do \
			echo "fuzzing $$pkg $$target for $(FUZZTIME)"; \
			$(GO) test -run '^$$' -fuzz "^$$target\$$" -fuzztime $(FUZZTIME) $$pkg; \
		done; \
	done

.PHONY: lint
lint: $(addprefix lint-,gofumpt vet staticcheck golangci) ## formatting, go vet, staticcheck, golangci-lint

# ---- pinned tools ----------------------------------------------------------

# One file per tool and version: a new version is a new file, and an installed
# one is never installed again.
GOFUMPT     := .tools/gofumpt/v0.12.0/gofumpt
STATICCHECK := .tools/staticcheck/v0.8.2/staticcheck
GOLANGCI    := .tools/golangci-lint/v2.15.0/golangci-lint

$(GOFUMPT):     MODULE := mvdan.cc/gofumpt
$(STATICCHECK): MODULE := honnef.co/go/tools/cmd/staticcheck
$(GOLANGCI):    MODULE := github.com/golangci/golangci-lint/v2/cmd/golangci-lint

$(GOFUMPT) $(STATICCHECK) $(GOLANGCI):
	@echo "installing $(MODULE)@$(notdir $(@D))"
	GOBIN='$(abspath $(@D))' $(GO) install '$(MODULE)@$(notdir $(@D))'

.PHONY: lint-gofumpt lint-vet lint-staticcheck lint-golangci
lint-gofumpt: $(GOFUMPT)
	@files="$$($(GOFUMPT) -l .)"; \
	if [ -n "$$files" ]; then \
		printf 'not formatted, run %s -w on:\n%s\n' '$(GOFUMPT)' "$$files" >&2; exit 1; \
	fi

lint-vet:
	$(GO) vet ./...

lint-staticcheck: $(STATICCHECK)
	$(STATICCHECK) ./...

lint-golangci: $(GOLANGCI)
	$(GOLANGCI) run ./...

.PHONY: clean
clean: ## remove what was built; .tools stays
	rm -rf bin dist
