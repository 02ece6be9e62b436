import CRDT
import Gossip

/// What this node has made of the documents that Soorma's memory service searches, and what it did with them.
struct Recall: Sendable {
    /// The most bytes of a content, and of metadata.
    static let maximumContentBytes = 64 << 10
    /// The most pieces of knowledge and procedures together.
    var maximumDocuments = 100_000
    /// The most bytes of vectors in the index: a query by one reads all of its tenant's of that dimension.
    var maximumVectorBytes = 512 << 20
    /// Text taken into the index in one turn, in bytes, and the pause before the next such turn in milliseconds: about
    /// a fifth of the time, so that a node that has just read what its peers have goes on with everything else.
    var turnBytes = 128 << 10
    static let pauseMs: UInt64 = 10
    /// Text that is taken in before a query is answered, in bytes; what is more has to wait for the turns.
    var queryBytes = 2 << 20

    var knowledge = RecallShelf(.knowledge) { key, documents in Knowledge(key, documents)?.entry }
    var procedures = RecallShelf(.procedure) { key, documents in Procedure(key, documents)?.entry }
    var episodes = Episodes()
    /// When the next documents are taken in.
    var wake: Instant?
    var counters = Counters()

    /// What was done since the start, for the metrics.
    struct Counters: Sendable {
        var queries = 0
        var notReady = 0
        var refused = 0
        var dropped = 0
    }

    /// Documents came with a peer's state, or all were thrown away.
    mutating func noteEverything() {
        knowledge.stale.noteEverything()
        procedures.stale.noteEverything()
        episodes.noteEverything()
    }

    var isRefreshDue: Bool { knowledge.isRefreshDue || procedures.isRefreshDue }

    func writeMetrics(into out: inout MetricsWriter) {
        out.family("recall_documents", .gauge, "Documents that can be searched, as far as they are read.")
        out.sample(["kind": "knowledge"], knowledge.count)
        out.sample(["kind": "procedure"], procedures.count)
        out.sample(["kind": "episodes"], episodes.count)
        out.gauge("recall_behind", "Documents still to be taken into the index.", knowledge.behind + procedures.behind)
        out.gauge(
            "recall_index_bytes", "Memory that the indexes take, about.",
            knowledge.indexBytes + procedures.indexBytes + episodes.indexBytes)
        out.gauge(
            "recall_vector_bytes", "Of it, vectors of clients.", knowledge.vectorBytes + procedures.vectorBytes)
        out.gauge("recall_episodes_open", "Conversations whose order is at hand.", episodes.openCount)
        out.counter("recall_queries_total", "Searches answered.", counters.queries)
        out.counter("recall_not_ready_total", "Searches refused as the index was behind.", counters.notReady)
        out.counter("recall_refused_total", "Writes refused at a bound.", counters.refused)
        out.counter("recall_interactions_dropped_total", "Oldest interactions dropped at a bound.", counters.dropped)
    }
}
