// SPDX-License-Identifier: GPL-2.0
//! `vexctl completions` and `vexctl man`: what packagers install beside the program.

use crate::cli::Cli;
use crate::exit::Exit;
use crate::output::Output;
use anyhow::Context;
use clap::CommandFactory;
use clap_complete::Shell;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

#[derive(clap::Args)]
pub struct CompletionsArgs {
    /// The shell
    #[arg(value_enum)]
    shell: Shell,
}

#[derive(clap::Args)]
pub struct ManArgs {
    /// Write one page per command into this directory, instead of the main page to stdout
    #[arg(long)]
    dir: Option<PathBuf>,
}

/// Prints a completion script.
pub fn completions(args: CompletionsArgs) -> anyhow::Result<Exit> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "vexctl", &mut script);
    io::stdout().write_all(&script)?;
    Ok(Exit::Ok)
}

/// Prints the manual page, or writes all of them.
pub fn man(args: ManArgs, out: &Output) -> anyhow::Result<Exit> {
    let mut top = Cli::command();
    top.build();
    match args.dir {
        None => clap_mangen::Man::new(top).render(&mut io::stdout())?,
        Some(dir) => {
            std::fs::create_dir_all(&dir)
                .with_context(|| format!("cannot make {}", dir.display()))?;
            let pages = write_pages(&dir, &top, "vexctl", "8")?
                + write_page(&dir, crate::mkfs::command(), "mkfs.vexfs", "8")?
                + write_page(&dir, crate::fsck::command(), "fsck.vexfs", "8")?;
            out.note(&format!("{pages} pages written to {}", dir.display()));
        }
    }
    Ok(Exit::Ok)
}

fn write_pages(
    dir: &Path,
    command: &clap::Command,
    name: &str,
    section: &str,
) -> anyhow::Result<usize> {
    let mut pages = write_page(dir, command.clone(), name, section)?;
    for sub in command.get_subcommands().filter(|c| c.get_name() != "help") {
        pages += write_pages(dir, sub, &format!("{name}-{}", sub.get_name()), section)?;
    }
    Ok(pages)
}

fn write_page(
    dir: &Path,
    command: clap::Command,
    name: &str,
    section: &str,
) -> anyhow::Result<usize> {
    let path = dir.join(format!("{name}.{section}"));
    let mut page = Vec::new();
    // clap keeps names as static strings; a leaked page title lives as long as the run that prints it.
    let title: &'static str = Box::leak(name.to_owned().into_boxed_str());
    clap_mangen::Man::new(command.name(title))
        .section(section)
        .render(&mut page)?;
    std::fs::write(&path, page).with_context(|| format!("cannot write {}", path.display()))?;
    Ok(1)
}
