import CRDT

/// Reads the records of one file, a window at a time, and finds the next valid one behind damage.
struct RecordReader {
    /// What comes next.
    enum Item {
        /// A valid record: its kind, and where its body lies in the file.
        case record(Record.Kind, Range<Int>)
        /// Nothing valid up to the next record or the end: so many bytes from this offset on.
        case damage(at: UInt64, bytes: UInt64)
        /// Nothing was written from here on.
        case end
    }

    private static let windowBytes = 4 << 20

    let file: DataFile
    let size: UInt64
    /// Bytes of the file, at least those since the last `release`.
    private(set) var window: [UInt8] = []
    /// The offset in the file of the first byte of the window.
    private var base: UInt64 = 0
    /// The next byte to look at, within the window.
    private var at = 0
    /// Up to here the window is not needed any more.
    private var released = 0

    /// A reader that stands at the beginning of a file.
    init(_ file: DataFile, size: UInt64) {
        self.file = file
        self.size = size
    }

    /// Where the reader stands in the file.
    var offset: UInt64 { base + UInt64(at) }
    private var available: Int { window.count - at }
    private var isAllRead: Bool { base + UInt64(window.count) >= size }

    /// Has at least so many bytes in the window from `at` on, if the file has them.
    private mutating func fill(_ count: Int, _ directory: inout some DataDirectory) throws(StoreError) {
        guard available < count, !isAllRead else { return }
        if released > Self.windowBytes / 2 || released == at {
            window.removeSubrange(0..<released)
            base += UInt64(released)
            at -= released
            released = 0
        }
        while available < count, !isAllRead {
            let next = try directory.read(
                file, from: base + UInt64(window.count), count: max(Self.windowBytes, count - available))
            guard !next.isEmpty else { throw StoreError(.unreadable, "\(file) is shorter than it was a moment ago") }
            if window.isEmpty { window = next } else { window += next }
        }
    }

    /// Where a body lies in `window`.
    func place(_ body: Range<Int>) -> Range<Int> { body.lowerBound - Int(base)..<body.upperBound - Int(base) }

    /// What was read up to here is not needed any more.
    mutating func release() { released = at }

    /// Reads the preamble.
    mutating func preamble(_ directory: inout some DataDirectory) throws(StoreError) -> Record.Preamble {
        try fill(Record.preambleBytes, &directory)
        let found = Record.preamble(window.span.bytes, file.kind)
        at = min(window.count, Record.preambleBytes)
        return found
    }

    /// The next record, or why there is none right here.
    mutating func next(_ directory: inout some DataDirectory) throws(StoreError) -> Item {
        if let item = try valid(&directory) { return item }
        // Not a record. Where all the rest is zeros, nothing was written.
        let start = offset
        if try isZeroToTheEnd(&directory) { return .end }
        if let head = head() {
            // Only the body is damaged, and the head says where the next record is.
            try fill(Record.headBytes + head.length, &directory)
            at += min(available, Record.headBytes + head.length)
        } else {
            try skipToValid(&directory)
        }
        return .damage(at: start, bytes: offset - start)
    }

    private func head() -> (length: Int, sum: UInt32)? {
        guard available >= Record.headBytes else { return nil }
        return Record.head(window.span.bytes, at: at, file: file.number, offset: offset)
    }

    private mutating func valid(_ directory: inout some DataDirectory) throws(StoreError) -> Item? {
        try fill(Record.headBytes + 4_096, &directory)
        if available == 0 { return .end }
        guard let head = head() else { return nil }
        try fill(Record.headBytes + head.length, &directory)
        let body = at + Record.headBytes..<at + Record.headBytes + head.length
        guard isWhole(head), let kind = Record.Kind(rawValue: window[body.lowerBound]) else { return nil }
        at = body.upperBound
        return .record(kind, Int(base) + body.lowerBound + 1..<Int(base) + body.upperBound)
    }

    private mutating func isZeroToTheEnd(_ directory: inout some DataDirectory) throws(StoreError) -> Bool {
        guard window[at...].prefix(Record.headBytes).allSatisfy({ $0 == 0 }) else { return false }
        var from = offset
        while from < size {
            let next = try directory.read(file, from: from, count: Self.windowBytes)
            let isZero = next.withUnsafeBytes { bytes in bytes.allSatisfy { $0 == 0 } }
            guard isZero, !next.isEmpty else { return next.isEmpty }
            from += UInt64(next.count)
        }
        return true
    }

    /// Goes on to the next offset at which a valid record's head and body stand.
    private mutating func skipToValid(_ directory: inout some DataDirectory) throws(StoreError) {
        at += 1
        while true {
            if available < Record.headBytes { try fill(Self.windowBytes, &directory) }
            guard available >= Record.headBytes else {
                at = window.count
                return
            }
            if let head = head() {
                try fill(Record.headBytes + head.length, &directory)
                if isWhole(head) { return }
            }
            at += 1
        }
    }

    /// Whether the body behind a head is there and what it should be.
    private func isWhole(_ head: (length: Int, sum: UInt32)) -> Bool {
        guard available >= Record.headBytes + head.length else { return false }
        let bytes = window
        let body = at + Record.headBytes..<at + Record.headBytes + head.length
        return CRC32C.sum(bytes.span.bytes.extracting(body)) == head.sum
    }
}
