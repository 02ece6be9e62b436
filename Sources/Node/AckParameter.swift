internal import NodeCore
internal import Transport

/// What a request asks to be acknowledged by is no level.
struct BadAck: Error {
    /// What is wrong and what to do.
    let message: String
}

/// How many nodes must have a write before it is answered: the query parameter `ack`, or else the header `Hypha-Ack`.
enum AckParameter {
    /// Reads what a request asks for. Only writes are acknowledged: whatever else says it, for example because a client
    /// sends the header with all of its requests, is answered as ever.
    static func read(_ head: HTTPHead, _ bytes: RawSpan) throws(BadAck) -> AckLevel {
        switch head.method {
        case .post, .put, .patch, .delete: break
        case .get, .head, .options, .other: return .local
        }
        // A header that is no level is a mistake, even where it does not count.
        var asked = AckLevel.local
        if let value = head.header("hypha-ack", in: bytes) { asked = try level(bytes, value, "Hypha-Ack") }
        guard !head.query.range.isEmpty else { return asked }
        var given: (range: Range<Int>, isFound: Bool) = (0..<0, false)
        PercentEncoding.forEachParameter(bytes, head.query.range) { name, value in
            if PercentEncoding.decode(bytes, name, plusIsSpace: true) == "ack" { given = (value, true) }
        }
        return given.isFound ? try level(bytes, given.range, "?ack=") : asked
    }

    private static func level(_ bytes: RawSpan, _ range: Range<Int>, _ name: String) throws(BadAck) -> AckLevel {
        let text = PercentEncoding.decode(bytes, range, plusIsSpace: true) ?? ""
        if let level = AckLevel(text) { return level }
        throw BadAck(message: "\(name): expected \(AckLevel.expected), found \"\(text.prefix(64))\"")
    }
}
