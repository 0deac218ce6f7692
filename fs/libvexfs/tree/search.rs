// SPDX-License-Identifier: GPL-2.0

//! Finding records: nothing here changes anything.

use super::node::{self, Bad, Node};
use super::{Owner, Root, MAX_HEIGHT};
use crate::libvexfs::damaged;
use crate::libvexfs::journal::{Block, Store};
use kernel::prelude::*;

/// Turns what is wrong inside of a page into an error, and a line in the log.
pub(super) fn bad(owner: &Owner, bno: u64) -> impl Fn(Bad) -> Error + '_ {
    move |_| damaged(owner.id, bno, "a tree node contradicts itself")
}

/// Checks that a block is the node of this tree that it should be.
pub(super) fn open_block<'a>(
    owner: &Owner,
    bno: u64,
    body: &'a [u8],
    level: u8,
) -> Result<Node<'a>> {
    if let Some(why) = node::block_is_bad(body, bno, owner) {
        return Err(damaged(owner.id, bno, why));
    }
    let node = Node::open(node::page(body)).map_err(bad(owner, bno))?;
    // An empty node would make searches that must find something run forever.
    if node.level() != level || node.count() == 0 {
        return Err(damaged(
            owner.id,
            bno,
            "a tree node of the wrong level, or an empty one",
        ));
    }
    Ok(node)
}

/// Checks an embedded root.
pub(super) fn open_root<'a>(owner: &Owner, bytes: &'a [u8]) -> Result<Node<'a>> {
    let node = Node::open(bytes).map_err(bad(owner, owner.home))?;
    let level = usize::from(node.level());
    if level > MAX_HEIGHT || (level > 0 && node.count() == 0) {
        return Err(damaged(
            owner.id,
            owner.home,
            "a tree root of impossible height",
        ));
    }
    Ok(node)
}

/// What is known about the leaf that a search ended in.
#[derive(Clone, Copy)]
pub(super) struct Bounds {
    /// The first key that belongs to a leaf further right.
    pub upper: Option<u128>,
    /// The first key that belongs to this leaf.
    pub lower: u128,
}

impl Bounds {
    /// Checks that a leaf's keys are within its parents'. Otherwise entries that share a child
    /// could have a scan visit it more often than anyone has time for.
    pub fn check(&self, owner: &Owner, bno: u64, leaf: &Node<'_>) -> Result {
        let last = leaf.key(leaf.count().saturating_sub(1));
        if leaf.key(0) < self.lower || self.upper.is_some_and(|upper| last >= upper) {
            return Err(damaged(
                owner.id,
                bno,
                "a leaf does not hold what its parent says",
            ));
        }
        Ok(())
    }
}

/// Leaves that are read ahead in a scan.
const AHEAD: usize = 16;

