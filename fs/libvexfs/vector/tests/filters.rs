// SPDX-License-Identifier: GPL-2.0

//! Filters: hostile programs do no harm, good ones mean what their expressions mean, and what
//! is found out with less knowledge is true with more.

use crate::libvexfs::vector::filter::{glob, op, Field, Filter, Flag, Insn, Looked, Need, Subject};
use crate::libvexfs::vector::filter::{DATA_MAX, DIRS_MAX, GLOBS_MAX, INSNS_MAX, STACK_MAX};
use kernel::prelude::*;
use proptest::collection::vec;
use proptest::prelude::*;
use std::collections::BTreeMap;

/// How much a subject tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Told {
    Record,
    Inode,
    All,
}

#[derive(Clone, Debug)]
struct File {
    fields: BTreeMap<u16, i128>,
    flags: Vec<bool>,
    path: Vec<u8>,
    attributes: BTreeMap<Vec<u8>, Vec<u8>>,
    under: Vec<bool>,
    told: Told,
}

impl Subject for File {
    fn number(&self, field: Field) -> Looked<i128> {
        if self.told < Told::Inode && !field.of_record() && field != Field::Ino {
            return Looked::Unknown;
        }
        Looked::Found(self.fields[&(field as u16)])
    }

    fn flag(&mut self, flag: Flag) -> Result<Looked<bool>> {
        if self.told < Told::Inode && flag != Flag::Whole {
            return Ok(Looked::Unknown);
        }
        Ok(Looked::Found(self.flags[flag as usize]))
    }

    fn path(&self) -> Looked<&[u8]> {
        match self.told {
            Told::All => Looked::Found(&self.path),
            _ => Looked::Unknown,
        }
    }

    fn attribute(&mut self, name: &[u8]) -> Result<Looked<&[u8]>> {
        if self.told < Told::All {
            return Ok(Looked::Unknown);
        }
        let value = self.attributes.get(name);
        Ok(value.map_or(Looked::Nothing, |v| Looked::Found(v)))
    }

    fn under(&mut self, dir: usize) -> Result<Looked<bool>> {
        Ok(match self.told {
            Told::All => Looked::Found(self.under[dir]),
            _ => Looked::Unknown,
        })
    }
}

/// An expression that leaves a truth.
#[derive(Clone, Debug)]
enum Expr {
    Compare(u16, Num, Num),
    In(Num, Vec<u64>),
    Flag(Flag),
    Xattr(Vec<u8>),
    XattrEq(Vec<u8>, Vec<u8>),
    XattrGlob(Vec<u8>, Vec<u8>),
    Path(Vec<u8>),
    Name(Vec<u8>),
    Under(u64),
    And(Box<Expr>, Box<Expr>),
    Or(Box<Expr>, Box<Expr>),
    Not(Box<Expr>),
}

/// One that leaves a number.
#[derive(Clone, Debug)]
enum Num {
    Uint(u64),
    Sint(i64),
    Time(i64, u32),
    Field(Field),
    Xattr(Vec<u8>),
    Bits(Box<Num>, Box<Num>),
}

#[derive(Default)]
struct Program {
    insns: Vec<Insn>,
    data: Vec<u8>,
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

    fn with_data(&mut self, op: u16, bytes: &[u8]) {
        self.data.resize(self.data.len().next_multiple_of(8), 0);
        let at = self.data.len() as u64;
        self.data.extend_from_slice(bytes);
        self.push(op, 0, bytes.len() as u32, at);
    }

    fn num(&mut self, num: &Num) {
        match num {
            Num::Uint(n) => self.push(op::UINT, 0, 0, *n),
            Num::Sint(n) => self.push(op::SINT, 0, 0, *n as u64),
            Num::Time(sec, nsec) => self.push(op::TIME, 0, *nsec, *sec as u64),
            Num::Field(field) => self.push(op::FIELD, *field as u16, 0, 0),
            Num::Xattr(name) => self.with_data(op::XATTR_NUMBER, name),
            Num::Bits(a, b) => {
                self.num(a);
                self.num(b);
                self.push(op::BITS, 0, 0, 0);
            }
        }
    }

