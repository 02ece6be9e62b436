/// The replicated documents: each a map of fields, each field a last-writer-wins register.
///
/// - A field shows the write with the highest stamp, and stamps that tie in time are decided by replica, never by value
///   (Shapiro et al., "A comprehensive study of CRDTs", INRIA RR-7506, 2011, specification 8).
/// - A document exists while it was created after it was last removed. Creating says so, writing a field never does.
/// - A removal hides every write stamped up to it, those of its own put included: a late write raises no zombie, and a
///   document made anew does not inherit old fields.
/// - One stamp names one put. A peer that breaks this does so in its own log, which everybody reads in the same order:
///   the change read first stays, at every node. Nothing counts at time zero of replica zero, which no log uses.
///
/// Applying a write to a field that is there allocates nothing. Nothing grows in one go: the tables are split bucket by
/// bucket, and bytes lie in an arena that is compacted chunk by chunk. Only removing a document takes time with its
/// number of fields, which it frees. Names are compared as bytes.
public struct DocumentMap: Mergeable, Sendable {
    /// Documents fall into so many buckets, by the hash of their name.
    public static let bucketCount = 256
    /// The most changes in one put.
    public static let maximumChanges = 4_096
    /// The most bytes of a document's or a field's name.
    public static let maximumNameBytes = 4_096
    /// The most bytes of a value: more than one entry of a log can hold.
    public static let maximumValueBytes = 2 << 20

    /// What is known of one document.
    struct Document: Linked {
        /// XXH64 of the name.
        let hash: UInt64
        /// What its visible fields add to the hash of everything while it exists.
        var sum: UInt64 = 0
        /// When it was last created, if that is after its last removal.
        var created = HybridTimestamp.never
        /// When it was last removed.
        var removed = HybridTimestamp.never
        /// The name; `noSlot` once the slot is free.
        var text: ByteArena.Place
        var next = noSlot
        /// Its fields, in the order in which they were first written here.
        var first = noSlot
        var last = noSlot
        /// How many fields were ever added, to give each a number.
        var births: UInt32 = 0
        var isQueued = false

        var exists: Bool { removed < created }
        /// Which of the buckets it falls into; the low bits choose its place in the table.
        var bucket: Int { Int(hash >> 56) }
        /// What the document adds to the hash of everything.
        var contribution: UInt64 { exists ? sum &+ DocumentMap.contribution(hash, created) : 0 }
    }

    /// The last write to one field of one document.
    struct Register: Linked {
        /// XXH64 of the field's name, seeded with the hash of the document's.
        let hash: UInt64
        var stamp: HybridTimestamp
        /// The field's name and its value.
        var text: ByteArena.Place
        var next = noSlot
        /// The neighbours in the document's list.
        var following = noSlot
        var previous = noSlot
        /// Its number among its document's fields, rising along the list.
        var birth: UInt32
        /// The document's slot and two flags: 48 bytes a register instead of 56.
        private var packed: UInt32

        init(hash: UInt64, document: UInt32, stamp: HybridTimestamp, birth: UInt32, previous: UInt32) {
            self.hash = hash
            self.stamp = stamp
            self.birth = birth
            self.previous = previous
            text = 0
            packed = document
        }

        private static let slotMask: UInt32 = 1 << 30 - 1
        /// The slot of the document; all ones once the register's own slot is free.
        var document: UInt32 {
            get { packed & Self.slotMask }
            set { packed = packed & ~Self.slotMask | newValue & Self.slotMask }
        }
        /// Whether the last write removed the field.
        var isRemoved: Bool {
            get { packed & 1 << 30 != 0 }
            set { packed = newValue ? packed | 1 << 30 : packed & ~(1 << 30) }
        }
        var isQueued: Bool {
            get { packed & 1 << 31 != 0 }
            set { packed = newValue ? packed | 1 << 31 : packed & ~(1 << 31) }
        }
        var isFree: Bool { document == Self.slotMask }
    }