/// Finds the leaf to which `key` belongs and shows it to `f`.
pub(super) fn with_leaf<S: Store, R>(
    store: &S,
    root: Root<'_>,
    key: u128,
    f: impl FnOnce(Node<'_>, Bounds) -> Result<R>,
) -> Result<R> {
    with_leaf_of_scan(store, root, key, false, f)
}

/// Finds the node right above the leaf to which `key` belongs, the leaf itself if that is the root, and
/// shows it and its number to `f`.
fn with_parent<S: Store, R>(
    store: &S,
    root: Root<'_>,
    key: u128,
    f: impl FnOnce(u64, Node<'_>, Bounds) -> Result<R>,
) -> Result<R> {
    let owner = &root.owner;
    let top = open_root(owner, root.bytes)?;
    let mut bounds = Bounds {
        upper: None,
        lower: 0,
    };
    let mut level = top.level();
    if level <= 1 {
        return f(owner.home, top, bounds);
    }
    let (mut bno, _) = choose(owner, owner.home, &top, key, &mut bounds)?;
    loop {
        level -= 1;
        let block = store.read_interior(bno)?;
        let data = block.data();
        let node = open_block(owner, bno, &data, level)?;
        if level <= 1 {
            return f(bno, node, bounds);
        }
        (bno, _) = choose(owner, bno, &node, key, &mut bounds)?;
    }
}

/// As [`with_leaf`]; with `ahead`, the leaves behind it will be wanted next.
fn with_leaf_of_scan<S: Store, R>(
    store: &S,
    root: Root<'_>,
    key: u128,
    ahead: bool,
    f: impl FnOnce(Node<'_>, Bounds) -> Result<R>,
) -> Result<R> {
    let owner = root.owner;
    with_parent(store, root, key, |bno, parent, mut bounds| {
        if parent.level() == 0 {
            return f(parent, bounds);
        }
        let (leaf, i) = choose(&owner, bno, &parent, key, &mut bounds)?;
        if ahead {
            read_ahead(store, &parent, leaf, i);
        }
        with_child(store, &owner, leaf, bounds, f)
    })
}

/// Shows the leaf `bno`, whose keys its parents say are within `bounds`, to `f`.
fn with_child<S: Store, R>(
    store: &S,
    owner: &Owner,
    bno: u64,
    bounds: Bounds,
    f: impl FnOnce(Node<'_>, Bounds) -> Result<R>,
) -> Result<R> {
    let block = store.read(bno)?;
    let data = block.data();
    let leaf = open_block(owner, bno, &data, 0)?;
    bounds.check(owner, bno, &leaf)?;
    f(leaf, bounds)
}

/// Starts reading the leaf `bno`, which is child `i`, and those behind it. As long as leaves come
/// from memory there is nothing to do.
fn read_ahead<S: Store>(store: &S, parent: &Node<'_>, bno: u64, i: usize) {
    if !store.is_cached(bno) {
        let leaves = i..parent.count().min(i + AHEAD);
        store.readahead(leaves.filter_map(|i| parent.child(i).ok()));
    }
}

/// Copies the page of the leaf to which `key` belongs; returns the first key that belongs to a
/// leaf further right.
pub(crate) fn copy_leaf<S: Store>(
    store: &S,
    root: Root<'_>,
    key: u128,
    page: &mut KVec<u8>,
) -> Result<Option<u128>> {
    with_leaf_of_scan(store, root, key, true, |leaf, bounds| {
        page.clear();
        page.extend_from_slice(leaf.page(), GFP_KERNEL)?;
        match bounds.upper {
            // Bounds only grow, or a damaged tree would be walked in circles.
            Some(upper) if upper <= key => Err(out_of_order(&root.owner)),
            upper => Ok(upper),
        }
    })
}

fn out_of_order(owner: &Owner) -> Error {
    damaged(owner.id, owner.home, "tree keys out of order")
}

/// The child of an interior node below which `key` belongs, and its index.
pub(super) fn choose(
    owner: &Owner,
    bno: u64,
    node: &Node<'_>,
    key: u128,
    bounds: &mut Bounds,
) -> Result<(u64, usize)> {
    let i = node.child_index(key);
    if i + 1 < node.count() {
        bounds.upper = Some(node.key(i + 1));
    }
    if i > 0 {
        bounds.lower = node.key(i);
    }
    Ok((node.child(i).map_err(bad(owner, bno))?, i))
}

/// Shows the record of `key`, if there is one, to `f`.
pub(crate) fn lookup<S: Store, R>(
    store: &S,
    root: Root<'_>,
    key: u128,
    f: impl FnOnce(&[u8]) -> R,
) -> Result<Option<R>> {
    with_leaf(store, root, key, |leaf, _| {
        let Some(i) = leaf.find(key) else {
            return Ok(None);
        };
        Ok(Some(f(leaf.value(i).map_err(bad(&root.owner, 0))?)))
    })
}

/// Shows the records of keys, the `n`-th of which is `key(n)`, in ascending order, with their numbers to
/// `f`. What leads to several of them is looked through once.
pub(crate) fn lookup_some<S: Store>(
    store: &S,
    root: Root<'_>,
    key: impl Fn(usize) -> Option<u128>,
    mut f: impl FnMut(usize, &[u8]) -> Result,
) -> Result {
    let owner = &root.owner;
    // A key belongs to the first node that is looked at for it, whatever that says of its bounds.
    let follows = |n: usize, bounds: &Bounds| {
        let inside = |key: &u128| bounds.upper.is_none_or(|upper| *key < upper);
        key(n).filter(inside)
    };
    let mut show = |mut n: usize, mut now: u128, leaf: &Node<'_>, bounds: &Bounds| loop {
        if let Some(i) = leaf.find(now) {
            f(n, leaf.value(i).map_err(bad(owner, 0))?)?;
        }
        n += 1;
        now = match follows(n, bounds) {
            Some(key) => key,
            None => return Ok(n),
        };
    };
    let mut n = 0;
    while let Some(first) = key(n) {
        n = with_parent(store, root, first, |bno, parent, bounds| {
            if parent.level() == 0 {
                return show(n, first, &parent, &bounds);
            }
            let mut now = first;
            loop {
                let mut below = bounds;
                let (leaf, _) = choose(owner, bno, &parent, now, &mut below)?;
                n = with_child(store, owner, leaf, below, |leaf, below| {
                    show(n, now, &leaf, &below)
                })?;
                now = match follows(n, &bounds) {
                    Some(key) => key,
                    None => return Ok(n),
                };
            }
        })?;
    }
    Ok(())
}

/// Shows the first record from `key` on to `f`.
pub(crate) fn next<S: Store, R>(
    store: &S,
    root: Root<'_>,
    key: u128,
    f: impl FnOnce(u128, &[u8]) -> R,
) -> Result<Option<R>> {
    let mut f = Some(f);
    let mut key = key;
    // A leaf may end before `key`; then the record is the first of the next leaf.
    for _ in 0..2 {
        let (found, upper) = with_leaf(store, root, key, |leaf, bounds| {
            let i = leaf.lower_bound(key);
            if i >= leaf.count() {
                return Ok((None, bounds.upper));
            }
            let value = leaf.value(i).map_err(bad(&root.owner, 0))?;
            Ok((f.take().map(|f| f(leaf.key(i), value)), None))
        })?;
        match (found, upper) {
            (Some(r), _) => return Ok(Some(r)),
            (None, None) => return Ok(None),
            (None, Some(upper)) => key = upper,
        }
    }
    Err(damaged(
        root.owner.id,
        root.owner.home,
        "a leaf does not hold what its parent says",
    ))
}

/// Shows the last record up to `key` to `f`.
pub(super) fn prev<S: Store, R>(
    store: &S,
    root: Root<'_>,
    key: u128,
    f: impl FnOnce(u128, &[u8]) -> R,
) -> Result<Option<R>> {
    let mut f = Some(f);
    let mut key = key;
    for _ in 0..2 {
        let (found, lower) = with_leaf(store, root, key, |leaf, bounds| {
            let i = leaf.lower_bound(key);
            let i = if i < leaf.count() && leaf.key(i) == key {
                i + 1
            } else {
                i
            };
            if i == 0 {
                return Ok((None, bounds.lower));
            }
            let value = leaf.value(i - 1).map_err(bad(&root.owner, 0))?;
            Ok((f.take().map(|f| f(leaf.key(i - 1), value)), 0))
        })?;
        match (found, lower) {
            (Some(r), _) => return Ok(Some(r)),
            (None, 0) => return Ok(None),
            (None, lower) => key = lower - 1,
        }
    }
    Err(damaged(
        root.owner.id,
        root.owner.home,
        "a leaf does not hold what its parent says",
    ))
}

/// The last record up to `key` and the first behind it.
pub(crate) fn around<S: Store, T>(
    store: &S,
    root: Root<'_>,
    key: u128,
    parse: impl Fn(u128, &[u8]) -> Result<T>,
) -> Result<(Option<T>, Option<T>)> {
    let (mut below, mut above, bounds) = with_leaf(store, root, key, |leaf, bounds| {
        let i = leaf.lower_bound(key);
        let i = if i < leaf.count() && leaf.key(i) == key {
            i + 1
        } else {
            i
        };
        let get = |i: usize| {
            let value = leaf.value(i).map_err(bad(&root.owner, 0))?;
            parse(leaf.key(i), value).map(Some)
        };
        let below = if i > 0 { get(i - 1)? } else { None };
        let above = if i < leaf.count() { get(i)? } else { None };
        Ok((below, above, bounds))
    })?;
    if below.is_none() && bounds.lower > 0 {
        below = prev(store, root, bounds.lower - 1, &parse)?.transpose()?;
    }
    if let (None, Some(upper)) = (&above, bounds.upper) {
        above = next(store, root, upper, &parse)?.transpose()?;
    }
    Ok((below, above))
}

/// Shows all records from `from` on to `f`, leaf by leaf, until it says false.
pub(super) fn scan<S: Store>(
    store: &S,
    root: Root<'_>,
    from: u128,
    f: &mut dyn FnMut(u128, &[u8]) -> Result<bool>,
) -> Result {
    let mut from = from;
    // Most end in the leaf that they begin in.
    let mut ahead = false;
    loop {
        let upper = with_leaf_of_scan(store, root, from, ahead, |leaf, bounds| {
            for i in leaf.lower_bound(from)..leaf.count() {
                if !f(leaf.key(i), leaf.value(i).map_err(bad(&root.owner, 0))?)? {
                    return Ok(None);
                }
            }
            Ok(bounds.upper)
        })?;
        match upper {
            None => return Ok(()),
            // Bounds only grow, or a damaged tree would be walked in circles.
            Some(upper) if upper <= from => return Err(out_of_order(&root.owner)),
            Some(upper) => from = upper,
        }
        ahead = true;
    }
}
