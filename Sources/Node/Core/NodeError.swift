/// Why a request is refused: a status and a text that says what to do.
struct NodeError: Error, Equatable {
    /// HTTP status.
    let status: UInt16
    /// What is wrong and what to do.
    let message: String

    /// The body or a field of it is not what it should be.
    static func invalid(_ message: String) -> NodeError {
        NodeError(status: 400, message: "Validation error: \(message)")
    }
    /// A field of a JSON body is not what it should be.
    static func invalid(field: StaticString, _ message: String) -> NodeError { .invalid("\(field): \(message)") }
    /// A part of the query is not what it should be.
    static func badQuery(_ name: String, _ message: String) -> NodeError {
        NodeError(status: 400, message: "Validation error: query parameter \(name): \(message)")
    }
    /// What the path names is not here.
    static func notFound(_ message: String) -> NodeError { NodeError(status: 404, message: message) }
    /// The request contradicts what is here.
    static func conflict(_ message: String) -> NodeError { NodeError(status: 409, message: message) }

    /// This node has not read what its peers have.
    static var incomplete: NodeError {
        NodeError(
            status: 503, message: "this node is reading what its peers have; ask another node, or again in a moment")
    }
    /// This node started anew while the request waited: what its clock names may never come here.
    static var startedAnew: NodeError {
        NodeError(
            status: 503,
            message:
                "this node started anew under another id while the request waited for its Hypha-Clock, and nothing "
                + "was written; send it to another node, or here again in a moment")
    }
    /// The same as Soorma's services say it: what they cannot make sense of is 422 there.
    var asSoorma: NodeError { status == 400 ? NodeError(status: 422, message: message) : self }

    /// The moment asked for lies before what is kept.
    static func gone(_ message: String) -> NodeError { NodeError(status: 410, message: message) }

    /// A text that is not JSON, with the place.
    static func invalid(_ error: JSONError, in bytes: RawSpan) -> NodeError {
        var (line, column) = (1, 1)
        for i in 0..<min(error.offset, bytes.byteCount) {
            if bytes.unsafeLoad(fromByteOffset: i, as: UInt8.self) == 0x0a {
                (line, column) = (line + 1, 1)
            } else {
                column += 1
            }
        }
        return .invalid("invalid JSON at byte \(error.offset) (line \(line), column \(column)): \(error.reason)")
    }
}
