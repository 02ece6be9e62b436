import Glibc

/// Decodes a chunked body (RFC 9112, section 7.1) as it arrives. Extensions and trailers are checked and dropped.
struct ChunkReader: Sendable {
    private enum State: Sendable {
        /// In the line with a chunk's length.
        case length
        /// In a chunk, with so many bytes to come.
        case bytes(Int)
        /// At the CR LF behind a chunk.
        case end
        /// In the lines behind the last chunk.
        case trailer
        case done
    }

    private var state = State.length
    /// Bytes of trailers and extensions so far; a client has no reason to send many.
    private var extra = 0
    private static let extraLimit = 16 << 10

    var isDone: Bool { if case .done = state { true } else { false } }

    /// Reads on from `start`, appends what is decoded, and returns up to where the bytes are no longer needed.
    mutating func read(
        _ bytes: RawSpan, from start: Int, limit: Int, into body: inout [UInt8]
    ) throws(HTTPRefusal) -> Int {
        var at = start
        while true {
            switch state {
            case .length:
                guard let line = try line(bytes, at) else { return at }
                let length = try chunkLength(bytes, line)
                if length > limit - body.count { throw .bodyTooLong }
                at = line.upperBound + 2
                state = length == 0 ? .trailer : .bytes(length)
            case .bytes(let left):
                let count = min(left, bytes.byteCount - at)
                if count == 0 { return at }
                bytes.withUnsafeBytes { body.append(contentsOf: $0[at..<at + count]) }
                at += count
                state = left == count ? .end : .bytes(left - count)
            case .end:
                guard bytes.byteCount - at >= 2 else {
                    if bytes.byteCount > at, bytes.byte(at) != 13 { throw .badChunk }
                    return at
                }
                guard bytes.byte(at) == 13, bytes.byte(at + 1) == 10 else { throw .badChunk }
                at += 2
                state = .length
            case .trailer:
                guard let line = try line(bytes, at) else { return at }
                at = line.upperBound + 2
                if line.isEmpty {
                    state = .done
                    return at
                }
                try countExtra(line.count)
                try checkTrailer(bytes, line)
            case .done: return at
            }
        }
    }

    private mutating func countExtra(_ count: Int) throws(HTTPRefusal) {
        extra += count
        if extra > Self.extraLimit { throw .headTooLong }
    }

    /// The line that begins at `start`, without its CR LF; nil if it is not whole.
    private func line(_ bytes: RawSpan, _ start: Int) throws(HTTPRefusal) -> Range<Int>? {
        let feed = bytes.withUnsafeBytes { all in
            all.baseAddress.flatMap { ByteScan.find(10, $0.assumingMemoryBound(to: UInt8.self), start, all.count) }
        }
        guard let feed else {
            if bytes.byteCount - start > Self.extraLimit { throw .headTooLong }
            return nil
        }
        guard feed > start, bytes.byte(feed - 1) == 13 else { throw .bareLineEnd }
        return start..<feed - 1
    }

    private mutating func chunkLength(_ bytes: RawSpan, _ line: Range<Int>) throws(HTTPRefusal) -> Int {
        var length = 0
        var at = line.lowerBound
        while at < line.upperBound, let digit = ByteScan.hex(bytes.byte(at)) {
            // Seven digits are beyond every limit of a body; more could overflow.
            if length >= 1 << 32 { throw .bodyTooLong }
            length = length << 4 | Int(digit)
            at += 1
        }
        guard at > line.lowerBound else { throw .badChunk }
        if at < line.upperBound {
            while at < line.upperBound, bytes.byte(at) == 32 || bytes.byte(at) == 9 { at += 1 }
            guard at < line.upperBound, bytes.byte(at) == 59 else { throw .badChunk }
            try countExtra(line.upperBound - at)
            if hasControl(bytes, at..<line.upperBound) { throw .badChunk }
        }
        return length
    }

    private func checkTrailer(_ bytes: RawSpan, _ line: Range<Int>) throws(HTTPRefusal) {
        if bytes.byte(line.lowerBound) == 32 || bytes.byte(line.lowerBound) == 9 { throw .foldedHeader }
        var at = line.lowerBound
        while at < line.upperBound, ByteScan.isToken(bytes.byte(at)) { at += 1 }
        guard at > line.lowerBound, at < line.upperBound, bytes.byte(at) == 58 else { throw .badHeaderName }
        if hasControl(bytes, at + 1..<line.upperBound) { throw .badHeaderValue }
    }

    private func hasControl(_ bytes: RawSpan, _ range: Range<Int>) -> Bool {
        bytes.withUnsafeBytes { ByteScan.hasControl($0.baseAddress!.assumingMemoryBound(to: UInt8.self), range) }
    }
}

extension RawSpan {
    /// One byte; a wrong offset stops the process.
    @inline(__always)
    func byte(_ offset: Int) -> UInt8 { unsafeLoad(fromByteOffset: offset, as: UInt8.self) }
}
