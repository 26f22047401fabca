# clpd: one Makefile, not recursive. `make` builds, `make help` lists the rest.
# V=1 shows the commands; BUILD=dir keeps a second build beside the first.

BUILD   ?= build
CC      ?= gcc
VERSION := 0.1.0
SYSROOT ?=
V       ?= 0
Q       := $(if $(filter 1,$(V)),,@)

WARN     := -Wall -Wextra -Wshadow -Wconversion -Wformat=2 -Wstrict-prototypes -Wmissing-prototypes -Wvla
# Control-flow enforcement where the processor family has it; fortify's third level needs no more than gcc 12.
HARDEN   := -fstack-protector-strong -fstack-clash-protection -fPIE $(if $(filter x86_64%,$(shell $(CC) -dumpmachine)),-fcf-protection)
CFLAGS   ?= -O2 -g
SANITIZE ?=
FORTIFY  := $(if $(SANITIZE),,-U_FORTIFY_SOURCE -D_FORTIFY_SOURCE=3)
BASE     := -std=gnu11 -I. -D_GNU_SOURCE -DCLPD_VERSION=\"$(VERSION)\" -pthread $(WARN) $(HARDEN) $(FORTIFY) $(SANITIZE)
LDBASE   := -pie -Wl,-z,relro,-z,now,--as-needed -pthread $(SANITIZE)

PKG      ?= pkg-config
OPENBLAS := /usr/lib/$(shell $(CC) -print-multiarch)/openblas-pthread
BLAS_CFLAGS := -I$(SYSROOT)/usr/include/$(shell $(CC) -print-multiarch)/openblas-pthread
# Debian keeps each build of OpenBLAS in a folder of its own. The one without threads is not safe for several
# callers at once (infer/blas.c), so the run path makes sure that it is never taken in place of this one.
BLAS_LIBS   := -L$(SYSROOT)$(OPENBLAS) -Wl,-rpath,$(OPENBLAS) -lopenblas

