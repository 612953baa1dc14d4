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
BIN      ?= bin

.PHONY: help
help: ## list the targets
	@sed -n 's/^\([a-z0-9]*\):.*## \(.*\)/\1\t\2/p' $(MAKEFILE_LIST) | expand -t 12

# ---- build -----------------------------------------------------------------

# Static, so that one binary runs on every distribution, and not position
# independent, which costs tokenctl a quarter of its cold start.
.PHONY: build
build: ## bin/tokend and bin/tokenctl
	@for c in $(COMMANDS); do \
		echo "building $(BIN)/$$c $(VERSION)"; \
		CGO_ENABLED=0 $(GO) build -trimpath -ldflags '$(LDFLAGS)' -o $(BIN)/$$c ./cmd/$$c; \
	done

.PHONY: demo
demo: build ## run tokend against look-alikes of the four APIs; DEMO_ONCE=1 ends after the tour
	bin/tokend demo

# ---- install ---------------------------------------------------------------

PREFIX  ?= /usr/local
DESTDIR ?=
ZSHDIR  ?= $(PREFIX)/share/zsh/site-functions
TO      := $(DESTDIR)$(PREFIX)

# systemd looks for units, users and files below /usr/local/lib as below /usr/lib.
.PHONY: install
install: ## what `make build` made, man pages, completions and units, below DESTDIR and PREFIX (/usr/local)
	@test -x $(BIN)/tokend -a -x $(BIN)/tokenctl || { echo 'run "make build" first' >&2; exit 1; }
	install -Dm755 -t '$(TO)/bin' $(BIN)/tokend $(BIN)/tokenctl
	for page in packaging/man/*.[1-8]; do install -Dm644 -t "$(TO)/share/man/man$${page##*.}" "$$page"; done
	install -Dm644 cmd/tokenctl/completion/tokenctl.bash '$(TO)/share/bash-completion/completions/tokenctl'
	install -Dm644 cmd/tokenctl/completion/tokenctl.zsh '$(DESTDIR)$(ZSHDIR)/_tokenctl'
	install -Dm644 -t '$(TO)/share/fish/vendor_completions.d' cmd/tokenctl/completion/tokenctl.fish
	install -Dm644 -t '$(TO)/lib/systemd/system' packaging/systemd/tokend.service packaging/systemd/tokend.socket
	install -Dm644 -t '$(TO)/lib/systemd/user' packaging/systemd/user/tokend.service packaging/systemd/user/tokend.socket
	install -Dm755 -t '$(TO)/lib/tokend' packaging/systemd/fit-systemd
	install -Dm644 -t '$(TO)/lib/tokend' packaging/systemd/before-254.conf
	install -Dm644 packaging/systemd/tokend.sysusers '$(TO)/lib/sysusers.d/tokend.conf'
	install -Dm644 packaging/systemd/tokend.tmpfiles '$(TO)/lib/tmpfiles.d/tokend.conf'
	sed -i 's|/usr/bin/|$(PREFIX)/bin/|' '$(TO)'/lib/systemd/*/tokend.service
	install -Dm644 -t '$(TO)/share/tokend' packaging/etc/credentials.toml
	install -Dm644 -t '$(TO)/share/doc/tokend' README.md
	install -Dm644 packaging/README.md '$(TO)/share/doc/tokend/packaging.md'

# It asks `make install` what there is. The credentials and the tokens stay.
.PHONY: uninstall
uninstall: ## what `make install` put below DESTDIR and PREFIX
	@fit='$(TO)/lib/tokend/fit-systemd'; if [ -x "$$fit" ]; then "$$fit" --remove; fi
	@stage=$$(mktemp -d); trap 'rm -rf "$$stage"' EXIT; \
	$(MAKE) --silent install DESTDIR="$$stage"; \
	(cd "$$stage" && find . -type f -printf '%P\0') | (cd '$(DESTDIR)/' && xargs -0 rm -f --)

# ---- check -----------------------------------------------------------------

# quiet prints what go test would, and looks for the tests' secrets in what it would
# not: the words of tests that pass. Either's failure is that of the target (pipefail).
# What a failed test says is shown as it is, since it has to tell what came and what
# was wanted.
.PHONY: test
test: ## all tests, with the race detector, in random order
	$(GO) test -race -shuffle=on -json ./... | $(GO) run ./.ci/quiet

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
NFPM        := .tools/nfpm/v2.45.2/nfpm

$(GOFUMPT):     MODULE := mvdan.cc/gofumpt
$(STATICCHECK): MODULE := honnef.co/go/tools/cmd/staticcheck
$(GOLANGCI):    MODULE := github.com/golangci/golangci-lint/v2/cmd/golangci-lint
$(NFPM):        MODULE := github.com/goreleaser/nfpm/v2/cmd/nfpm

$(GOFUMPT) $(STATICCHECK) $(GOLANGCI) $(NFPM):
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

# ---- man pages -------------------------------------------------------------

# Their tables come from the tests beside the tables of the code.
.PHONY: man
man: ## write the tables of the man pages, and check the pages if mandoc is there
	TOKEND_MAN=write $(GO) test -count=1 -run '^TestManPage$$' ./cmd/tokend ./cmd/tokenctl ./daemon/config
	@! command -v mandoc >/dev/null || mandoc -T lint -W warning packaging/man/*.[1-8]

# ---- package ---------------------------------------------------------------

ARCHS   ?= amd64 arm64
FORMATS ?= deb rpm
# The time that everything in a package bears, so that two builds are the same.
export SOURCE_DATE_EPOCH ?= $(shell git log -1 --format=%ct 2>/dev/null || echo 0)

.PHONY: package
package: $(NFPM) ## .deb and .rpm for amd64 and arm64 into dist; ARCHS and FORMATS choose
	@for arch in $(ARCHS); do \
		GOARCH=$$arch $(MAKE) --no-print-directory build BIN=dist/bin-$$arch; \
		for format in $(FORMATS); do \
			VERSION='$(VERSION)' NFPM='$(abspath $(NFPM))' packaging/package.sh $$arch $$format; \
		done; \
	done

# The trees that it boots are kept in SDBOOT_CACHE (/var/cache/sdboot). V=1 shows
# every check; packaging/e2e/run.sh SUITE… runs some of the suites.
.PHONY: e2e
e2e: $(NFPM) ## install, run and upgrade the package under real systemds (257, 252); needs root
	@packaging/e2e/run.sh

.PHONY: clean
clean: ## remove what was built; .tools stays
	rm -rf bin dist
