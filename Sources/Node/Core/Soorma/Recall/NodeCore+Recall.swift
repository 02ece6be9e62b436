import CRDT
import Gossip

/// What Soorma's memory service searches (docs/soorma-recall.md): knowledge, conversations, procedures.
extension NodeCore {
    /// What is asked of it.
    mutating func answer(
        _ id: RequestID, _ request: RecallRequest, of tenancy: Tenancy, _ bytes: RawSpan, now: Instant,
        into effects: inout Effects
    ) throws(NodeError) {
        switch request {
        case .storeKnowledge: try storeKnowledge(id, of: tenancy, bytes, now: now, into: &effects)
        case .queryKnowledge(let query, let limit, let includePublic):
            try queryKnowledge(
                id, query, limit: limit, includePublic: includePublic, of: tenancy, bytes, into: &effects)
        case .deleteKnowledge(let knowledge): try deleteKnowledge(id, knowledge, of: tenancy, now: now, into: &effects)
        case .logInteraction: try logInteraction(id, of: tenancy, bytes, now: now, into: &effects)
        case .recentInteractions(let agent, let limit):
            try listInteractions(id, with: agent, limit: limit, of: tenancy, into: &effects)
        case .searchInteractions(let agent, let query, let limit):
            try searchInteractions(id, with: agent, query, limit: limit, of: tenancy, into: &effects)
        case .storeProcedure: try storeProcedure(id, of: tenancy, bytes, now: now, into: &effects)
        case .procedures(let agent, let query, let limit):
            try findProcedures(id, of: agent, query, limit: limit, of: tenancy, into: &effects)
        case .deleteProcedure(let procedure): try deleteProcedure(id, procedure, of: tenancy, now: now, into: &effects)
        }
    }

    // MARK: - The index

    /// Takes documents into the index, a little at a time.
    mutating func settleRecall(now: Instant) {
        guard recall.isRefreshDue, !isIncomplete else { return recall.wake = nil }
        if let wake = recall.wake, wake > now { return }
        recall.knowledge.refresh(documents, bytes: recall.turnBytes)
        recall.procedures.refresh(documents, bytes: recall.turnBytes)
        recall.wake = recall.isRefreshDue ? now.advanced(milliseconds: Recall.pauseMs) : nil
    }

    /// Refuses a search in an index that could not be brought up to what is known here in the time of one request.
    private mutating func checkReady(_ shelf: RecallShelf) throws(NodeError) {
        guard shelf.isReady else {
            recall.counters.notReady += 1
            throw NodeError(
                status: 503,
                message:
                    "this node has read what its peers have, and has yet to take \(shelf.behind) documents into its "
                    + "index; ask another node, or again in a moment")
        }
        recall.counters.queries += 1
    }

    private mutating func checkRoom(_ name: String, vector: [Float]?) throws(NodeError) {
        let count = recall.knowledge.count + recall.procedures.count
        if !documents.exists(name), count >= recall.maximumDocuments {
            throw .noRoom(
                &recall.counters.refused,
                "there are \(count) pieces of knowledge and procedures already, which is the most; delete some, or "
                    + "write into one that is there (the same externalId)")
        }
        let bytes = recall.knowledge.vectorBytes + recall.procedures.vectorBytes
        if let vector, bytes + VectorIndex.bytes(vector.count) > recall.maximumVectorBytes {
            let most = recall.maximumVectorBytes >> 20
            throw .noRoom(
                &recall.counters.refused,
                "the vectors here take \(bytes >> 20) MiB, and \(most) MiB is the most; store it "
                    + "without embedding (it is found by its words), or with one of fewer dimensions")
        }
    }

    /// Writes what of a document's fields is not as it should be; says under which stamp, if anything.
    private mutating func store(
        _ name: String, _ fields: [(name: String, value: [UInt8]?)], vector: [Float]?, now: Instant,
        into effects: inout Effects
    ) throws(NodeError) -> HybridTimestamp? {
        try checkRoom(name, vector: vector)
        let isNew = !documents.exists(name)
        var changes = FieldChanges()
        for (field, value) in fields where isNew || documents.value(of: field, in: name) != value {
            changes.set(field, value)
        }
        let written = changes.changes(of: name, in: documents)
        if isNew { return try create(name, written, now: now, into: &effects) }
        return written.isEmpty ? nil : try put(name, written, now: now, into: &effects)
    }

    // MARK: - Knowledge

