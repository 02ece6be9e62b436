import CRDT

/// Which namespaces of shared context there are, as far as this node has read. What they hold is in the documents alone.
struct Contexts: Sendable {
    /// A peer's state was merged, or all was thrown away: others may have come.
    var isUnread = false
    /// A namespace is made by its first key and stays, so that this only grows. As bytes: texts that look alike in Unicode
    /// are different names.
    private(set) var names: Set<[UInt8]> = []
    /// Writes refused because there are too many namespaces, or too many keys in one.
    var refused = 0

    /// The most namespaces.
    var maximumNamespaces = 10_000
    /// The most keys of one namespace: a new one costs a walk over all that are there.
    var maximumKeys = 10_000
    /// The most bytes of one value, so that the event that tells of a change can hold the old and the new one.
    static let maximumValueBytes = 512 << 10
    /// The deepest value: the event about it, which holds it two levels down, must not be deeper than JSON may be.
    static let maximumDepth = 100
    /// What stands at the place of a key in a path and is something else.
    static let reserved = ["history", "watch"]

    /// The part of a field's name before the key.
    static let prefix = "key/"

    mutating func note(_ name: [UInt8]) { names.insert(name) }

    /// Names after one of them, in order.
    func names(after: String?, limit: Int) -> [String] {
        let after = after.map { Array($0.utf8) }
        return names.filter { name in after.map { $0.lexicographicallyPrecedes(name) } ?? true }
            .sorted { $0.lexicographicallyPrecedes($1) }.prefix(limit)
            .map { String(decoding: $0, as: UTF8.self) }
    }

    func writeMetrics(into out: inout MetricsWriter) {
        out.gauge("context_namespaces", "Namespaces of shared context.", names.count)
        out.counter("context_refused_total", "Writes of context refused at a bound.", refused)
    }
}
