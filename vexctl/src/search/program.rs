// SPDX-License-Identifier: GPL-2.0
//! From the tree of a filter to the program that the kernel runs.

use super::expr::{Cmp, Expr};
use crate::abi;
use crate::error::usage;
use crate::mounted::Mounted;
use anyhow::{Context, Result};
use std::collections::BTreeSet;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use vexfs::libvexfs::vector::filter::{op, Field, Filter, Flag, Insn};

/// A program.
#[derive(Debug, Default)]
pub struct Program {
    pub insns: Vec<Insn>,
    pub data: Vec<u8>,
}

/// What a compiler must know beside the filter.
pub struct Compiler {
    /// Where the file system is mounted: paths are relative to this.
    mount_point: PathBuf,
    /// Seconds since 1970.
    now: i64,
    program: Program,
}

/// Compiles a filter for a mounted file system, and checks the program as the kernel will.
pub fn compile(expr: &Expr, mounted: &Mounted) -> Result<Program> {
    let now = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .map_or(0, |d| d.as_secs() as i64);
    Compiler::new(mounted.mount_point()?, now).finish(expr)
}

impl Program {
    fn push(&mut self, op: u16, field: u16, len: u32, value: u64) {
        self.insns.push(Insn {
            op,
            field,
            len,
            value,
        });
    }

    fn plain(&mut self, op: u16) {
        self.push(op, 0, 0, 0);
    }

    fn with_data(&mut self, op: u16, bytes: &[u8]) {
        self.data.resize(self.data.len().next_multiple_of(8), 0);
        let at = self.data.len() as u64;
        self.data.extend_from_slice(bytes);
        self.push(op, 0, bytes.len() as u32, at);
    }

    /// Adds that a record must not be of this file.
    pub fn but_not(&mut self, ino: u64) {
        let alone = self.insns.is_empty();
        self.push(op::FIELD, Field::Ino as u16, 0, 0);
        self.push(op::UINT, 0, 0, ino);
        self.plain(op::NE);
        if !alone {
            self.plain(op::AND);
        }
    }
}

fn field(name: &str) -> Option<Field> {
    Some(match name {
        "key" => Field::Key,
        "offset" => Field::Off,
        "length" => Field::Len,
        "version" => Field::Version,
        "inode" => Field::Ino,
        "owner" => Field::Uid,
        "group" => Field::Gid,
        "mode" => Field::Mode,
        "type" => Field::Type,
        "size" => Field::Size,
        "blocks" => Field::Blocks,
        "links" => Field::Nlink,
        "project" => Field::Project,
        "atime" => Field::Atime,
        "mtime" => Field::Mtime,
        "ctime" => Field::Ctime,
        "btime" => Field::Btime,
        _ => return None,
    })
}

fn is_attribute(name: &str) -> bool {
    name.starts_with("user.") || name.starts_with("trusted.")
}

fn unknown(name: &str) -> anyhow::Error {
    usage(format!(
        "the filter asks for `{name}`, which nothing has; attributes begin with `user.`, and --help has the rest"
    ))
}

impl Compiler {
    fn new(mount_point: PathBuf, now: i64) -> Compiler {
        Compiler {
            mount_point,
            now,
            program: Program::default(),
        }
    }

    fn finish(mut self, expr: &Expr) -> Result<Program> {
        self.expr(expr)?;
        let mut data = kernel::prelude::KVVec::new();
        let verified = data
            .extend_from_slice(&self.program.data, kernel::prelude::GFP_KERNEL)
            .map_err(|_| kernel::prelude::ENOMEM)
            .and_then(|()| Filter::verify(self.program.insns.iter().copied(), data));
        match verified {
            Ok(_) => Ok(self.program),
            Err(e) if e == kernel::prelude::E2BIG => {
                Err(usage("the filter is too large or nested too deep"))
            }
            Err(_) => Err(usage("the filter has a pattern or a name that is none")),
        }
    }