# --- what each program is made of: the folders are the trust boundaries ---------
# The planner's half of infer/ knows no BLAS; the engine's half does.
ENGINE_SRC := $(wildcard infer/blas.c infer/team.c infer/engine*.c infer/kernels*.c infer/preprocess.c infer/topk.c)
GRADIENT_SRC := $(wildcard infer/gradient*.c)
PROBE_SRC  := guard/probe_main.c guard/probe.c guard/probe_round.c guard/probe_ways.c guard/probe_wave.c guard/probe_away.c guard/probe_attack.c guard/probe_picture.c guard/probe_repair.c
# What a probe says, for those who listen to it.
LISTEN_SRC := guard/spawn_probe.c guard/probe_wire.c guard/probe_report.c
PLAN_SRC   := $(filter-out $(ENGINE_SRC) $(GRADIENT_SRC) infer/npy.c infer/agree.c,$(wildcard infer/*.c))
IMAGE_SRC  := $(filter-out infer/graph.c infer/plan%.c infer/image_write.c,$(PLAN_SRC))
CONFIG_SRC := $(wildcard config/*.c)
CANARY_SRC := guard/canary_main.c guard/engine_cage.c
GUARD_SRC  := $(filter-out $(PROBE_SRC) $(CANARY_SRC),$(wildcard guard/*.c))
SPAWN_SRC  := guard/spawn.c guard/priority.c guard/caged.c guard/waited.c guard/worker_wire.c guard/model_file.c guard/report.c
DAEMON_SRC := $(wildcard daemon/*.c)
CLIENT_LIB := client/clpd.c client/clpd_reply.c client/clpd_ring.c
PICTURE_SRC := client/picture_worker.c
CLPCTL_SRC := $(filter-out $(CLIENT_LIB) $(PICTURE_SRC),$(wildcard client/*.c))
# What the HTTP plane shows of the guard's work, and how it asks the loop.
SHOWN_SRC  := $(CLIENT_LIB) client/report_html.c client/report_view.c client/probe_html.c client/html_picture.c client/terminal.c
TEST_SRC   := $(wildcard tests/*.c tests/fuzz/*.c tests/fuzz/support/*.c)

clpd_SRC      := $(DAEMON_SRC) $(filter-out config/sidecar.c,$(CONFIG_SRC)) guard/link.c guard/priority.c guard/report.c guard/probe_report.c $(SHOWN_SRC) $(IMAGE_SRC) $(ENGINE_SRC)
clp-probe_SRC := $(PROBE_SRC) guard/engine_cage.c guard/probe_report.c guard/probe_wire.c guard/sandbox.c $(IMAGE_SRC) $(GRADIENT_SRC) $(ENGINE_SRC)
clp-canary_SRC := $(CANARY_SRC) guard/sandbox.c $(IMAGE_SRC) $(ENGINE_SRC) infer/agree.c infer/npy.c
clp-guard_SRC := $(GUARD_SRC) $(CONFIG_SRC) $(PLAN_SRC)
clpctl_SRC    := $(CLPCTL_SRC) $(CLIENT_LIB) $(SPAWN_SRC) $(LISTEN_SRC) $(IMAGE_SRC) $(ENGINE_SRC) infer/npy.c infer/agree.c
clp-picture_SRC := $(PICTURE_SRC) client/decode.c client/decode_jpeg.c client/decode_png.c client/picture.c guard/sandbox.c infer/npy.c infer/err.c infer/shape.c
MAINS         := $(PICTURE_SRC) guard/probe_main.c guard/canary_main.c daemon/main.c guard/main.c $(filter-out client/clpctl_words.c,$(wildcard client/clpctl*.c))
conformance_SRC := $(wildcard tests/conformance/*.c) $(SPAWN_SRC) $(wildcard guard/onnx_[mtw]*.c) guard/tensor.c $(PLAN_SRC) $(ENGINE_SRC)
bench-ipc_SRC := tests/bench/ipc.c $(CLIENT_LIB)
bench-clp_SRC := tests/bench/clp.c $(filter-out $(MAINS),$(clp-guard_SRC))
hostile-probe_SRC := tests/hostile/probe.c guard/probe_wire.c guard/probe_report.c infer/err.c
hostile-worker_SRC := tests/hostile/worker.c $(filter-out guard/main.c,$(clp-guard_SRC))
tests_SRC     := $(TEST_SRC) $(filter-out $(MAINS),$(sort $(clpd_SRC) $(clp-guard_SRC) $(clpctl_SRC) $(clp-probe_SRC) $(clp-canary_SRC)))

clpd_LIBS      := -luring $(BLAS_LIBS) -lyaml -lsystemd -ljansson -lnettle -lmicrohttpd -lm
clp-picture_LIBS := -lseccomp -ljpeg -lpng -lm
clp-probe_LIBS := $(BLAS_LIBS) -lnettle -lseccomp -lm
clp-canary_LIBS := $(BLAS_LIBS) -lnettle -lseccomp -lm
clp-guard_LIBS := -lyaml -lhogweed -lnettle -lseccomp -lm
clpctl_LIBS    := $(BLAS_LIBS) -ljansson -lnettle -ljpeg -lpng -lm
conformance_LIBS := $(BLAS_LIBS) -lnettle -lm
bench-clp_LIBS := $(clp-guard_LIBS)
hostile-worker_LIBS := $(clp-guard_LIBS)
hostile-probe_LIBS := -lm
tests_LIBS     := -lcunit -luring -lmicrohttpd $(BLAS_LIBS) -lyaml -lsystemd -ljansson -lhogweed -lnettle -lseccomp -ljpeg -lpng -lm

PROGRAMS := clpd clp-guard clp-probe clp-canary clp-picture clpctl
TOOLS    := tests conformance
TOOLS    += bench-clp
TOOLS    += bench-ipc
TOOLS    += hostile-worker
TOOLS    += hostile-probe
OBJ = $(patsubst %.c,$(BUILD)/obj/%.o,$(1))

.PHONY: all
all: $(PROGRAMS:%=$(BUILD)/%) $(BUILD)/libclpd.a $(BUILD)/libclpd.so

define program
$(BUILD)/$(1): $(call OBJ,$($(1)_SRC))
	@echo "  LD    $$@"
	$$(Q)$$(CC) $$(LDBASE) $$(LDFLAGS) -o $$@ $$^ $($(1)_LIBS)
endef
$(foreach p,$(PROGRAMS) $(TOOLS),$(eval $(call program,$(p))))

$(BUILD)/libclpd.a: $(call OBJ,$(CLIENT_LIB))
	@echo "  AR    $@"
	$(Q)rm -f $@ && $(AR) rcs $@ $^
$(BUILD)/libclpd.so: $(CLIENT_LIB) client/clpd.h client/libclpd.h client/wire.h client/ring.h client/libclpd.map
	@echo "  LD    $@"
	$(Q)mkdir -p $(@D)
	$(Q)$(CC) $(BASE) -fPIC $(CPPFLAGS) $(CFLAGS) -shared -Wl,-soname,libclpd.so.0,--version-script=client/libclpd.map,-z,relro,-z,now -o $@ $(CLIENT_LIB)

# Kernels are the one place where the optimiser earns its keep. Nothing here looks at the processor's exception flags
# or at errno: that gcc need not keep them changes no result, and lets it make masks of branches.
# Copies of strips go in vectors as wide as those that read them (512 bits: as many as the clone has), or the reading waits
# for the writing: with 256 under AVX-512, SiLU took 4 times as long.
KERNEL_SRC := $(ENGINE_SRC) $(GRADIENT_SRC) guard/clp_sigma.c
WIDE_MOVES := $(shell $(CC) -mmove-max=512 -mstore-max=512 -E -x c /dev/null >/dev/null 2>&1 && echo -mmove-max=512 -mstore-max=512)
$(call OBJ,$(KERNEL_SRC)): KERNEL_FLAGS := $(if $(SANITIZE),-O1,-O3) $(BLAS_CFLAGS)
$(call OBJ,$(KERNEL_SRC) infer/function.c): KERNEL_FLAGS += -fno-math-errno -fno-trapping-math $(WIDE_MOVES)
$(call OBJ,$(TEST_SRC)): KERNEL_FLAGS := $(BLAS_CFLAGS) -DTEST_BUILD=\"$(abspath $(BUILD))\"

$(BUILD)/obj/%.o: %.c
	@echo "  CC    $<"
	@mkdir -p $(@D)
	$(Q)$(CC) $(BASE) $(CPPFLAGS) $(CFLAGS) $(KERNEL_FLAGS) -MMD -MP -c -o $@ $<

-include $(patsubst %.c,$(BUILD)/obj/%.d,$(sort $(MAINS) $(foreach p,$(TOOLS),$($(p)_SRC))))

# --- checks ------------------------------------------------------------------------
# Those of the guard's own sources, and of what stands at its borders.
GUARD_SUITES := $(foreach s,$(patsubst guard/%.c,%,$(wildcard guard/*.c)),$(if $(wildcard tests/test_$(s).c),$(s))) \
                guard_child agree plan_shrink image_write image_check image_check_steps image_map image_sum \
                report_html report_json report_text report_view sidecar regression
.PHONY: test-guard bench-quiet test unit e2e asan asan-unit asan-e2e clang lint tidy cppcheck format format-check boundaries conformance conformance-quick test-oip zoo zoo-families prune-check
test: unit boundaries conformance-quick e2e ## everything that CI runs: unit suites, trust boundaries, ONNX's cases, end to end
unit: all $(BUILD)/tests           ## CUnit suites that mirror the sources
	$(BUILD)/tests
e2e: all $(BUILD)/hostile-worker $(BUILD)/hostile-probe ## the daemon, the guard and the clients together
	tests/e2e/run $(BUILD)
boundaries: all                    ## which program links what, which folder includes what; what docs/security.md names is there
	tests/boundaries $(BUILD)
	tests/doors
conformance: all $(BUILD)/conformance ## ONNX's own test cases; writes docs/conformance.md
	scripts/conformance $(BUILD)
conformance-quick: all $(BUILD)/conformance ## the same without the large networks; what passed before must pass
	scripts/conformance --quick $(BUILD)
test-guard: all $(BUILD)/tests $(BUILD)/hostile-worker $(BUILD)/hostile-probe ## everything about the guard, the long forms too: some of it needs root
	CLPD_FULL=1 tests/e2e/run $(BUILD) test_watch test_bad_files test_external test_hostile test_hostile_worker test_sandbox test_state test_signs test_policy test_canary test_swap test_memory test_golden test_limits test_probe test_guard_probe
	for suite in $(GUARD_SUITES); do $(BUILD)/tests $$suite || exit 1; done
bench-quiet: all                   ## p99 of requests to one model while another is imported, and probed, against quiet
	scripts/bench-quiet --build $(BUILD)
	scripts/bench-quiet --build $(BUILD) --probe
.PHONY: model
model:                             ## the rings' handshake and the swap as models, every interleaving (spin); MODEL=small: fewer requests
	scripts/deps model
	tests/model/run $(MODEL)
zoo: all                           ## torchvision's 80 classifiers against PyTorch (hours); writes docs/zoo.md
	scripts/zoo --build $(BUILD)
prune-check: all                   ## what clpctl prune writes, run by ONNX Runtime; writes docs/prune.md (needs npm)
	scripts/deps zoo
	scripts/prune-check --build $(BUILD)
zoo-families: all                  ## the same with one of each family (minutes)
	scripts/zoo --build $(BUILD) --families small
test-oip: all                      ## every case of the Open Inference Protocol by curl, also through nginx; metrics; the page
	tests/oip/run $(BUILD)
.PHONY: pictures
pictures: all                      ## the picture of the report that the README shows (needs Chromium)
	scripts/pictures $(BUILD)
bench-http_SRC  := tests/bench/http.c $(CLIENT_LIB)
bench-http_LIBS := -lmicrohttpd
$(eval $(call program,bench-http))
-include $(patsubst %.c,$(BUILD)/obj/%.d,$(bench-http_SRC))
bench-conv_SRC  := tests/bench/conv.c $(IMAGE_SRC) $(ENGINE_SRC)
bench-conv_LIBS := $(BLAS_LIBS) -lnettle -lm
$(eval $(call program,bench-conv))
-include $(patsubst %.c,$(BUILD)/obj/%.d,$(bench-conv_SRC))
.PHONY: bench-conv
bench-conv: $(BUILD)/bench-conv    ## every algorithm on the 3x3 layers of real networks, beside what the cost model says
	$(BUILD)/bench-conv
.PHONY: bench-http
bench-http: all $(BUILD)/bench-http ## HTTP beside a bare libmicrohttpd echo; the stream beside stalled HTTP clients
	scripts/bench-http --build $(BUILD)
ASAN := -fsanitize=address,undefined -fno-sanitize-recover=all -fno-omit-frame-pointer
asan: asan-unit                    ## the same suites under AddressSanitizer and UBSan
	$(Q)$(MAKE) --no-print-directory BUILD=build/asan SANITIZE="$(ASAN)" CFLAGS="-O1 -g" boundaries conformance-quick e2e
asan-e2e:                          ## the end-to-end tests alone under them; ASAN_E2E="test_swap …": some of them
	$(Q)$(MAKE) --no-print-directory -j$(shell nproc) BUILD=build/asan SANITIZE="$(ASAN)" CFLAGS="-O1 -g" all build/asan/hostile-worker build/asan/hostile-probe
	tests/e2e/run build/asan $(ASAN_E2E)
asan-unit:                         ## the unit suites alone under them
	$(Q)$(MAKE) --no-print-directory -j$(shell nproc) BUILD=build/asan SANITIZE="$(ASAN)" CFLAGS="-O1 -g" all build/asan/tests
	$(Q)$(MAKE) --no-print-directory BUILD=build/asan SANITIZE="$(ASAN)" CFLAGS="-O1 -g" unit
OLD_CPU_SUITES := kernels_blocked kernels_elementwise kernels_matrix kernels_product kernels_vectors function engine plan_layout team
.PHONY: old-cpu
old-cpu: $(BUILD)/tests            ## the kernels' suites as on a CPU without AVX, under qemu-user
	scripts/deps cross
	$(Q)for suite in $(OLD_CPU_SUITES); do qemu-x86_64-static -cpu Nehalem $(BUILD)/tests $$suite || exit 1; done
# The same as on CPUs that lack AVX-512, or AVX altogether, but natively: everything is compiled for that level.
LEVEL_SUITES := $(filter kernels% gradient% engine function plan_layout team checksum preprocess topk,\
                  $(foreach s,$(patsubst infer/%.c,%,$(wildcard infer/*.c)),$(if $(wildcard tests/test_$(s).c),$(s))))
.PHONY: test-levels
test-levels:                       ## the kernels' suites, and the networks in ../shared, with AVX2 and without AVX, natively
	$(Q)$(MAKE) --no-print-directory BUILD=build/avx2 CPPFLAGS="-DSIMD_NO_CLONES -DSIMD_MOST=SIMD_256" \
	    CFLAGS="-O2 -g -march=x86-64-v3" all build/avx2/tests
	$(Q)$(MAKE) --no-print-directory BUILD=build/sse CPPFLAGS="-DSIMD_NO_CLONES -DSIMD_MOST=SIMD_128" all build/sse/tests
	$(Q)for level in avx2 sse; do \
	    for suite in $(LEVEL_SUITES); do build/$$level/tests $$suite || exit 1; done; \
	    tests/e2e/run build/$$level test_golden || exit 1; \
	done
# A second build by Debian's cross compiler, against Debian's arm64 libraries in a folder of their own.
ARM64      := build/arm64
ARM64_ROOT := $(abspath $(ARM64))/root
ARM64_RUN  := qemu-aarch64-static -L $(ARM64_ROOT)
.PHONY: arm64 test-arm64
arm64:                             ## build for aarch64, into build/arm64/
	scripts/deps arm64
	scripts/arm64-root $(ARM64_ROOT)
	$(Q)$(MAKE) --no-print-directory BUILD=$(ARM64) CC="aarch64-linux-gnu-gcc --sysroot=$(ARM64_ROOT)" AR=aarch64-linux-gnu-ar \
	    SYSROOT=$(ARM64_ROOT) CFLAGS="-O2 -g -Werror" all $(ARM64)/tests
# All of infer/, CLP, and what parses or shares memory (blas tries OpenBLAS's locks for longer than emulation can wait).
# What starts programs or gives memory back (qemu-user ignores madvise) needs a kernel: test-arm64-system.
ARM64_SUITES := $(foreach s,$(filter-out blas,$(patsubst infer/%.c,%,$(wildcard infer/*.c))),$(if $(wildcard tests/test_$(s).c),$(s))) \
                kernels_math clp clp_sigma clpd decode frame json_read lookout oip_read onnx_model onnx_tensor ring_plan slots tensor
test-arm64: arm64                  ## its kernels' and other suites under qemu-user (minutes)
	$(Q)for suite in $(ARM64_SUITES); do $(ARM64_RUN) $(ARM64)/tests $$suite || exit 1; done
.PHONY: test-arm64-system
test-arm64-system: arm64           ## sandbox, rings, loop and end-to-end cases under Debian's arm64 kernel (minutes)
	tests/arm64/run
clang:                             ## build with clang, to see its warnings
	$(Q)$(MAKE) --no-print-directory BUILD=build/clang CC=clang CFLAGS="-O2 -g -Werror" all build/clang/tests
lint: tidy                         ## clang-tidy and cppcheck; .clang-tidy and tests/cppcheck.txt say what is off, and why
	$(Q)$(MAKE) --no-print-directory cppcheck
cppcheck:
	scripts/deps lint
	cppcheck --quiet -j$(shell nproc) --std=c11 --enable=warning,performance,portability --inline-suppr --suppressions-list=tests/cppcheck.txt \
	    --error-exitcode=1 -I. daemon guard infer config client
# Kernels are left out: vector extensions and one body for three levels say nothing to it.
tidy:
	scripts/deps lint
	$(Q)echo $(filter-out infer/kernels%,$(wildcard daemon/*.c guard/*.c config/*.c client/*.c infer/*.c)) | xargs -P$(shell nproc) -n4 \
	    sh -c 'clang-tidy --quiet "$$@" -- $(BASE) $(BLAS_CFLAGS) 2>/dev/null' _
format:                            ## rewrite the sources in the house format
	clang-format -i $(wildcard */*.c */*.h)
format-check:                      ## fail where the format is not the house's
	clang-format --dry-run -Werror $(wildcard */*.c */*.h)

# --- faults --------------------------------------------------------------------------
# The sanitized objects, linked once more with calls that can be made to fail (tests/faults/calls.h says which).
FAULT_CALLS := $(shell sed -n 's/^CALL.[^,]*, \([a-zA-Z0-9_]*\),.*/\1/p' tests/faults/calls.h) read write open openat fcntl epoll_ctl json_pack syscall
FAULT_WRAP  := $(FAULT_CALLS:%=-Wl,--wrap=%)
$(BUILD)/faults/clpd: $(call OBJ,$(clpd_SRC) tests/faults/shim.c)
$(BUILD)/faults/clp-guard: $(call OBJ,$(clp-guard_SRC) tests/faults/shim.c)
$(BUILD)/faults/clpd $(BUILD)/faults/clp-guard:
	@echo "  LD    $@"
	$(Q)mkdir -p $(@D)
	$(Q)$(CC) $(LDBASE) $(LDFLAGS) $(FAULT_WRAP) -o $@ $^ $(tests_LIBS)
$(BUILD)/faults/%: $(BUILD)/%
	@mkdir -p $(@D)
	$(Q)ln -sf ../$* $@
-include $(BUILD)/obj/tests/faults/shim.d
.PHONY: faults
faults:                            ## every allocation and system call of clpd and clp-guard fails once; FAULTS="epoll probed": part of it
	$(Q)$(MAKE) --no-print-directory -j$(shell nproc) BUILD=build/asan SANITIZE="$(ASAN)" CFLAGS="-O1 -g" all build/asan/hostile-probe $(PROGRAMS:%=build/asan/faults/%)
	tests/faults/run faults build/asan $(FAULTS)
.PHONY: kills overload
kills: all                         ## kill -9 of import worker, guard and daemon at KILLS=500 random moments
	tests/faults/run kills $(BUILD) $(KILLS)
overload: all                      ## three times as many requests as can be answered: goodput, BUSY, latency
	tests/faults/run overload $(BUILD)
TSAN := -fsanitize=thread -fno-omit-frame-pointer
TSAN_E2E ?= test_swap test_ring test_serving test_store
TSAN_SUITES := batcher ring lookout workers loop loop_stream models server team catalogue engine http_socket desk store notify clpd clpd_ring link guard_child
.PHONY: tsan tsan-unit valgrind analyze
tsan: tsan-unit                    ## what runs in threads under ThreadSanitizer: unit suites, swaps, rings, serving
	setarch -R tests/e2e/run build/tsan $(TSAN_E2E)
tsan-unit:                         ## the unit suites alone
	$(Q)$(MAKE) --no-print-directory -j$(shell nproc) BUILD=build/tsan SANITIZE="$(TSAN)" CFLAGS="-O1 -g" all build/tsan/tests
	$(Q)for suite in $(TSAN_SUITES); do setarch -R build/tsan/tests $$suite || exit 1; done
MEMCHECK_SUITES := onnx_wire onnx_message onnx_tensor onnx_model import import_node tensor evaluate clp clp_sigma onnx_prune worker_wire report image_check image_map
valgrind: $(BUILD)/tests           ## the import's suites under valgrind: uninitialised memory, which no sanitizer of gcc sees
	scripts/deps valgrind
	$(Q)for suite in $(MEMCHECK_SUITES); do valgrind -q --suppressions=tests/valgrind.supp --error-exitcode=9 $(BUILD)/tests $$suite || exit 1; done
# Off, and why: uninitialised values and shifts, of which the analyzer of gcc 12 sees hundreds in loops over vectors
# (valgrind looks for the former); leaks, of which it sees one wherever memory hangs in a list (ASan looks for those).
ANALYZE := -fanalyzer -Wno-analyzer-use-of-uninitialized-value -Wno-analyzer-shift-count-overflow -Wno-analyzer-malloc-leak
analyze:                           ## gcc's static analyzer over everything but the kernels
	$(Q)$(MAKE) --no-print-directory -j$(shell nproc) BUILD=build/analyze CFLAGS="-O1 -g $(ANALYZE) -Werror" \
	    $(filter-out build/analyze/obj/infer/kernels% build/analyze/obj/infer/gradient%,$(patsubst %.c,build/analyze/obj/%.o,$(wildcard daemon/*.c guard/*.c config/*.c client/*.c infer/*.c)))

# --- fuzzing -----------------------------------------------------------------------
# scripts/fuzz comes back here with BUILD=build/fuzz CC=clang and the flags below: a program per target. Plain loops
# stand in for OpenBLAS, since what is in a library is not instrumented; nor is daemon/ needed but for its frames.
FUZZ_FLAGS   := -fsanitize=address,undefined,float-cast-overflow -fno-sanitize-recover=all -fno-omit-frame-pointer
# Of these two UBSan makes minutes of clang's time, and vectors are not what it looks at.
ifneq ($(findstring fuzzer,$(SANITIZE)),)
$(call OBJ,infer/kernels_tile.c infer/kernels_channelwise.c): KERNEL_FLAGS += -fno-sanitize=undefined,float-cast-overflow
endif
FUZZ_TARGETS := $(patsubst tests/fuzz/%.c,%,$(wildcard tests/fuzz/*.c))
FUZZ_SRC     := $(wildcard tests/fuzz/support/*.c tests/fuzz/alone/*.c) tests/twin.c daemon/frame.c daemon/ring_plan.c daemon/json_read.c daemon/oip_read.c daemon/http_route.c \
                $(filter-out $(MAINS) infer/blas.c client/feed.c client/load%.c,$(sort $(clp-guard_SRC) $(clpctl_SRC)))
SEEDS_SRC    := tests/main.c $(wildcard tests/fixture_*.c tests/fuzz/seeds/*.c) tests/onnx_build.c tests/twin.c \
                $(filter-out tests/% daemon/%,$(tests_SRC))
SECONDS      ?= 60
.PHONY: fuzz fuzz-corpus
fuzz:                              ## the fuzz targets: SECONDS=60 of each; TARGET=name: of one
	scripts/fuzz "$(SECONDS)" $(TARGET)
fuzz-corpus: $(BUILD)/seeds        ## write tests/fuzz/corpus anew
	$(BUILD)/seeds
$(BUILD)/seeds: $(call OBJ,$(SEEDS_SRC))
	@echo "  LD    $@"
	$(Q)$(CC) $(LDBASE) $(LDFLAGS) -o $@ $^ $(tests_LIBS)
$(BUILD)/fuzz.a: $(call OBJ,$(FUZZ_SRC))
	@echo "  AR    $@"
	$(Q)rm -f $@ && $(AR) rcs $@ $^
$(FUZZ_TARGETS:%=$(BUILD)/run/%): $(BUILD)/run/%: $(BUILD)/obj/tests/fuzz/%.o $(BUILD)/fuzz.a
	@echo "  LD    $@"
	$(Q)mkdir -p $(@D)
	$(Q)$(CC) $(LDBASE) -fsanitize=fuzzer -o $@ $^ $(filter-out $(BLAS_LIBS) -lcunit -luring -lsystemd,$(tests_LIBS))
-include $(patsubst %.c,$(BUILD)/obj/%.d,$(FUZZ_SRC) $(SEEDS_SRC))

# --- measured side by side ------------------------------------------------------------
.PHONY: bench-peers bench-clp bench-ipc soak bench-swap bench-swaps eval gradients
bench-peers: all                   ## against ONNX Runtime, on this machine; writes docs/benchmarks.md
	scripts/bench-peers
bench-swap: all                    ## from a file's last byte to the first answer of the new version, in parts
	scripts/deps zoo
	scripts/bench-swap --build $(BUILD)
bench-swaps: all                   ## 1,000 swaps of a model under 64 stream clients and 16 rings: p99 beside a quiet one's
	scripts/bench-swaps --build $(BUILD)
bench-ipc: all $(BUILD)/bench-ipc  ## round trips beside the least that the same bytes take; writes docs/latency.md
	scripts/bench-ipc --build $(BUILD)
soak: all                          ## clients, swaps, bad files and frames, deaths for SECONDS=600: no error, no growth; a page with plots
	scripts/soak --build $(BUILD) --seconds $(if $(filter command,$(origin SECONDS)),$(SECONDS),600)
bench-clp: $(BUILD)/bench-clp      ## CLP beside one pass over the weights and the published method on PyTorch
	scripts/deps zoo
	scripts/bench-clp --build $(BUILD)

gradients: $(BUILD)/tests           ## slopes against PyTorch's, one of each of torchvision's CNN families (minutes)
	scripts/deps zoo
	mkdir -p $(BUILD)/gradients && /usr/bin/python3 tests/golden/gradient.py --zoo $(BUILD)/gradients
	CLPD_GRADIENTS=$(BUILD)/gradients $(BUILD)/tests gradient

eval: all                          ## backdoored networks before and after repair (hours; trains them where CIFAR=dir is given); writes docs/repair.md
	scripts/deps zoo
	scripts/eval --build $(BUILD) $(if $(CIFAR),--cifar $(CIFAR)) $(if $(EVAL_CACHE),--cache $(EVAL_CACHE))

# --- install -----------------------------------------------------------------------
# The GNU variables, each of which may be set; DESTDIR stands before all of them.
DESTDIR     ?=
PREFIX      ?= /usr/local
prefix      ?= $(PREFIX)
exec_prefix ?= $(prefix)
bindir      ?= $(exec_prefix)/bin
sbindir     ?= $(exec_prefix)/sbin
libexecdir  ?= $(exec_prefix)/libexec
libdir      ?= $(exec_prefix)/lib
includedir  ?= $(prefix)/include
datarootdir ?= $(prefix)/share
docdir      ?= $(datarootdir)/doc/clpd
mandir      ?= $(datarootdir)/man
sysconfdir  ?= /etc
systemdunitdir ?= $(prefix)/lib/systemd/system
bashcompletiondir ?= $(datarootdir)/bash-completion/completions
zshcompletiondir ?= $(datarootdir)/zsh/site-functions
SUBST = sed 's|@sbindir@|$(sbindir)|g; s|@sysconfdir@|$(sysconfdir)|g; s|@prefix@|$(prefix)|g; s|@libdir@|$(libdir)|g; \
             s|@includedir@|$(includedir)|g; s|@VERSION@|$(VERSION)|g'
.PHONY: install install-client clean help deb
install: all install-client        ## into prefix (default /usr/local); the GNU variables and DESTDIR are honoured
	install -Dm755 $(BUILD)/clpd $(DESTDIR)$(sbindir)/clpd
	for program in $(filter clp-%,$(PROGRAMS)); do install -Dm755 $(BUILD)/$$program $(DESTDIR)$(libexecdir)/clpd/$$program; done
	install -Dm755 $(BUILD)/clpctl $(DESTDIR)$(bindir)/clpctl
	install -d $(DESTDIR)$(systemdunitdir) $(DESTDIR)$(docdir)
	test -e $(DESTDIR)$(sysconfdir)/clpd/clpd.yaml || install -Dm644 config/clpd.yaml $(DESTDIR)$(sysconfdir)/clpd/clpd.yaml
	$(SUBST) systemd/clpd.service.in > $(DESTDIR)$(systemdunitdir)/clpd.service
	install -m644 systemd/clpd.socket systemd/clpd-http.socket $(DESTDIR)$(systemdunitdir)
	install -Dm644 systemd/clpd.sysusers $(DESTDIR)$(prefix)/lib/sysusers.d/clpd.conf
	install -Dm644 systemd/clpd.tmpfiles $(DESTDIR)$(prefix)/lib/tmpfiles.d/clpd.conf
	install -Dm644 systemd/clpd.catalog $(DESTDIR)$(prefix)/lib/systemd/catalog/clpd.catalog
	install -m644 README.md $(wildcard docs/*.md docs/*.png) $(DESTDIR)$(docdir)
	install -Dm644 client/completion/clpctl.bash $(DESTDIR)$(bashcompletiondir)/clpctl
	install -Dm644 client/completion/_clpctl $(DESTDIR)$(zshcompletiondir)/_clpctl
	for page in $(wildcard docs/man/*.[0-9]); do install -Dm644 $$page $(DESTDIR)$(mandir)/man$${page##*.}/$${page##*/}; done
install-client: $(BUILD)/libclpd.a $(BUILD)/libclpd.so ## the client library alone: archive, headers, pkg-config file
	install -Dm644 $(BUILD)/libclpd.a $(DESTDIR)$(libdir)/libclpd.a
	install -Dm644 $(BUILD)/libclpd.so $(DESTDIR)$(libdir)/libclpd.so.0
	ln -sf libclpd.so.0 $(DESTDIR)$(libdir)/libclpd.so
	for header in clpd wire ring; do install -Dm644 client/$$header.h $(DESTDIR)$(includedir)/clpd/$$header.h; done
	install -d $(DESTDIR)$(libdir)/pkgconfig
	$(SUBST) client/libclpd.pc.in > $(DESTDIR)$(libdir)/pkgconfig/libclpd.pc
.PHONY: install-python
pythondir ?= $(prefix)/lib/python3/dist-packages
install-python:                    ## the Python client alone, for the system's Python
	install -d $(BUILD)/wheel $(DESTDIR)$(pythondir)
	cd client/python && /usr/bin/python3 -B -c 'import build_wheel; build_wheel.build_wheel("$(abspath $(BUILD))/wheel")'
	/usr/bin/python3 -m zipfile -e $(BUILD)/wheel/clpd-$(VERSION)-py3-none-any.whl $(DESTDIR)$(pythondir)
.PHONY: test-systemd test-fleet test-deb
test-systemd: deb                  ## the packages in a container with a real systemd, from install to purge (root)
	scripts/deps systemd
	tests/systemd/run
test-fleet: all                    ## three boxes in network namespaces behind HAProxy and nginx, one of them killed (root)
	scripts/deps fleet
	/usr/bin/python3 -B tests/fleet/run.py $(BUILD)
test-deb:                          ## the packages are clean, hardened, and the same bytes when they are built again
	scripts/deps deb
	tests/deb/run
deb:                               ## Debian packages, into build/deb/
	scripts/deps deb
	scripts/deb
clean:                             ## remove what was built
	rm -rf $(BUILD)
help:                              ## this list
	@echo "make                build $(PROGRAMS) and libclpd into $(BUILD)/"
	@awk -F':.*## ' '/^[a-z0-9-]+:.*## /{printf "make %-14s %s\n",$$1,$$2}' Makefile
