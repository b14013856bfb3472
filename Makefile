# The commands of this project. Each sets up what it needs first: see ros2_ws/bootstrap.py.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.PHONY: help setup demo drive test check bench world clean
MAKEFLAGS += --no-print-directory

PYTHON ?= python3
export PYTHON
# Nothing is sent off the machine, and no log lands in the home directory.
export ROS_AUTOMATIC_DISCOVERY_RANGE := LOCALHOST
export ROS_LOG_DIR := $(CURDIR)/build/ros_log

# Environment of every recipe below; Python does not read the library path once it has started.
in_workspace := source ros2_ws/activate.sh &&
world := worlds/motorcycle.world

help: ## say what can be made
	@echo 'make TARGET, where TARGET is one of:'
	@sed -nE 's/^([a-z]+):[^#]*## (.*)/  \1\t\2/p' $(firstword $(MAKEFILE_LIST)) | expand -t 12

setup: ## the Python environment, ROS 2 and the built packages; all others do this first
	@$(PYTHON) ros2_ws/bootstrap.py

world: setup ## the bundled world, worlds/motorcycle.world
	@$(in_workspace) inspatio-star world bundled -o $(world)

demo: world ## drive through the world, record it to out/demo; WORLD= SESSION= PRESET= SIZE= DURATION= (s) LATE=false, of star DECODER= DEVICE= DTYPE= COMPILE=true
	@$(in_workspace) python -m inspatio_sim.demo \
		$(if $(WORLD),--world '$(WORLD)') $(if $(SESSION),--session '$(SESSION)') \
		$(if $(PRESET),--preset '$(PRESET)') $(if $(SIZE),--resolution '$(SIZE)') \
		$(if $(DECODER),--star-decoder '$(DECODER)') $(if $(DEVICE),--star-device '$(DEVICE)') \
		$(if $(DTYPE),--star-dtype '$(DTYPE)') $(if $(COMPILE),--star-compile '$(COMPILE)') \
		$(if $(LATE),--late-reprojection '$(LATE)') $(if $(DURATION),--duration-s '$(DURATION)')

drive: world ## see and drive the world in a browser; WORLD= SESSION= PRESET= SIZE= PORT= HOST=
	@$(in_workspace) exec python -m inspatio_sim.drive --start-node \
		$(if $(WORLD),--world '$(WORLD)') $(if $(SESSION),--session '$(SESSION)') \
		$(if $(PRESET),--preset '$(PRESET)') $(if $(SIZE),--resolution '$(SIZE)') \
		$(if $(PORT),--port '$(PORT)') $(if $(HOST),--host '$(HOST)')

check: setup ## lint, types and the fast tests
	@$(in_workspace) ruff check && mypy && pytest -m 'not dds and not slow'

test: world ## lint, types and all tests
	@$(in_workspace) ruff check && mypy && pytest

bench: world ## measure the speed
	@$(in_workspace) python bench/run.py

clean: ## remove all that the above made
	rm -rf .venv build out worlds ros2_ws/{build,install,log} ros2_ws/underlay/{build,install,log}
	find ros2_ws tests -name __pycache__ -type d -prune -exec rm -rf {} +
