import CRDT
import Gossip

/// A client that wants to hear of signals as they change. What changes while it has not taken the last ones is told once,
/// with its value then: a slow reader sees fewer steps, and never an old value last.
struct SignalWatch: Sendable {
    /// One signal, by the canonical texts of its scope and pattern.
    struct Key: Hashable, Comparable, Sendable {
        let scope: [UInt8]
        let pattern: [UInt8]

        static func < (a: Key, b: Key) -> Bool {
            if a.scope != b.scope { return a.scope.lexicographicallyPrecedes(b.scope) }
            return a.pattern.lexicographicallyPrecedes(b.pattern)
        }
    }

    /// The most signals that one client is owed; beyond that it reads too slowly.
    static let maximumPending = 65_536

    /// Scopes; empty for all.
    var scopes: Set<AddressPattern>
    /// What changed and was not told.
    var pending: Set<Key> = []
    /// It was told something and has not taken it yet.
    var isWaiting = false

    /// Notes that a signal has changed.
    mutating func note(_ key: Key) {
        guard scopes.isEmpty || scopes.contains(where: { $0.matches(key.scope.span.bytes) }) else { return }
        pending.insert(key)
    }
}

/// `{"type":"subscribe","signals":true}`.
extension NodeCore {
    /// A client wants to hear of signals, of these scopes.
    mutating func watchSignals(_ session: SessionID, _ filters: [Filter]) throws(NodeError) {
        var watch = sessions[session]?.signals ?? SignalWatch(scopes: [])
        guard filters.allSatisfy({ $0.surface == .semp && $0.types == nil && $0.agents == nil }) else {
            throw .invalid(field: "filter", "signals are told by scope alone; leave topic, types and agents out")
        }
        let scopes = filters.compactMap(\.address)
        watch.scopes = scopes.count < filters.count ? [] : watch.scopes.union(scopes)
        guard watch.scopes.count <= Sessions.maximumFilters else {
            throw .invalid(field: "filter", "more than \(Sessions.maximumFilters) scopes; use wider patterns")
        }
        sessions.setSignals(session, watch)
    }

    /// An event has changed a signal.
    mutating func noteSignal(scope: RawSpan, pattern: RawSpan) {
        guard !sessions.watchers.isEmpty else { return }
        changedSignals.insert(
            SignalWatch.Key(
                scope: scope.withUnsafeBytes { Array($0) }, pattern: pattern.withUnsafeBytes { Array($0) }))
    }

    /// Tells those who can take it what has changed.
    mutating func tellSignals(now: Instant, into effects: inout Effects) {
        guard !changedSignals.isEmpty else { return }
        let changed = changedSignals.sorted()
        changedSignals.removeAll(keepingCapacity: true)
        for session in sessions.watchers.sorted() {
            guard var watch = sessions[session]?.signals else { continue }
            for key in changed { watch.note(key) }
            sessions.setSignals(session, watch)
            tellSignals(session, now: now, into: &effects)
        }
    }

    /// The client has taken what it was told.
    mutating func signalsTaken(_ session: SessionID, now: Instant, into effects: inout Effects) {
        guard var watch = sessions[session]?.signals else { return }
        watch.isWaiting = false
        sessions.setSignals(session, watch)
        tellSignals(session, now: now, into: &effects)
    }

    private mutating func tellSignals(_ session: SessionID, now: Instant, into effects: inout Effects) {
        guard var watch = sessions[session]?.signals, !watch.pending.isEmpty else { return }
        guard watch.pending.count <= SignalWatch.maximumPending else {
            return overran(session, mark: nil, into: &effects)
        }
        guard !watch.isWaiting else { return }
        let atMs = cluster.nowMs(now)
        for key in watch.pending.sorted() {
            let entry = signals.entries(scope: key.scope, pattern: key.pattern, minimumStrength: 0, atMs: atMs).first
            say(session, "signal", ref: nil, into: &effects) { out in
                out.append(constant: ",\"data\":")
                if let entry { append(entry, into: &out) } else { appendFaded(key, atMs: atMs, into: &out) }
            }
        }
        watch.pending.removeAll(keepingCapacity: true)
        watch.isWaiting = true
        sessions.setSignals(session, watch)
        effects.list.append(.notify(session))
    }
}
