// SPDX-License-Identifier: GPL-2.0

//! What a caller gave becomes a program that cannot go wrong: every step has the values that
//! it takes on the stack, and its argument in the data.

use super::{
    bytes, glob, numbers, op, Field, Filter, Flag, Insn, Uses, DATA_MAX, DIRS_MAX, GLOBS_MAX,
    INSNS_MAX, STACK_MAX,
};
use kernel::prelude::*;

/// A range of bytes in the data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    pub(super) from: usize,
    pub(super) to: usize,
}

impl Span {
    /// Numbers of 64 bits in it.
    pub fn numbers(&self) -> usize {
        (self.to - self.from) / 8
    }
}

/// What is true of all records that a filter lets in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    /// This key.
    Key(u64),
    /// One of these keys.
    Keys(Span),
    /// This file.
    File(u64),
    /// One of these files.
    Files(Span),
    /// A place below this one of [`Filter::dirs`].
    Under(usize),
}

impl Need {
    /// How many things it names; what a directory holds is not known.
    pub fn count(&self) -> usize {
        match self {
            Need::Key(_) | Need::File(_) => 1,
            Need::Keys(span) | Need::Files(span) => span.numbers(),
            Need::Under(_) => usize::MAX,
        }
    }
}

/// How two numbers compare.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cmp {
    Eq,
    Ne,
    Lt,
    Le,
    Gt,
    Ge,
}

/// An instruction that was verified.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    Number(i128),
    Field(Field),
    Flag(Flag),
    XattrNumber(Span),
    Xattr(Span),
    /// Name and value.
    XattrEq(Span, Span),
    /// Name and pattern.
    XattrGlob(Span, Span),
    PathGlob(Span),
    NameGlob(Span),
    Under(usize),
    Compare(Cmp),
    Bits,
    In(Span),
    And,
    Or,
    Not,
}

/// What is known of a value before the program runs.
#[derive(Clone, Copy)]
enum Kind {
    /// A field, if that is all it is.
    Number(Option<Field>, Option<u64>),
    /// What its being true implies.
    Truth(Option<Need>),
}

/// The longest name of an attribute, its prefix too.
const ATTRIBUTE_MAX: usize = 255;

/// Nanoseconds since 1970 of a time.
pub(super) fn nanoseconds(sec: i64, nsec: u32) -> i128 {
    // It cannot wrap: 2^63 * 10^9 is far below 2^127.
    i128::from(sec)
        .wrapping_mul(1_000_000_000)
        .wrapping_add(i128::from(nsec))
}

struct Verifier {
    data: KVVec<u8>,
    dirs: KVec<(u64, u32)>,
    stack: KVec<Kind>,
    uses: Uses,
    globs: usize,
}

impl Filter {
    /// Makes a program of instructions and their data.
    ///
    /// # Errors
    ///
    /// `EINVAL` if it does not verify, `E2BIG` if it is above a limit, `ENOMEM`.
    pub fn verify(insns: impl ExactSizeIterator<Item = Insn>, data: KVVec<u8>) -> Result<Filter> {
        if insns.len() > INSNS_MAX || data.len() > DATA_MAX {
            return Err(E2BIG);
        }
        let mut steps = KVVec::with_capacity(insns.len(), GFP_KERNEL)?;
        let mut verifier = Verifier {
            data,
            dirs: KVec::new(),
            stack: KVec::with_capacity(STACK_MAX, GFP_KERNEL)?,
            uses: Uses::default(),
            globs: 0,
        };
        for insn in insns {
            let step = verifier.decode(&insn)?;
            verifier.apply(&step)?;
            steps.push(step, GFP_KERNEL)?;
        }
        let [Kind::Truth(need)] = *verifier.stack else {
            return Err(EINVAL);
        };
        Ok(Filter {
            steps,
            data: verifier.data,
            dirs: verifier.dirs,
            uses: verifier.uses,
            need,
        })
    }
}

