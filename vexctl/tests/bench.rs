// SPDX-License-Identifier: GPL-2.0

//! `vexctl bench ann`, from files of vectors to figures.

use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use tempfile::TempDir;

const DIM: usize = 24;
const BASE: usize = 1500;
const QUERIES: usize = 40;

/// Files of random vectors and of their true neighbours.
struct Lab {
    dir: TempDir,
}

fn random(count: usize, state: &mut u64) -> Vec<f32> {
    let mut number = || {
        *state ^= *state << 13;
        *state ^= *state >> 7;
        *state ^= *state << 17;
        (*state >> 40) as f32 / (1u32 << 23) as f32 - 1.0
    };
    (0..count).map(|_| number()).collect()
}

fn rows<T: Copy, const N: usize>(width: usize, values: &[T], bytes: fn(T) -> [u8; N]) -> Vec<u8> {
    let mut all = Vec::new();
    for row in values.chunks(width) {
        all.extend((width as i32).to_le_bytes());
        all.extend(row.iter().flat_map(|x| bytes(*x)));
    }
    all
}

/// The twelve nearest of some rows for each query.
fn nearest(base: &[f32], queries: &[f32], among: std::ops::Range<usize>) -> Vec<i32> {
    let mut truth = Vec::new();
    for query in queries.chunks(DIM) {
        let rows = base.chunks(DIM).zip(0..).take(among.end).skip(among.start);
        let mut all: Vec<(f32, i32)> = rows
            .map(|(row, id)| {
                let squares = row.iter().zip(query).map(|(a, b)| (a - b) * (a - b));
                (squares.sum(), id)
            })
            .collect();
        all.sort_by(|a, b| a.0.total_cmp(&b.0));
        truth.extend(all.iter().take(12).map(|(_, id)| *id));
    }
    truth
}