    fn expr(&mut self, expr: &Expr) -> Result<()> {
        match expr {
            Expr::Both(a, b) | Expr::Either(a, b) => {
                self.expr(a)?;
                self.expr(b)?;
                let both = matches!(expr, Expr::Both(..));
                self.program.plain(if both { op::AND } else { op::OR });
            }
            Expr::Not(a) => {
                self.expr(a)?;
                self.program.plain(op::NOT);
            }
            Expr::Flag(name) => self.flag(name)?,
            Expr::Compare(name, cmp, value) => self.compare(name, *cmp, value)?,
            Expr::Bits(name, bits) if name == "mode" => {
                self.program.push(op::FIELD, Field::Mode as u16, 0, 0);
                self.program.push(op::UINT, 0, 0, octal(bits)?);
                self.program.plain(op::BITS);
                self.program.push(op::UINT, 0, 0, 0);
                self.program.plain(op::NE);
            }
            Expr::Bits(name, _) => return Err(usage(format!("`{name}` has no bits; `mode` has"))),
            Expr::In(name, values) => {
                let values = values.iter().map(|v| self.number(name, v));
                let values: Result<Vec<i128>> = values.collect();
                self.set(name, values?)?;
            }
            Expr::InFile(name, path) => {
                let text = std::fs::read_to_string(path)
                    .with_context(|| format!("cannot read the list {path}"))?;
                let values = text.lines().map(str::trim).filter(|l| !l.is_empty());
                let values: Result<Vec<i128>> = values.map(|v| self.number(name, v)).collect();
                self.set(name, values?)?;
            }
            Expr::Matches(name, pattern) => self.matches(name, pattern)?,
            Expr::Under(path) => self.under(Path::new(path))?,
            Expr::Has(name) if is_attribute(name) => {
                self.program.with_data(op::XATTR, name.as_bytes());
            }
            Expr::Has(name) => return Err(unknown(name)),
        }
        Ok(())
    }

    fn flag(&mut self, name: &str) -> Result<()> {
        let (flag, not) = match name {
            "stale" => (Flag::Stale, false),
            "offline" => (Flag::Offline, false),
            "online" => (Flag::Offline, true),
            "archived" => (Flag::Archived, false),
            "whole" => (Flag::Whole, false),
            _ => return Err(unknown(name)),
        };
        self.program.push(op::FLAG, flag as u16, 0, 0);
        if not {
            self.program.plain(op::NOT);
        }
        Ok(())
    }

    fn compare(&mut self, name: &str, cmp: Cmp, value: &str) -> Result<()> {
        if is_attribute(name) && matches!(cmp, Cmp::Eq | Cmp::Ne) {
            let both = [name.as_bytes(), b"\0", value.as_bytes()].concat();
            self.program.with_data(op::XATTR_EQ, &both);
            if cmp == Cmp::Ne {
                self.program.plain(op::NOT);
            }
            return Ok(());
        }
        if name == "path" || name == "name" {
            // The same as a pattern that has no signs.
            let mut literal = String::new();
            for c in value.chars() {
                if "\\*?[".contains(c) {
                    literal.push('\\');
                }
                literal.push(c);
            }
            return match cmp {
                Cmp::Eq => self.matches(name, &literal),
                Cmp::Ne => self
                    .matches(name, &literal)
                    .map(|()| self.program.plain(op::NOT)),
                _ => Err(usage(format!(
                    "a {name} is not larger or smaller than another"
                ))),
            };
        }
        let number = if is_attribute(name) {
            self.program.with_data(op::XATTR_NUMBER, name.as_bytes());
            number(value)?
        } else {
            let field = field(name).ok_or_else(|| unknown(name))?;
            self.program.push(op::FIELD, field as u16, 0, 0);
            self.number(name, value)?
        };
        self.constant(name, number)?;
        self.program.plain(match cmp {
            Cmp::Eq => op::EQ,
            Cmp::Ne => op::NE,
            Cmp::Lt => op::LT,
            Cmp::Le => op::LE,
            Cmp::Gt => op::GT,
            Cmp::Ge => op::GE,
        });
        Ok(())
    }

