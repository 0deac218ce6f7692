// SPDX-License-Identifier: GPL-2.0
//! The language of `--filter`: from text to a tree.

use crate::error::{usage, HintExt};
use anyhow::Result;

/// The language, for the help and the manual page.
pub const HELP: &str = "\
Filters (--filter) are tests, put together with `and`, `or`, `not` and parentheses:
  stale, offline, online, archived, whole      what is true of a record or its file
  size > 1M, links = 1, project = 7            also key, offset, length, version, inode, blocks
  owner = alice, group = 100                   by name or number
  mode has 0111, mode = 0644                   `has`: one of these bits; octal
  type = file                                  file, directory, symlink, fifo, socket, block, char
  mtime > 2026-01-31, ctime > -3d              also atime, btime; UTC, or so long ago (s m h d w y)
  key in (1, 2, 3), inode in @FILE             a list, or one number per line of a file
  path ~ 'docs/**/*.txt', name ~ '*.[ch]'      ? * [..] stay inside a part of the path, ** does not
  under DIRECTORY                              below it, by any of the file's names
  has user.tag, user.tag = red, user.tag ~ 'r*', user.rating >= 4
                                               extended attributes; < <= > >= compare numbers
= != < <= > >= compare, ~ and !~ match. Quote with ' or \" what has spaces or signs in it.";

/// How two things compare.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cmp {
    Eq,
    Ne,
    Lt,
    Le,
    Gt,
    Ge,
}

