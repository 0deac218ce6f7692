// SPDX-License-Identifier: GPL-2.0
//! The text of files, as far as an embedder is concerned: plain text, manual pages, HTML and Markdown, each perhaps
//! compressed by gzip.

use anyhow::{Context, Result};
use std::fs::File;
use std::io::Read;
use std::ops::Range;
use std::path::Path;

/// Bytes of a file (unpacked) that are looked at.
const READ_MAX: u64 = 1 << 20;

/// A piece of a file and its text.
#[derive(Debug)]
pub struct Piece {
    /// The bytes of the file that it stands for; `None`: the whole file.
    pub range: Option<Range<u64>>,
    pub text: String,
}

/// Reads the text of a file, in pieces of about `chunk` bytes if that is given and the file is not compressed. None
/// if it is not a text.
pub fn read(path: &Path, chunk: Option<usize>) -> Result<Vec<Piece>> {
    let what = || format!("cannot read {}", path.display());
    let mut bytes = Vec::new();
    File::open(path)
        .with_context(what)?
        .take(READ_MAX)
        .read_to_end(&mut bytes)
        .with_context(what)?;
    Ok(pieces(path, &bytes, chunk))
}

/// The pieces of a file with this name and these bytes.
pub fn pieces(path: &Path, bytes: &[u8], chunk: Option<usize>) -> Vec<Piece> {
    let mut name = path
        .file_name()
        .map(|n| n.to_string_lossy().into_owned())
        .unwrap_or_default();
    let mut unpacked = Vec::new();
    let packed = bytes.starts_with(&[0x1f, 0x8b]);
    if packed {
        name = name.strip_suffix(".gz").unwrap_or(&name).to_owned();
        // What can be read of a damaged file is better than nothing.
        let _ = flate2::read::MultiGzDecoder::new(bytes)
            .take(READ_MAX)
            .read_to_end(&mut unpacked);
    }
    let content = if packed { &unpacked[..] } else { bytes };
    if content.is_empty() || content.iter().take(8192).any(|&b| b == 0) {
        return Vec::new();
    }
    let kind = Kind::of(&name, content);
    // The name says more of a file than most of its words.
    let title = title(path);
    let whole = |text: String| {
        vec![Piece {
            range: None,
            text: format!("{title} {title}\n{text}"),
        }]
    };
    match chunk.filter(|_| !packed) {
        None => whole(kind.strip(&String::from_utf8_lossy(content))),
        Some(chunk) => split(content, chunk)
            .map(|range| {
                let text = kind.strip(&String::from_utf8_lossy(&content[range.clone()]));
                Piece {
                    range: Some(range.start as u64..range.end as u64),
                    text,
                }
            })
            .filter(|p| !p.text.trim().is_empty())
            .collect(),
    }
}

/// The file's name as words; that of its directory where the name says nothing.
fn title(path: &Path) -> String {
    let stem = |p: &Path| {
        let name = p
            .file_name()
            .map(|n| n.to_string_lossy().into_owned())
            .unwrap_or_default();
        name.split('.')
            .next()
            .unwrap_or("")
            .replace(['-', '_'], " ")
    };
    let own = stem(path);
    match own.to_lowercase().as_str() {
        "readme" | "copyright" | "changelog" | "news" | "index" | "todo" | "authors" => {
            format!("{} {own}", path.parent().map(stem).unwrap_or_default())
        }
        _ => own,
    }
}

/// Ranges of about `chunk` bytes that end at the end of a paragraph, or else of a line.
fn split(content: &[u8], chunk: usize) -> impl Iterator<Item = Range<usize>> + '_ {
    let chunk = chunk.max(64);
    let mut at = 0;
    std::iter::from_fn(move || {
        let rest = content.get(at..).filter(|r| !r.is_empty())?;
        let len = if rest.len() <= chunk + chunk / 2 {
            rest.len()
        } else {
            let window = &rest[..chunk];
            let paragraph = window
                .windows(2)
                .rposition(|w| w == b"\n\n")
                .filter(|&i| i > chunk / 2)
                .map(|i| i + 2);
            let line = || window.iter().rposition(|&b| b == b'\n').map(|i| i + 1);
            paragraph.or_else(line).unwrap_or(chunk)
        };
        at += len;
        Some(at - len..at)
    })
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Plain,
    Roff,
    Html,
}

