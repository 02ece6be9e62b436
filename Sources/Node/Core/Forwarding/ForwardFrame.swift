import CRDT

/// What nodes tell each other about requests that another one decides, in frames of type `Frame.FrameType.forward`.
///
/// | frame | bytes |
/// |---|---|
/// | 0 ask | number, the request, a flag and who asks, the body, what the node that decides must have read: a vector |
/// | 1 answer | number, status, the body, a flag and the stamp of the put, the head of the sender's log |
/// | 2 not now | number: it does not decide that, or has not read so far; ask again, or somebody else |
///
/// Numbers are varints, texts and bodies have their length before them. An ask is answered by the node that gets it and
/// never passed on, so requests cannot go in circles.
enum ForwardFrame: Sendable {
    case ask(UInt64, Forwarded, Asker, body: [UInt8], read: VersionVector)
    case answer(UInt64, Verdict, head: UInt64)
    case notNow(UInt64)

    /// The longest body of a request or an answer, in bytes: more than a client may send, and than a document can hold.
    static let maximumBodyBytes = 4 << 20

    func encode(into out: inout [UInt8]) {
        func append(_ bytes: [UInt8]) {
            out.append(varint: UInt64(bytes.count))
            out += bytes
        }
        switch self {
        case .ask(let number, let request, let asker, let body, let read):
            out.append(0)
            out.append(varint: number)
            request.encode(into: &out)
            out.append(asker.agent == nil ? 0 : 1)
            if let agent = asker.agent { out.append(text: agent) }
            append(body)
            read.encode(into: &out)
        case .answer(let number, let verdict, let head):
            out.append(1)
            out.append(varint: number)
            out.append(littleEndian: verdict.status)
            append(verdict.body)
            out.append(verdict.stamp == nil ? 0 : 1)
            if let stamp = verdict.stamp {
                out.append(littleEndian: stamp.time)
                out.append(replica: stamp.replica)
            }
            out.append(varint: head)
        case .notNow(let number):
            out.append(2)
            out.append(varint: number)
        }
    }

    /// Nil for a frame of a later version.
    init?(_ bytes: RawSpan) throws(DecodeError) {
        var cursor = ByteCursor(bytes)
        let kind = try cursor.u8(bytes)
        guard kind <= 2 else { return nil }
        let number = try cursor.varint(bytes)
        func flag() throws(DecodeError) -> Bool {
            let byte = try cursor.u8(bytes)
            guard byte <= 1 else { throw .badValue(field: "flag") }
            return byte == 1
        }
        func body() throws(DecodeError) -> [UInt8] {
            let range = try cursor.block(bytes, limit: Self.maximumBodyBytes)
            return bytes.extracting(range).withUnsafeBytes { Array($0) }
        }
        switch kind {
        case 0:
            guard let request = try Forwarded(&cursor, bytes) else { return nil }
            let agent = try flag() ? try cursor.text(bytes, limit: DocumentMap.maximumNameBytes) : nil
            let body = try body()
            self = .ask(number, request, Asker(agent), body: body, read: try VersionVector(&cursor, bytes))
        case 1:
            let status = try cursor.u16(bytes)
            guard (200..<600).contains(status) else { throw .badValue(field: "status") }
            let body = try body()
            var stamp: HybridTimestamp?
            if try flag() { stamp = HybridTimestamp(time: try cursor.u64(bytes), replica: try cursor.replica(bytes)) }
            let head = try cursor.varint(bytes)
            guard head == 0 || VersionVector.sequences.contains(head) else { throw .badValue(field: "head") }
            self = .answer(number, Verdict(status: status, body: body, stamp: stamp), head: head)
        default: self = .notNow(number)
        }
        guard cursor.remaining == 0 else { throw .badValue(field: "end of the frame") }
    }
}