    /// A number on the stack. That of a time is in seconds.
    fn constant(&mut self, name: &str, number: i128) -> Result<()> {
        let too_large = || usage(format!("the number for `{name}` is too large"));
        if name.ends_with("time") && !is_attribute(name) {
            let sec = i64::try_from(number).map_err(|_| too_large())?;
            self.program.push(op::TIME, 0, 0, sec as u64);
        } else if number < 0 {
            let number = i64::try_from(number).map_err(|_| too_large())?;
            self.program.push(op::SINT, 0, 0, number as u64);
        } else {
            let number = u64::try_from(number).map_err(|_| too_large())?;
            self.program.push(op::UINT, 0, 0, number);
        }
        Ok(())
    }

    fn set(&mut self, name: &str, values: Vec<i128>) -> Result<()> {
        let field = field(name)
            .filter(|_| !name.ends_with("time"))
            .ok_or_else(|| usage(format!("`{name}` takes no list")))?;
        // What no field can be is in no list either.
        let set: BTreeSet<u64> = values
            .iter()
            .filter_map(|v| u64::try_from(*v).ok())
            .collect();
        let bytes: Vec<u8> = set.iter().flat_map(|n| n.to_ne_bytes()).collect();
        self.program.push(op::FIELD, field as u16, 0, 0);
        self.program.with_data(op::IN, &bytes);
        Ok(())
    }

    /// The number that a value of a field is.
    fn number(&self, name: &str, value: &str) -> Result<i128> {
        match name {
            "owner" => named(value, |v| {
                Ok(nix::unistd::User::from_name(v)?.map(|u| u.uid.as_raw()))
            }),
            "group" => named(value, |v| {
                Ok(nix::unistd::Group::from_name(v)?.map(|g| g.gid.as_raw()))
            }),
            "mode" => octal(value).map(i128::from),
            "type" => file_type(value),
            "size" | "offset" | "length" => size(value),
            "atime" | "mtime" | "ctime" | "btime" => time(value, self.now).map(i128::from),
            _ => number(value),
        }
    }

    fn matches(&mut self, name: &str, pattern: &str) -> Result<()> {
        if is_attribute(name) {
            let both = [name.as_bytes(), b"\0", pattern.as_bytes()].concat();
            self.program.with_data(op::XATTR_GLOB, &both);
            return Ok(());
        }
        match name {
            "name" => self.program.with_data(op::NAME_GLOB, pattern.as_bytes()),
            "path" => {
                let pattern = self.below_mount(Path::new(pattern))?;
                let pattern = pattern.as_os_str().as_bytes().to_owned();
                self.program.with_data(op::PATH_GLOB, &pattern);
            }
            _ => {
                return Err(usage(format!(
                    "`{name}` is not matched with patterns; path, name and attributes are"
                )))
            }
        }
        Ok(())
    }

    /// A path from the mount's root on, as the kernel sees it.
    fn below_mount(&self, path: &Path) -> Result<PathBuf> {
        if path.is_relative() {
            return Ok(path.to_owned());
        }
        path.strip_prefix(&self.mount_point)
            .map(Path::to_owned)
            .map_err(|_| {
                usage(format!(
                    "{} does not lie below {}",
                    path.display(),
                    self.mount_point.display()
                ))
            })
    }

    fn under(&mut self, path: &Path) -> Result<()> {
        let what = || format!("cannot open {}", path.display());
        let dir = std::fs::File::open(path).with_context(what)?;
        let here = dir.metadata().with_context(what)?;
        let generation = abi::generation(&dir)
            .with_context(|| format!("{} has no generation", path.display()))?;
        self.program.push(op::UNDER, 0, generation, here.ino());
        Ok(())
    }
}