    fn expr(&mut self, expr: &Expr) {
        match expr {
            Expr::Compare(cmp, a, b) => {
                self.num(a);
                self.num(b);
                self.push(*cmp, 0, 0, 0);
            }
            Expr::In(num, set) => {
                self.num(num);
                let bytes: Vec<u8> = set.iter().flat_map(|n| n.to_ne_bytes()).collect();
                self.with_data(op::IN, &bytes);
            }
            Expr::Flag(flag) => self.push(op::FLAG, *flag as u16, 0, 0),
            Expr::Xattr(name) => self.with_data(op::XATTR, name),
            Expr::XattrEq(name, v) => self.with_data(op::XATTR_EQ, &[name, &b"\0"[..], v].concat()),
            Expr::XattrGlob(name, p) => {
                self.with_data(op::XATTR_GLOB, &[name, &b"\0"[..], p].concat());
            }
            Expr::Path(p) => self.with_data(op::PATH_GLOB, p),
            Expr::Name(p) => self.with_data(op::NAME_GLOB, p),
            Expr::Under(dir) => self.push(op::UNDER, 0, 1, *dir),
            Expr::And(a, b) | Expr::Or(a, b) => {
                self.expr(a);
                self.expr(b);
                let and = matches!(expr, Expr::And(..));
                self.push(if and { op::AND } else { op::OR }, 0, 0, 0);
            }
            Expr::Not(a) => {
                self.expr(a);
                self.push(op::NOT, 0, 0, 0);
            }
        }
    }

    fn verify(self) -> Result<Filter> {
        let mut data = KVVec::new();
        data.extend_from_slice(&self.data, GFP_KERNEL)?;
        Filter::verify(self.insns.into_iter(), data)
    }
}

fn number(num: &Num, file: &File) -> Option<i128> {
    match num {
        Num::Uint(n) => Some((*n).into()),
        Num::Sint(n) => Some((*n).into()),
        Num::Time(sec, nsec) => Some(i128::from(*sec) * 1_000_000_000 + i128::from(*nsec)),
        Num::Field(field) => Some(file.fields[&(*field as u16)]),
        Num::Xattr(name) => {
            let text = String::from_utf8(file.attributes.get(name)?.clone()).ok()?;
            text.parse::<i64>().ok().map(i128::from)
        }
        Num::Bits(a, b) => Some(number(a, file)? & number(b, file)?),
    }
}

fn truth(expr: &Expr, file: &File) -> bool {
    match expr {
        Expr::Compare(cmp, a, b) => match (number(a, file), number(b, file)) {
            (Some(a), Some(b)) => match *cmp {
                op::EQ => a == b,
                op::NE => a != b,
                op::LT => a < b,
                op::LE => a <= b,
                op::GT => a > b,
                _ => a >= b,
            },
            _ => false,
        },
        Expr::In(num, set) => {
            number(num, file).is_some_and(|n| set.iter().any(|s| i128::from(*s) == n))
        }
        Expr::Flag(flag) => file.flags[*flag as usize],
        Expr::Xattr(name) => file.attributes.contains_key(name),
        Expr::XattrEq(name, value) => file.attributes.get(name) == Some(value),
        Expr::XattrGlob(name, pattern) => file
            .attributes
            .get(name)
            .is_some_and(|v| model(pattern, v, true, false)),
        Expr::Path(pattern) => model(pattern, &file.path, true, true),
        Expr::Name(pattern) => {
            let name = file.path.rsplit(|b| *b == b'/').next().unwrap();
            model(pattern, name, true, true)
        }
        Expr::Under(dir) => file.under[*dir as usize],
        Expr::And(a, b) => truth(a, file) && truth(b, file),
        Expr::Or(a, b) => truth(a, file) || truth(b, file),
        Expr::Not(a) => !truth(a, file),
    }
}

/// A pattern by its definition, as slow as that is. Without classes.
fn model(pattern: &[u8], text: &[u8], begins: bool, parts: bool) -> bool {
    let stop = |b: &u8| parts && *b == b'/';
    match pattern {
        [] => text.is_empty(),
        [b'*', b'*', rest @ ..] => {
            let nothing =
                begins && rest.first() == Some(&b'/') && model(&rest[1..], text, true, parts);
            nothing || (0..=text.len()).any(|n| model(rest, &text[n..], false, parts))
        }
        [b'*', rest @ ..] => (0..=text.len())
            .take_while(|n| !text[..*n].iter().any(stop))
            .any(|n| model(rest, &text[n..], false, parts)),
        [b'?', rest @ ..] => {
            text.first().is_some_and(|b| !stop(b)) && model(rest, &text[1..], false, parts)
        }
        [b'\\', byte, rest @ ..] | [byte, rest @ ..] => {
            text.first() == Some(byte) && model(rest, &text[1..], *byte == b'/', parts)
        }
    }
}

