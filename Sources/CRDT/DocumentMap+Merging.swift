/// Joining, whole or by chunks of what another replica holds.
///
/// | chunk | bytes |
/// |---|---|
/// | 0 | a document: its name as varint length and UTF-8, when it was last created and last removed, 16 bytes each |
/// | 1 | a field of that document: its name, stamp, and value as varint length and bytes |
/// | 2 | a removed field of that document: its name and stamp |
///
/// A stamp is 8 bytes of packed time and 8 of replica; zeroes for never.
extension DocumentMap {
    /// A position in a walk over all documents, or over those of some buckets, while writes go on: what comes or
    /// changes meanwhile may or may not be seen; everything that was there and still is, is.
    public struct Walk: Sendable {
        /// The next document's slot.
        fileprivate var slot: UInt32 = 0
        /// Where in that document: the field sent last and its number. nil at its start.
        fileprivate var field: (slot: UInt32, birth: UInt32)?
        fileprivate let buckets: [Bool]

        /// At the start of everything.
        public init() { buckets = Array(repeating: true, count: DocumentMap.bucketCount) }

        /// At the start of the documents of some buckets.
        public init(buckets: some Sequence<Int>) {
            var wanted = Array(repeating: false, count: DocumentMap.bucketCount)
            for bucket in buckets { wanted[bucket] = true }
            self.buckets = wanted
        }
    }

    /// A call looks at so many documents and then leaves the rest to the next, whether or not it found any.
    private static let documentsPerChunk = 16_384

    /// Appends a chunk of registers, removals included, for `merge(chunk:)`, and moves the walk on. Returns false once
    /// the walk is over. A chunk has at most `limit` bytes, or one register and its document if they have more; it may
    /// be empty while the walk is not over.
    public func encodeChunk(_ walk: inout Walk, atMost limit: Int, into out: inout [UInt8]) -> Bool {
        let start = out.count
        for _ in 0..<Self.documentsPerChunk {
            guard Int(walk.slot) < documents.end else { return false }
            let document = documents[walk.slot]
            if document.text != noSlot, walk.buckets[document.bucket] {
                guard encode(document, &walk, start: start, atMost: limit, into: &out) else { return true }
            }
            walk.slot += 1
            walk.field = nil
        }
        return Int(walk.slot) < documents.end
    }

    /// Appends a document as far as it fits; false if there is more of it. A chunk takes its first register whatever
    /// its size, or a walk would never end.
    private func encode(
        _ document: Document, _ walk: inout Walk, start: Int, atMost limit: Int, into out: inout [UInt8]
    ) -> Bool {
        var at = document.first
        if let sent = walk.field {
            at = following(sent, in: walk.slot)
            guard at != noSlot else { return true }
        }
        let head = out.count
        out.append(0)
        append(nameOf: document.text, into: &out)
        out.append(document.created)
        out.append(document.removed)
        if at == noSlot, out.count - start > limit, head > start {
            out.removeSubrange(head...)
            return false
        }
        var hasField = false
        while at != noSlot {
            let register = registers[at]
            let before = out.count
            append(register, into: &out)
            if out.count - start > limit, hasField || head > start {
                out.removeSubrange((hasField ? before : head)...)
                return false
            }
            hasField = true
            walk.field = (at, register.birth)
            at = register.following
        }
        return true
    }

    private func append(_ register: Register, into out: inout [UInt8]) {
        out.append(register.isRemoved ? 2 : 1)
        append(nameOf: register.text, into: &out)
        out.append(register.stamp)
        guard !register.isRemoved else { return }
        texts.value(register.text) { value in
            out.append(varint: UInt64(value.byteCount))
            out.append(copying: value)
        }
    }

    private func append(nameOf place: ByteArena.Place, into out: inout [UInt8]) {
        texts.name(place) { name in
            out.append(varint: UInt64(name.byteCount))
            out.append(copying: name)
        }
    }

    /// The field after the one sent last, which may be gone by now, as may be its document.
    private func following(_ sent: (slot: UInt32, birth: UInt32), in slot: UInt32) -> UInt32 {
        if Int(sent.slot) < registers.end {
            let register = registers[sent.slot]
            if register.document == slot, register.birth == sent.birth { return register.following }
        }
        var at = documents[slot].first
        // Fewer numbers given out than then: they were given out anew, or the slot holds another document.
        guard documents[slot].births > sent.birth else { return at }
        while at != noSlot, registers[at].birth <= sent.birth { at = registers[at].following }
        return at
    }

    // MARK: - Merging

