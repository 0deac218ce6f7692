// SPDX-License-Identifier: GPL-2.0

//! Inserting, removing and destroying.
//!
//! Each operation first walks down and keeps the nodes of its path in memory (plan),
//! then changes them from the leaf upwards (apply). What happens after the first
//! change fails only with the device or the journal.

use super::node::{self, Node, NodeMut, INTERIOR_ENTRY, PAYLOAD, SLOT};
use super::search::{bad, choose, open_block, open_root, Bounds};
use super::{Owner, RootMut, MAX_HEIGHT, MAX_VALUE};
use crate::libvexfs::credits::DESTROY_LEAVES;
use crate::libvexfs::damaged;
use crate::libvexfs::journal::{Block, BlockMut, Store, Trans};
use kernel::prelude::*;

/// Where tree nodes come from and go to.
pub(crate) trait Blocks<S: Store> {
    /// How many can be taken.
    fn left(&self) -> usize;
    /// Takes one.
    fn take(&mut self, t: &mut S::Trans) -> Result<u64>;
    /// Gives one back, for good.
    fn give(&mut self, t: &mut S::Trans, bno: u64) -> Result;
}

/// A node below the root on the way to a leaf.
struct Step<B> {
    block: B,
    /// The entry of it that the way goes through; in a leaf, where the key belongs.
    index: usize,
}

/// The way from the root to a leaf.
struct Path<B> {
    steps: [Option<Step<B>>; MAX_HEIGHT],
    height: usize,
    root_index: usize,
    /// Whether the leaf has the key.
    found: bool,
    bounds: Bounds,
}

impl<B: Block> Path<B> {
    /// Walks down to the leaf of `key`.
    fn walk<S: Store<Block = B>>(t: &mut S::Trans, root: &RootMut<'_>, key: u128) -> Result<Self> {
        let owner = &root.owner;
        let top = open_root(owner, root.bytes)?;
        let height = usize::from(top.level());
        let mut path = Path {
            steps: [const { None }; MAX_HEIGHT],
            height,
            root_index: 0,
            found: false,
            bounds: Bounds {
                upper: None,
                lower: 0,
            },
        };
        if height == 0 {
            path.root_index = top.lower_bound(key);
            path.found = path.root_index < top.count() && top.key(path.root_index) == key;
            return Ok(path);
        }
        let (mut bno, index) = choose(owner, owner.home, &top, key, &mut path.bounds)?;
        path.root_index = index;
        for depth in 0..height {
            let level = height - 1 - depth;
            let block = if level == 0 {
                t.read(bno)?
            } else {
                t.read_interior(bno)?
            };
            let data = block.data();
            let node = open_block(owner, bno, &data, level as u8)?;
            let index = if level == 0 {
                path.bounds.check(owner, bno, &node)?;
                let i = node.lower_bound(key);
                path.found = i < node.count() && node.key(i) == key;
                i
            } else {
                let (child, i) = choose(owner, bno, &node, key, &mut path.bounds)?;
                bno = child;
                i
            };
            drop(data);
            path.steps[depth] = Some(Step { block, index });
        }
        Ok(path)
    }

    /// The node of the path at `depth` (0 is just below the root): block and index.
    fn at(&self, depth: usize) -> Result<(u64, usize)> {
        match self.steps.get(depth) {
            Some(Some(s)) => Ok((s.block.bno(), s.index)),
            _ => Err(EINVAL),
        }
    }

    fn contains(&self, bno: u64) -> bool {
        self.steps.iter().flatten().any(|s| s.block.bno() == bno)
    }

