// SPDX-License-Identifier: GPL-2.0
//! Values as `debug` shows them: one tree of them for text and for JSON, so that both say the same.

use serde::ser::{SerializeMap, SerializeSeq, Serializer};
use serde::Serialize;
use vexfs::libvexfs::format::Time;

/// What is shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Show {
    /// Not known, or none.
    None,
    /// Yes or no.
    Flag(bool),
    /// A number.
    Number(u64),
    /// A number that may be below zero.
    Signed(i64),
    /// A text.
    Text(String),
    /// Several of a kind.
    List(Vec<Show>),
    /// Named fields, in order.
    Map(Map),
}

/// Named fields, in order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Map(Vec<(&'static str, Show)>);

impl Map {
    /// No fields yet.
    pub fn new() -> Map {
        Map::default()
    }

    /// Adds a field.
    pub fn put(&mut self, name: &'static str, value: impl Into<Show>) -> &mut Map {
        self.0.push((name, value.into()));
        self
    }

    /// Adds a field, as a link of a chain.
    pub fn with(mut self, name: &'static str, value: impl Into<Show>) -> Map {
        self.put(name, value);
        self
    }

    /// Adds the fields of another.
    pub fn append(&mut self, other: Map) -> &mut Map {
        self.0.extend(other.0);
        self
    }

    /// As text for people.
    pub fn text(&self) -> String {
        let mut out = String::new();
        self.lines(0, &mut out);
        out.truncate(out.trim_end().len());
        out
    }

    fn lines(&self, depth: usize, out: &mut String) {
        let width = self.0.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
        for (name, value) in &self.0 {
            let name = name.replace('_', " ");
            let indent = "  ".repeat(depth);
            match value {
                Show::Map(map) => {
                    out.push_str(&format!("{indent}{name}:\n"));
                    map.lines(depth + 1, out);
                }
                Show::List(list) if !list.is_empty() => {
                    out.push_str(&format!("{indent}{name}:\n"));
                    list_lines(list, depth + 1, out);
                }
                _ => out.push_str(&format!("{indent}{name:<width$}  {}\n", value.word())),
            }
        }
    }

    /// On one line, without the names: the row of a table.
    fn cells(&self) -> Option<Vec<String>> {
        let flat = |value: &Show| !matches!(value, Show::Map(_) | Show::List(_));
        let cells = self.0.iter().map(|(_, value)| value.word());
        self.0
            .iter()
            .all(|(_, value)| flat(value))
            .then(|| cells.collect())
    }

    fn names(&self) -> Vec<&'static str> {
        self.0.iter().map(|(name, _)| *name).collect()
    }
}

/// A list: as tables where neighbours have the same fields, one by one otherwise.
fn list_lines(list: &[Show], depth: usize, out: &mut String) {
    let indent = "  ".repeat(depth);
    let mut rest = list;
    while let Some(first) = rest.first() {
        let Show::Map(map) = first else {
            out.push_str(&format!("{indent}{}\n", first.word()));
            rest = &rest[1..];
            continue;
        };
        let row = |show: &Show| match show {
            Show::Map(other) if other.names() == map.names() => other.cells(),
            _ => None,
        };
        let rows: Vec<Vec<String>> = rest.iter().map_while(row).collect();
        if rows.is_empty() {
            out.push_str(&format!("{indent}-\n"));
            map.lines(depth + 1, out);
            rest = &rest[1..];
            continue;
        }
        rest = &rest[rows.len()..];
        let head: Vec<String> = map.names().iter().map(|n| n.replace('_', " ")).collect();
        let width = |column: usize| {
            let cells = rows.iter().chain([&head]);
            cells
                .map(|row| row[column].chars().count())
                .max()
                .unwrap_or(0)
        };
        let widths: Vec<usize> = (0..head.len()).map(width).collect();
        for row in [&head].into_iter().chain(&rows) {
            let cells = row.iter().zip(&widths);
            let line: Vec<String> = cells
                .map(|(cell, width)| format!("{cell:<width$}"))
                .collect();
            out.push_str(&format!("{indent}{}\n", line.join("  ").trim_end()));
        }
    }
}

impl Show {
    /// In one word or line.
    fn word(&self) -> String {
        match self {
            Show::None => "-".to_owned(),
            Show::List(list) if list.is_empty() => "-".to_owned(),
            Show::Flag(true) => "yes".to_owned(),
            Show::Flag(false) => "no".to_owned(),
            Show::Number(n) => n.to_string(),
            Show::Signed(n) => n.to_string(),
            Show::Text(text) if text.is_empty() => "''".to_owned(),
            Show::Text(text) => text.clone(),
            Show::List(list) => list.iter().map(Show::word).collect::<Vec<_>>().join(" "),
            Show::Map(map) => map.cells().unwrap_or_default().join(" "),
        }
    }
}

impl Serialize for Show {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        match self {
            Show::None => to.serialize_none(),
            Show::Flag(flag) => to.serialize_bool(*flag),
            Show::Number(n) => to.serialize_u64(*n),
            Show::Signed(n) => to.serialize_i64(*n),
            Show::Text(text) => to.serialize_str(text),
            Show::List(list) => {
                let mut all = to.serialize_seq(Some(list.len()))?;
                for one in list {
                    all.serialize_element(one)?;
                }
                all.end()
            }
            Show::Map(map) => map.serialize(to),
        }
    }
}

