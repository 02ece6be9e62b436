import CRDT

/// Finding out what is missing, and filling it from any peer.
extension Replication {
    /// Whether a vector names something that was neither read here nor waits here without a gap before it: asking for
    /// what waits would bring it again and change nothing.
    mutating func lacks(_ vector: VersionVector) -> Bool {
        var isWaiting = false
        for entry in vector.entries where !log.hasRead(entry.replica, entry.sequence) {
            guard hasWaiting(entry.replica, through: entry.sequence) else { return true }
            isWaiting = true
        }
        return isWaiting && lacksCause()
    }

    /// Whether the entries of a log from its head up to this one wait here.
    private mutating func hasWaiting(_ replica: ReplicaID, through sequence: UInt64) -> Bool {
        guard !room.isEmpty, let slot = log.knownSlot(of: replica) else { return false }
        return room.contiguous(slot: slot, after: log.head(of: slot)) >= sequence
    }

    /// Whether something waits for what does not wait itself: a retired log, which no vector names.
    private mutating func lacksCause() -> Bool {
        for slot in room.slots {
            guard let entry = room.entry(slot: slot, sequence: log.head(of: slot) + 1),
                let fact = try? Fact(entry.span.bytes)
            else { continue }
            var cursor = ByteCursor(fact.dependencies)
            for _ in 0..<fact.dependencyCount {
                guard let replica = try? cursor.replica(entry.span.bytes),
                    let sequence = try? cursor.varint(entry.span.bytes)
                else { break }
                if !log.hasRead(replica, sequence), !hasWaiting(replica, through: sequence) { return true }
            }
        }
        return false
    }

    /// Drops what waits of logs whose writers are gone and of which no linked peer has more than this node: what it waits
    /// for went with its writer, or was submitted again under another id. Should somebody come who has it, it is asked for.
    mutating func forgetOrphans(known: [ReplicaID], now: Instant) {
        guard !room.isEmpty else { return orphanedSince.removeAll() }
        var orphaned: [Int: Instant] = [:]
        for slot in room.slots {
            let replica = log.replica(in: slot)
            let isGone = !known.contains(replica) && !isAnywhere(replica, log.head(of: slot) + 1)
            let isOrphan = isGone && (waitsForNothing(slot) ?? true)
            guard isOrphan else { continue }
            let since = orphanedSince[slot] ?? now
            orphaned[slot] = since
            guard now.milliseconds(since: since) >= profile.repairDelayMs * Self.orphanDelays else { continue }
            room.forget(slot: slot)
            orphaned[slot] = nil
        }
        orphanedSince = orphaned
    }

    /// Whether a linked peer has read an entry of a log.
    private func isAnywhere(_ replica: ReplicaID, _ sequence: UInt64) -> Bool {
        links.contains { log.head(of: replica, in: $0.vector) >= sequence }
    }

    /// Whether the next entry of a log, which is here, waits for a cause that nobody has; nil if it is not here. One that
    /// waits for the clock does not.
    private func waitsForNothing(_ slot: Int) -> Bool? {
        guard let entry = room.entry(slot: slot, sequence: log.head(of: slot) + 1),
            let fact = try? Fact(entry.span.bytes)
        else { return nil }
        var cursor = ByteCursor(fact.dependencies)
        for _ in 0..<fact.dependencyCount {
            guard let replica = try? cursor.replica(entry.span.bytes),
                let sequence = try? cursor.varint(entry.span.bytes)
            else { return true }
            if !log.hasRead(replica, sequence), !isAnywhere(replica, sequence) { return true }
        }
        return false
    }

    /// Remembers what a peer has more than we do; what is on its way has one repair delay to arrive.
    mutating func noteAhead(_ i: Int, now: Instant) {
        if let ahead = links[i].ahead, lacks(ahead.vector) { return }
        links[i].ahead = lacks(links[i].vector) ? (links[i].vector, now) : nil
    }

    mutating func want(_ i: Int, now: Instant, into effects: inout [Effect], _ out: inout [UInt8]) {
        counters.repairs += 1
        repairing = (links[i].id, now)
        links[i].ahead = nil
        var reach = log.vector
        for slot in room.slots {
            reach.advance(log.replica(in: slot), to: room.contiguous(slot: slot, after: log.head(of: slot)))
        }
        let start = Frame.begin(.want, into: &out)
        reach.encode(into: &out)
        finish(start, i, into: &effects, &out)
    }

    mutating func startRepair(
        _ i: Int, from theirs: VersionVector, now: Instant, into effects: inout [Effect], _ out: inout [UInt8]
    ) {
        guard links[i].snapshot == nil else { return }
        let next = (0..<log.slotCount).map { log.head(of: log.replica(in: $0), in: theirs) + 1 }
        // A log of which nothing is left names itself nowhere; who has read nothing at all has not read it either.
        let isNew = theirs.entries.isEmpty && log.dropped > 0
        if isNew || next.indices.contains(where: { next[$0] < log.floor(of: $0) }) {
            return beginSnapshot(i, for: theirs, now: now, into: &effects)
        }
        links[i].repair = next
        continueRepair(i, now: now, into: &effects, &out)
    }

    /// Sends what the peer lacks, in the order in which this node applied it: each log's missing entries are a suffix,
    /// and the next one to send is the one with the lowest position among them.
    mutating func continueRepair(_ i: Int, now: Instant, into effects: inout [Effect], _ out: inout [UInt8]) {
        guard var next = links[i].repair else { return }
        while next.count < log.slotCount { next.append(1) }
        while links[i].unsentBytes < Self.unsentLimitBytes {
            // The logs that have more to send.
            var lacking = next.indices.filter { next[$0] <= log.head(of: $0) }
            if lacking.contains(where: { next[$0] < log.floor(of: $0) }) {
                // The log dropped what was about to be sent.
                links[i].repair = nil
                var theirs = VersionVector()
                for slot in next.indices { theirs.advance(log.replica(in: slot), to: next[slot] - 1) }
                return beginSnapshot(i, for: theirs, now: now, into: &effects)
            }
            let start = Frame.begin(.facts, into: &out)
            var writer = FactsWriter()
            while out.count - start < Self.repairFrameBytes {
                var lowest: (position: Int, slot: Int)?
                for slot in lacking {
                    guard let position = log.position(slot: slot, sequence: next[slot]) else { continue }
                    if lowest.map({ position < $0.position }) ?? true { lowest = (position, slot) }
                }
                guard let (position, slot) = lowest else { break }
                writer.append(position, of: log, into: &out)
                next[slot] += 1
                if next[slot] > log.head(of: slot) { lacking.removeAll { $0 == slot } }
            }
            if writer.isEmpty { out.removeSubrange(start...) } else { finish(start, i, into: &effects, &out) }
            if writer.isEmpty || !next.indices.contains(where: { next[$0] <= log.head(of: $0) }) {
                links[i].repair = nil
                links[i].pushed = log.head(of: log.mine)
                let start = Frame.begin(.done, into: &out)
                log.vector.encode(into: &out)
                finish(start, i, into: &effects, &out)
                return
            }
        }
        links[i].repair = next
    }
}
