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

impl Lab {
    fn new() -> Lab {
        let dir = tempfile::tempdir().unwrap();
        let mut state = 0x9e37_79b9_7f4a_7c15;
        let base = random(BASE * DIM, &mut state);
        let queries = random(QUERIES * DIM, &mut state);
        let mut truth = Vec::new();
        for query in queries.chunks(DIM) {
            let mut all: Vec<(f32, i32)> = base
                .chunks(DIM)
                .zip(0..)
                .map(|(row, id)| {
                    (
                        row.iter().zip(query).map(|(a, b)| (a - b) * (a - b)).sum(),
                        id,
                    )
                })
                .collect();
            all.sort_by(|a, b| a.0.total_cmp(&b.0));
            truth.extend(all.iter().take(12).map(|(_, id)| *id));
        }
        let write = |name: &str, bytes: Vec<u8>| std::fs::write(dir.path().join(name), bytes);
        write("base.fvecs", rows(DIM, &base, f32::to_le_bytes)).unwrap();
        write("queries.fvecs", rows(DIM, &queries, f32::to_le_bytes)).unwrap();
        write("truth.ivecs", rows(12, &truth, i32::to_le_bytes)).unwrap();
        Lab { dir }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn ann(&self, truth: &Path, more: &[&str]) -> (i32, Value) {
        let output = Command::new(env!("CARGO_BIN_EXE_vexctl"))
            .args(["--json", "bench", "ann", "--metric", "l2", "--base"])
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
