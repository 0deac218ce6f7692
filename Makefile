# SPDX-License-Identifier: GPL-2.0
#
# VexFS: what people type. (Kbuild is what the kernel's build system reads.)
#
# Every kernel build runs in a Debian 13 tree that `make setup` prepares once under
# ~/.cache/vexfs (VEXFS_CACHE), so any Debian or Ubuntu machine will do.

PREFIX ?= /usr/local
DESTDIR ?=
KREL := $(shell uname -r)
KDIR ?= /lib/modules/$(KREL)/build
CARGO := test_env/cargo.sh

.PHONY: all help setup module module-running vexctl install uninstall clean \
	distclean demo test test-host test-vm test-long bench bench-ann check fmt

all: module module-running vexctl

help:
	@echo 'make              the module for the VM kernel (and for the running one, when'
	@echo '                  KDIR can build it), and vexctl'
	@echo 'make demo         all of VexFS in two minutes, in a VM'
	@echo 'make test         all tests, on the host and in VMs'
	@echo 'make test-long    the same, longer, larger, and on the debug kernel (a night)'
	@echo 'make bench        VexFS, ext4, XFS and btrfs side by side (7 minutes; BENCH=vm)'
	@echo 'make bench-ann    the index over vectors beside other libraries (30 minutes)'
	@echo 'make check        format, clippy, W=1, documentation'
	@echo 'make module       vexfs.ko for the VM kernel'
	@echo 'make vexctl       target/release/vexctl'
	@echo 'make install      vexfs.ko for the running kernel, vexctl, mkfs.vexfs, fsck.vexfs'
	@echo 'make uninstall    take those out again'
	@echo 'make setup        what is needed to build and run, once (6 minutes)'
	@echo 'make clean        what was built here; distclean: the tests'"'"' results too'
	@echo ''
	@echo 'KDIR=DIR          the kernel to build for beside the VM kernel'
	@echo 'PREFIX=, DESTDIR= where vexctl is installed (now $(DESTDIR)$(PREFIX))'
	@echo 'VEXFS_CACHE=DIR   where the set-up lives (default ~/.cache/vexfs)'
	@echo ''
	@echo 'test_env/run_qemu_simple.sh run --help      one command in a VM'
	@echo 'test_env/run_qemu_simple.sh interactive     a VM to work in'

setup:
	@test_env/setup_vm.sh

module:
	@test_env/build_module.sh

# For the running kernel when its build folder is there and has what Rust modules
# need; a KDIR that was asked for must do.
module-running:
	@test_env/build_running.sh '$(KDIR)' '$(origin KDIR)'

vexctl:
	@$(CARGO) build --release -p vexctl

install: module module-running vexctl
	@test_env/install.sh install '$(DESTDIR)' '$(PREFIX)' '$(KREL)'

uninstall:
	@test_env/install.sh uninstall '$(DESTDIR)' '$(PREFIX)' '$(KREL)'

demo:
	@test_env/demo.sh

bench:
	@test_env/bench.sh

bench-ann:
	@test_env/bench_ann.sh

test:
	@test_env/run_tests.sh

test-host:
	@test_env/run_tests.sh host

test-vm:
	@test_env/run_tests.sh vm

test-long:
	@VEXFS_LONG=1 VEXFS_POWER_CUTS=$${VEXFS_POWER_CUTS:-80} \
		VEXFS_CRASH_POINTS=$${VEXFS_CRASH_POINTS:-100000} \
		VEXFS_INDEX_CRASH_POINTS=$${VEXFS_INDEX_CRASH_POINTS:-2000} test_env/run_tests.sh

check:
	@test_env/check.sh

fmt:
	@$(CARGO) fmt --all

clean:
	@test_env/clean.sh

distclean: clean
	@rm -rf test_results target