fn number(value: &str) -> Result<i128> {
    value
        .parse()
        .map_err(|_| usage(format!("`{value}` is not a number")))
}

fn octal(value: &str) -> Result<u64> {
    u64::from_str_radix(value.trim_start_matches("0o"), 8)
        .map_err(|_| usage(format!("`{value}` is not an octal mode such as 0644")))
}

fn named(value: &str, find: impl FnOnce(&str) -> Result<Option<u32>>) -> Result<i128> {
    if let Ok(number) = value.parse::<u32>() {
        return Ok(number.into());
    }
    find(value)?
        .map(i128::from)
        .ok_or_else(|| usage(format!("there is nobody called `{value}`")))
}

fn file_type(value: &str) -> Result<i128> {
    let bits = match value {
        "file" => libc::S_IFREG,
        "directory" => libc::S_IFDIR,
        "symlink" => libc::S_IFLNK,
        "fifo" => libc::S_IFIFO,
        "socket" => libc::S_IFSOCK,
        "block" => libc::S_IFBLK,
        "char" => libc::S_IFCHR,
        _ => return Err(usage(format!("`{value}` is no type of a file"))),
    };
    Ok(bits.into())
}

/// Bytes, perhaps with K, M, G or T behind the number.
fn size(value: &str) -> Result<i128> {
    let (digits, shift) = match value.char_indices().last() {
        Some((at, 'K' | 'k')) => (&value[..at], 10),
        Some((at, 'M' | 'm')) => (&value[..at], 20),
        Some((at, 'G' | 'g')) => (&value[..at], 30),
        Some((at, 'T' | 't')) => (&value[..at], 40),
        _ => (value, 0),
    };
    let n: u64 = digits
        .parse()
        .map_err(|_| usage(format!("`{value}` is not a size such as 4096 or 1M")))?;
    Ok(i128::from(n) << shift)
}

