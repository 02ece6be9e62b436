import Glibc

/// What a message is.
public enum WebSocketMessage: UInt8, Sendable {
    /// UTF-8, checked.
    case text = 1
    /// Anything.
    case binary = 2
}

/// Frames as bytes (RFC 6455, section 5.2).
public enum WebSocketFrame {
    /// Operation codes that exist.
    public enum Opcode: UInt8, Sendable {
        /// Goes on with a message.
        case continuation = 0
        /// Begins a text message.
        case text = 1
        /// Begins a binary message.
        case binary = 2
        /// Ends the conversation.
        case close = 8
        /// Asks for a pong.
        case ping = 9
        /// Answers a ping.
        case pong = 10
    }

    /// Appends one whole, final frame as a client sends it: masked with `mask`, which should be random.
    public static func appendFromClient(
        _ opcode: Opcode, _ payload: RawSpan, mask: UInt32, into out: inout [UInt8]
    ) {
        var header = FrameHeader(opcode.rawValue, payload.byteCount)
        header.setMasked()
        header.withBytes { out.append(contentsOf: $0) }
        let start = out.count + 4
        withUnsafeBytes(of: mask) { out.append(contentsOf: $0) }
        payload.withUnsafeBytes { out.append(contentsOf: $0) }
        out.withUnsafeMutableBytes { Masking.apply(mask, UnsafeMutableRawBufferPointer(rebasing: $0[start...])) }
    }

    /// The payload of a close frame.
    public static func closePayload(_ code: UInt16, _ reason: String) -> [UInt8] {
        // A control frame has room for 125 bytes; a reason is cut between characters.
        var text = ""
        for character in reason {
            if text.utf8.count + character.utf8.count > 123 { break }
            text.append(character)
        }
        return [UInt8(code >> 8), UInt8(code & 255)] + Array(text.utf8)
    }

    /// Whether a peer may send this code in a close frame (RFC 6455, section 7.4, and the IANA registry).
    public static func isValidCloseCode(_ code: UInt16) -> Bool {
        switch code {
        case 1000...1003, 1007...1014, 3000...4999: true
        default: false
        }
    }
}

/// The bytes before a message, at most ten, made on the stack: of a final, unmasked frame, or of a chunk.
struct FrameHeader {
    private var low: UInt64 = 0
    private var high: UInt16 = 0
    private(set) var count: Int

    init(_ opcode: UInt8, _ length: Int) {
        // As little-endian integers whose first byte is the first on the wire.
        let first = UInt64(0x80 | opcode)
        if length < 126 {
            count = 2
            low = first | UInt64(length) << 8
        } else if length < 65_536 {
            count = 4
            low = first | 126 << 8 | UInt64(UInt16(length).byteSwapped) << 16
        } else {
            count = 10
            let swapped = UInt64(length).byteSwapped
            low = first | 127 << 8 | swapped << 16
            high = UInt16(truncatingIfNeeded: swapped >> 48)
        }
    }

    /// The first line of a chunk (RFC 9112, section 7.1).
    init(chunk length: Int) {
        precondition(length >= 0 && length >> 32 == 0, "a chunk is below 4 GiB")
        count = 0
        var shift = length == 0 ? 0 : (63 - length.leadingZeroBitCount) & ~3
        while shift >= 0 {
            let digit = UInt8(length >> shift & 15)
            put(digit < 10 ? 48 + digit : 87 + digit)
            shift -= 4
        }
        put(13)
        put(10)
    }

    private mutating func put(_ byte: UInt8) {
        if count < 8 { low |= UInt64(byte) << (8 * count) } else { high |= UInt16(byte) << (8 * (count - 8)) }
        count += 1
    }

    mutating func setMasked() { low |= 0x8000 }

    @inline(__always)
    func withBytes<Result>(_ body: (UnsafeRawBufferPointer) -> Result) -> Result {
        var bytes = (low.littleEndian, high.littleEndian)
        return withUnsafeBytes(of: &bytes) { body(UnsafeRawBufferPointer(rebasing: $0[..<count])) }
    }
}

/// Masking of client frames (RFC 6455, section 5.3).
enum Masking {
    /// Applies `mask`, whose first byte in memory is the first on the wire, eight bytes at a time.
    static func apply(_ mask: UInt32, _ bytes: UnsafeMutableRawBufferPointer) {
        guard let base = bytes.baseAddress else { return }
        let wide = UInt64(mask) << 32 | UInt64(mask)
        let count = bytes.count
        var at = 0
        while count - at >= 8 {
            let word = (base + at).loadUnaligned(as: UInt64.self)
            (base + at).storeBytes(of: word ^ wide, as: UInt64.self)
            at += 8
        }
        var rest = wide
        while at < count {
            let byte = (base + at).load(as: UInt8.self)
            (base + at).storeBytes(of: byte ^ UInt8(truncatingIfNeeded: rest), as: UInt8.self)
            rest = rest >> 8 | rest << 24
            at += 1
        }
    }
}