fn any_field() -> impl Strategy<Value = Field> {
    proptest::sample::select(Field::ALL.to_vec())
}

fn any_name() -> impl Strategy<Value = Vec<u8>> {
    proptest::sample::select(vec![
        b"user.a".to_vec(),
        b"user.b".to_vec(),
        b"trusted.a".to_vec(),
    ])
}

fn any_pattern() -> impl Strategy<Value = Vec<u8>> {
    let piece =
        proptest::sample::select(vec!["a", "b", "/", "*", "**", "**/", "?", "\\*", "ab", "."]);
    vec(piece, 0..7).prop_map(|v| v.concat().into_bytes())
}

fn any_text() -> impl Strategy<Value = Vec<u8>> {
    vec(proptest::sample::select(b"aab/*.".to_vec()), 0..12)
}

fn any_num() -> impl Strategy<Value = Num> {
    let leaf = prop_oneof![
        (0u64..4).prop_map(Num::Uint),
        any::<u64>().prop_map(Num::Uint),
        (-3i64..3).prop_map(Num::Sint),
        ((-2i64..2), (0u32..1_000_000_000)).prop_map(|(s, n)| Num::Time(s, n)),
        any_field().prop_map(Num::Field),
        any_field().prop_map(Num::Field),
        any_name().prop_map(Num::Xattr),
    ];
    leaf.prop_recursive(2, 4, 2, |inner| {
        (inner.clone(), inner).prop_map(|(a, b)| Num::Bits(Box::new(a), Box::new(b)))
    })
}

fn any_set() -> impl Strategy<Value = Vec<u64>> {
    proptest::collection::btree_set(prop_oneof![0u64..8, any::<u64>()], 0..6)
        .prop_map(|s| s.into_iter().collect())
}

fn any_expr() -> impl Strategy<Value = Expr> {
    let cmp =
        proptest::sample::select(vec![op::EQ, op::EQ, op::NE, op::LT, op::LE, op::GT, op::GE]);
    let leaf = prop_oneof![
        (cmp, any_num(), any_num()).prop_map(|(c, a, b)| Expr::Compare(c, a, b)),
        (any_num(), any_set()).prop_map(|(n, s)| Expr::In(n, s)),
        any_set().prop_map(|s| Expr::In(Num::Field(Field::Key), s)),
        proptest::sample::select(Flag::ALL.to_vec()).prop_map(Expr::Flag),
        any_name().prop_map(Expr::Xattr),
        (any_name(), any_text()).prop_map(|(n, v)| Expr::XattrEq(n, v)),
        (any_name(), any_pattern()).prop_map(|(n, p)| Expr::XattrGlob(n, p)),
        any_pattern().prop_map(Expr::Path),
        any_pattern().prop_map(Expr::Name),
        (0u64..3).prop_map(Expr::Under),
    ];
    leaf.prop_recursive(4, 16, 2, |inner| {
        prop_oneof![
            (inner.clone(), inner.clone()).prop_map(|(a, b)| Expr::And(Box::new(a), Box::new(b))),
            (inner.clone(), inner.clone()).prop_map(|(a, b)| Expr::Or(Box::new(a), Box::new(b))),
            inner.prop_map(|a| Expr::Not(Box::new(a))),
        ]
    })
}

fn any_file() -> impl Strategy<Value = File> {
    let value = prop_oneof![
        any_text(),
        (-3i64..5).prop_map(|n| n.to_string().into_bytes()),
        Just(b"12345678901234567890".to_vec()),
    ];
    (
        vec(prop_oneof![0u64..4, any::<u64>()], 32),
        vec(any::<bool>(), 8),
        any_text(),
        proptest::collection::btree_map(any_name(), value, 0..3),
        vec(any::<bool>(), DIRS_MAX),
    )
        .prop_map(|(numbers, flags, path, attributes, under)| File {
            fields: (0u16..)
                .zip(numbers.iter().map(|n| i128::from(*n)))
                .collect(),
            flags,
            path,
            attributes,
            under,
            told: Told::All,
        })
}