/// Seconds since 1970: a date, a date and a time, or so long ago.
fn time(value: &str, now: i64) -> Result<i64> {
    let bad = || {
        usage(format!(
            "`{value}` is not a time such as 2026-01-31, 2026-01-31T10:00:00 or -3d"
        ))
    };
    if let Some(ago) = value.strip_prefix('-') {
        let (at, unit) = ago.char_indices().last().ok_or_else(bad)?;
        let unit = match unit {
            's' => 1,
            'm' => 60,
            'h' => 3600,
            'd' => 86_400,
            'w' => 7 * 86_400,
            'y' => 365 * 86_400,
            _ => return Err(bad()),
        };
        let n: i64 = ago[..at].parse().map_err(|_| bad())?;
        return n
            .checked_mul(unit)
            .and_then(|s| now.checked_sub(s))
            .ok_or_else(bad);
    }
    if let Some(seconds) = value.strip_prefix('@') {
        return seconds.parse().map_err(|_| bad());
    }
    let (date, clock) = match value.split_once(['T', ' ']) {
        Some((date, clock)) => (date, clock.trim_end_matches('Z')),
        None => (value, "00:00:00"),
    };
    let parts = |text: &str, sign: char| -> Option<Vec<i64>> {
        text.split(sign)
            .map(|p| p.parse::<u32>().ok().map(i64::from))
            .collect()
    };
    let (Some([y, m, d]), Some([h, min, s])) = (
        parts(date, '-')
            .as_deref()
            .and_then(|p| <[i64; 3]>::try_from(p).ok()),
        parts(clock, ':')
            .as_deref()
            .and_then(|p| <[i64; 3]>::try_from(p).ok()),
    ) else {
        return Err(bad());
    };
    let in_range = (1..=9999).contains(&y)
        && (1..=12).contains(&m)
        && (1..=31).contains(&d)
        && h < 24
        && min < 60
        && s < 61;
    if !in_range {
        return Err(bad());
    }
    // Days of the proleptic Gregorian calendar; the year begins in March.
    let (y, m) = if m > 2 { (y, m - 3) } else { (y - 1, m + 9) };
    let days = 365 * y + y / 4 - y / 100 + y / 400 + (153 * m + 2) / 5 + d - 1 - 719_468;
    Ok(days * 86_400 + h * 3600 + min * 60 + s)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::search::expr::parse;

    fn compiled(text: &str) -> Result<Program> {
        Compiler::new("/mnt".into(), 1_000_000).finish(&parse(text)?)
    }

    fn ops(text: &str) -> Vec<u16> {
        compiled(text).unwrap().insns.iter().map(|i| i.op).collect()
    }

    #[test]
    fn dates_are_seconds() {
        for (text, want) in [
            ("1970-01-01", 0),
            ("2026-11-21", 1_795_219_200),
            ("2000-02-29T12:00:01Z", 951_825_601),
            ("1969-12-31 23:59:59", -1),
            ("0001-01-01", -62_135_596_800),
            ("@12", 12),
            ("-1h", 1_000_000 - 3600),
            ("-2w", 1_000_000 - 14 * 86_400),
        ] {
            assert_eq!(time(text, 1_000_000).unwrap(), want, "{text}");
        }
        for bad in [
            "",
            "-",
            "-d",
            "-3x",
            "2026-13-01",
            "2026-01-32",
            "2026-01",
            "1-1-1-1",
            "@x",
            "2026-01-01T25:00:00",
        ] {
            assert!(time(bad, 0).is_err(), "{bad}");
        }
    }

    #[test]
    fn programs_have_their_tests_in_order() {
        assert_eq!(ops("stale"), [op::FLAG]);
        assert_eq!(ops("online"), [op::FLAG, op::NOT]);
        assert_eq!(
            ops("size > 1M and not (owner = 0 or key in (3,1))"),
            [
                op::FIELD,
                op::UINT,
                op::GT,
                op::FIELD,
                op::UINT,
                op::EQ,
                op::FIELD,
                op::IN,
                op::OR,
                op::NOT,
                op::AND
            ]
        );
        let program = compiled("key in (9, 3, 9)").unwrap();
        assert_eq!(
            program.data,
            [3u64.to_ne_bytes(), 9u64.to_ne_bytes()].concat()
        );
        assert_eq!(compiled("size = 2K").unwrap().insns[1].value, 2048);
        assert_eq!(
            compiled("mtime < 1969-12-31").unwrap().insns[1].value as i64,
            -86_400
        );
        assert_eq!(compiled("mode has 0111").unwrap().insns[1].value, 0o111);
        assert_eq!(ops("user.n >= -5"), [op::XATTR_NUMBER, op::SINT, op::GE]);
        assert_eq!(compiled("user.tag = 'a b'").unwrap().data, b"user.tag\0a b");
        assert_eq!(compiled("path ~ /mnt/a/*").unwrap().data, b"a/*");
        assert_eq!(compiled("name = 'a*'").unwrap().data, b"a\\*");
        let mut program = compiled("stale").unwrap();
        program.but_not(7);
        let ops: Vec<u16> = program.insns.iter().map(|i| i.op).collect();
        assert_eq!(ops, [op::FLAG, op::FIELD, op::UINT, op::NE, op::AND]);
    }

    #[test]
    fn what_means_nothing_is_refused() {
        for bad in [
            "staale",
            "sise > 1",
            "size > big",
            "mode = 9",
            "type = thing",
            "owner = nobody_has_this_name",
            "mtime > soon",
            "mtime in (1)",
            "size ~ a",
            "path > a",
            "size has 1",
            "has tag",
            "path ~ /elsewhere/x",
            "name ~ '['",
            "key = 99999999999999999999",
            "under /no/such/directory",
            "key in @/no/such/list",
        ] {
            assert!(compiled(bad).is_err(), "{bad}");
        }
        let many = vec!["stale"; 300].join(" or ");
        assert!(compiled(&many)
            .unwrap_err()
            .to_string()
            .contains("too large"));
    }
}
