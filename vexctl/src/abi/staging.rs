// SPDX-License-Identifier: GPL-2.0
//! The staging section of `fs/uapi/vexfs.h`.

#[cfg(test)]
pub mod tests {
    crate::abi::layouts!();
}
