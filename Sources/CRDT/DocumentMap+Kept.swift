/// Writes as the registers hold them, for a node that starts anew and must not lose what only it has.
extension DocumentMap {
    /// One write that shows, or hides something.
    public struct Write: Sendable {
        /// The document's name.
        public let document: String
        /// What it did.
        public let change: Change
        /// When, and by whom.
        public let stamp: HybridTimestamp

        /// A write from its parts.
        public init(document: String, change: Change, stamp: HybridTimestamp) {
            self.document = document
            self.change = change
            self.stamp = stamp
        }
    }

    /// The writes whose stamps are wanted, by rising stamp. What was overwritten since is not among them.
    public func writes(where isWanted: (HybridTimestamp) -> Bool) -> [Write] {
        var found: [Write] = []
        for slot in 0..<UInt32(documents.end) {
            let document = documents[slot]
            guard document.text != noSlot else { continue }
            let name = String(decoding: bytes(of: document.text), as: UTF8.self)
            func note(_ change: Change, _ stamp: HybridTimestamp) {
                if stamp != .never, isWanted(stamp) {
                    found.append(Write(document: name, change: change, stamp: stamp))
                }
            }
            note(.remove, document.removed)
            note(.create, document.created)
            var at = document.first
            while at != noSlot {
                let register = registers[at]
                if isWanted(register.stamp) {
                    let field = String(decoding: bytes(of: register.text), as: UTF8.self)
                    let value = texts.value(register.text) { value in value.withUnsafeBytes { Array($0) } }
                    note(register.isRemoved ? .unset(field: field) : .set(field: field, value: value), register.stamp)
                }
                at = register.following
            }
        }
        // Sorting is not stable: of one put, the removal comes first, then the creation.
        return found.enumerated().sorted { ($0.element.stamp, $0.offset) < ($1.element.stamp, $1.offset) }.map(
            \.element)
    }

    /// Whether a write would still change what is here.
    public func isNews(_ write: Write) -> Bool {
        let name = Array(write.document.utf8)
        let hash = XXH64.hash(name.span.bytes)
        let slot = find(name.span.bytes, hash)
        guard slot != noSlot else { return true }
        let document = documents[slot]
        guard document.removed < write.stamp else { return false }
        switch write.change {
        case .create: return document.created < write.stamp
        case .remove: return true
        case .set(let field, _), .unset(let field):
            let key = Array(field.utf8)
            let at = find(key.span.bytes, XXH64.hash(key.span.bytes, seed: hash), in: slot)
            return at == noSlot || registers[at].stamp < write.stamp
        }
    }
}