/// A condition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Expr {
    Both(Box<Expr>, Box<Expr>),
    Either(Box<Expr>, Box<Expr>),
    Not(Box<Expr>),
    /// A word that stands alone.
    Flag(String),
    /// A field or attribute, and what it is compared with.
    Compare(String, Cmp, String),
    /// A field, and whether some of these bits are set.
    Bits(String, String),
    /// A field, and the numbers that it may be.
    In(String, Vec<String>),
    /// A field, and a file with the numbers that it may be.
    InFile(String, String),
    /// A field or attribute, and a pattern.
    Matches(String, String),
    /// A directory.
    Under(String),
    /// An attribute.
    Has(String),
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Token {
    Word(String),
    /// A word in quotes: never a keyword.
    Quoted(String),
    Sign(&'static str),
}

const SIGNS: [&str; 12] = [
    "!=", "!~", "<=", ">=", "(", ")", ",", "=", "<", ">", "~", "@",
];

fn tokens(text: &str) -> Result<Vec<Token>> {
    let mut all = Vec::new();
    let mut rest = text.trim_start();
    while let Some(first) = rest.chars().next() {
        if first == '\'' || first == '"' {
            let inner = &rest[1..];
            let end = inner
                .find(first)
                .ok_or_else(|| usage(format!("the filter has no closing {first}")))?;
            all.push(Token::Quoted(inner[..end].to_owned()));
            rest = &inner[end + 1..];
        } else if let Some(sign) = SIGNS.iter().find(|s| rest.starts_with(**s)) {
            all.push(Token::Sign(sign));
            rest = &rest[sign.len()..];
        } else {
            let end = rest
                .char_indices()
                .find(|(at, c)| {
                    // What begins in the middle of a word belongs to it: 2026-01-31, [!a]*.
                    c.is_whitespace()
                        || "(),=<>~'\"".contains(*c)
                        || rest[*at..].starts_with("!=")
                        || rest[*at..].starts_with("!~")
                })
                .map_or(rest.len(), |(at, _)| at);
            if end == 0 {
                return Err(wrong(&format!("{first} makes no sense there")));
            }
            all.push(Token::Word(rest[..end].to_owned()));
            rest = &rest[end..];
        }
        rest = rest.trim_start();
    }
    Ok(all)
}

fn wrong(message: &str) -> anyhow::Error {
    let e: Result<()> = Err(usage(format!("the filter cannot be read: {message}")))
        .hint("vexctl search --help has the language");
    e.expect_err("it is an error")
}

/// Parentheses and `not` that may be nested.
const DEPTH_MAX: usize = 64;

struct Parser {
    tokens: std::iter::Peekable<std::vec::IntoIter<Token>>,
    depth: usize,
}

/// Reads a condition.
pub fn parse(text: &str) -> Result<Expr> {
    let mut parser = Parser {
        tokens: tokens(text)?.into_iter().peekable(),
        depth: 0,
    };
    let expr = parser.either()?;
    match parser.tokens.next() {
        None => Ok(expr),
        Some(token) => Err(wrong(&format!("{} is too much", show(&token)))),
    }
}

fn show(token: &Token) -> String {
    match token {
        Token::Word(word) | Token::Quoted(word) => format!("`{word}`"),
        Token::Sign(sign) => format!("`{sign}`"),
    }
}

impl Parser {
    fn keyword(&mut self, word: &str) -> bool {
        self.tokens
            .next_if(|t| matches!(t, Token::Word(w) if w.eq_ignore_ascii_case(word)))
            .is_some()
    }

    fn sign(&mut self, sign: &str) -> bool {
        self.tokens
            .next_if(|t| matches!(t, Token::Sign(s) if *s == sign))
            .is_some()
    }

    fn value(&mut self, what: &str) -> Result<String> {
        match self.tokens.next() {
            Some(Token::Word(word) | Token::Quoted(word)) => Ok(word),
            Some(token) => Err(wrong(&format!("{what} is missing before {}", show(&token)))),
            None => Err(wrong(&format!("{what} is missing at the end"))),
        }
    }

    fn either(&mut self) -> Result<Expr> {
        let mut left = self.both()?;
        while self.keyword("or") {
            left = Expr::Either(Box::new(left), Box::new(self.both()?));
        }
        Ok(left)
    }

    fn both(&mut self) -> Result<Expr> {
        let mut left = self.one()?;
        while self.keyword("and") {
            left = Expr::Both(Box::new(left), Box::new(self.one()?));
        }
        Ok(left)
    }

    fn one(&mut self) -> Result<Expr> {
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            return Err(wrong("it is nested too deep"));
        }
        let expr = if self.keyword("not") {
            Expr::Not(Box::new(self.one()?))
        } else if self.sign("(") {
            let inner = self.either()?;
            if !self.sign(")") {
                return Err(wrong("a parenthesis is not closed"));
            }
            inner
        } else {
            self.test()?
        };
        self.depth -= 1;
        Ok(expr)
    }

    fn test(&mut self) -> Result<Expr> {
        if self.keyword("under") {
            return Ok(Expr::Under(self.value("a directory")?));
        }
        if self.keyword("has") {
            return Ok(Expr::Has(self.value("an attribute")?));
        }
        let left = self.value("a test")?;
        if self.keyword("has") {
            return Ok(Expr::Bits(left, self.value("a number")?));
        }
        if self.keyword("in") {
            return self.list(left);
        }
        let sign = match self.tokens.peek() {
            Some(Token::Sign(sign)) => *sign,
            _ => return Ok(Expr::Flag(left)),
        };
        let cmp = match sign {
            "=" => Cmp::Eq,
            "!=" => Cmp::Ne,
            "<" => Cmp::Lt,
            "<=" => Cmp::Le,
            ">" => Cmp::Gt,
            ">=" => Cmp::Ge,
            "~" | "!~" => {
                self.tokens.next();
                let matches = Expr::Matches(left, self.value("a pattern")?);
                return Ok(if sign == "~" {
                    matches
                } else {
                    Expr::Not(Box::new(matches))
                });
            }
            _ => return Ok(Expr::Flag(left)),
        };
        self.tokens.next();
        Ok(Expr::Compare(left, cmp, self.value("a value")?))
    }

    fn list(&mut self, left: String) -> Result<Expr> {
        if self.sign("@") {
            return Ok(Expr::InFile(left, self.value("a file")?));
        }
        if !self.sign("(") {
            return Err(wrong("`in` takes a list in parentheses, or @FILE"));
        }
        let mut values = vec![self.value("a value")?];
        while self.sign(",") {
            values.push(self.value("a value")?);
        }
        if !self.sign(")") {
            return Err(wrong("the list is not closed"));
        }
        Ok(Expr::In(left, values))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flag(name: &str) -> Box<Expr> {
        Box::new(Expr::Flag(name.to_owned()))
    }

    fn compare(left: &str, cmp: Cmp, right: &str) -> Expr {
        Expr::Compare(left.to_owned(), cmp, right.to_owned())
    }

    #[test]
    fn and_binds_closer_than_or() {
        let abc = parse("a or b and not c").unwrap();
        let right = Expr::Both(flag("b"), Box::new(Expr::Not(flag("c"))));
        assert_eq!(abc, Expr::Either(flag("a"), Box::new(right)));
        let left = Expr::Either(flag("a"), flag("b"));
        assert_eq!(
            parse("(a or b) AND c").unwrap(),
            Expr::Both(Box::new(left), flag("c"))
        );
    }

    #[test]
    fn tests_of_all_kinds() {
        for (text, want) in [
            ("size>1M", compare("size", Cmp::Gt, "1M")),
            (
                "mtime >= 2026-01-31T10:00:00Z",
                compare("mtime", Cmp::Ge, "2026-01-31T10:00:00Z"),
            ),
            ("ctime > -3d", compare("ctime", Cmp::Gt, "-3d")),
            (
                "user.tag != 'two words'",
                compare("user.tag", Cmp::Ne, "two words"),
            ),
            (
                "name ~ [!a]*.c",
                Expr::Matches("name".into(), "[!a]*.c".into()),
            ),
            (
                "path !~ \"a (b)/**\"",
                Expr::Not(Box::new(Expr::Matches("path".into(), "a (b)/**".into()))),
            ),
            ("mode has 0111", Expr::Bits("mode".into(), "0111".into())),
            (
                "key in (1,2, 3)",
                Expr::In("key".into(), vec!["1".into(), "2".into(), "3".into()]),
            ),
            (
                "inode in @/tmp/x",
                Expr::InFile("inode".into(), "/tmp/x".into()),
            ),
            ("under a/b", Expr::Under("a/b".into())),
            ("has user.x", Expr::Has("user.x".into())),
            ("name = 'or'", compare("name", Cmp::Eq, "or")),
        ] {
            assert_eq!(parse(text).unwrap(), want, "{text}");
        }
    }

    #[test]
    fn what_is_no_condition_is_refused() {
        for bad in [
            "",
            "(",
            "a b",
            "a or",
            "and a",
            "size >",
            "size > > 1",
            "(a",
            "a)",
            "key in",
            "key in 1",
            "key in (1",
            "key in ()",
            "'open",
            "not",
            "under",
            "name ~ =",
            "\"",
        ] {
            assert!(parse(bad).is_err(), "{bad}");
        }
        assert!(parse(&("(".repeat(1000) + "a" + &")".repeat(1000))).is_err());
        assert!(parse(&"not ".repeat(100_000)).is_err());
    }
}
