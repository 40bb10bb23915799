# The index of commands. Each is a script in hack/, which says what it does.
.DEFAULT_GOAL := help
.PHONY: help up down dev compose compose-down test test-nodes faults bench bench-audit bench-check bench-compare bench-operator bench-profile bench-rehearsal lint screenshots generate docs image sbom

help: ## this list
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1\t\2/p' $(MAKEFILE_LIST)

up: ## a kind cluster with the operator, backends and a sample sale that is open; OBSERVE=1 adds a Prometheus, GATEWAY_API=1 a Gateway
	@hack/up.sh

down: ## remove that cluster
	@hack/down.sh

dev: ## all services in one process, with real backends on loopback; Ctrl-C stops them
	@hack/dev.sh

compose: ## the services and their backends in containers, with Docker Compose (docs/compose.md)
	@hack/compose.sh dev up --detach

compose-down: ## remove these containers and their data
	@hack/compose.sh dev down --volumes

test: ## everything: format, lints, unit, integration, API server, Compose, kind and browser tests
	@hack/test.sh

test-nodes: ## on three nodes: autoscalers follow CPU and sockets, a node is drained while orders come in; hack/test-nodes.sh down removes them
	@hack/test-nodes.sh

faults: ## a storm of faults: make faults SEED=7 SECONDS=60
	@hack/faults.sh '$(SEED)' '$(SECONDS)'

bench-audit: ## measure how long an audit of a large sale takes: make bench-audit ORDERS=1000000
	@hack/bench-audit.sh '$(ORDERS)'

bench: ## measure orders per second and latencies; SHAPE=processes REPLICAS=2 CPU=0.1 MEMORY=256 with services in processes of their own
	@QUICKSALE_SHAPE='$(or $(SHAPE),$(QUICKSALE_SHAPE))' QUICKSALE_REPLICAS='$(or $(REPLICAS),$(QUICKSALE_REPLICAS))' \
	  QUICKSALE_CPU='$(or $(CPU),$(QUICKSALE_CPU))' QUICKSALE_MEMORY='$(or $(MEMORY),$(QUICKSALE_MEMORY))' hack/bench.sh

bench-check: ## fail if an order costs the backends more documents, keys or commands than bench/counts.json says
	@hack/bench-check.sh

bench-compare: ## measure two commits in turns: make bench-compare A=v1.0.0 B=main
	@hack/bench-compare.sh '$(A)' '$(B)' --scenario hot --scenario refused-known

bench-operator: ## measure the operator under many sales: make bench-operator SALES=500
	@hack/bench-operator.sh '$(SALES)'

bench-profile: ## where the services' CPU goes: make bench-profile SCENARIO=hot
	@hack/bench-profile.sh '$(SCENARIO)'

bench-rehearsal: ## whether what a rehearsal says is held is held by a load from outside of the cluster too
	@hack/bench-rehearsal.sh

lint: ## format, lints, scripts, charts, alerts, documentation, workflows, dependencies and generated files
	@hack/lint.sh

docs: ## build the documentation as a book to read in a browser, and check its links
	@hack/docs.sh

screenshots: ## take the pictures of the pages that the documentation shows
	@hack/screenshots.sh

generate: ## write the files that are generated from the Rust types, and the dashboards
	@hack/generate.sh

image: ## build the image of the operator and the services
	@hack/docker.sh start
	@hack/image.sh

sbom: ## print the software bill of materials of the image (CycloneDX)
	@hack/sbom.sh