impl Kind {
    fn of(name: &str, content: &[u8]) -> Kind {
        let lower = name.to_lowercase();
        let extension = lower.rsplit_once('.').map_or("", |(_, e)| e);
        let start = String::from_utf8_lossy(&content[..content.len().min(512)]).to_lowercase();
        if matches!(extension, "html" | "htm" | "xhtml" | "xml" | "svg")
            || start.contains("<html")
            || start.contains("<!doctype")
        {
            return Kind::Html;
        }
        let macros = start
            .lines()
            .filter(|l| l.starts_with('.') || l.starts_with("'\\\""))
            .count();
        let page = extension.starts_with(|c: char| c.is_ascii_digit()) && extension.len() <= 5;
        if (page && macros > 0)
            || macros > 3
            || start.starts_with(".th ")
            || start.starts_with(".dd ")
        {
            return Kind::Roff;
        }
        Kind::Plain
    }

    fn strip(self, text: &str) -> String {
        match self {
            // Markdown's marks are no letters: splitting into words drops them.
            Kind::Plain => text.to_owned(),
            Kind::Roff => strip_roff(text),
            Kind::Html => strip_tags(text),
        }
    }
}

/// Drops what makes a manual page look: macros, escapes and comments.
fn strip_roff(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for line in text.lines() {
        let line = match line.strip_prefix(['.', '\'']) {
            Some(request) => {
                let request = request.trim_start();
                if request.starts_with("\\\"") || request.starts_with("\\#") {
                    continue;
                }
                let (name, arguments) = request
                    .split_once(char::is_whitespace)
                    .unwrap_or((request, ""));
                match name {
                    "SH" | "SS" | "Sh" | "Ss" | "B" | "I" | "BR" | "IR" | "RB" | "RI" | "BI"
                    | "IB" | "TP" | "Nm" | "Nd" | "Ar" | "Fl" | "Op" | "It" | "Em" | "Pa"
                    | "Xr" | "Cm" | "Ic" | "Li" | "Dq" | "Sq" => arguments,
                    "TH" | "Dt" => arguments.split_whitespace().next().unwrap_or(""),
                    _ => continue,
                }
            }
            None => line,
        };
        let mut rest = line;
        while let Some(at) = rest.find('\\') {
            out.push_str(&rest[..at]);
            rest = &rest[at + 1..];
            let mut after = rest.chars();
            match after.next() {
                Some('f') => match after.next() {
                    Some('(') => skip(&mut after, 2),
                    Some('[') => skip_to(&mut after, ']'),
                    _ => {}
                },
                Some('(') => {
                    skip(&mut after, 2);
                    out.push(' ');
                }
                Some('[' | '*') => {
                    if after.as_str().starts_with('[') || rest.starts_with('[') {
                        skip_to(&mut after, ']');
                    } else if after.as_str().starts_with('(') {
                        skip(&mut after, 3);
                    } else {
                        skip(&mut after, 1);
                    }
                    out.push(' ');
                }
                Some('s') => {
                    let digits = after
                        .as_str()
                        .trim_start_matches(|c: char| c.is_ascii_digit() || c == '+' || c == '-');
                    after = digits.chars();
                }
                Some('"') => after = "".chars(),
                Some('-') => out.push('-'),
                Some('e') => out.push('\\'),
                _ => {}
            }
            rest = after.as_str();
        }
        out.push_str(rest);
        out.push('\n');
    }
    out
}

fn skip(chars: &mut std::str::Chars<'_>, n: usize) {
    for _ in 0..n {
        chars.next();
    }
}

fn skip_to(chars: &mut std::str::Chars<'_>, end: char) {
    for c in chars.by_ref() {
        if c == end {
            break;
        }
    }
}

