import CRDT

/// Writes the body of a facts frame: entries, each log's in order, interleaved as they were applied.
///
/// | item | bytes |
/// |---|---|
/// | 0 | then 8 of replica and a varint: the next entry is this one of that log |
/// | 1 | then a varint of length and the entry; the one after it has the next number |
struct FactsWriter {
    private var replica: ReplicaID?
    private var next: UInt64 = 0

    /// Whether nothing was written.
    var isEmpty: Bool { replica == nil }

    mutating func append(_ position: Int, of log: borrowing FactLog, into out: inout [UInt8]) {
        let record = log.record(at: position)
        let owner = log.replica(in: Int(record.slot))
        if owner != replica || record.sequence != next {
            out.append(0)
            out.append(replica: owner)
            out.append(varint: record.sequence)
            replica = owner
        }
        next = record.sequence + 1
        out.append(1)
        out.append(varint: UInt64(record.length))
        log.read(position) { out.append(copying: $0) }
    }
}

/// Reads what `FactsWriter` wrote.
struct FactsReader {
    private var replica: ReplicaID?
    private var next: UInt64 = 0

    /// The next entry and where it lies; nil at the end.
    mutating func next(
        _ cursor: inout ByteCursor, _ bytes: RawSpan
    ) throws(DecodeError) -> (replica: ReplicaID, sequence: UInt64, range: Range<Int>)? {
        while cursor.remaining > 0 {
            switch try cursor.u8(bytes) {
            case 0:
                replica = try cursor.replica(bytes)
                next = try cursor.varint(bytes)
                guard VersionVector.sequences.contains(next) else { throw .badValue(field: "sequence") }
            case 1:
                guard let replica else { throw .badValue(field: "replica") }
                let range = try cursor.block(bytes, limit: Fact.maximumBytes)
                defer { next += 1 }
                return (replica, next, range)
            default: throw .badValue(field: "item")
            }
        }
        return nil
    }
}