    var documents = LinkedTable<Document>()
    var registers = LinkedTable<Register>()
    var texts = ByteArena()
    var tombstones = TombstoneQueue()
    private var bucketHashes = ContiguousArray<UInt64>(repeating: 0, count: Self.bucketCount)

    /// How many documents exist.
    public private(set) var count = 0
    /// How many removals of fields and documents are remembered.
    public internal(set) var tombstoneCount = 0
    /// Memory taken, in bytes, as far as it is in tables and texts.
    public var byteCount: Int { documents.byteCount + registers.byteCount + texts.byteCount + tombstones.byteCount }

    /// A hash of everything that can be read, stamps included and values left out (a stamp names one write). The same
    /// for the same writes in whatever order they came, and whether or not removals were forgotten.
    public private(set) var hash: UInt64 = 0

    /// No documents.
    public init() {}

    /// What the documents of one bucket add to `hash`.
    public func hash(ofBucket bucket: Int) -> UInt64 { bucketHashes[bucket] }

    // MARK: - Writing

    /// Where a document is; made if nothing is known of it.
    mutating func slot(ofDocument name: RawSpan) -> UInt32 {
        let hash = XXH64.hash(name)
        let known = find(name, hash)
        if known != noSlot { return known }
        let slot = documents.insert(Document(hash: hash, text: 0))
        let place = texts.insert(owner: slot | Self.documentOwner, name: name, value: nil)
        documents[slot].text = place
        if texts.isCompactionDue { compact() }
        return slot
    }

    /// Creates a document. Reports whether that is news.
    mutating func create(_ slot: UInt32, at stamp: HybridTimestamp) -> Bool {
        let document = documents[slot]
        guard max(document.created, document.removed) < stamp else { return false }
        documents[slot].created = stamp
        note(document, documents[slot])
        return true
    }

    /// Removes a document and everything written to it up to the stamp. Reports whether that is news.
    mutating func remove(_ slot: UInt32, at stamp: HybridTimestamp) -> Bool {
        let document = documents[slot]
        guard document.removed < stamp else { return false }
        if document.removed == .never { tombstoneCount += 1 }
        documents[slot].removed = stamp
        if document.created <= stamp { documents[slot].created = .never }
        // What it hides is gone for good: whatever could bring it back is older than the removal, too.
        var field = document.first
        while field != noSlot {
            let register = registers[field]
            if register.stamp <= stamp { forget(field) }
            field = register.following
        }
        note(document, documents[slot])
        if !document.isQueued {
            documents[slot].isQueued = true
            tombstones.insert(TombstoneQueue.Entry(time: stamp.time, slot: slot, isDocument: true))
        }
        return true
    }

    /// Writes a field, or removes it with nil. Reports whether that is news.
    mutating func write(_ slot: UInt32, _ field: RawSpan, _ value: RawSpan?, at stamp: HybridTimestamp) -> Bool {
        guard documents[slot].removed < stamp else { return false }
        let hash = XXH64.hash(field, seed: documents[slot].hash)
        var at = find(field, hash, in: slot)
        var delta: UInt64 = 0
        if at == noSlot {
            at = add(field, value, hash, to: slot, at: stamp)
        } else {
            let old = registers[at]
            guard old.stamp < stamp else { return false }
            registers[at].stamp = stamp
            if old.isRemoved { tombstoneCount -= 1 } else { delta = 0 &- Self.contribution(hash, old.stamp) }
            if !texts.replaceValue(old.text, value) {
                let place = texts.insert(owner: at, name: field, value: value)
                texts.remove(old.text)
                registers[at].text = place
            }
        }
        registers[at].isRemoved = value == nil
        if value != nil {
            delta &+= Self.contribution(hash, stamp)
        } else {
            tombstoneCount += 1
            if !registers[at].isQueued {
                registers[at].isQueued = true
                tombstones.insert(TombstoneQueue.Entry(time: stamp.time, slot: at, isDocument: false))
            }
        }
        documents[slot].sum &+= delta
        if documents[slot].exists {
            addHash(delta, toBucket: documents[slot].bucket)
        }
        if texts.isCompactionDue { compact() }
        return true
    }

