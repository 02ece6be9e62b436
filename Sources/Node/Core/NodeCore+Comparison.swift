import CRDT
import Gossip

/// Comparing states: peers whose logs are equal must have folded them into the same documents and signals. Should they
/// not, through a fault of the machine or of this program, it is logged and counted, and both take the union, a bounded
/// part in each round.
///
/// | comparison | bytes behind its number |
/// |---|---|
/// | 0 total | 8 of digest, 8 of the documents' hash, the minutes |
/// | 1 buckets | 8 of digest, 8 for each bucket of documents, the minutes |
/// | 2 request | 8 of digest, a varint of buckets and one byte for each, a varint of minutes and a varint for each |
///
/// The minutes are 8 bytes of the packed time up to which the sender has folded, a varint of their number, and for each a
/// varint of the minute since the Unix epoch and 8 bytes of the hash of its operations.
extension NodeCore {
    /// Says what this node's state hashes to, to a peer whose logs are equal.
    mutating func compareState(with link: LinkID, now: Instant, into effects: inout Effects) {
        guard !isIncomplete else { return }
        sendHashes(.total, on: link, now: now, into: &effects)
    }

    /// What a frame of state hashes is for.
    private enum Comparison: UInt8 { case total, buckets, request }

    private mutating func sendHashes(
        _ comparison: Comparison, on link: LinkID, now: Instant, into effects: inout Effects
    ) {
        let digest = cluster.log.digest
        var folded = signals.foldedThrough
        var minutes = signals.hashes(after: folded)
        if minutes.count > Self.maximumMinutes {
            // The newest are compared, the others left out by both.
            minutes.removeFirst(minutes.count - Self.maximumMinutes)
            folded = max(folded, minutes[0].minute * Signal.tickMs << 16 - 1)
        }
        let buckets =
            comparison == .total ? [documents.hash] : (0..<DocumentMap.bucketCount).map { documents.hash(ofBucket: $0) }
        cluster.sendState(.stateHashes, on: link, now: now, into: &clusterEffects, &effects.bytes) { out in
            out.append(comparison.rawValue)
            out.append(littleEndian: digest)
            for bucket in buckets { out.append(littleEndian: bucket) }
            out.append(littleEndian: folded)
            out.append(varint: UInt64(minutes.count))
            for minute in minutes {
                out.append(varint: minute.minute)
                out.append(littleEndian: minute.hash)
            }
        }
    }

    /// A peer says what its state hashes to, or asks for parts of this node's.
    mutating func receiveHashes(
        _ link: LinkID, _ bytes: RawSpan, now: Instant, into effects: inout Effects
    ) throws(DecodeError) {
        var cursor = ByteCursor(bytes)
        guard let comparison = Comparison(rawValue: try cursor.u8(bytes)) else { return }
        // Logs that differ by now explain states that do.
        guard try cursor.u64(bytes) == cluster.log.digest, !isIncomplete else { return }
        switch comparison {
        case .total:
            let isSame = try cursor.u64(bytes) == documents.hash
            let minutes = try differingMinutes(&cursor, bytes)
            counters.comparisons += 1
            guard !isSame || !minutes.isEmpty else { return }
            counters.mismatches += 1
            comparing = (cluster.log.digest, comparing?.digest == cluster.log.digest ? comparing!.rounds + 1 : 1)
            guard let rounds = comparing?.rounds, rounds <= Self.maximumRounds else { return }
            effects.list.append(
                .log(
                    .error,
                    "equal logs gave different states here and at a peer; repairing what differs "
                        + "(documents: \(!isSame), minutes of operations: \(minutes))"))
            sendHashes(.buckets, on: link, now: now, into: &effects)
        case .buckets:
            var differing: [Int] = []
            for bucket in 0..<DocumentMap.bucketCount
            where try cursor.u64(bytes) != documents.hash(ofBucket: bucket) { differing.append(bucket) }
            differing.removeLast(max(0, differing.count - Self.bucketsPerRound))
            let minutes = try differingMinutes(&cursor, bytes).suffix(Self.minutesPerRound)
            guard !differing.isEmpty || !minutes.isEmpty else { return }
            sendParts(differing, minutes, on: link, now: now, into: &effects)
            let digest = cluster.log.digest
            cluster.sendState(.stateHashes, on: link, now: now, into: &clusterEffects, &effects.bytes) { out in
                out.append(Comparison.request.rawValue)
                out.append(littleEndian: digest)
                out.append(varint: UInt64(differing.count))
                for bucket in differing { out.append(UInt8(bucket)) }
                out.append(varint: UInt64(minutes.count))
                for minute in minutes { out.append(varint: minute) }
            }
        case .request:
            var wanted: [Int] = []
            for _ in 0..<(try cursor.count(bytes, limit: DocumentMap.bucketCount)) {
                wanted.append(Int(try cursor.u8(bytes)))
            }
            var minutes: [UInt64] = []
            for _ in 0..<(try cursor.count(bytes, limit: Self.maximumMinutes)) {
                minutes.append(try cursor.varint(bytes))
            }
            sendParts(wanted, minutes, on: link, now: now, into: &effects)
            // Should there be more, the next round finds it.
            sendHashes(.total, on: link, now: now, into: &effects)
        }
    }

    /// The most minutes of operations that are compared: far more than a window of late operations has.
    private static let maximumMinutes = 4_096
    /// A round repairs so much, so that the link stays free for what is new.
    private static let bucketsPerRound = 8
    private static let minutesPerRound = 64
    /// More rounds than repair everything: then it is the repair that does not help.
    private static let maximumRounds = 128

    /// The minutes in which a peer's operations differ from those here, newer than both have folded.
    private func differingMinutes(_ cursor: inout ByteCursor, _ bytes: RawSpan) throws(DecodeError) -> [UInt64] {
        let folded = max(try cursor.u64(bytes), signals.foldedThrough)
        var theirs: [UInt64: UInt64] = [:]
        for _ in 0..<(try cursor.count(bytes, limit: Self.maximumMinutes)) {
            let minute = try cursor.varint(bytes)
            theirs[minute] = try cursor.u64(bytes)
        }
        var mine: [UInt64: UInt64] = [:]
        for entry in signals.hashes(after: folded) { mine[entry.minute] = entry.hash }
        // A minute that straddles the horizon of either is left out by both.
        let first = folded >> 16 / Signal.tickMs + 1
        return Set(mine.keys).union(theirs.keys).filter { $0 >= first && mine[$0] != theirs[$0] }.sorted()
    }

    /// Sends the registers of some buckets and the operations of some minutes.
    private mutating func sendParts(
        _ buckets: [Int], _ minutes: some Collection<UInt64>, on link: LinkID, now: Instant, into effects: inout Effects
    ) {
        if !buckets.isEmpty {
            var walk = DocumentMap.Walk(buckets: buckets)
            var hasMore = true
            while hasMore {
                var chunk: [UInt8] = []
                hasMore = documents.encodeChunk(&walk, atMost: Self.chunkBytes, into: &chunk)
                send(.documents, chunk, on: link, now: now, into: &effects)
            }
        }
        if !minutes.isEmpty {
            var walk = SignalMap.Walk(minutes: Set(minutes))
            var hasMore = true
            while hasMore {
                var chunk: [UInt8] = []
                hasMore = signals.encodeChunk(&walk, atMost: Self.chunkBytes, into: &chunk)
                send(.signals, chunk, on: link, now: now, into: &effects)
            }
        }
    }
}
