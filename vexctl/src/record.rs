// SPDX-License-Identifier: GPL-2.0
//! `vexctl put`, `get`, `delete`: single vectors.

use crate::error::not_yet;
use crate::exit::Exit;
use crate::output::Output;

#[derive(clap::Args)]
pub struct PutArgs {}

#[derive(clap::Args)]
pub struct GetArgs {}

#[derive(clap::Args)]
pub struct DeleteArgs {}

pub fn put(_args: PutArgs, _out: &Output) -> anyhow::Result<Exit> {
    Err(not_yet("put"))
}

pub fn get(_args: GetArgs, _out: &Output) -> anyhow::Result<Exit> {
    Err(not_yet("get"))
}

pub fn delete(_args: DeleteArgs, _out: &Output) -> anyhow::Result<Exit> {
    Err(not_yet("delete"))
}