/// Drops tags, comments, scripts and styles, and turns the common entities into their characters.
fn strip_tags(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('<') {
        out.push_str(&rest[..at]);
        rest = &rest[at..];
        let lower: String = rest
            .chars()
            .take(8)
            .collect::<String>()
            .to_ascii_lowercase();
        let end = if lower.starts_with("<!--") {
            "-->"
        } else if lower.starts_with("<script") {
            "</script>"
        } else if lower.starts_with("<style") {
            "</style>"
        } else {
            ">"
        };
        rest = match rest.find(end) {
            Some(i) => &rest[i + end.len()..],
            None => "",
        };
        out.push(' ');
    }
    out.push_str(rest);
    for (entity, c) in [
        ("&lt;", "<"),
        ("&gt;", ">"),
        ("&quot;", "\""),
        ("&nbsp;", " "),
        ("&#39;", "'"),
        ("&amp;", "&"),
    ] {
        if out.contains(entity) {
            out = out.replace(entity, c);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    #[test]
    fn manual_pages_are_read_as_a_person_would() {
        let page = ".\\\" A comment\n.TH GZIP 1 local\n.SH NAME\ngzip, gunzip \\- compress or \\fIexpand\\fR files\n.de XX\n.B \\-\\-force\nsize\\s-2small\\s0 \\(bu \\*(Aqx\\*(Aq\n";
        assert_eq!(Kind::of("gzip.1", page.as_bytes()), Kind::Roff);
        let text = strip_roff(page);
        assert!(
            text.contains("gzip, gunzip - compress or expand files"),
            "{text}"
        );
        assert!(
            text.contains("--force") && text.contains("sizesmall") && text.contains("GZIP"),
            "{text}"
        );
        assert!(
            !text.contains("comment") && !text.contains("XX") && !text.contains("Aq"),
            "{text}"
        );
    }

    #[test]
    fn tags_are_no_words() {
        let text = strip_tags("<html><style>p {}</style><p class=\"x\">Fish &amp; chips<br/>now<!-- not --></p><script>var y</script>");
        assert_eq!(
            text.split_whitespace().collect::<Vec<_>>(),
            ["Fish", "&", "chips", "now"]
        );
        assert_eq!(strip_tags("a < b and no end <p").trim(), "a");
    }

    #[test]
    fn compressed_files_are_unpacked_and_binary_ones_have_no_text() {
        let mut gz = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        gz.write_all(b"hidden words").unwrap();
        let found = pieces(Path::new("/x/note.gz"), &gz.finish().unwrap(), Some(100));
        assert_eq!(found.len(), 1);
        assert!(found[0].range.is_none() && found[0].text.contains("hidden words"));
        assert!(pieces(Path::new("/x/a.out"), b"\x7fELF\0\0", None).is_empty());
        assert!(pieces(Path::new("/x/empty"), b"", None).is_empty());
        assert!(pieces(Path::new("/x/cut.gz"), &[0x1f, 0x8b, 8], None).is_empty());
    }

    #[test]
    fn pieces_cover_the_file_and_end_at_lines() {
        let content = "A line of words.\n".repeat(100) + "\n" + &"More of them here.\n".repeat(50);
        let found = pieces(Path::new("/x/story.txt"), content.as_bytes(), Some(500));
        let mut at = 0;
        for piece in &found {
            let range = piece.range.clone().unwrap();
            assert_eq!(range.start, at);
            assert!(range.end - range.start <= 750);
            assert!(content[..range.end as usize].ends_with('\n'));
            at = range.end;
        }
        assert_eq!(at as usize, content.len());
        assert!(found.len() > 4);
    }

    #[test]
    fn names_count_as_words() {
        assert!(pieces(Path::new("/doc/tar/README"), b"text", None)[0]
            .text
            .starts_with("tar README"));
        assert!(pieces(Path::new("/doc/disk-usage.txt"), b"text", None)[0]
            .text
            .starts_with("disk usage"));
    }
}
