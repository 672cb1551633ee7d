# The front door to CMake. `make` builds build/tegula, `make demo` shows it, `make test` tests it, `make bench` measures it; each sets a bare Debian machine up first.
JOBS ?= $(shell nproc)
CMAKE_FLAGS ?=
# of `make bench-sim`
RUNS ?= 5
PREFIX ?= /usr/local
# of `make bench`; ONLY is a list of its rows, FLAGS are further options of `tegula compile`
CHIPS ?= t1
PRECISION ?= bf16
ONLY ?=
FLAGS ?=

.PHONY: all setup release dev demo test test-all bench bench-sim install clean

all: release
	@ln -sf release/tegula build/tegula

setup:
	@./setup.sh

build/release/build.ninja: | setup
	@cmake --preset release $(CMAKE_FLAGS)

build/dev/build.ninja: | setup
	@cmake --preset dev $(CMAKE_FLAGS)

release: setup build/release/build.ninja
	@ninja -C build/release -j$(JOBS)

dev: setup build/dev/build.ninja
	@ninja -C build/dev -j$(JOBS)

demo: all
	@examples/demo.sh build/tegula

# Both builds run the tests without a label; `test` is for release only, `dev` for the sanitizers only, `all` for `make test-all` only.
test: release dev
	ctest --test-dir build/dev -LE '^(test|all)$$' --output-on-failure -j$(JOBS)
	ctest --test-dir build/release -LE '^(dev|all)$$' --output-on-failure -j$(JOBS)

test-all: release
	ctest --test-dir build/release -LE '^dev$$' --output-on-failure -j$(JOBS)

bench: release
	@build/release/bench/bench_table --tegula build/release/tegula --work build/bench --chips "$(CHIPS)" --precision $(PRECISION) \
		$(if $(ONLY),--only "$(ONLY)") $(if $(FLAGS),--flags "$(FLAGS)") --json build/bench.json
	@bench/alloc.sh build/release/tegula ../shared/minimalloc
	@bench/deep.sh build/release/tegula build/release/bench/make_network

# Both engines of the simulator on models; MODELS="a.onnx folder" names others, ORT=1 fetches ONNX Runtime from npm to compare with, RUNS is of each engine.
bench-sim: release
	@[ -z "$(ORT)" ] || [ -d build/ort/node_modules ] || npm install --silent --no-audit --no-fund --ignore-scripts --prefix build/ort onnxruntime-node
	@ninja -C build/release -j$(JOBS) bench_sim
	@RUNS=$(RUNS) bench/sim.sh build/release/tegula build/release/bench_sim build/release/bench/make_network $(MODELS)

install: release
	@cmake --install build/release --prefix $(PREFIX)

clean:
	rm -rf build