    /// Shows the node at `depth` to `f`; depth 0 is the root here.
    fn show<R>(&self, root: &[u8], depth: usize, f: impl FnOnce(&Node<'_>) -> R) -> Result<R> {
        let bad = |_| crate::libvexfs::errno::euclean();
        if depth == 0 {
            return Ok(f(&Node::open(root).map_err(bad)?));
        }
        match self.steps.get(depth - 1) {
            Some(Some(s)) => Ok(f(&Node::open(node::page(&s.block.data())).map_err(bad)?)),
            _ => Err(EINVAL),
        }
    }
}

/// Takes write access to the block that the root lives in, so that no change of the root
/// in memory can outlive a transaction that changed nothing on disk.
fn announce<S: Store>(t: &mut S::Trans, owner: &Owner) -> Result {
    t.write_at(owner.home, 0, &[])
}

/// Inserts a record, or with `replace` puts a new value in the place of an existing one.
pub(crate) fn insert<S: Store, M: Blocks<S>>(
    t: &mut S::Trans,
    blocks: &mut M,
    root: RootMut<'_>,
    key: u128,
    value: &[u8],
    replace: bool,
) -> Result {
    if value.len() > MAX_VALUE {
        return Err(EINVAL);
    }
    let owner = root.owner;
    let path = Path::<S::Block>::walk::<S>(t, &root, key)?;
    match (path.found, replace) {
        (true, false) => return Err(EEXIST),
        (false, true) => return Err(ENOENT),
        _ => {}
    }
    let needed = plan_insert(&path, &root, value.len(), replace)?;
    if blocks.left() < needed {
        return Err(ENOSPC);
    }
    announce::<S>(t, &owner)?;

    let mut key = key;
    let mut child;
    let mut value = value;
    for depth in (0..=path.height).rev() {
        let is_leaf = depth == path.height;
        let index = if depth == 0 {
            path.root_index
        } else {
            path.at(depth - 1)?.1
        };
        // Above the leaf, the new entry stands behind the one that was split.
        let index = if is_leaf { index } else { index + 1 };
        if depth == 0 {
            if replace && is_leaf {
                let mut top = NodeMut::open(root.bytes).map_err(bad(&owner, owner.home))?;
                top.remove(index).map_err(bad(&owner, owner.home))?;
            }
            return insert_in_root(t, blocks, root, index, key, value);
        }
        let bno = path.at(depth - 1)?.0;
        let bad = bad(&owner, bno);
        let mut block = t.modify(bno)?;
        let mut data = block.data_mut();
        let mut node = NodeMut::open(node::page_mut(&mut data)).map_err(&bad)?;
        if replace && is_leaf {
            node.remove(index).map_err(&bad)?;
        }
        if node.node().fits(value.len()) {
            return node.insert(index, key, value).map_err(&bad);
        }
        let right_bno = blocks.take(t)?;
        // A damaged bitmap could hand out what we stand on.
        if path.contains(right_bno) {
            return Err(damaged(
                owner.id,
                right_bno,
                "a tree node is marked as free",
            ));
        }
        let mut right_block = t.create(right_bno)?;
        *root.blocks += 1;
        let mut right_data = right_block.data_mut();
        node::init_block(&mut right_data, right_bno, &owner, node.node().level());
        let mut right = NodeMut::open(node::page_mut(&mut right_data)).map_err(&bad)?;
        node.split_insert(&mut right, index, key, value)
            .map_err(&bad)?;
        key = right.node().key(0);
        child = right_bno.to_le_bytes();
        value = &child;
    }
    Ok(())
}

/// Counts the blocks that an insertion will take, and checks the nodes that it will split.
fn plan_insert<B: Block>(
    path: &Path<B>,
    root: &RootMut<'_>,
    len: usize,
    replace: bool,
) -> Result<usize> {
    let mut needed = 0;
    let mut len = len;
    for depth in (0..=path.height).rev() {
        let is_leaf = depth == path.height;
        let index = if depth == 0 {
            path.root_index
        } else {
            path.at(depth - 1)?.1
        };
        let (fits, sound) = path.show(root.bytes, depth, |node| {
            let old = match (is_leaf && replace).then(|| node.value(index)) {
                Some(Ok(v)) => SLOT + v.len(),
                _ => 0,
            };
            let fits = SLOT + len <= node.free() + old;
            (fits, fits || node.check().is_ok())
        })?;
        if !sound {
            let bno = if depth == 0 {
                root.owner.home
            } else {
                path.at(depth - 1)?.0
            };
            return Err(damaged(
                root.owner.id,
                bno,
                "a tree node contradicts itself",
            ));
        }
        if fits {
            return Ok(needed);
        }
        needed += 1;
        len = 8;
    }
    if path.height == MAX_HEIGHT {
        return Err(EFBIG);
    }
    Ok(needed)
}

/// Inserts an entry in the root; if there is no room, after its entries moved to a new node
/// and the tree got higher.
fn insert_in_root<S: Store, M: Blocks<S>>(
    t: &mut S::Trans,
    blocks: &mut M,
    root: RootMut<'_>,
    index: usize,
    key: u128,
    value: &[u8],
) -> Result {
    let owner = root.owner;
    let bad = bad(&owner, owner.home);
    let mut top = NodeMut::open(root.bytes).map_err(&bad)?;
    if top.node().fits(value.len()) {
        return top.insert(index, key, value).map_err(&bad);
    }
    let bno = blocks.take(t)?;
    let mut block = t.create(bno)?;
    *root.blocks += 1;
    let level = top.node().level();
    let mut data = block.data_mut();
    node::init_block(&mut data, bno, &owner, level);
    let mut down = NodeMut::open(node::page_mut(&mut data)).map_err(&bad)?;
    top.move_tail(0, &mut down).map_err(&bad)?;
    down.insert(index, key, value).map_err(&bad)?;
    top.reset(level + 1);
    // Whatever comes belongs below: the leftmost key of every level is 0.
    top.insert(0, 0, &bno.to_le_bytes()).map_err(&bad)
}

/// Changes the value of a record in place, and its key to one between its neighbours' in the same
/// leaf. `EINVAL` if the new key belongs elsewhere.
pub(crate) fn update<S: Store, R>(
    t: &mut S::Trans,
    root: RootMut<'_>,
    key: u128,
    new_key: u128,
    f: impl FnOnce(&mut [u8]) -> Result<R>,
) -> Result<R> {
    let owner = root.owner;
    let path = Path::<S::Block>::walk::<S>(t, &root, key)?;
    if !path.found {
        return Err(ENOENT);
    }
    let depth = path.height;
    let (bno, index) = if depth == 0 {
        (owner.home, path.root_index)
    } else {
        path.at(depth - 1)?
    };
    let (in_order, sound) = path.show(root.bytes, depth, |leaf| {
        let below_next = match path.bounds.upper {
            _ if index + 1 < leaf.count() => new_key < leaf.key(index + 1),
            Some(upper) => new_key < upper,
            None => true,
        };
        let behind_last = match index.checked_sub(1) {
            Some(last) => new_key > leaf.key(last),
            None => new_key >= path.bounds.lower,
        };
        (behind_last && below_next, leaf.value(index).is_ok())
    })?;
    if !sound {
        return Err(damaged(owner.id, bno, "a tree node contradicts itself"));
    }
    if !in_order {
        return Err(EINVAL);
    }
    let bad = bad(&owner, bno);
    if depth == 0 {
        announce::<S>(t, &owner)?;
        let mut leaf = NodeMut::open(root.bytes).map_err(&bad)?;
        leaf.set_key(index, new_key);
        return f(leaf.value_mut(index).map_err(&bad)?);
    }
    let mut block = t.modify(bno)?;
    let mut data = block.data_mut();
    let mut leaf = NodeMut::open(node::page_mut(&mut data)).map_err(&bad)?;
    leaf.set_key(index, new_key);
    f(leaf.value_mut(index).map_err(&bad)?)
}

/// A node with less in it looks for a neighbour to merge with.
const SPARSE: usize = PAYLOAD / 4;
/// What two nodes may hold together to become one: room is left, so that the next insertion
/// does not split it again.
const MERGED: usize = PAYLOAD * 3 / 4;

/// Removes a record.
pub(crate) fn remove<S: Store, M: Blocks<S>>(
    t: &mut S::Trans,
    blocks: &mut M,
    mut root: RootMut<'_>,
    key: u128,
) -> Result {
    let owner = root.owner;
    let path = Path::<S::Block>::walk::<S>(t, &root, key)?;
    if !path.found {
        return Err(ENOENT);
    }
    let mut index = if path.height == 0 {
        path.root_index
    } else {
        path.at(path.height - 1)?.1
    };
    // What is taken apart must be sound, or we would stop half-way. Mostly nothing is: the leaf has
    // enough left.
    let stays = path.show(root.bytes, path.height, |leaf| {
        let rest = leaf
            .value(index)
            .map(|value| leaf.used() - SLOT - value.len());
        leaf.count() > 1 && rest.is_ok_and(|rest| rest >= SPARSE)
    })?;
    let nodes = if stays { 0 } else { path.height + 1 };
    for depth in 0..nodes {
        if !path.show(root.bytes, depth, |node| node.check().is_ok())? {
            let bno = if depth == 0 {
                owner.home
            } else {
                path.at(depth - 1)?.0
            };
            return Err(damaged(owner.id, bno, "a tree node contradicts itself"));
        }
    }
    announce::<S>(t, &owner)?;

    for depth in (1..=path.height).rev() {
        let bno = path.at(depth - 1)?.0;
        let bad = bad(&owner, bno);
        let mut block = t.modify(bno)?;
        let mut data = block.data_mut();
        let mut node = NodeMut::open(node::page_mut(&mut data)).map_err(&bad)?;
        if depth == path.height {
            node.remove(index).map_err(&bad)?;
        } else {
            node.remove_child(index).map_err(&bad)?;
        }
        let (count, used) = (node.node().count(), node.node().used());
        drop(data);
        let parent_index = if depth == 1 {
            path.root_index
        } else {
            path.at(depth - 2)?.1
        };
        if count == 0 {
            drop(block);
            free_node(t, blocks, &mut root, bno)?;
            index = parent_index;
        } else if used >= SPARSE {
            return pull_up(t, blocks, root);
        } else {
            let siblings = path.show(root.bytes, depth - 1, |parent| {
                let left = parent_index
                    .checked_sub(1)
                    .and_then(|i| parent.child(i).ok());
                let right = (parent_index + 1 < parent.count())
                    .then(|| parent.child(parent_index + 1).ok())
                    .flatten();
                (left, right)
            })?;
            let level = (path.height - depth) as u8;
            match merge::<S, M>(t, blocks, &mut root, &mut block, level, siblings)? {
                None => return pull_up(t, blocks, root),
                Some(Merged::Right) => index = parent_index + 1,
                Some(Merged::Left) => index = parent_index,
            }
        }
    }
    let mut top = NodeMut::open(root.bytes).map_err(bad(&owner, owner.home))?;
    if path.height == 0 {
        top.remove(index).map_err(bad(&owner, owner.home))?;
        return Ok(());
    }
    top.remove_child(index).map_err(bad(&owner, owner.home))?;
    if top.node().count() == 0 {
        top.reset(0);
        return Ok(());
    }
    pull_up(t, blocks, root)
}

/// Which of two neighbours is gone.
enum Merged {
    /// The node itself: its entries went to the left one.
    Left,
    /// The right one: its entries came to the node.
    Right,
}

/// Merges a sparse node with a neighbour if one has room. That a neighbour cannot be read is
/// no reason to fail: the node just stays as it is.
fn merge<S: Store, M: Blocks<S>>(
    t: &mut S::Trans,
    blocks: &mut M,
    root: &mut RootMut<'_>,
    block: &mut <S::Trans as Trans>::BlockMut,
    level: u8,
    (left, right): (Option<u64>, Option<u64>),
) -> Result<Option<Merged>> {
    let owner = root.owner;
    let bno = block.bno();
    let used = match Node::open(node::page(&block.data())) {
        Ok(node) => node.used(),
        Err(_) => return Ok(None),
    };
    let has_room = |t: &mut S::Trans, sibling: u64| -> bool {
        let Ok(block) = t.read(sibling) else {
            return false;
        };
        let data = block.data();
        match open_block(&owner, sibling, &data, level) {
            Ok(node) => sibling != bno && node.used() + used <= MERGED && node.check().is_ok(),
            Err(_) => false,
        }
    };
    let (to_bno, from_bno, merged) = match (left, right) {
        (_, Some(right)) if has_room(t, right) => (bno, right, Merged::Right),
        (Some(left), _) if has_room(t, left) => (left, bno, Merged::Left),
        _ => return Ok(None),
    };
    let bad = bad(&owner, from_bno);
    {
        let mut other = t.modify(if matches!(merged, Merged::Right) {
            from_bno
        } else {
            to_bno
        })?;
        let mut other_data = other.data_mut();
        let mut data = block.data_mut();
        let mut other = NodeMut::open(node::page_mut(&mut other_data)).map_err(&bad)?;
        let mut node = NodeMut::open(node::page_mut(&mut data)).map_err(&bad)?;
        match merged {
            Merged::Right => other.move_tail(0, &mut node).map_err(&bad)?,
            Merged::Left => node.move_tail(0, &mut other).map_err(&bad)?,
        }
    }
    free_node(t, blocks, root, from_bno)?;
    Ok(Some(merged))
}

fn free_node<S: Store, M: Blocks<S>>(
    t: &mut S::Trans,
    blocks: &mut M,
    root: &mut RootMut<'_>,
    bno: u64,
) -> Result {
    *root.blocks = root.blocks.saturating_sub(1);
    blocks.give(t, bno)
}

/// Takes levels off as long as the root has one child and its entries fit into the root,
/// with room for more. A child that cannot be read stays where it is.
fn pull_up<S: Store, M: Blocks<S>>(
    t: &mut S::Trans,
    blocks: &mut M,
    mut root: RootMut<'_>,
) -> Result {
    let owner = root.owner;
    for _ in 0..MAX_HEIGHT {
        let room = (root.bytes.len() - node::PAGE_HEADER) * 3 / 4;
        let bad = bad(&owner, owner.home);
        let mut top = NodeMut::open(root.bytes).map_err(&bad)?;
        let level = top.node().level();
        if level == 0 || top.node().count() != 1 {
            return Ok(());
        }
        let bno = top.node().child(0).map_err(&bad)?;
        let Ok(block) = t.read(bno) else {
            return Ok(());
        };
        let data = block.data();
        let node = match open_block(&owner, bno, &data, level - 1) {
            Ok(node) if node.used() <= room && node.check().is_ok() => node,
            _ => return Ok(()),
        };
        top.reset(level - 1);
        for i in 0..node.count() {
            top.insert(i, node.key(i), node.value(i).map_err(&bad)?)
                .map_err(&bad)?;
        }
        drop(data);
        drop(block);
        free_node(t, blocks, &mut root, bno)?;
    }
    Ok(())
}

/// Frees some leaves of a tree, the last ones first, and what becomes empty above them; true
/// when the tree is empty.
pub(crate) fn destroy_step<S: Store, M: Blocks<S>>(
    t: &mut S::Trans,
    blocks: &mut M,
    mut root: RootMut<'_>,
) -> Result<bool> {
    let owner = root.owner;
    for _ in 0..DESTROY_LEAVES {
        let path = Path::<S::Block>::walk::<S>(t, &root, u128::MAX)?;
        announce::<S>(t, &owner)?;
        if path.height == 0 {
            node::init_page(root.bytes, 0);
            return Ok(true);
        }
        let mut depth = path.height;
        loop {
            if depth == 0 {
                let bad = bad(&owner, owner.home);
                let mut top = NodeMut::open(root.bytes).map_err(&bad)?;
                top.remove_child(path.root_index).map_err(&bad)?;
                if top.node().count() == 0 {
                    top.reset(0);
                }
                break;
            }
            let (bno, index) = path.at(depth - 1)?;
            if depth < path.height {
                let bad = bad(&owner, bno);
                let mut block = t.modify(bno)?;
                let mut data = block.data_mut();
                let mut node = NodeMut::open(node::page_mut(&mut data)).map_err(&bad)?;
                node.remove_child(index).map_err(&bad)?;
                if node.node().count() != 0 {
                    break;
                }
            }
            free_node(t, blocks, &mut root, bno)?;
            depth -= 1;
        }
    }
    Ok(false)
}

// An interior entry and the largest record must both fit twice into a split node.
const _: () = assert!(2 * (SLOT + MAX_VALUE) + INTERIOR_ENTRY < PAYLOAD);
