# SPDX-License-Identifier: GPL-2.0
"""The libraries that VexFS's index is compared with, each behind the same three methods.

`build(base)` makes an index, `search(query, effort)` gives ids, `batch(queries, effort)` may give
them faster. All vectors are unit vectors: cosine is the inner product. One thread each.
"""

import importlib
import importlib.metadata


class Hnswlib:
    package, efforts = "hnswlib", (16, 32, 64, 128, 256, 512)
    label = "hnswlib M16"

    def build(self, base):
        import hnswlib

        self.index = hnswlib.Index(space="ip", dim=base.shape[1])
        self.index.init_index(max_elements=len(base), M=16, ef_construction=200)
        self.index.set_num_threads(1)
        self.index.add_items(base, range(len(base)), num_threads=1)

    def search(self, query, effort):
        self.index.set_ef(effort)
        return self.index.knn_query(query, k=10, num_threads=1)[0][0]

    def batch(self, queries, effort):
        self.index.set_ef(effort)
        return self.index.knn_query(queries, k=10, num_threads=1)[0]


class SymphonyQG:
    package, efforts = "rabitqlib", (10, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384)
    label = "SymphonyQG R32"

    def build(self, base):
        import rabitqlib

        self.index = rabitqlib.SymqgIndex(base.shape[1], 32, "l2", 0)
        # The graph of the paper; 'pipnn' is a later one, quicker to build.
        self.index.build(base, 200, 1)

    def search(self, query, effort):
        return self.index.search(query.reshape(1, -1), 10, effort, 1)[0][0]

    def batch(self, queries, effort):
        return self.index.search_batch(queries, 10, effort, 1)[0]


class Scann:
    package, efforts = "scann", (4, 8, 16, 32, 64, 128)
    label = "ScaNN AH"

    def build(self, base):
        import scann

        leaves = max(16, int(len(base) ** 0.5))
        builder = scann.scann_ops_pybind.builder(base, 10, "dot_product")
        builder = builder.set_n_training_threads(1)
        builder = builder.tree(leaves, 10, training_sample_size=len(base))
        builder = builder.score_ah(2, anisotropic_quantization_threshold=0.2)
        self.index = builder.reorder(150).build()

    def search(self, query, effort):
        return self.index.search(query, leaves_to_search=effort)[0]

    def batch(self, queries, effort):
        return self.index.search_batched(queries, leaves_to_search=effort)[0]


class Faiss:
    package = "faiss-cpu"

    def module(self):
        import faiss

        faiss.omp_set_num_threads(1)
        return faiss

    def search(self, query, effort):
        return self.batch(query.reshape(1, -1), effort)[0]


class FaissHnsw(Faiss):
    efforts = (16, 32, 64, 128, 256, 512)
    label = "faiss HNSW32"

    def build(self, base):
        faiss = self.module()
        self.index = faiss.IndexHNSWFlat(base.shape[1], 32, faiss.METRIC_INNER_PRODUCT)
        self.index.hnsw.efConstruction = 100
        self.index.add(base)

    def batch(self, queries, effort):
        self.index.hnsw.efSearch = effort
        return self.index.search(queries, 10)[1]


class FaissFastScan(Faiss):
    efforts = (4, 8, 16, 32, 64, 128)
    label = "faiss IVF-PQ fast scan"

    def build(self, base):
        faiss = self.module()
        parts = base.shape[1] // 2
        name = f"IVF512,PQ{parts}x4fs,RFlat"
        self.index = faiss.index_factory(base.shape[1], name, faiss.METRIC_INNER_PRODUCT)
        self.index.train(base)
        self.index.add(base)
        self.index.k_factor = 16
        self.ivf = faiss.extract_index_ivf(self.index)

    def batch(self, queries, effort):
        self.ivf.nprobe = effort
        return self.index.search(queries, 10)[1]


class Usearch:
    package, efforts = "usearch", (16, 32, 64, 128, 256, 512)
    label = "usearch"

    def build(self, base):
        import numpy
        from usearch.index import Index

        self.index = Index(ndim=base.shape[1], metric="ip", dtype="f32", connectivity=16)
        self.index.add(numpy.arange(len(base)), base, threads=1)

    def search(self, query, effort):
        self.index.expansion_search = effort
        return self.index.search(query, 10, threads=1).keys

    def batch(self, queries, effort):
        self.index.expansion_search = effort
        return self.index.search(queries, 10, threads=1).keys


PEERS = [SymphonyQG, Scann, FaissFastScan, FaissHnsw, Hnswlib, Usearch]


def version(peer):
    """The version of a peer's package; None if it is not installed."""
    try:
        return importlib.metadata.version(peer.package)
    except importlib.metadata.PackageNotFoundError:
        return None