fn satisfies(filter: &Filter, need: Need, file: &File) -> bool {
    let key = file.fields[&(Field::Key as u16)];
    let ino = file.fields[&(Field::Ino as u16)];
    match need {
        Need::Key(k) => i128::from(k) == key,
        Need::Keys(span) => filter.numbers(span).any(|n| i128::from(n) == key),
        Need::File(i) => i128::from(i) == ino,
        Need::Files(span) => filter.numbers(span).any(|n| i128::from(n) == ino),
        Need::Under(dir) => file.under[filter.dirs()[dir].0 as usize],
    }
}

proptest! {
    /// The machine says what the expression means. The subject's places of directories are
    /// those of the filter, so that expressions name them by their order.
    #[test]
    fn programs_mean_their_expressions(expr in any_expr(), files in vec(any_file(), 4)) {
        let mut program = Program::default();
        program.expr(&expr);
        let filter = match program.verify() {
            Ok(filter) => filter,
            // Deeper than the stack.
            Err(e) => {
                prop_assert_eq!(e, E2BIG);
                return Ok(());
            }
        };
        let order: Vec<usize> = filter.dirs().iter().map(|d| d.0 as usize).collect();
        for file in files {
            let mut subject = file.clone();
            subject.under = order.iter().map(|d| file.under[*d]).collect();
            let said = filter.run(&mut subject).unwrap();
            prop_assert_eq!(said, Some(truth(&expr, &file)));
            // What is known with less is true with more.
            for told in [Told::Record, Told::Inode] {
                subject.told = told;
                let early = filter.run(&mut subject).unwrap();
                prop_assert!(early.is_none() || early == said, "{:?} {:?}", told, early);
                let uses = filter.uses();
                if told == Told::Inode && !uses.path && !uses.far {
                    prop_assert_eq!(early, said);
                }
            }
            if let (Some(need), Some(true)) = (filter.need(), said) {
                prop_assert!(satisfies(&filter, need, &file), "{:?}", need);
            }
        }
    }

    /// Whatever instructions come, they are refused or they run.
    #[test]
    fn hostile_programs_do_no_harm(
        insns in vec((0u16..40, prop_oneof![0u16..30, Just(0)], prop_oneof![Just(0u32), 0u32..40, any::<u32>()],
            prop_oneof![Just(0u64), 0u64..64, any::<u64>()]), 0..40),
        data in vec(any::<u8>(), 0..80),
        mut file in any_file(),
    ) {
        let mut program = Program { data, ..Program::default() };
        for (op, field, len, value) in insns {
            program.push(op, field, len, value);
        }
        if let Ok(filter) = program.verify() {
            prop_assert!(filter.run(&mut file).unwrap().is_some());
        }
    }

    /// The same, with types that fit more often: a good program with one thing changed.
    #[test]
    fn spoilt_programs_do_no_harm(
        expr in any_expr(), mut file in any_file(), at in any::<usize>(), what in 0u8..6, by in any::<u64>(),
    ) {
        let mut program = Program::default();
        program.expr(&expr);
        let count = program.insns.len();
        let insn = &mut program.insns[at % count];
        match what {
            0 => insn.op = (by % 40) as u16,
            1 => insn.field = (by % 40) as u16,
            2 => insn.len = by as u32,
            3 => insn.value = by,
            4 => insn.value = insn.value.wrapping_add(by % 16),
            _ => {
                program.insns.remove(at % count);
            }
        }
        if let Ok(filter) = program.verify() {
            prop_assert!(filter.run(&mut file).unwrap().is_some());
        }
    }

    #[test]
    fn patterns_match_what_they_say(pattern in any_pattern(), text in any_text(), parts in any::<bool>()) {
        prop_assert!(glob::valid(&pattern));
        prop_assert_eq!(glob::matches(&pattern, &text, parts), model(&pattern, &text, true, parts));
    }

    #[test]
    fn any_bytes_are_a_pattern_or_not(pattern in vec(proptest::sample::select(b"a]^![-\\*?/z".to_vec()), 0..12), text in any_text()) {
        let matched = glob::matches(&pattern, &text, true);
        prop_assert!(glob::valid(&pattern) || !matched);
    }
}