impl Verifier {
    /// What an instruction says, with its argument found and checked.
    fn decode(&mut self, insn: &Insn) -> Result<Step> {
        // An instruction that has no use for a part of itself must not use it.
        let (field, len, value) = match insn.op {
            op::UINT | op::SINT => (0, 0, insn.value),
            op::FIELD | op::FLAG => (insn.field, 0, 0),
            op::TIME | op::UNDER | op::IN => (0, insn.len, insn.value),
            op::XATTR_NUMBER..=op::NAME_GLOB => (0, insn.len, insn.value),
            _ => (0, 0, 0),
        };
        if (field, len, value) != (insn.field, insn.len, insn.value) {
            return Err(EINVAL);
        }
        Ok(match insn.op {
            op::UINT => Step::Number(value.into()),
            op::SINT => Step::Number((value as i64).into()),
            op::TIME if len < 1_000_000_000 => Step::Number(nanoseconds(value as i64, len)),
            op::FIELD => Step::Field(Field::from_raw(field).ok_or(EINVAL)?),
            op::FLAG => Step::Flag(Flag::from_raw(field).ok_or(EINVAL)?),
            op::XATTR_NUMBER => Step::XattrNumber(self.attribute(self.span(insn)?)?),
            op::XATTR => Step::Xattr(self.attribute(self.span(insn)?)?),
            op::XATTR_EQ => {
                let (name, value) = self.attribute_and(insn)?;
                Step::XattrEq(name, value)
            }
            op::XATTR_GLOB => {
                let (name, pattern) = self.attribute_and(insn)?;
                Step::XattrGlob(name, self.pattern(pattern)?)
            }
            op::PATH_GLOB => Step::PathGlob(self.pattern(self.span(insn)?)?),
            op::NAME_GLOB => Step::NameGlob(self.pattern(self.span(insn)?)?),
            op::UNDER => Step::Under(self.directory((value, len))?),
            op::EQ => Step::Compare(Cmp::Eq),
            op::NE => Step::Compare(Cmp::Ne),
            op::LT => Step::Compare(Cmp::Lt),
            op::LE => Step::Compare(Cmp::Le),
            op::GT => Step::Compare(Cmp::Gt),
            op::GE => Step::Compare(Cmp::Ge),
            op::BITS => Step::Bits,
            op::IN => Step::In(self.array(self.span(insn)?)?),
            op::AND => Step::And,
            op::OR => Step::Or,
            op::NOT => Step::Not,
            _ => return Err(EINVAL),
        })
    }

    /// The range of the data that an instruction names.
    fn span(&self, insn: &Insn) -> Result<Span> {
        let from = usize::try_from(insn.value).map_err(|_| EINVAL)?;
        let to = from.checked_add(insn.len as usize).ok_or(EINVAL)?;
        if to > self.data.len() {
            return Err(EINVAL);
        }
        Ok(Span { from, to })
    }

    /// A name of an attribute.
    fn attribute(&self, span: Span) -> Result<Span> {
        let name = bytes(&self.data, span);
        let bare = name
            .strip_prefix(b"user.".as_slice())
            .or_else(|| name.strip_prefix(b"trusted.".as_slice()))
            .ok_or(EINVAL)?;
        if bare.is_empty() || name.len() > ATTRIBUTE_MAX || bare.contains(&0) {
            return Err(EINVAL);
        }
        Ok(span)
    }

    /// A name of an attribute, a NUL, and something.
    fn attribute_and(&self, insn: &Insn) -> Result<(Span, Span)> {
        let span = self.span(insn)?;
        let both = bytes(&self.data, span);
        let end = both.iter().position(|b| *b == 0).ok_or(EINVAL)?;
        let name = Span {
            from: span.from,
            to: span.from + end,
        };
        let rest = Span {
            from: span.from + end + 1,
            to: span.to,
        };
        Ok((self.attribute(name)?, rest))
    }

    fn pattern(&mut self, span: Span) -> Result<Span> {
        let pattern = bytes(&self.data, span);
        self.globs = self.globs.saturating_add(pattern.len());
        if self.globs > GLOBS_MAX {
            return Err(E2BIG);
        }
        if !glob::valid(pattern) {
            return Err(EINVAL);
        }
        Ok(span)
    }

    /// An array of numbers in ascending order.
    fn array(&self, span: Span) -> Result<Span> {
        if span.from % 8 != 0 || (span.to - span.from) % 8 != 0 {
            return Err(EINVAL);
        }
        let mut last = None;
        for number in numbers(&self.data, span) {
            if last.is_some_and(|last| last >= number) {
                return Err(EINVAL);
            }
            last = Some(number);
        }
        Ok(span)
    }

