/// A last-writer-wins register: the value with the highest stamp, or its removal.
///
/// Shapiro et al., "A comprehensive study of CRDTs" (INRIA RR-7506, 2011), specification 8.
public struct LWWRegister<Value: Equatable & Sendable>: Mergeable, Sendable {
    /// When the value was written or removed.
    public private(set) var stamp: HybridTimestamp
    /// The value; nil once removed. A removal is kept, or an older write would bring the value back.
    public private(set) var value: Value?

    /// A register that holds one write.
    public init(_ value: Value?, at stamp: HybridTimestamp) {
        self.stamp = stamp
        self.value = value
    }

    /// Joins `other` into `self` and reports whether anything changed.
    @discardableResult public mutating func merge(_ other: LWWRegister) -> Bool {
        // One stamp names one write. A peer that breaks this does so within its own log, which everybody reads in the
        // same order: the write read first stays, at every node.
        guard stamp < other.stamp else { return false }
        self = other
        return true
    }
}

/// A document: a map whose fields are last-writer-wins registers, and which can itself be removed.
///
/// Two agents that edit different fields both win. Creating a document writes its existence, editing a field never
/// does, and a removal hides every write before it: a late edit raises no zombie, and a document made anew does not
/// inherit old fields.
public struct LWWMap<Field: Hashable & Comparable & Sendable, Value: Equatable & Sendable>: Mergeable, Sendable {
    private var registers: [Field: LWWRegister<Value>] = [:]
    /// When the document was last created.
    public private(set) var createdAt: HybridTimestamp?
    /// When the document was last removed.
    public private(set) var removedAt: HybridTimestamp?

    /// A document of which nothing is known.
    public init() {}

    /// Whether the document was created after it was last removed.
    public var exists: Bool {
        guard let createdAt else { return false }
        return removedAt.map { $0 < createdAt } ?? true
    }

    /// The value of a field, unless the field or the document was removed after it was written.
    public subscript(field: Field) -> Value? {
        guard exists, let register = registers[field] else { return nil }
        return isHidden(register.stamp) ? nil : register.value
    }

    /// The fields that have a value, in order.
    public var fields: [(field: Field, value: Value, stamp: HybridTimestamp)] {
        guard exists else { return [] }
        return registers.compactMap { field, register in
            isHidden(register.stamp) ? nil : register.value.map { (field, $0, register.stamp) }
        }.sorted { $0.0 < $1.0 }
    }

    /// Writes a field, or removes it with nil. Reports whether it won.
    @discardableResult public mutating func put(_ field: Field, _ value: Value?, at stamp: HybridTimestamp) -> Bool {
        adopt(LWWRegister(value, at: stamp), for: field)
    }

    /// Creates the document.
    @discardableResult public mutating func create(at stamp: HybridTimestamp) -> Bool {
        guard createdAt.map({ $0 < stamp }) ?? true else { return false }
        createdAt = stamp
        return true
    }

    /// Removes the document and all that was written to it before.
    @discardableResult public mutating func remove(at stamp: HybridTimestamp) -> Bool {
        guard removedAt.map({ $0 < stamp }) ?? true else { return false }
        removedAt = stamp
        return true
    }

    /// Joins `other` into `self` and reports whether anything changed.
    @discardableResult public mutating func merge(_ other: borrowing LWWMap) -> Bool {
        var changed = false
        for (field, register) in other.registers where adopt(register, for: field) { changed = true }
        if let created = other.createdAt, create(at: created) { changed = true }
        if let removed = other.removedAt, remove(at: removed) { changed = true }
        return changed
    }

    /// Local writes and merges meet here.
    private mutating func adopt(_ theirs: LWWRegister<Value>, for field: Field) -> Bool {
        registers[field]?.merge(theirs)
            ?? {
                registers[field] = theirs
                return true
            }()
    }

    private func isHidden(_ stamp: HybridTimestamp) -> Bool { removedAt.map { stamp < $0 } ?? false }
}
