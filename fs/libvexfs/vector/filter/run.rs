// SPDX-License-Identifier: GPL-2.0

//! The machine that runs verified programs.

use super::verify::{nanoseconds, Cmp, Span, Step};
use super::{bytes, glob, Field, Filter, Flag, MATCHED_MAX, STACK_MAX};
use crate::libvexfs::format::Time;
use core::cmp::Ordering;
use kernel::prelude::*;

/// What a subject answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Looked<T> {
    /// It was not asked to look so far.
    Unknown,
    /// There is no such thing.
    Nothing,
    /// This is it.
    Found(T),
}

/// A number of a field.
pub type Number = i128;

/// The number of a time.
pub fn time(time: Time) -> Number {
    nanoseconds(time.sec, time.nsec)
}

/// A record, with its file, or a part of the two.
pub trait Subject {
    /// A field.
    fn number(&self, field: Field) -> Looked<Number>;

    /// A flag.
    ///
    /// # Errors
    ///
    /// What ends the search.
    fn flag(&mut self, flag: Flag) -> Result<Looked<bool>>;

    /// The path.
    fn path(&self) -> Looked<&[u8]>;

    /// The value of an extended attribute.
    ///
    /// # Errors
    ///
    /// What ends the search.
    fn attribute(&mut self, name: &[u8]) -> Result<Looked<&[u8]>>;

    /// Whether the file lies below one of [`Filter::dirs`].
    ///
    /// # Errors
    ///
    /// What ends the search.
    fn under(&mut self, dir: usize) -> Result<Looked<bool>>;
}

/// A value on the stack. A truth that is `None` depends on what is not known.
#[derive(Clone, Copy)]
enum Value {
    Number(Looked<Number>),
    Truth(Option<bool>),
}

struct Stack {
    values: [Value; STACK_MAX],
    len: usize,
}

impl Stack {
    // A program that was verified never fails here.
    fn push(&mut self, value: Value) -> Result {
        *self.values.get_mut(self.len).ok_or(EINVAL)? = value;
        self.len += 1;
        Ok(())
    }

    fn pop(&mut self) -> Result<Value> {
        self.len = self.len.checked_sub(1).ok_or(EINVAL)?;
        self.values.get(self.len).copied().ok_or(EINVAL)
    }

    fn number(&mut self) -> Result<Looked<Number>> {
        match self.pop()? {
            Value::Number(number) => Ok(number),
            Value::Truth(_) => Err(EINVAL),
        }
    }

    fn truth(&mut self) -> Result<Option<bool>> {
        match self.pop()? {
            Value::Truth(truth) => Ok(truth),
            Value::Number(_) => Err(EINVAL),
        }
    }
}

impl Filter {
    /// Runs the program. `None`: it depends on what the subject does not know.
    ///
    /// # Errors
    ///
    /// What the subject returns.
    pub fn run(&self, subject: &mut impl Subject) -> Result<Option<bool>> {
        let mut stack = Stack {
            values: [Value::Truth(None); STACK_MAX],
            len: 0,
        };
        for step in self.steps.iter() {
            let value = match *step {
                Step::Number(number) => Value::Number(Looked::Found(number)),
                Step::Field(field) => Value::Number(subject.number(field)),
                Step::XattrNumber(name) => {
                    Value::Number(match subject.attribute(self.text(name))? {
                        Looked::Found(value) => {
                            decimal(value).map_or(Looked::Nothing, Looked::Found)
                        }
                        Looked::Nothing => Looked::Nothing,
                        Looked::Unknown => Looked::Unknown,
                    })
                }
                Step::Bits => {
                    let (b, a) = (stack.number()?, stack.number()?);
                    Value::Number(match (a, b) {
                        (Looked::Found(a), Looked::Found(b)) => Looked::Found(a & b),
                        (Looked::Nothing, _) | (_, Looked::Nothing) => Looked::Nothing,
                        _ => Looked::Unknown,
                    })
                }
                _ => Value::Truth(self.truth(*step, subject, &mut stack)?),
            };
            stack.push(value)?;
        }
        stack.truth()
    }