    fn directory(&mut self, dir: (u64, u32)) -> Result<usize> {
        if let Some(index) = self.dirs.iter().position(|known| *known == dir) {
            return Ok(index);
        }
        if self.dirs.len() >= DIRS_MAX {
            return Err(E2BIG);
        }
        self.dirs.push(dir, GFP_KERNEL)?;
        Ok(self.dirs.len() - 1)
    }

    /// Notes what a step looks at, and does to the stack what it will.
    fn apply(&mut self, step: &Step) -> Result {
        match *step {
            Step::Number(number) => {
                self.push(Kind::Number(None, u64::try_from(number).ok()))?;
            }
            Step::Field(field) => {
                match field {
                    Field::Ino => {}
                    _ if field.of_record() => self.uses.record = true,
                    _ => self.uses.inode = true,
                }
                self.push(Kind::Number(Some(field), None))?;
            }
            Step::Flag(flag) => {
                match flag {
                    Flag::Stale => (self.uses.record, self.uses.inode) = (true, true),
                    Flag::Whole => self.uses.record = true,
                    Flag::Offline | Flag::Archived => self.uses.inode = true,
                }
                self.push(Kind::Truth(None))?;
            }
            Step::XattrNumber(_) => {
                self.uses.far = true;
                self.push(Kind::Number(None, None))?;
            }
            Step::Xattr(_) | Step::XattrEq(..) | Step::XattrGlob(..) => {
                self.uses.far = true;
                self.push(Kind::Truth(None))?;
            }
            Step::PathGlob(_) | Step::NameGlob(_) => {
                self.uses.path = true;
                self.push(Kind::Truth(None))?;
            }
            Step::Under(dir) => {
                self.uses.far = true;
                self.push(Kind::Truth(Some(Need::Under(dir))))?;
            }
            Step::Compare(cmp) => {
                let (b, a) = (self.number()?, self.number()?);
                let need = match (cmp, a, b) {
                    (Cmp::Eq, (Some(field), _), (None, Some(number)))
                    | (Cmp::Eq, (None, Some(number)), (Some(field), _)) => match field {
                        Field::Key => Some(Need::Key(number)),
                        Field::Ino => Some(Need::File(number)),
                        _ => None,
                    },
                    _ => None,
                };
                self.push(Kind::Truth(need))?;
            }
            Step::Bits => {
                self.number()?;
                self.number()?;
                self.push(Kind::Number(None, None))?;
            }
            Step::In(span) => {
                let need = match self.number()? {
                    (Some(Field::Key), _) => Some(Need::Keys(span)),
                    (Some(Field::Ino), _) => Some(Need::Files(span)),
                    _ => None,
                };
                self.push(Kind::Truth(need))?;
            }
            Step::And => {
                let (b, a) = (self.truth()?, self.truth()?);
                // Both are needed: the one that names less is the better way.
                let need = match (a, b) {
                    (Some(a), Some(b)) if b.count() < a.count() => Some(b),
                    (Some(a), _) => Some(a),
                    (None, b) => b,
                };
                self.push(Kind::Truth(need))?;
            }
            Step::Or => {
                let (b, a) = (self.truth()?, self.truth()?);
                self.push(Kind::Truth(a.filter(|a| Some(*a) == b)))?;
            }
            Step::Not => {
                self.truth()?;
                self.push(Kind::Truth(None))?;
            }
        }
        Ok(())
    }

    fn push(&mut self, kind: Kind) -> Result {
        if self.stack.len() >= STACK_MAX {
            return Err(E2BIG);
        }
        self.stack.push(kind, GFP_KERNEL)?;
        Ok(())
    }

    fn number(&mut self) -> Result<(Option<Field>, Option<u64>)> {
        match self.stack.pop() {
            Some(Kind::Number(field, number)) => Ok((field, number)),
            _ => Err(EINVAL),
        }
    }

    fn truth(&mut self) -> Result<Option<Need>> {
        match self.stack.pop() {
            Some(Kind::Truth(need)) => Ok(need),
            _ => Err(EINVAL),
        }
    }
}
