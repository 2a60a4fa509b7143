# What people call; how it is done is in scripts/.
.DEFAULT_GOAL := help
.PHONY: help run test fuzz build bench soak lint types engines clean-engines

help:
	@echo 'make run            install what is missing, make a sample env, show its web page (and the app)'
	@echo 'make test           every test, on private LXD and Incus daemons'
	@echo 'make fuzz           files, names, first bytes and control lines, made up; SECONDS=60 for each target'
	@echo 'make build          target/release/lxc-dev-manager, …-desktop and …-window'
	@echo 'make bench          measurements, on private daemons; WRITE=1 writes docs/benchmarks.md'
	@echo 'make soak           forwards under load while envs and processes come and go; SECONDS=600'
	@echo 'make lint           formatting and lints'
	@echo 'make types          write the page'\''s types, the JSON schema and tables of the docs from the Rust code'
	@echo 'make engines        start the private daemons that tests and benches use'
	@echo 'make clean-engines  delete them and all that they hold'
	@echo
	@echo 'YES=1 installs without asking; NO_APP=1 leaves the desktop app out of make run.'

run:
	@scripts/run.sh

test:
	@scripts/test.sh

fuzz:
	@scripts/fuzz.sh $(or $(SECONDS),60)

build:
	@scripts/build.sh

bench:
	@scripts/bench.sh $(PARTS)

soak:
	@scripts/soak.sh $(or $(SECONDS),600)

lint:
	@scripts/setup.sh test
	@scripts/lint.sh

types:
	@LDM_WRITE_TYPES=1 cargo test --quiet --locked -p lxc-dev-manager-tests --test files up_to_date
	@LDM_WRITE_TYPES=1 cargo test --quiet --locked -p lxc-dev-manager-cli up_to_date

engines:
	@scripts/setup.sh test
	@tests/engines/engines.sh up
	@tests/engines/lima.sh up

clean-engines:
	@tests/engines/engines.sh clean
	@tests/engines/lima.sh clean
