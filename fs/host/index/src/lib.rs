// SPDX-License-Identifier: GPL-2.0

//! The graph index of libvexfs on a host: [`Kernels`] computes with the kernels of `fs/simd`,
//! [`Memory`] keeps the pages, or [`image`] those of an image of a file system. The module has its
//! own of both; the graph is the same.

pub mod image;
mod kernels;
mod memory;
pub mod vectors;

pub use kernels::{encode, level, Kernels};
pub use memory::Memory;

use kernel::prelude::*;
use vexfs::libvexfs::vector::index::{Graph, Params, Shape};
use vexfs::libvexfs::vector::{Element, Metric};

/// A graph in memory.
pub type MemoryGraph = Graph<Memory, Kernels>;

/// An empty graph in memory, with room for so many slots.
///
/// # Errors
///
/// `ENOMEM`.
pub fn in_memory(
    dim: u32,
    element: Element,
    metric: Metric,
    slots: u32,
    params: Params,
) -> Result<MemoryGraph> {
    let shape = Shape::new(1, 1, 0x5eed_5eed, dim, element, metric);
    let kernels = Kernels::new(&shape, 7)?;
    Ok(Graph::new(
        Memory::new(&shape, slots)?,
        kernels,
        shape,
        params,
    ))
}