    private mutating func add(
        _ field: RawSpan, _ value: RawSpan?, _ hash: UInt64, to slot: UInt32, at stamp: HybridTimestamp
    ) -> UInt32 {
        if documents[slot].births == .max { renumber(slot) }
        let document = documents[slot]
        let at = registers.insert(
            Register(hash: hash, document: slot, stamp: stamp, birth: document.births, previous: document.last))
        let place = texts.insert(owner: at, name: field, value: value)
        registers[at].text = place
        if document.last == noSlot {
            documents[slot].first = at
        } else {
            registers[document.last].following = at
        }
        documents[slot].last = at
        documents[slot].births = document.births + 1
        return at
    }

    /// Numbers a document's fields from zero again: members of a room that come and go use up four billion in time.
    private mutating func renumber(_ slot: UInt32) {
        var births: UInt32 = 0
        var field = documents[slot].first
        while field != noSlot {
            registers[field].birth = births
            births += 1
            field = registers[field].following
        }
        documents[slot].births = births
    }

    /// Removes a register from its document, which stays.
    mutating func forget(_ at: UInt32) {
        let register = registers[at]
        let slot = register.document
        if register.isRemoved {
            tombstoneCount -= 1
        } else {
            documents[slot].sum &-= Self.contribution(register.hash, register.stamp)
        }
        if register.previous == noSlot {
            documents[slot].first = register.following
        } else {
            registers[register.previous].following = register.following
        }
        if register.following == noSlot {
            documents[slot].last = register.previous
        } else {
            registers[register.following].previous = register.previous
        }
        texts.remove(register.text)
        registers[at].document = noSlot
        registers.remove(at)
    }

    /// Keeps the totals: a document was `before` and is `after`.
    private mutating func note(_ before: Document, _ after: Document) {
        count += (after.exists ? 1 : 0) - (before.exists ? 1 : 0)
        addHash(after.contribution &- before.contribution, toBucket: after.bucket)
    }

    private mutating func addHash(_ delta: UInt64, toBucket bucket: Int) {
        hash &+= delta
        bucketHashes[bucket] &+= delta
    }

    // MARK: - Finding

    /// Marks owners in the arena that are documents: slots have 30 bits.
    private static let documentOwner: UInt32 = 1 << 31

    private mutating func compact() {
        texts.compact { owner, place in
            if owner & Self.documentOwner != 0 {
                documents[owner & ~Self.documentOwner].text = place
            } else {
                registers[owner].text = place
            }
        }
    }

    /// The slot of a document; `noSlot` if nothing is known of it.
    func find(_ name: RawSpan, _ hash: UInt64) -> UInt32 {
        var slot = documents.first(hash)
        while slot != noSlot {
            let document = documents[slot]
            if document.hash == hash, texts.isNamed(document.text, name) { break }
            slot = document.next
        }
        return slot
    }

    /// The slot of a document's field; `noSlot` if it was never written.
    func find(_ field: RawSpan, _ hash: UInt64, in document: UInt32) -> UInt32 {
        var slot = registers.first(hash)
        while slot != noSlot {
            let register = registers[slot]
            if register.hash == hash, register.document == document, texts.isNamed(register.text, field) { break }
            slot = register.next
        }
        return slot
    }

    /// What a write contributes to the hashes: of a field by its hash, of a document's creation by its name's.
    private static func contribution(_ key: UInt64, _ stamp: HybridTimestamp) -> UInt64 {
        XXH64.avalanche(key ^ XXH64.avalanche(stamp.time ^ stamp.replica.rawValue &* 0x9e37_79b9_7f4a_7c15))
    }
}

extension HybridTimestamp {
    /// Before every write.
    static let never = HybridTimestamp(time: 0, replica: ReplicaID(0))
}
