internal import CRDT
internal import Gossip
internal import NodeCore

/// What a client with a cursor is promised over its whole life, at however many nodes: every event that it asked for,
/// once, causes before effects; and what retention took from it, it is told.
extension Cluster {
    /// An event is shown to a client; the promise that this breaks, if any.
    func shown(_ sighting: Sighting, place: Int, to client: Client) -> Violation? {
        let name = EntryName(replica: sighting.replica, sequence: sighting.sequence)
        func here() -> String {
            "\(sighting.key.text), \(sighting.sequence) of log \(sighting.replica), to client \(client.number) at node "
                + "\(client.session?.node ?? -1)"
        }
        guard client.wants(ledger.traits(of: place)) else {
            return Violation("a client sees only what it subscribed to", here())
        }
        if let last = client.lastSequence[sighting.replica], sighting.sequence <= last {
            return Violation(
                "seq rises per replica on each connection", "\(sighting.sequence) after \(last): \(here())")
        }
        client.lastSequence[sighting.replica] = sighting.sequence
        // Under one number there may be two events.
        if !sharesIDs {
            if let broken = isTwice(sighting, name, place: place, client) {
                return Violation("no client sees an event twice, wherever it goes on", "\(here()): \(broken)")
            }
            if client.start.names(name), !mayBeForgotten(name, since: client.startedAt ?? 0, client) {
                return Violation("a client is not shown what was there before it asked", here())
            }
            if let cause = missingCause(of: sighting, place: place, client) {
                return Violation(
                    "causes come before effects, wherever a client goes on",
                    "\(ledger[cause].key.text) was missing before \(here())")
            }
        }
        client.seen[name] = now
        client.shown[place] = Client.Shown(name: name, stamp: sighting.stamp, connection: client.connections)
        return nil
    }

    /// A node waits for what its client has seen elsewhere as long as the dead are remembered. Then the client's cursors
    /// name it no more, and should it turn up after all, it is new.
    private func mayBeForgotten(_ name: EntryName, since: UInt64, _ client: Client) -> Bool {
        let rememberedUs = options.forgetMs * (options.profile == .lan ? 1_000 : 100)
        guard now - since >= rememberedUs else { return false }
        return client.readAtConnect[name.replica] ?? 0 < name.sequence || !client.resumedFrom.names(name)
    }

    /// Why an event must not be shown to a client again; nil if it may.
    private func isTwice(_ sighting: Sighting, _ name: EntryName, place: Int, _ client: Client) -> String? {
        if let at = client.seen[name] { return mayBeForgotten(name, since: at, client) ? nil : "the same entry" }
        guard let before = client.shown[place] else { return nil }
        // Ids count for ten minutes. Stamps have 16 bits below the milliseconds.
        let apartMs = max(before.stamp, sighting.stamp) >> 16 - min(before.stamp, sighting.stamp) >> 16
        guard apartMs < 600_000 else { return nil }
        if before.connection == client.connections { return "on one connection" }
        // Whoever has read the copy that the client saw knows both. A node that has not cannot tell that they are one.
        let isForgotten = mayBeForgotten(before.name, since: client.seen[before.name] ?? 0, client)
        if !isForgotten, client.readAtConnect[before.name.replica] ?? 0 >= before.name.sequence {
            return "its node had read \(before.name.sequence) of log \(before.name.replica), which was shown before"
        }
        tally.add(.copiesAhead)
        return nil
    }

    /// An event that the accepting node had seen before it took this one, and that the client should have been shown.
    private func missingCause(of sighting: Sighting, place: Int, _ client: Client) -> Int? {
        guard !isExcused, let origin = always.origins[sighting.replica], let taken = origin.place[place],
            !origin.unordered.contains(place)
        else { return nil }
        let from = client.verified[sighting.replica] ?? 0
        guard from < taken else { return nil }
        for cause in origin.shown[from..<taken] where lacks(client, cause) { return cause }
        client.verified[sighting.replica] = taken
        return nil
    }

    /// Whether a client wants an event, was not shown it, and was not told that it would not be.
    private func lacks(_ client: Client, _ place: Int) -> Bool {
        guard client.shown[place] == nil, client.wants(ledger.traits(of: place)) else { return false }
        if client.mayMiss(always.copies[place] ?? []) { return false }
        // Whoever asks for all that is kept is not told what is kept no longer.
        let isOld = options.keptEntries > 0 && ledger[place].askedAt ?? 0 <= client.startedAt ?? .max
        return !(client.wantsAll && isOld)
    }

    /// A client is told what it has missed; the promise that this breaks, if any.
    func resumed(_ client: Client, _ recovered: Bool, _ gaps: [Client.Gap]) -> Violation? {
        func here() -> String { "client \(client.number) at node \(client.session?.node ?? -1): \(gaps)" }
        if recovered != gaps.isEmpty { return Violation("recovered is false exactly if there are gaps", here()) }
        guard !gaps.isEmpty else { return nil }
        tally.add(.gapsTold)
        client.gaps += gaps
        guard !sharesIDs, !hadHoles else { return nil }
        for (name, at) in client.seen where gaps.contains(where: { $0.covers(name) }) {
            if mayBeForgotten(name, since: at, client) { continue }
            return Violation("a gap names only what was not seen", here())
        }
        let cursor = client.cursor.flatMap { CompactVector(cursor: $0) } ?? CompactVector()
        for gap in gaps {
            let seen = cursor.entries.contains { $0.matches(ReplicaID(gap.replica)) && $0.sequence >= gap.from }
            if gap.from > gap.to || seen { return Violation("a gap begins behind the cursor", "\(gap), \(here())") }
        }
        // Who has read a peer's state may hold single events of a log that it has not.
        guard let session = client.session, session.isOpen, !nodes[session.node].witness.missesHistory,
            let list = answerAside(nodes[session.node], .events(.init(limit: 500))).flatMap({
                try? JSONReader.parse($0)
            })
        else { return nil }
        let held = (list.array ?? []).compactMap { Sighting($0) }.first { sighting in
            gaps.contains { $0.covers(EntryName(replica: sighting.replica, sequence: sighting.sequence)) }
        }
        return held.map { Violation("a gap names only what is held no longer", "\($0), \(here())") }
    }

    /// Where a log was lost in part, or its number used twice, no cursor can tell what was seen of it.
    private var isExcused: Bool { sharesIDs || hadHoles || tally[.refusedStarts] > 0 }

    /// All clients go on without delay and are shown everything that they asked for of what their node has.
    func everyClientHasAll() throws(Violation) {
        for client in crowd.clients {
            client.isHasty = true
            takeAll(client)
        }
        try eventually("every client sees every event that it asked for", withinMs: 5_000) {
            (cluster) throws(Violation) in
            for client in cluster.crowd.clients where client.startedAt != nil {
                guard let session = client.session, client.isSubscribed else {
                    return "client \(client.number) is not connected"
                }
                if cluster.isExcused { continue }
                let missing = cluster.nodes[session.node].witness.shown.first { cluster.lacks(client, $0) }
                if let missing {
                    return
                        "\(cluster.ledger[missing].key.text), \(cluster.always.copies[missing] ?? []), not to client "
                        + "\(client.number) at node \(session.node), which has seen \(client.shown.count)"
                }
            }
            return nil
        }
    }
}
