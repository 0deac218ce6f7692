// SPDX-License-Identifier: GPL-2.0

//! Patterns of paths, names and values. A pattern is run as an automaton whose states are
//! places in it, all at once, so that the time is bounded by the product of the lengths,
//! whatever the pattern.

/// The longest pattern.
pub const PATTERN_MAX: usize = 1024;
/// Words of a set of places: one for each byte, and the end.
const WORDS: usize = (PATTERN_MAX + 1).div_ceil(64);

/// What a place in a pattern asks for.
enum Token<'a> {
    /// This byte.
    Byte(u8),
    /// Any byte.
    Any,
    /// A byte of these; or any other.
    Class { bytes: &'a [u8], others: bool },
    /// Any number of bytes of one part.
    Star,
    /// Any number of any bytes.
    Everything,
}

/// The token at a place, and the place behind it. None at the end, and where no token is.
fn token(pattern: &[u8], at: usize) -> Option<(Token<'_>, usize)> {
    let rest = pattern.get(at..)?;
    Some(match *rest {
        [b'\\', byte, ..] => (Token::Byte(byte), at + 2),
        [b'\\'] | [] => return None,
        [b'*', b'*', ..] => (Token::Everything, at + 2),
        [b'*', ..] => (Token::Star, at + 1),
        [b'?', ..] => (Token::Any, at + 1),
        [b'[', ..] => {
            let others = matches!(rest.get(1), Some(b'!' | b'^'));
            let from = 1 + usize::from(others);
            let len = class_length(rest.get(from..)?)?;
            let bytes = rest.get(from..from + len)?;
            (Token::Class { bytes, others }, at + from + len + 1)
        }
        [byte, ..] => (Token::Byte(byte), at + 1),
    })
}

/// Bytes before the bracket that closes a class. One that comes first is a member.
fn class_length(class: &[u8]) -> Option<usize> {
    let mut at = 0;
    loop {
        match class.get(at)? {
            b']' if at > 0 => return Some(at),
            b'\\' => at += 2,
            _ => at += 1,
        }
    }
}

/// The byte at a place in a class, and the place behind it.
fn member(class: &[u8], at: usize) -> Option<(u8, usize)> {
    match (class.get(at)?, class.get(at + 1)) {
        (b'\\', Some(byte)) => Some((*byte, at + 2)),
        (byte, _) => Some((*byte, at + 1)),
    }
}

fn in_class(class: &[u8], byte: u8) -> bool {
    let mut at = 0;
    while let Some((first, next)) = member(class, at) {
        let range = match class.get(next) {
            Some(b'-') => member(class, next + 1),
            _ => None,
        };
        let (last, next) = range.unwrap_or((first, next));
        if (first..=last).contains(&byte) {
            return true;
        }
        at = next;
    }
    false
}

/// Whether it is a pattern: not too long, with all brackets closed and nothing cut off.
pub fn valid(pattern: &[u8]) -> bool {
    let mut at = 0;
    while let Some((_, next)) = token(pattern, at) {
        at = next;
    }
    at == pattern.len() && at <= PATTERN_MAX
}

/// A set of places in a pattern.
#[derive(Clone, Copy)]
struct Places {
    words: [u64; WORDS],
    used: usize,
}

impl Places {
    fn none(len: usize) -> Places {
        Places {
            words: [0; WORDS],
            used: (len + 1).div_ceil(64).min(WORDS),
        }
    }

    fn add(&mut self, at: usize) {
        if let Some(word) = self.words.get_mut(at / 64) {
            *word |= 1 << (at % 64);
        }
    }

    fn has(&self, at: usize) -> bool {
        self.words
            .get(at / 64)
            .is_some_and(|word| word >> (at % 64) & 1 != 0)
    }

    /// The first place from `at` on.
    fn next(&self, at: usize) -> Option<usize> {
        let mut index = at / 64;
        let mut word = *self.words.get(index)? & (!0 << (at % 64));
        while word == 0 {
            index += 1;
            if index >= self.used {
                return None;
            }
            word = *self.words.get(index)?;
        }
        Some(index * 64 + word.trailing_zeros() as usize)
    }
}

/// Where an automaton is.
struct State {
    /// Places.
    at: Places,
    /// Tokens for everything that have taken a byte already: what they may do at the start of
    /// a part is over.
    inside: Places,
}

impl State {
    fn none(len: usize) -> State {
        State {
            at: Places::none(len),
            inside: Places::none(len),
        }
    }

    /// The first place of either kind from `from` on.
    fn next(&self, from: usize) -> Option<usize> {
        match (self.at.next(from), self.inside.next(from)) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        }
    }

    /// Adds the places that are reached without a byte. They all lie behind.
    fn settle(&mut self, pattern: &[u8]) {
        let mut from = 0;
        while let Some(at) = self.next(from) {
            match token(pattern, at) {
                Some((Token::Star, next)) => self.at.add(next),
                Some((Token::Everything, next)) => {
                    self.at.add(next);
                    let begins = at == 0 || pattern.get(at - 1) == Some(&b'/');
                    if self.at.has(at) && begins && pattern.get(next) == Some(&b'/') {
                        self.at.add(next + 1);
                    }
                }
                _ => {}
            }
            from = at + 1;
        }
    }

    /// Goes on by a byte.
    fn step(&self, pattern: &[u8], byte: u8, parts: bool) -> State {
        let inside = !(parts && byte == b'/');
        let mut then = State::none(pattern.len());
        let mut from = 0;
        while let Some(at) = self.next(from) {
            from = at + 1;
            let Some((token, next)) = token(pattern, at) else {
                continue;
            };
            match token {
                Token::Byte(wanted) if wanted == byte => then.at.add(next),
                Token::Any if inside => then.at.add(next),
                Token::Class { bytes, others } if inside && in_class(bytes, byte) != others => {
                    then.at.add(next);
                }
                Token::Star if inside => then.at.add(at),
                Token::Everything => then.inside.add(at),
                _ => {}
            }
        }
        then.settle(pattern);
        then
    }
}

/// Whether a text matches a pattern. With `parts` slashes part it, and only `**` and a
/// slash match one.
pub fn matches(pattern: &[u8], text: &[u8], parts: bool) -> bool {
    if pattern.len() > PATTERN_MAX {
        return false;
    }
    let mut state = State::none(pattern.len());
    state.at.add(0);
    state.settle(pattern);
    for &byte in text {
        state = state.step(pattern, byte, parts);
        if state.next(0).is_none() {
            return false;
        }
    }
    state.at.has(pattern.len())
}