impl Lab {
    fn new() -> Lab {
        let dir = tempfile::tempdir().unwrap();
        let mut state = 0x9e37_79b9_7f4a_7c15;
        let base = random(BASE * DIM, &mut state);
        let queries = random(QUERIES * DIM, &mut state);
        let truth = nearest(&base, &queries, 0..BASE);
        // A thousand live; 250 go and 250 come, twice.
        let windows: Vec<i32> = (0..3)
            .flat_map(|step| nearest(&base, &queries, step * 250..1000 + step * 250))
            .collect();
        let write = |name: &str, bytes: Vec<u8>| std::fs::write(dir.path().join(name), bytes);
        write("base.fvecs", rows(DIM, &base, f32::to_le_bytes)).unwrap();
        write("queries.fvecs", rows(DIM, &queries, f32::to_le_bytes)).unwrap();
        write("truth.ivecs", rows(12, &truth, i32::to_le_bytes)).unwrap();
        write("windows.ivecs", rows(12, &windows, i32::to_le_bytes)).unwrap();
        Lab { dir }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn ann(&self, truth: &Path, more: &[&str]) -> (i32, Value) {
        self.bench("ann", truth, more)
    }

    fn bench(&self, what: &str, truth: &Path, more: &[&str]) -> (i32, Value) {
        let output = Command::new(env!("CARGO_BIN_EXE_vexctl"))
            .args(["--json", "bench", what, "--metric", "l2", "--base"])
            .arg(self.path("base.fvecs"))
            .arg("--queries")
            .arg(self.path("queries.fvecs"))
            .arg("--truth")
            .arg(truth)
            .args(more)
            .stdin(Stdio::null())
            .output()
            .unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        (
            output.status.code().unwrap(),
            serde_json::from_str(&text).unwrap_or(Value::Null),
        )
    }
}

/// Figures are all there, in order, and make sense.
fn check(report: &Value, efs: &[u64], nodes_per_page: u64) {
    assert!(report["build_s"].as_f64().unwrap() > 0.0, "{report}");
    let bytes = report["index_bytes"].as_u64().unwrap();
    let least = BASE as u64 / nodes_per_page * 4096;
    assert!((least..2 * least).contains(&bytes), "{report}");
    assert!(
        report["pinned_bytes"].as_u64().unwrap() < 1 << 16,
        "{report}"
    );
    let points = report["points"].as_array().unwrap();
    assert_eq!(points.len(), efs.len());
    let mut recall = 0.5;
    for (point, ef) in points.iter().zip(efs) {
        assert_eq!(point["ef"].as_u64(), Some(*ef));
        let number = |name: &str| point[name].as_f64().unwrap();
        assert!(
            number("recall") >= recall && number("recall") <= 1.0,
            "{report}"
        );
        recall = number("recall");
        assert!(
            number("qps") > 10.0 && number("qps_batch") > 10.0,
            "{report}"
        );
        assert!(number("p50_us") > 0.0 && number("p99_us") >= number("p50_us"));
        // A walk looks at what it finds, and not at everything.
        let pages = number("pages_read");
        assert!(pages >= 10.0 && pages < BASE as f64 / 2.0, "{report}");
    }
    assert!(recall > 0.98, "{report}");
}

#[test]
fn figures_come_in_the_promised_form() {
    let lab = Lab::new();
    let truth = lab.path("truth.ivecs");
    let (code, report) = lab.ann(&truth, &["--ef", "16,128", "--passes", "2"]);
    assert_eq!(code, 0, "{report}");
    check(&report, &[16, 128], 3);
    let options = [
        "--ef", "16,128", "--passes", "1", "--clock", "cpu", "--type", "f16",
    ];
    let (code, report) = lab.ann(&truth, &options);
    assert_eq!(code, 0, "{report}");
    check(&report, &[16, 128], 3);
}

#[test]
fn whole_numbers_and_bits_are_measured() {
    let lab = Lab::new();
    let mut state = 77;
    let mut numbers = |count: usize, most: f32| -> Vec<u8> {
        let all = random(count * 64, &mut state);
        all.iter().map(|x| ((x + 1.0) / 2.0 * most) as u8).collect()
    };
    let image = lab.path("image");
    for (element, metric, most) in [
        ("int8", "l2", 128.0),
        ("int8", "cosine", 128.0),
        ("binary", "hamming", 2.0),
    ] {
        let base = rows(64, &numbers(1001, most), u8::to_le_bytes);
        let queries = rows(64, &numbers(20, most), u8::to_le_bytes);
        std::fs::write(lab.path("base.bvecs"), base).unwrap();
        std::fs::write(lab.path("queries.bvecs"), queries).unwrap();
        let run = |metric: &str, more: &[&str]| {
            let output = Command::new(env!("CARGO_BIN_EXE_vexctl"))
                .args(["--json", "bench", "ann", "--truth", "none", "--limit"])
                .args(["1000", "--passes", "1", "--ef", "16,128", "--base"])
                .arg(lab.path("base.bvecs"))
                .arg("--queries")
                .arg(lab.path("queries.bvecs"))
                .args(["--type", element, "--metric", metric])
                .args(more)
                .output()
                .unwrap();
            let text = String::from_utf8(output.stdout).unwrap();
            (output.status.code(), text)
        };
        let name = format!("{element}-{metric}");
        let there = ["--image", image.to_str().unwrap(), "--collection", &name];
        for more in [&[][..], &there] {
            let (code, text) = run(metric, more);
            assert_eq!(code, Some(0), "{element} {metric} {more:?}: {text}");
            let report: Value = serde_json::from_str(&text).unwrap();
            let recall = |i: usize| report["points"][i]["recall"].as_f64().unwrap();
            assert!(recall(1) > 0.98 && recall(1) <= 1.0, "{element}: {text}");
            // Bits are their own codes: estimates are exact.
            let sure = element == "binary";
            assert!(recall(0) < recall(1) || sure, "{element}: {text}");
        }
        let other = match element {
            "binary" => "l2",
            _ => "hamming",
        };
        assert_eq!(run(other, &[]).0, Some(2), "{element} {other}");
    }
}

#[test]
fn an_image_is_made_and_used_again() {
    let lab = Lab::new();
    let (truth, image) = (lab.path("truth.ivecs"), lab.path("image"));
    let image = image.to_str().unwrap();
    let options = ["--image", image, "--ef", "32,128", "--passes", "1"];
    let (code, made) = lab.ann(&truth, &options);
    assert_eq!(code, 0, "{made}");
    check(&made, &[32, 128], 3);
    let fsck = || {
        let fsck = Command::new(env!("CARGO_BIN_EXE_vexctl"))
            .args(["fsck", "-n", image])
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&fsck.stdout).into_owned();
        assert!(fsck.status.success(), "{text}");
    };
    fsck();
    // What the first run wrote is what the second one searches.
    let (code, again) = lab.ann(&truth, &options);
    assert_eq!(code, 0, "{again}");
    check(&again, &[32, 128], 3);
    for i in 0..2 {
        assert_eq!(made["points"][i]["recall"], again["points"][i]["recall"]);
        assert_eq!(
            made["points"][i]["pages_read"],
            again["points"][i]["pages_read"]
        );
    }
    assert!(again["build_s"].as_f64() < made["build_s"].as_f64());
    fsck();
    let (code, other) = lab.ann(&truth, &["--image", image, "--type", "f16"]);
    assert_eq!(code, 1);
    assert!(
        other["error"].as_str().unwrap().contains("other vectors"),
        "{other}"
    );
}

