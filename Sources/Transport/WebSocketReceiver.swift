import Glibc

/// Takes frames out of bytes that somebody else owns and puts messages together (RFC 6455, section 5). No I/O.
///
/// The payload is unmasked in place. The caller keeps what was not consumed and passes it again with what came behind.
public struct WebSocketReceiver: Sendable {
    /// Which end of the connection reads: a server's frames are never masked, a client's always.
    public enum Role: Sendable {
        /// Reads what clients send.
        case server
        /// Reads what a server sends.
        case client
    }

    /// What one read came to. Ranges point into the bytes, from their beginning.
    public enum Step: Equatable, Sendable {
        /// No whole frame is left.
        case needMore
        /// A message that came in one frame.
        case message(WebSocketMessage, Range<Int>)
        /// A message that came in several frames lies in `assembly`, until the next read.
        case assembled(WebSocketMessage)
        /// Answer with a pong of the same bytes.
        case ping(Range<Int>)
        /// Nothing to do.
        case pong(Range<Int>)
        /// The other side ends the conversation; nil if it gave no code.
        case close(code: UInt16?, reason: Range<Int>)
        /// The other side broke the rules: send this close code, then close.
        case failed(code: UInt16, reason: String)
    }

    private let role: Role
    private let limit: Int
    /// The message that fragments are being added to.
    public private(set) var assembly: [UInt8] = []
    private var fragmented: WebSocketMessage?
    private var isAssembled = false
    private var utf8 = UTF8Validator()

    /// A receiver that takes messages of at most `limit` bytes.
    public init(_ role: Role, limit: Int = 1 << 20) {
        self.role = role
        self.limit = limit
    }

    /// Reads the next frames from `offset`, and moves it behind what was consumed.
    public mutating func read(_ bytes: inout MutableRawSpan, at offset: inout Int) -> Step {
        if isAssembled {
            isAssembled = false
            assembly = []
        }
        return bytes.withUnsafeMutableBytes { all in
            while let frame = next(all, at: &offset) {
                switch frame {
                case .some(let step): return step
                case .none: continue
                }
            }
            return .needMore
        }
    }

    /// One frame: nil if it is not whole, `.some(nil)` if it was a fragment and there is nothing to tell yet.
    private mutating func next(_ all: UnsafeMutableRawBufferPointer, at offset: inout Int) -> Step?? {
        let available = all.count - offset
        guard available >= 2 else { return nil }
        let first = all[offset]
        let second = all[offset + 1]
        let header: Header
        switch check(first, second) {
        case .failure(let failure): return .some(.failed(code: 1002, reason: failure.reason))
        case .success(let good): header = good
        }
        var size = 2
        var length = Int(second & 0x7f)
        if length == 126 {
            guard available >= 4 else { return nil }
            length = Int(all[offset + 2]) << 8 | Int(all[offset + 3])
            if length < 126 { return .some(.failed(code: 1002, reason: "a length has needless bytes")) }
            size = 4
        } else if length == 127 {
            guard available >= 10 else { return nil }
            let wide = UInt64(bigEndian: (all.baseAddress! + offset + 2).loadUnaligned(as: UInt64.self))
            if wide >> 63 != 0 { return .some(.failed(code: 1002, reason: "a length has its highest bit set")) }
            if wide < 65_536 { return .some(.failed(code: 1002, reason: "a length has needless bytes")) }
            length = Int(wide)
            size = 10
        }
        if !header.opcode.isControl, length > limit - assembly.count {
            return .some(.failed(code: 1009, reason: "a message has at most \(limit) bytes; send several"))
        }
        let maskSize = role == .server ? 4 : 0
        guard available - size - maskSize >= length else { return nil }
        let start = offset + size + maskSize
        let payload = UnsafeMutableRawBufferPointer(rebasing: all[start..<start + length])
        if role == .server {
            Masking.apply((all.baseAddress! + start - 4).loadUnaligned(as: UInt32.self), payload)
        }
        offset = start + length
        return .some(take(header, UnsafeRawBufferPointer(payload), start..<start + length))
    }

    private struct Header {
        var opcode: WebSocketFrame.Opcode
        var isFinal: Bool
    }

    private struct Violation: Error { var reason: String }

    /// What can be told from the first two bytes (RFC 6455, sections 5.1, 5.2, 5.4 and 5.5).
    private func check(_ first: UInt8, _ second: UInt8) -> Result<Header, Violation> {
        if first & 0x70 != 0 {
            return .failure(Violation(reason: "a reserved bit is set; no extension was agreed on"))
        }
        guard let opcode = WebSocketFrame.Opcode(rawValue: first & 0x0f) else {
            return .failure(Violation(reason: "the opcode is reserved"))
        }
        let isFinal = first & 0x80 != 0
        if (second & 0x80 != 0) != (role == .server) {
            return .failure(
                Violation(
                    reason: role == .server ? "a client has to mask its frames" : "a server must not mask its frames"))
        }
        if opcode.isControl {
            if !isFinal { return .failure(Violation(reason: "a control frame is fragmented")) }
            if second & 0x7f > 125 { return .failure(Violation(reason: "a control frame is above 125 bytes")) }
        } else if (opcode == .continuation) != (fragmented != nil) {
            return .failure(
                Violation(
                    reason: fragmented == nil
                        ? "a continuation has nothing to continue" : "a message begins inside a fragmented one"))
        }
        return .success(Header(opcode: opcode, isFinal: isFinal))
    }

    private mutating func take(_ header: Header, _ payload: UnsafeRawBufferPointer, _ range: Range<Int>) -> Step? {
        switch header.opcode {
        case .ping: return .ping(range)
        case .pong: return .pong(range)
        case .close: return close(payload, range)
        case .text, .binary, .continuation: break
        }
        let kind = fragmented ?? (header.opcode == .text ? .text : .binary)
        if kind == .text {
            guard utf8.accept(payload), !header.isFinal || utf8.isAtBoundary else {
                return .failed(code: 1007, reason: "a text message is not UTF-8")
            }
        }
        if header.isFinal, fragmented == nil { return .message(kind, range) }
        assembly.append(contentsOf: payload)
        fragmented = header.isFinal ? nil : kind
        isAssembled = header.isFinal
        return header.isFinal ? .assembled(kind) : nil
    }

    private func close(_ payload: UnsafeRawBufferPointer, _ range: Range<Int>) -> Step {
        if payload.isEmpty { return .close(code: nil, reason: range) }
        guard payload.count >= 2 else { return .failed(code: 1002, reason: "a close frame has half a code") }
        let code = UInt16(payload[0]) << 8 | UInt16(payload[1])
        guard WebSocketFrame.isValidCloseCode(code) else {
            return .failed(code: 1002, reason: "a close frame has a code that must not be sent")
        }
        var text = UTF8Validator()
        guard text.accept(UnsafeRawBufferPointer(rebasing: payload[2...])), text.isAtBoundary else {
            return .failed(code: 1007, reason: "the reason in a close frame is not UTF-8")
        }
        return .close(code: code, reason: range.lowerBound + 2..<range.upperBound)
    }
}

extension WebSocketFrame.Opcode {
    var isControl: Bool { rawValue >= 8 }
}
