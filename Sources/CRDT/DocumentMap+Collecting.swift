/// Forgetting removals that nobody needs any more.
extension DocumentMap {
    /// Forgets removals of fields and documents stamped at or before `time`, a packed time of the hybrid clock, the
    /// oldest first; looks at no more than `most`. Returns how many were forgotten.
    ///
    /// The caller knows that every write stamped so has been read here. Nothing that can be read changes, nor does the
    /// hash. Costs nothing while nothing is due.
    @discardableResult public mutating func collect(through time: UInt64, atMost most: Int) -> Int {
        var forgotten = 0
        for _ in 0..<max(0, most) {
            guard let entry = tombstones.first, entry.time <= time else { break }
            tombstones.removeFirst()
            if entry.isDocument ? collectDocument(entry.slot, time) : collectField(entry.slot, time) { forgotten += 1 }
        }
        return forgotten
    }

    /// Whether `collect` would find something to look at.
    public func isCollectionDue(through time: UInt64) -> Bool { tombstones.first.map { $0.time <= time } ?? false }

    private mutating func collectField(_ at: UInt32, _ time: UInt64) -> Bool {
        let register = registers[at]
        registers[at].isQueued = false
        // Since it was queued, the slot may have been freed, used again, written or removed later.
        guard !register.isFree, register.isRemoved else { return false }
        guard register.stamp.time <= time else {
            registers[at].isQueued = true
            tombstones.insert(TombstoneQueue.Entry(time: register.stamp.time, slot: at, isDocument: false))
            return false
        }
        forget(at)
        freeIfUnknown(register.document)
        return true
    }

    private mutating func collectDocument(_ slot: UInt32, _ time: UInt64) -> Bool {
        let document = documents[slot]
        documents[slot].isQueued = false
        guard document.text != noSlot, document.removed != .never else { return false }
        guard document.removed.time <= time else {
            documents[slot].isQueued = true
            tombstones.insert(TombstoneQueue.Entry(time: document.removed.time, slot: slot, isDocument: true))
            return false
        }
        // What it hid went with the removal itself. Writes after it stay: a creation still to come may show them.
        documents[slot].removed = .never
        tombstoneCount -= 1
        freeIfUnknown(slot)
        return true
    }

    /// Frees a document of which nothing is known any more.
    private mutating func freeIfUnknown(_ slot: UInt32) {
        let document = documents[slot]
        guard document.first == noSlot, document.created == .never, document.removed == .never else { return }
        texts.remove(document.text)
        documents[slot].text = noSlot
        documents.remove(slot)
    }
}