#[test]
fn truth_that_is_none_is_refused() {
    let lab = Lab::new();
    let (code, report) = lab.ann(&lab.path("queries.fvecs"), &[]);
    assert_eq!(code, 1);
    assert!(
        report["error"].as_str().unwrap().contains("truth"),
        "{report}"
    );
    let (code, report) = lab.ann(&lab.path("no.ivecs"), &[]);
    assert_eq!((code, report["errno"].as_str()), (1, Some("ENOENT")));
    let (code, report) = lab.ann(&lab.path("truth.ivecs"), &["--ef", "0"]);
    assert_eq!((code, report), (2, Value::Null));
    // There are twelve neighbours a query.
    let (code, _) = lab.ann(&lab.path("truth.ivecs"), &["-k", "13"]);
    assert_eq!(code, 1);
}

#[test]
fn a_window_slides_and_recall_stays() {
    let lab = Lab::new();
    let (truth, image) = (lab.path("windows.ivecs"), lab.path("image"));
    let image = image.to_str().unwrap();
    let options = [
        "--image", image, "--window", "1000", "--step", "250", "--ef", "32,128",
    ];
    let (code, report) = lab.bench("window", &truth, &options);
    assert_eq!(code, 0, "{report}");
    assert_eq!(report["steps"].as_array().unwrap().len(), 2);
    let list = |list: &Value| -> Vec<f64> {
        let numbers = list.as_array().unwrap().iter();
        numbers.map(|x| x.as_f64().unwrap()).collect()
    };
    let before = list(&report["recall"]);
    assert!(before[0] < before[1] && before[1] > 0.98, "{report}");
    for step in report["steps"].as_array().unwrap() {
        // Rows of another window would be a quarter of all, and none of them found.
        assert!(list(&step["recall"])[1] > 0.97, "{report}");
        assert!(step["inserts"].as_f64().unwrap() > 1.0);
        assert!(step["deletes"].as_f64().unwrap() > 1.0);
    }
    let after = list(&report["steps"][1]["recall"]);
    let lost = list(&report["recall_lost"]);
    assert!((before[0] - after[0] - lost[0]).abs() < 1e-4, "{report}");
    let fsck = Command::new(env!("CARGO_BIN_EXE_vexctl"))
        .args(["fsck", "-n", image])
        .output()
        .unwrap();
    assert!(fsck.status.success(), "{fsck:?}");
    // It is no new image any more, and the other truth has one window.
    let (code, _) = lab.bench("window", &truth, &options);
    assert_eq!(code, 2);
    let other = lab.path("other");
    let options = ["--image", other.to_str().unwrap(), "--window", "1000"];
    let (code, _) = lab.bench("window", &lab.path("truth.ivecs"), &options);
    assert_eq!(code, 2, "5,000 do not fit");
    let options = [&options[..], &["--step", "250"]].concat();
    let (code, report) = lab.bench("window", &lab.path("truth.ivecs"), &options);
    assert_eq!(code, 1, "{report}");
}

#[test]
fn what_goes_with_a_mount_only_wants_one() {
    let lab = Lab::new();
    let truth = lab.path("truth.ivecs");
    let dir = lab.dir.path().to_str().unwrap();
    for options in [
        &["--threads", "2"][..],
        &["--filter", "key < 3"],
        &["--keys", "keys.txt"],
        &["--mount", dir, "--image", "image"],
        &["--mount", dir, "--threads", "2", "--clock", "cpu"],
    ] {
        assert_eq!(lab.ann(&truth, options).0, 2, "{options:?}");
    }
    let (code, report) = lab.ann(&truth, &["--mount", dir]);
    assert_eq!(code, 1);
    let error = report["error"].as_str().unwrap();
    assert!(error.contains("not on a mounted VexFS"), "{report}");
}
