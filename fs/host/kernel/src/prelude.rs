// SPDX-License-Identifier: GPL-2.0

//! The names that `use kernel::prelude::*` brings in.

pub use core::mem::{align_of, align_of_val, size_of, size_of_val};

pub use crate::alloc::{flags::*, KBox, KVBox, KVVec, KVec, VBox, VVec};
pub use crate::error::{code::*, Error, Result};
pub use crate::{pr_debug, pr_err, pr_info, pr_notice, pr_warn};
