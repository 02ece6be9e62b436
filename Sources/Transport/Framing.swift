/// How the messages to one connection look on the wire.
enum Framing: UInt8 {
    /// Frames of WebSocket (RFC 6455, section 5.2).
    case frames
    /// Chunks of an answer that does not end (RFC 9112, section 7.1).
    case chunks
    /// As they are, for clients of HTTP/1.0: the end of the connection is that of the stream.
    case bare

    /// Bytes that a message takes with what frames it.
    func size(ofMessage length: Int) -> Int {
        switch self {
        case .frames: length + (length < 126 ? 2 : length < 65_536 ? 4 : 10)
        case .chunks: length + FrameHeader(chunk: length).count + 2
        case .bare: length
        }
    }

    /// What channels of this framing may also be joined by: the caller knows event streams, not versions of HTTP.
    var isStream: Bool { self != .frames }
}

extension ByteBuffer {
    /// Appends one chunk. An empty one would end the stream, so it is left out.
    mutating func append(chunk bytes: borrowing RawSpan) {
        guard bytes.byteCount > 0 else { return }
        FrameHeader(chunk: bytes.byteCount).withBytes { append($0) }
        append(bytes)
        append("\r\n")
    }
}
