/// Reading: what exists and is not hidden by a removal.
extension DocumentMap {
    /// A field that has a value.
    public struct Field: Equatable, Sendable {
        /// The field's name.
        public let name: String
        /// What was written.
        public let value: [UInt8]
        /// When.
        public let stamp: HybridTimestamp
    }

    /// Whether a document exists.
    public func exists(_ document: String) -> Bool { existing(document) != nil }

    /// Whether a document that does not exist has fields all the same: written after its removal, by somebody who had not
    /// read of it. A creation would show them.
    public func hasLeftovers(_ document: String) -> Bool {
        let key = Array(document.utf8)
        let slot = find(key.span.bytes, XXH64.hash(key.span.bytes))
        guard slot != noSlot, !documents[slot].exists else { return false }
        var at = documents[slot].first
        while at != noSlot {
            if !registers[at].isRemoved { return true }
            at = registers[at].following
        }
        return false
    }

    /// The value of a document's field; nil if the document does not exist, or the field has none.
    public func value(of field: String, in document: String) -> [UInt8]? {
        guard let slot = existing(document) else { return nil }
        let key = Array(field.utf8)
        let at = find(key.span.bytes, XXH64.hash(key.span.bytes, seed: documents[slot].hash), in: slot)
        guard at != noSlot, !registers[at].isRemoved else { return nil }
        return texts.value(registers[at].text) { value in value.withUnsafeBytes { Array($0) } }
    }

    /// A document's field; nil if the document does not exist, or the field has no value.
    public func field(_ field: String, of document: String) -> Field? {
        guard let slot = existing(document) else { return nil }
        let key = Array(field.utf8)
        let at = find(key.span.bytes, XXH64.hash(key.span.bytes, seed: documents[slot].hash), in: slot)
        guard at != noSlot, !registers[at].isRemoved else { return nil }
        return Field(
            name: field, value: texts.value(registers[at].text) { value in value.withUnsafeBytes { Array($0) } },
            stamp: registers[at].stamp)
    }

    /// The fields of a document that have a value and whose names start with `prefix`, by the bytes of their names;
    /// none if it does not exist.
    public func fields(of document: String, prefix: String = "") -> [Field] {
        guard let slot = existing(document) else { return [] }
        let start = Array(prefix.utf8)
        var found: [(name: [UInt8], at: UInt32)] = []
        var at = documents[slot].first
        while at != noSlot {
            let register = registers[at]
            if !register.isRemoved, has(register.text, prefix: start) { found.append((bytes(of: register.text), at)) }
            at = register.following
        }
        found.sort { $0.name.lexicographicallyPrecedes($1.name) }
        return found.map { name, at in
            Field(
                name: String(decoding: name, as: UTF8.self),
                value: texts.value(registers[at].text) { value in value.withUnsafeBytes { Array($0) } },
                stamp: registers[at].stamp)
        }
    }

    /// The last write to a field of a document, whether or not that exists: its stamp and value, nil for a removal. Nil if
    /// nothing is known of it.
    public func write(to field: String, of document: String) -> (stamp: HybridTimestamp, value: [UInt8]?)? {
        let name = Array(document.utf8)
        let hash = XXH64.hash(name.span.bytes)
        let slot = find(name.span.bytes, hash)
        guard slot != noSlot else { return nil }
        let key = Array(field.utf8)
        let at = find(key.span.bytes, XXH64.hash(key.span.bytes, seed: hash), in: slot)
        guard at != noSlot else { return nil }
        let register = registers[at]
        if register.isRemoved { return (register.stamp, nil) }
        return (register.stamp, texts.value(register.text) { value in value.withUnsafeBytes { Array($0) } })
    }

    /// Lends the fields of a document that have a value, without copying any: by the bytes of their names where they are
    /// wanted `inOrder`. Returns when the document was last created; nil if it does not exist.
    @discardableResult
    public func readFields(
        of document: RawSpan, inOrder: Bool = true,
        _ body: (_ name: RawSpan, _ value: RawSpan, _ stamp: HybridTimestamp) -> Void
    ) -> HybridTimestamp? {
        let slot = find(document, XXH64.hash(document))
        guard slot != noSlot, documents[slot].exists else { return nil }
        func lend(_ at: UInt32) {
            let register = registers[at]
            texts.name(register.text) { name in texts.value(register.text) { body(name, $0, register.stamp) } }
        }
        var found: [UInt32] = []
        var at = documents[slot].first
        while at != noSlot {
            let register = registers[at]
            if !register.isRemoved { if inOrder { found.append(at) } else { lend(at) } }
            at = register.following
        }
        found.sort { a, b in
            texts.name(registers[a].text) { left in
                texts.name(registers[b].text) { right in left.precedes(right) }
            }
        }
        for at in found { lend(at) }
        return documents[slot].created
    }

    /// What follows `prefix` in the names of the documents that exist and begin with it, in the order of the bytes.
    public func names(prefix: String) -> [[UInt8]] {
        let start = Array(prefix.utf8)
        var found: [[UInt8]] = []
        for slot in 0..<UInt32(documents.end) {
            let document = documents[slot]
            guard document.text != noSlot, document.exists, has(document.text, prefix: start) else { continue }
            found.append(Array(bytes(of: document.text)[start.count...]))
        }
        return found.sorted { $0.lexicographicallyPrecedes($1) }
    }

    /// When a document was last created; nil if it does not exist.
    public func created(_ document: String) -> HybridTimestamp? { existing(document).map { documents[$0].created } }

    /// The names of the documents created last whose names start with `prefix`, the newest first.
    ///
    /// Looks at every document once; those that are too old to be among them cost a comparison.
    public func newest(_ most: Int, prefix: String) -> [String] {
        guard most > 0 else { return [] }
        let most = min(most, documents.end)
        let start = Array(prefix.utf8)
        var found: [(created: HybridTimestamp, slot: UInt32)] = []
        var oldest = HybridTimestamp.never
        for slot in 0..<UInt32(documents.end) {
            let document = documents[slot]
            guard document.created > oldest, document.exists, has(document.text, prefix: start) else { continue }
            found.append((document.created, slot))
            // Cut back at twice what is wanted, so that sorting costs little for each one found.
            guard found.count >= most * 2 else { continue }
            found.sort { $0.created > $1.created }
            found.removeSubrange(most...)
            oldest = found[most - 1].created
        }
        return found.sorted { $0.created > $1.created }.prefix(most)
            .map { String(decoding: bytes(of: documents[$0.slot].text), as: UTF8.self) }
    }

    private func existing(_ name: String) -> UInt32? {
        let key = Array(name.utf8)
        let slot = find(key.span.bytes, XXH64.hash(key.span.bytes))
        return slot != noSlot && documents[slot].exists ? slot : nil
    }

    private func has(_ place: ByteArena.Place, prefix: [UInt8]) -> Bool {
        texts.name(place) { name in
            name.byteCount >= prefix.count && name.extracting(0..<prefix.count).isEqual(to: prefix)
        }
    }

    func bytes(of place: ByteArena.Place) -> [UInt8] {
        texts.name(place) { name in name.withUnsafeBytes { Array($0) } }
    }
}

extension RawSpan {
    /// Whether these bytes come before others, as bytes.
    fileprivate func precedes(_ other: RawSpan) -> Bool {
        withUnsafeBytes { mine in other.withUnsafeBytes { mine.lexicographicallyPrecedes($0) } }
    }
}