impl Serialize for Map {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let mut all = to.serialize_map(Some(self.0.len()))?;
        for (name, value) in &self.0 {
            all.serialize_entry(name, value)?;
        }
        all.end()
    }
}

macro_rules! from {
    ($($type:ty => $value:ident: $as:expr;)*) => {
        $(
            impl From<$type> for Show {
                fn from($value: $type) -> Show {
                    $as
                }
            }
        )*
    };
}

from! {
    bool => v: Show::Flag(v);
    u8 => v: Show::Number(v.into());
    u16 => v: Show::Number(v.into());
    u32 => v: Show::Number(v.into());
    u64 => v: Show::Number(v);
    usize => v: Show::Number(v as u64);
    i64 => v: Show::Signed(v);
    &str => v: Show::Text(v.to_owned());
    String => v: Show::Text(v);
    Map => v: Show::Map(v);
    Time => v: Show::Text(time(v.sec, Some(v.nsec)));
}

impl<T: Into<Show>> From<Option<T>> for Show {
    fn from(value: Option<T>) -> Show {
        value.map_or(Show::None, Into::into)
    }
}

impl<T: Into<Show>> From<Vec<T>> for Show {
    fn from(list: Vec<T>) -> Show {
        Show::List(list.into_iter().map(Into::into).collect())
    }
}

/// Bytes of a name: as they are where they are printable UTF-8, escaped otherwise.
pub fn name(bytes: &[u8]) -> Show {
    let mut out = String::new();
    for chunk in bytes.utf8_chunks() {
        for c in chunk.valid().chars() {
            match c {
                '\\' => out.push_str("\\\\"),
                c if c.is_control() => out.extend(c.escape_default()),
                c => out.push(c),
            }
        }
        for byte in chunk.invalid() {
            out.push_str(&format!("\\x{byte:02x}"));
        }
    }
    Show::Text(out)
}

/// Bytes in hexadecimal.
pub fn hex(bytes: &[u8]) -> Show {
    Show::Text(bytes.iter().map(|b| format!("{b:02x}")).collect())
}

/// A key of a tree.
pub fn key(key: u128) -> Show {
    Show::Text(format!("{key:#x}"))
}

/// Bits that have names; those without are shown as a number.
pub fn bits(value: u64, names: &[(u64, &str)]) -> Show {
    let mut words: Vec<String> = Vec::new();
    let mut rest = value;
    for (bit, name) in names {
        if value & bit != 0 {
            words.push((*name).to_owned());
            rest &= !bit;
        }
    }
    if rest != 0 {
        words.push(format!("{rest:#x}"));
    }
    words.into()
}

/// Seconds since 1970 as a date, UTC; with nanoseconds where there are some.
pub fn time(sec: i64, nsec: Option<u32>) -> String {
    const DAY: i64 = 86_400;
    // The civil calendar, from days that begin with March 1 of the year 0.
    let days = i128::from(sec.div_euclid(DAY)) + 719_468;
    let era = days.div_euclid(146_097);
    let day = days.rem_euclid(146_097);
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let of_year = day - (365 * year + year / 4 - year / 100);
    let month = (5 * of_year + 2) / 153;
    let mday = of_year - (153 * month + 2) / 5 + 1;
    let (month, next) = if month < 10 {
        (month + 3, 0)
    } else {
        (month - 9, 1)
    };
    let year = year + era * 400 + next;
    let of_day = sec.rem_euclid(DAY);
    let (hour, minute, second) = (of_day / 3_600, of_day / 60 % 60, of_day % 60);
    let fraction = nsec.map(|n| format!(".{n:09}")).unwrap_or_default();
    format!("{year:04}-{month:02}-{mday:02}T{hour:02}:{minute:02}:{second:02}{fraction}Z")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_dates() {
        assert_eq!(time(0, None), "1970-01-01T00:00:00Z");
        assert_eq!(time(951_782_400, Some(5)), "2000-02-29T00:00:00.000000005Z");
        assert_eq!(time(1_795_276_800, None), "2026-11-21T16:00:00Z");
        assert_eq!(time(-1, None), "1969-12-31T23:59:59Z");
        for far in [i64::MIN, i64::MAX] {
            assert!(time(far, Some(u32::MAX)).ends_with('Z'));
        }
    }

    #[test]
    fn names_are_printable_and_can_be_told_apart() {
        assert_eq!(name("grün".as_bytes()), Show::Text("grün".to_owned()));
        assert_eq!(name(b"a\nb\\\xff"), Show::Text("a\\nb\\\\\\xff".to_owned()));
    }

    #[test]
    fn lists_of_like_things_are_tables() {
        let row = |a: u64, b: &str| Map::new().with("number", a).with("long_name", b);
        let all = Map::new()
            .with("first", 1u64)
            .with("rows", vec![row(1, "x"), row(1000, "yy")]);
        let text = "first  1\nrows:\n  number  long name\n  1       x\n  1000    yy";
        assert_eq!(all.text(), text);
        assert_eq!(
            serde_json::to_string(&all).unwrap(),
            r#"{"first":1,"rows":[{"number":1,"long_name":"x"},{"number":1000,"long_name":"yy"}]}"#
        );
    }
}
