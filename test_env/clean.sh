#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Remove what a build of the module leaves in the source tree. (target/ is cargo's;
# distclean takes it too.)
set -euo pipefail

. "$(dirname -- "$0")/lib.sh"

cd "$VEXFS_SRC"
find fs . -maxdepth 1 \( -name '*.ko' -o -name '*.mod' -o -name '*.mod.c' -o -name '*.o' \
	-o -name '.*.cmd' -o -name '.*.d' -o -name modules.order -o -name Module.symvers \) -delete
find fs \( -name '*.o' -o -name '.*.cmd' -o -name '.*.d' -o -name '*.rmeta' \) -delete
rm -rf fs/generated build