    /// Joins what another replica holds: all of the chunk, or nothing if it is malformed. Reports whether anything
    /// changed.
    @discardableResult public mutating func merge(chunk bytes: RawSpan) throws(DecodeError) -> Bool {
        var cursor = ByteCursor(bytes)
        var hasDocument = false
        while cursor.remaining > 0 {
            if case .document = try Item(&cursor, bytes) {
                hasDocument = true
            } else if !hasDocument {
                throw .badValue(field: "first item of a chunk")
            }
        }
        var changed = false
        var name = 0..<0
        var slot = noSlot
        cursor = ByteCursor(bytes)
        while cursor.remaining > 0 {
            switch try Item(&cursor, bytes) {
            case .document(let document, let created, let removed):
                name = document
                slot = noSlot
                guard max(created, removed) > .never else { continue }
                slot = self.slot(ofDocument: bytes.extracting(name))
                if create(slot, at: created) { changed = true }
                if remove(slot, at: removed) { changed = true }
            case .field(let field, let stamp, let value):
                guard stamp > .never else { continue }
                if slot == noSlot { slot = self.slot(ofDocument: bytes.extracting(name)) }
                let lent: RawSpan? = if let value { bytes.extracting(value) } else { nil }
                if write(slot, bytes.extracting(field), lent, at: stamp) { changed = true }
            }
        }
        return changed
    }

    /// An item as it lies in a chunk.
    private enum Item {
        case document(Range<Int>, created: HybridTimestamp, removed: HybridTimestamp)
        case field(Range<Int>, stamp: HybridTimestamp, value: Range<Int>?)

        init(_ cursor: inout ByteCursor, _ bytes: RawSpan) throws(DecodeError) {
            let kind = try cursor.u8(bytes)
            guard kind <= 2 else { throw .badValue(field: "item of a chunk") }
            let name = try DocumentMap.name(&cursor, bytes)
            let stamp = try cursor.stamp(bytes)
            switch kind {
            case 0: self = .document(name, created: stamp, removed: try cursor.stamp(bytes))
            case 1: self = .field(name, stamp: stamp, value: try cursor.block(bytes, limit: maximumValueBytes))
            default: self = .field(name, stamp: stamp, value: nil)
            }
        }
    }

    /// Joins `other` into `self` and reports whether anything changed.
    @discardableResult public mutating func merge(_ other: borrowing DocumentMap) -> Bool {
        var changed = false
        for theirs in 0..<UInt32(other.documents.end) {
            let document = other.documents[theirs]
            guard document.text != noSlot else { continue }
            let slot = other.texts.name(document.text) { self.slot(ofDocument: $0) }
            if create(slot, at: document.created) { changed = true }
            if remove(slot, at: document.removed) { changed = true }
            var at = document.first
            while at != noSlot {
                let register = other.registers[at]
                let isNews = other.texts.name(register.text) { name in
                    other.texts.value(register.text) { value in
                        write(slot, name, register.isRemoved ? nil : value, at: register.stamp)
                    }
                }
                if isNews { changed = true }
                at = register.following
            }
        }
        return changed
    }

    /// Whether both remember the same writes, removals not yet forgotten included.
    public static func == (a: DocumentMap, b: DocumentMap) -> Bool {
        guard a.documents.count == b.documents.count, a.registers.count == b.registers.count, a.hash == b.hash else {
            return false
        }
        return (0..<UInt32(a.documents.end)).allSatisfy { a.documents[$0].text == noSlot || a.isSame($0, in: b) }
    }

    /// Whether `other` knows the document in a slot and remembers the same of it.
    private func isSame(_ slot: UInt32, in other: DocumentMap) -> Bool {
        let mine = documents[slot]
        let theirs = texts.name(mine.text) { other.find($0, mine.hash) }
        guard theirs != noSlot, other.documents[theirs].created == mine.created,
            other.documents[theirs].removed == mine.removed
        else { return false }
        var at = mine.first
        while at != noSlot {
            let register = registers[at]
            let found = texts.name(register.text) { other.find($0, register.hash, in: theirs) }
            guard found != noSlot, other.registers[found].stamp == register.stamp,
                other.registers[found].isRemoved == register.isRemoved
            else { return false }
            let isEqual = texts.value(register.text) { mine in
                other.texts.value(other.registers[found].text) { theirs in
                    theirs.isEqual(to: mine.withUnsafeBytes { Array($0) })
                }
            }
            guard isEqual else { return false }
            at = register.following
        }
        return true
    }
}

extension ByteCursor {
    /// A stamp: 8 bytes of packed time, 8 of replica.
    fileprivate mutating func stamp(_ bytes: RawSpan) throws(DecodeError) -> HybridTimestamp {
        let time = try u64(bytes)
        return HybridTimestamp(time: time, replica: try replica(bytes))
    }
}

extension [UInt8] {
    fileprivate mutating func append(_ stamp: HybridTimestamp) {
        append(littleEndian: stamp.time)
        append(replica: stamp.replica)
    }
}