    private mutating func storeKnowledge(
        _ request: RequestID, of tenancy: Tenancy, _ bytes: RawSpan, now: Instant, into effects: inout Effects
    ) throws(NodeError) {
        try checkWritable()
        let wanted = try Knowledge(try Body(soorma: bytes), of: tenancy)
        let name = DocumentKind.knowledge.name(wanted.key)
        let stamp = try store(name, wanted.fields, vector: wanted.embedding, now: now, into: &effects)
        guard let stored = Knowledge(Array(wanted.key.utf8), documents) else {
            throw .conflict("somebody deleted it at the same moment; send it again")
        }
        show(request, stored.json(score: nil), Reply(status: 200, stamp: stamp), into: &effects)
    }

    private mutating func queryKnowledge(
        _ request: RequestID, _ query: String, limit: Int, includePublic: Bool, of tenancy: Tenancy, _ bytes: RawSpan,
        into effects: inout Effects
    ) throws(NodeError) {
        let vector = try Embedding.read(try Body(soorma: bytes, mayBeEmpty: true))
        guard vector != nil || !query.isEmpty else {
            throw .badQuery("query", "required, the words to look for; or send {\"embedding\": […]} as the body")
        }
        recall.knowledge.refresh(documents, bytes: recall.queryBytes)
        try checkReady(recall.knowledge)
        let found = recall.knowledge.search(
            Knowledge.room(tenancy.tenant), query, vector: vector, most: limit
        ) { $0.isFor(tenancy.user, includePublic: includePublic) }
        showList(request, found, into: &effects) { hit, out in
            out += Knowledge(hit.key, documents)?.json(score: hit.score).encoded() ?? []
        }
    }

    private mutating func deleteKnowledge(
        _ request: RequestID, _ id: String, of tenancy: Tenancy, now: Instant, into effects: inout Effects
    ) throws(NodeError) {
        try checkWritable()
        let key = Tenancy.key(tenancy.tenant, id)
        guard let known = Knowledge(Array(key.utf8), documents), known.user.isSame(as: tenancy.user) else {
            throw .notFound("\(tenancy.user.shown) has no knowledge \(id.shown); a query says ids, and whose they are")
        }
        let stamp = try put(DocumentKind.knowledge.name(key), [.remove], now: now, into: &effects)
        showGone(request, stamp, into: &effects)
    }

    // MARK: - Procedures

    private mutating func storeProcedure(
        _ request: RequestID, of tenancy: Tenancy, _ bytes: RawSpan, now: Instant, into effects: inout Effects
    ) throws(NodeError) {
        try checkWritable()
        let wanted = try Procedure(try Body(soorma: bytes), of: tenancy)
        let stamp = try store(
            DocumentKind.procedure.name(wanted.key), wanted.fields, vector: wanted.embedding, now: now,
            into: &effects)
        guard let stored = Procedure(Array(wanted.key.utf8), documents) else {
            throw .conflict("somebody deleted it at the same moment; send it again")
        }
        show(request, stored.json(for: tenancy.user, score: nil), Reply(status: 200, stamp: stamp), into: &effects)
    }

    private mutating func findProcedures(
        _ request: RequestID, of agent: String, _ query: String, limit: Int, of tenancy: Tenancy,
        into effects: inout Effects
    ) throws(NodeError) {
        recall.procedures.refresh(documents, bytes: recall.queryBytes)
        try checkReady(recall.procedures)
        let room = Procedure.room(tenancy.tenant, agent)
        var found = recall.procedures.search(room, query, most: limit) { $0.isFor(tenancy.user, includePublic: false) }
        if found.isEmpty {
            // An agent does better with what it is to do in general than with nothing.
            found = recall.procedures.newest(room, most: limit) { $0.isFor(tenancy.user, includePublic: false) }
                .map { ($0, 0) }
        }
        showList(request, found, into: &effects) { hit, out in
            out += Procedure(hit.key, documents)?.json(for: tenancy.user, score: hit.score).encoded() ?? []
        }
    }

    private mutating func deleteProcedure(
        _ request: RequestID, _ id: String, of tenancy: Tenancy, now: Instant, into effects: inout Effects
    ) throws(NodeError) {
        try checkWritable()
        let key = Tenancy.key(tenancy.tenant, id)
        guard let known = Procedure(Array(key.utf8), documents), known.user?.isSame(as: tenancy.user) ?? true else {
            throw .notFound("\(tenancy.user.shown) has no procedure \(id.shown); GET …/procedural/context says ids")
        }
        let stamp = try put(DocumentKind.procedure.name(key), [.remove], now: now, into: &effects)
        showGone(request, stamp, into: &effects)
    }
}
