import CRDT
import Gossip

/// Writing documents, and telling those who keep something made from them.
extension NodeCore {
    /// Writes a put and applies it; says under which stamp. All of it has that one stamp, so of several changes of one field
    /// only the last is written.
    @discardableResult
    mutating func put(
        _ document: String, _ changes: [DocumentMap.Change], now: Instant, into effects: inout Effects
    ) throws(NodeError) -> HybridTimestamp {
        // Peers would refuse the put, and names are made of what clients say: ids of some length, with those of others.
        guard document.utf8.count <= DocumentMap.maximumNameBytes else {
            throw .invalid(
                "\(document.shown)… has \(document.utf8.count) bytes, tenants and the like included, and may have "
                    + "\(DocumentMap.maximumNameBytes); use shorter ids")
        }
        let changes = changes.lastOfEachField
        // Each side of a partition keeps to the bounds of a document, and both together may have made more than one write takes.
        guard changes.count <= DocumentMap.maximumChanges else {
            throw NodeError(
                status: 413,
                message: "one write may change \(DocumentMap.maximumChanges) fields, and this one would change "
                    + "\(changes.count); change fewer members at once")
        }
        scratch.removeAll(keepingCapacity: true)
        DocumentMap.encode(document, changes, into: &scratch)
        // A patch merged into what is there may be longer than any body.
        guard scratch.count <= Fact.maximumBodyBytes else {
            throw NodeError(
                status: 413,
                message: "one write may have \(Fact.maximumBodyBytes) bytes, and this one would have "
                    + "\(scratch.count); change fewer or smaller members at once")
        }
        let stamp = cluster.nextStamp(now: now)
        _ = write(.put, time: stamp.time, now: now, into: &effects)
        absorb(now: now, into: &effects)
        return stamp
    }

    /// Lets a document exist that does not, with these changes and nothing of what somebody wrote to one of that name who
    /// had not read of its removal.
    @discardableResult
    mutating func create(
        _ document: String, _ changes: [DocumentMap.Change], now: Instant, into effects: inout Effects
    ) throws(NodeError) -> HybridTimestamp {
        // Twice, as one removal alone says that something has ended (`noteAgent`).
        if documents.hasLeftovers(document) { try put(document, [.remove, .remove], now: now, into: &effects) }
        return try put(document, [.create] + changes, now: now, into: &effects)
    }

    /// A document was written by this put.
    mutating func noteDocument(_ put: RawSpan, at stamp: HybridTimestamp) {
        var cursor = ByteCursor(put)
        guard let range = try? cursor.block(put, limit: DocumentMap.maximumNameBytes),
            let (kind, key) = DocumentKind.split(put.extracting(range))
        else { return }
        switch kind {
        case .node, .reputation: break
        case .group: documentChanged(put)
        case .mailbox: mailboxes.notePut(put)
        case .agent:
            noteAgent(key, put, after: range.upperBound)
            chats.noteAgent(key, documents)
            turns.noteAgent(key)
            tasks.noteAgent(key)
        case .chat:
            noteChatPut(put, kind, key)
            turns.noteChat(key)
        case .marks: noteChatPut(put, kind, key)
        case .turn: turns.stale.note(key)
        case .task: tasks.stale.note(key)
        case .context: contexts.note(key)
        case .attention: break
        case .eventType: catalog.staleEventTypes.note(key)
        case .schema: catalog.staleSchemas.note(key)
        case .taskContext, .planContext, .plan, .session, .working:
            memories.note(kind, key)
            tracker.note(kind, key)
        case .knowledge: recall.knowledge.stale.note(key)
        case .procedure: recall.procedures.stale.note(key)
        case .episodes: recall.episodes.note(key, put, documents)
        }
    }

    /// Documents came with a peer's state, or all were thrown away: any may have changed.
    mutating func noteAllDocuments() {
        groups.isUnread = true
        mailboxes.noteDocuments()
        agents.stale.noteEverything()
        chats.isStale = true
        turns.stale.noteEverything()
        tasks.stale.noteEverything()
        contexts.isUnread = true
        recall.noteEverything()
        memories.noteEverything()
        catalog.noteEverything()
        tracker.noteEverything()
    }

    /// What names the documents of a kind among it.
    func keys(of kind: DocumentKind) -> [[UInt8]] {
        documents.names(prefix: kind.prefix)
    }

    /// Whether an agent was introduced, in whichever protocol, and has not retired.
    func isAgent(_ id: String) -> Bool { documents.exists(DocumentKind.agent.name(id)) }

    /// Refuses agents that nobody has introduced.
    func checkAgent(_ id: String) throws(NodeError) {
        guard isAgent(id) else { throw .unknownAgent(id) }
    }
}

extension [DocumentMap.Change] {
    /// Without what a later change of the same field makes void.
    fileprivate var lastOfEachField: [DocumentMap.Change] {
        guard count > 1 else { return self }
        var seen: Set<[UInt8]> = []
        var kept: [DocumentMap.Change] = []
        for change in reversed() {
            switch change {
            case .create, .remove: kept.append(change)
            case .set(let field, _), .unset(let field):
                if seen.insert(Array<UInt8>(field.utf8)).inserted { kept.append(change) }
            }
        }
        return kept.reversed()
    }
}

extension NodeError {
    /// Nobody has introduced this agent here.
    static func unknownAgent(_ id: String) -> NodeError {
        .notFound(
            "unknown agent \(id.prefix(64)): introduce it with PUT /api/manifests/{agent_id}; if that was done at another "
                + "node, send that answer's Hypha-Clock along")
    }
}