#[test]
fn classes() {
    for (pattern, yes, no) in [
        ("[abc]", "b", "d"),
        ("[!abc]", "d", "a"),
        ("[^abc]", "d", "a"),
        ("[a-c]x", "bx", "dx"),
        ("[]a]", "]", "b"),
        ("[!]a]", "b", "]"),
        ("[a-]", "-", "b"),
        ("[\\]x]", "]", "\\"),
        ("*.[ch]", "main.c", "main.o"),
        ("[!a]", "b", "/"),
        ("**/b", "b", "ab"),
        ("**/b", "a/x/b", "a/xb"),
        ("a/**/b", "a/b", "ab"),
        ("a/**/b", "a/x/y/b", "a/x/yb"),
        ("a/**", "a/x/y", "b/x"),
        ("a**b", "a/x/b", "a/x/c"),
    ] {
        assert!(glob::valid(pattern.as_bytes()), "{pattern}");
        assert!(
            glob::matches(pattern.as_bytes(), yes.as_bytes(), true),
            "{pattern} {yes}"
        );
        assert!(
            !glob::matches(pattern.as_bytes(), no.as_bytes(), true),
            "{pattern} {no}"
        );
    }
    for bad in ["[", "[a", "a[!", "a\\", "[]", "[a\\]"] {
        assert!(!glob::valid(bad.as_bytes()), "{bad}");
    }
}

/// A pattern that ruins machines that try one way after the other.
#[test]
fn a_malicious_pattern_takes_bounded_time() {
    let pattern = "**a*".repeat(GLOBS_MAX / 4);
    let text = "ab".repeat(2047);
    assert!(!glob::matches(
        (pattern + "c").get(..GLOBS_MAX).unwrap().as_bytes(),
        b"bbbb",
        true
    ));
    let pattern = "**a*".repeat(GLOBS_MAX / 4 - 1) + "c";
    assert!(!glob::matches(pattern.as_bytes(), text.as_bytes(), true));
}

#[test]
fn limits() {
    let many = |n: usize| {
        let mut program = Program::default();
        program.push(op::FLAG, 1, 0, 0);
        for _ in 1..n {
            program.push(op::NOT, 0, 0, 0);
        }
        program.verify().map(|_| ())
    };
    assert_eq!(many(INSNS_MAX), Ok(()));
    assert_eq!(many(INSNS_MAX + 1), Err(E2BIG));
    assert_eq!(Program::default().verify().map(|_| ()), Err(EINVAL));
    let deep = |n: usize| {
        let mut program = Program::default();
        for _ in 0..n {
            program.push(op::FLAG, 1, 0, 0);
        }
        for _ in 1..n {
            program.push(op::OR, 0, 0, 0);
        }
        program.verify().map(|_| ())
    };
    assert_eq!(deep(STACK_MAX), Ok(()));
    assert_eq!(deep(STACK_MAX + 1), Err(E2BIG));
    let data = |len: usize| {
        let mut program = Program::default();
        program.push(op::FLAG, 1, 0, 0);
        program.data = vec![0; len];
        program.verify().map(|_| ())
    };
    assert_eq!(data(DATA_MAX), Ok(()));
    assert_eq!(data(DATA_MAX + 1), Err(E2BIG));
    let globs = |each: usize| {
        let mut program = Program::default();
        program.with_data(op::PATH_GLOB, &vec![b'a'; each]);
        program.with_data(op::NAME_GLOB, &vec![b'a'; each]);
        program.push(op::OR, 0, 0, 0);
        program.verify().map(|_| ())
    };
    assert_eq!(globs(GLOBS_MAX / 2), Ok(()));
    assert_eq!(globs(GLOBS_MAX / 2 + 1), Err(E2BIG));
    let dirs = |n: u64| {
        let mut program = Program::default();
        for dir in 0..n {
            program.push(op::UNDER, 0, 7, dir);
            if dir > 0 {
                program.push(op::OR, 0, 0, 0);
            }
        }
        program.verify().map(|_| ())
    };
    assert_eq!(dirs(DIRS_MAX as u64), Ok(()));
    assert_eq!(dirs(DIRS_MAX as u64 + 1), Err(E2BIG));
}

#[test]
fn arrays_are_in_order() {
    let with = |set: &[u64]| {
        let mut program = Program::default();
        program.expr(&Expr::In(Num::Field(Field::Key), set.to_vec()));
        program.verify().map(|_| ())
    };
    assert_eq!(with(&[1, 2, u64::MAX]), Ok(()));
    assert_eq!(with(&[1, 1]), Err(EINVAL));
    assert_eq!(with(&[2, 1]), Err(EINVAL));
}