    /// The truth that a step leaves.
    fn truth(
        &self,
        step: Step,
        subject: &mut impl Subject,
        stack: &mut Stack,
    ) -> Result<Option<bool>> {
        let all = |_: &[u8]| true;
        Ok(match step {
            Step::Flag(flag) => known(subject.flag(flag)?),
            Step::Under(dir) => known(subject.under(dir)?),
            Step::Xattr(name) => attribute(subject, self.text(name), all)?,
            Step::XattrEq(name, value) => {
                let value = self.text(value);
                attribute(subject, self.text(name), |v| v == value)?
            }
            Step::XattrGlob(name, pattern) => {
                let pattern = self.text(pattern);
                attribute(subject, self.text(name), |v| {
                    v.len() <= MATCHED_MAX && glob::matches(pattern, v, false)
                })?
            }
            Step::PathGlob(pattern) => match subject.path() {
                Looked::Found(path) => Some(glob::matches(self.text(pattern), path, true)),
                Looked::Nothing => Some(false),
                Looked::Unknown => None,
            },
            Step::NameGlob(pattern) => match subject.path() {
                Looked::Found(path) => {
                    let name = path.rsplit(|b| *b == b'/').next().unwrap_or(path);
                    Some(glob::matches(self.text(pattern), name, true))
                }
                Looked::Nothing => Some(false),
                Looked::Unknown => None,
            },
            Step::Compare(cmp) => {
                let (b, a) = (stack.number()?, stack.number()?);
                with_numbers(a, b, |a, b| holds(cmp, a.cmp(&b)))
            }
            Step::In(span) => {
                let number = stack.number()?;
                with_numbers(number, Looked::Found(0), |n, _| self.contains(span, n))
            }
            Step::And => match (stack.truth()?, stack.truth()?) {
                (Some(false), _) | (_, Some(false)) => Some(false),
                (Some(true), Some(true)) => Some(true),
                _ => None,
            },
            Step::Or => match (stack.truth()?, stack.truth()?) {
                (Some(true), _) | (_, Some(true)) => Some(true),
                (Some(false), Some(false)) => Some(false),
                _ => None,
            },
            Step::Not => stack.truth()?.map(|truth| !truth),
            // These leave a number.
            Step::Number(_) | Step::Field(_) | Step::XattrNumber(_) | Step::Bits => {
                return Err(EINVAL);
            }
        })
    }

    fn text(&self, span: Span) -> &[u8] {
        bytes(&self.data, span)
    }

    /// Whether a number is in a sorted array.
    fn contains(&self, span: Span, number: Number) -> bool {
        let Ok(number) = u64::try_from(number) else {
            return false;
        };
        let array = self.text(span);
        let (mut low, mut high) = (0, array.len() / 8);
        while low < high {
            let middle = low + (high - low) / 2;
            let at = array.get(middle * 8..middle * 8 + 8);
            let here = at
                .and_then(|b| b.try_into().ok())
                .map_or(0, u64::from_ne_bytes);
            match here.cmp(&number) {
                Ordering::Equal => return true,
                Ordering::Less => low = middle + 1,
                Ordering::Greater => high = middle,
            }
        }
        false
    }
}

fn known(looked: Looked<bool>) -> Option<bool> {
    match looked {
        Looked::Found(truth) => Some(truth),
        Looked::Nothing => Some(false),
        Looked::Unknown => None,
    }
}

/// What is said of an attribute's value; false if there is none.
fn attribute(
    subject: &mut impl Subject,
    name: &[u8],
    f: impl FnOnce(&[u8]) -> bool,
) -> Result<Option<bool>> {
    Ok(match subject.attribute(name)? {
        Looked::Found(value) => Some(f(value)),
        Looked::Nothing => Some(false),
        Looked::Unknown => None,
    })
}

/// Whatever is said of nothing is false.
fn with_numbers(
    a: Looked<Number>,
    b: Looked<Number>,
    f: impl FnOnce(Number, Number) -> bool,
) -> Option<bool> {
    match (a, b) {
        (Looked::Nothing, _) | (_, Looked::Nothing) => Some(false),
        (Looked::Found(a), Looked::Found(b)) => Some(f(a, b)),
        _ => None,
    }
}

fn holds(cmp: Cmp, order: Ordering) -> bool {
    match cmp {
        Cmp::Eq => order.is_eq(),
        Cmp::Ne => order.is_ne(),
        Cmp::Lt => order.is_lt(),
        Cmp::Le => order.is_le(),
        Cmp::Gt => order.is_gt(),
        Cmp::Ge => order.is_ge(),
    }
}

/// The number that a text is: digits, a sign before them.
fn decimal(text: &[u8]) -> Option<Number> {
    let (negative, digits) = match text {
        [b'-', digits @ ..] => (true, digits),
        [b'+', digits @ ..] => (false, digits),
        digits => (false, digits),
    };
    // What has more digits is no number of 63 bits.
    if digits.is_empty() || digits.len() > 18 {
        return None;
    }
    let mut number = 0i64;
    for digit in digits {
        if !digit.is_ascii_digit() {
            return None;
        }
        number = number.wrapping_mul(10).wrapping_add((digit - b'0').into());
    }
    Some(if negative { -number } else { number }.into())
}
